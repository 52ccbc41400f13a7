"""Every notebook runs as it stands, and what it keeps is what running it gives.

`python tests/test_notebooks.py [NAME …]` runs them and keeps the new outputs.
"""

import ast
import asyncio
import base64
import hashlib
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from matplotlib.image import imread
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Tag of cells with timings, or with numbers of trained networks: these differ between processors.
VARIES = "varies"
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
TEXTS = ("text/plain", "text/html", "text/markdown")
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root|tmp|home|Users|opt|usr|var)\b|site-packages")
PROGRESS_BAR = re.compile(r"\r|\d%\|")
NARROWEST = 600  # pixels of a picture
LARGEST_FILE = 1_500_000  # bytes of a notebook: what it keeps stays in the history for good

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def execute(path: Path, folder: Path) -> NotebookNode:
    """Run a copy of a notebook, from top to bottom, and return it with its outputs.

    Args:
        path: the notebook.
        folder: an empty folder, in which the copy lies as in a checkout.
    """
    (folder / "notebooks").mkdir()
    copy = Path(shutil.copy(path, folder / "notebooks"))
    shutil.copytree(ROOT / "data", folder / "data")
    before = hashes(folder)
    # A home without settings: neither a person's kernels nor start-up files have a part in it.
    home = tempfile.TemporaryDirectory()
    own = {f"JUPYTER_{name}_DIR": home.name for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | own | {"IPYTHONDIR": home.name}
    environment.pop("PYTEST_CURRENT_TEST", None)  # else the kernel misses what processes print
    notebook = nbformat.read(copy, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    specs = KernelSpecManager(kernel_dirs=[])  # leaves the kernel of this very interpreter
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs),
        timeout=300,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(copy.parent)}},
    )
    with home:
        # Left to itself, the client keeps a kernel that it was handed, with its sockets.
        asyncio.run(client.async_execute(env=environment, cleanup_kc=True))
    assert hashes(folder) == before, "the notebook wrote into the checkout"
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        if output.output_type == "stream":  # `!` runs commands in a terminal, which ends lines so
            output.text = output.text.replace("\r\n", "\n")
    notebook.metadata = METADATA
    return notebook


def hashes(folder: Path) -> dict[Path, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(output: NotebookNode) -> list[str]:
    """What of an output is text."""
    return [output.get("text", "")] + [output.get("data", {}).get(kind, "") for kind in TEXTS]


def kinds(cell: NotebookNode) -> list[tuple[str, ...]]:
    return [
        (output.output_type, output.get("name", ""), *sorted(output.get("data", {})))
        for output in cell.outputs
    ]


def written(code: str) -> list[str]:
    """What of a cell's code belongs into the package: logic, rather than calls of it."""
    tree = ast.parse(TransformerManager().transform_cell(code))
    logic = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.While, ast.Try)
    found = [type(node).__name__ for node in ast.walk(tree) if isinstance(node, logic)]
    for loop in (node for node in ast.walk(tree) if isinstance(node, ast.For)):
        shown = [isinstance(line, ast.For) or is_shown(line) for line in loop.body]
        found += [] if all(shown) and not loop.orelse else ["For"]
    return found


def is_shown(line: ast.stmt) -> bool:
    call = line.value if isinstance(line, ast.Expr) else None
    return isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("print", "display")


def test_notebooks_are_found():
    assert NOTEBOOKS
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"\d\d_[a-z_]+", path.stem) for path in NOTEBOOKS)


@pytest.mark.slow
@every_notebook
def test_runs_and_gives_the_kept_outputs(path, tmp_path):
    kept = code_cells(nbformat.read(path, as_version=4))
    run = code_cells(execute(path, tmp_path))
    assert [kinds(cell) for cell in run] == [kinds(cell) for cell in kept]
    for new, old in zip(run, kept, strict=True):
        if VARIES not in old.metadata.get("tags", []):
            assert [texts(output) for output in new.outputs] == [
                texts(output) for output in old.outputs
            ], old.source


@every_notebook
def test_was_run_from_top_to_bottom_and_kept_nothing_else(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in notebook.cells:
        assert cell.metadata in ({}, {"tags": [VARIES]}), cell.source
        assert cell.source.strip()
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type in ("stream", "display_data", "execute_result")
        assert output.get("name") != "stderr", output.text
        assert not output.get("metadata"), output.metadata
        assert not any(PROGRESS_BAR.search(text) for text in texts(output)), output
    assert path.stat().st_size < LARGEST_FILE


@every_notebook
def test_uses_the_package_and_defines_nothing(path):
    code = [cell.source for cell in code_cells(nbformat.read(path, as_version=4))]
    assert any(re.search(r"^\s*(from|import) sentiment\b", source, re.MULTILINE) for source in code)
    assert {source: written(source) for source in code if written(source)} == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f():\n    return 1", ["FunctionDef"]),
        ("%run -m sentiment.train\nclass A:\n    pass", ["ClassDef"]),
        ("f = lambda x: x", ["Lambda"]),
        ("total = 0\nfor x in y:\n    total += x", ["For"]),
        ("for x in y:\n    print(x)\n    fit(x)", ["For"]),
        ("for x in y:\n    for z in x:\n        print(z)", []),
        ("%run -m sentiment.train\n!ls\nprint([len(x) for x in y])", []),
    ],
)
def test_the_check_finds_logic(code, found):
    assert written(code) == found


@every_notebook
def test_names_no_machine(path):
    notebook = nbformat.read(path, as_version=4)
    found = [cell.source for cell in notebook.cells if MACHINE_PATH.search(cell.source)]
    found += [
        text
        for cell in code_cells(notebook)
        for output in cell.outputs
        for text in texts(output)
        if MACHINE_PATH.search(text)
    ]
    assert found == []


@every_notebook
def test_pictures_show_something(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        for output in cell.outputs:
            if png := output.get("data", {}).get("image/png"):
                image = imread(io.BytesIO(base64.b64decode(png)), format="png")[..., :3]
                assert image.shape[1] >= NARROWEST, cell.source
                drawn = (np.abs(image - image[0, 0]) > 0.1).any(axis=-1)
                assert drawn.mean() > 0.005, cell.source


@every_notebook
def test_begins_with_a_title_and_is_in_the_readme(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \S.*\n", first.source + "\n")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"(notebooks/{path.name})" in readme


def test_the_readme_names_no_notebook_that_is_missing():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"notebooks/(\w+\.ipynb)", readme)) == {path.name for path in NOTEBOOKS}


if __name__ == "__main__":
    for path in NOTEBOOKS:
        if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(execute(path, Path(folder)), path)
