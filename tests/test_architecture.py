"""The source itself: imports go down the levels, and what is forbidden is not there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sentiment
from sentiment.__main__ import COMMANDS

PACKAGE = Path(sentiment.__file__).parent
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}

# DESIGN.md's table.  A module may import those of its own level and below; entry points, on the
# level of `train`, never import each other.
LEVELS = {
    "__init__": 0,
    "data": 0,
    "leaks": 0,
    "preprocessing": 0,
    "ngrams": 0,
    "equations": 0,
    "gradients": 0,
    "metrics": 0,
    "treebank": 0,
    "cells": 1,
    "models": 1,
    "checkpoints": 2,
    "fitting": 2,
    "stepwise": 2,
    "windows": 2,
    "pretraining": 2,
    "onnx_export": 2,
    "artifact": 2,
    "baselines": 2,
    "streaming": 2,
    "predictor": 3,
    "behaviour": 3,
    "classifier": 3,
    "recipe": 3,
    "scoring": 3,
    "explanation": 3,
    "faithfulness": 3,
    "units": 3,
    "plots": 3,
    "reading_plots": 3,
    "page": 3,
    "command_line": 3,
    "workers": 3,
    "memory": 3,
    "comparison": 3,
    "train": 4,
    "evaluate": 4,
    "predict": 4,
    "explain": 4,
    "compare": 4,
    "benchmark": 4,
    "serve": 4,
    "__main__": 5,
}
ENTRY_LEVEL = 4


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see."""
    for child in ast.iter_child_nodes(tree):
        if is_type_checking(child):
            for other in child.orelse:
                yield other
                yield from nodes(other)
        else:
            yield child
            yield from nodes(child)


def imported_modules(source: str) -> set[str]:
    """Names of the package's modules that a module's source imports, wherever in it."""
    found = set()
    for node in nodes(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join(filter(None, ["sentiment", node.module]))
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "sentiment":
                inner = parts[1] if len(parts) > 1 else "__init__"
                found.add(inner if inner in MODULES else "__init__")
    return found


def wrong_imports(name: str, source: str) -> list[str]:
    """Imports of a module that go up, or from one entry point to another."""
    level = LEVELS[name]
    return [
        other
        for other in sorted(imported_modules(source) - {name})
        if LEVELS[other] > level or LEVELS[other] == level == ENTRY_LEVEL
    ]


def test_every_module_has_a_level():
    assert set(MODULES) <= set(LEVELS)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__init__"])
def test_imports_go_down(name):
    assert wrong_imports(name, MODULES[name].read_text(encoding="utf-8")) == []


def test_the_package_imports_its_modules_only_when_they_are_used():
    """`__init__` is at the bottom, and above all: it resolves names lazily, in one function."""
    tree = ast.parse(MODULES["__init__"].read_text(encoding="utf-8"))
    lazy = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__getattr__")
    tree.body.remove(lazy)
    assert imported_modules(ast.unparse(tree)) == set()
    assert imported_modules(ast.unparse(lazy)) == {"predictor", "classifier"}


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("data", "from sentiment import models", ["models"]),
        ("data", "from sentiment.models import build_lstm", ["models"]),
        ("data", "import sentiment.models", ["models"]),
        ("data", "from . import models", ["models"]),
        ("data", "from .models import build_lstm as b", ["models"]),
        ("data", "def f():\n    from sentiment.models import build_lstm", ["models"]),
        ("data", "try:\n    import sentiment.models as m\nexcept ImportError: pass", ["models"]),
        ("data", "if TYPE_CHECKING:\n    pass\nelse:\n    import sentiment.train", ["train"]),
        ("data", "if TYPE_CHECKING:\n    from sentiment.models import build_lstm", []),
        ("data", "from sentiment import __version__, preprocessing", []),
        ("train", "from sentiment import predict", ["predict"]),
        ("train", "from sentiment.predict import main", ["predict"]),
        ("classifier", "from sentiment.predictor import Predictor", []),
        ("__main__", "from sentiment.train import main", []),
    ],
)
def test_the_check_finds_wrong_imports(name, source, wrong):
    assert wrong_imports(name, source) == wrong


def test_entry_points_are_the_commands():
    assert {name for name in MODULES if LEVELS[name] == ENTRY_LEVEL} == set(COMMANDS)


def test_the_map_of_the_package_names_every_module():
    for name in set(MODULES) - {"__init__", "__main__"}:
        assert f"{name}.py" in sentiment.__doc__
    for name in re.findall(r"\b(\w+)\.py\b", sentiment.__doc__):
        assert name in MODULES


def test_no_drawer_for_everything():
    for word in ("util", "utils", "helper", "helpers", "common", "base", "misc"):
        assert not [name for name in MODULES if word in name.split("_")]


def test_no_packages_inside():
    assert not [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE]


def forbidden(source: str) -> list[str]:
    """What a saved model could run foreign code through."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Name):
            names = [node.id]
        elif isinstance(node, ast.keyword):
            names = []
            value = getattr(node.value, "value", "computed")
            if (node.arg, value) in (("safe_mode", False), ("allow_pickle", True)):
                found.append(node.arg)
            elif node.arg in ("safe_mode", "allow_pickle") and value not in (True, False):
                found.append(node.arg)
        else:
            continue
        banned = {"Lambda", "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal"}
        banned |= {"enable_unsafe_deserialization", "eval", "exec"}
        found += [name for name in names if name.split(".")[0] in banned]
    return found


@pytest.mark.parametrize("name", MODULES)
def test_nothing_forbidden(name):
    assert forbidden(MODULES[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "keras.layers.Lambda(f)",
        "layers.Lambda(f)",
        "from keras.layers import Lambda",
        "keras.saving.load_model(path, safe_mode=False)",
        "keras.saving.load_model(path, safe_mode=setting)",
        "np.load(path, allow_pickle=True)",
        "keras.config.enable_unsafe_deserialization()",
        "eval(text)",
    ],
)
def test_the_check_finds_what_is_forbidden(source):
    assert forbidden(source)


def test_what_is_allowed():
    assert not forbidden("np.load(p, allow_pickle=False); load_model(p, safe_mode=True)")
