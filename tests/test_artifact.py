"""The model folder: written whole or not at all, read strictly."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sentiment import artifact
from sentiment.artifact import (
    CARD_FILE,
    FORMAT_VERSION,
    HASHED_FILES,
    KERAS_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    TOKENIZER_FILE,
    ArtifactError,
    check_parent_writable,
    check_writable,
    installed_versions,
    load_artifact,
    model_card,
)
from sentiment.predictor import Predictor

ALL_FILES = {MANIFEST_FILE, CARD_FILE, *HASHED_FILES}


@pytest.fixture
def copy(model_folder, tmp_path) -> Path:
    """A model folder that may be changed."""
    return shutil.copytree(model_folder, tmp_path / "model")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the bytes of the files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


def read_manifest(folder: Path) -> dict:
    return json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))


def write_manifest(folder: Path, stored: dict) -> None:
    """With a hash that fits: what else is wrong with a manifest is found after its hash."""
    if "sha256" in stored:
        stored["sha256"][MANIFEST_FILE] = artifact._manifest_sha256(stored)
    (folder / MANIFEST_FILE).write_text(json.dumps(stored), encoding="utf-8")


def change_manifest(folder: Path, **changes) -> None:
    write_manifest(folder, read_manifest(folder) | changes)


# ------------------------------------------------------------------------------------------ reading


def test_round_trip(random_model, model_folder):
    written = random_model()
    read = load_artifact(model_folder)
    assert read.folder == model_folder
    assert read.manifest == written.manifest
    assert read.onnx == written.onnx
    assert read.encoder.to_json() == written.encoder.to_json()
    assert load_artifact(str(model_folder)).manifest == written.manifest


def test_round_trip_of_labels_without_order(random_model, tmp_path):
    written = random_model(("books", "food|drink", "naïve 🎬"))
    read = load_artifact(written.save(tmp_path / "topics"))
    assert read.manifest == written.manifest
    assert read.manifest.label_values is None


def test_folder_holds_exactly_the_files(model_folder):
    assert {path.name for path in model_folder.iterdir()} == ALL_FILES


def test_missing_folder(tmp_path):
    folder = tmp_path / "nowhere"
    with pytest.raises(ArtifactError, match=exactly(f"There is no model folder {folder}.")):
        load_artifact(folder)


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ArtifactError, match=exactly(f"There is no model folder {file}.")):
        load_artifact(file)


@pytest.mark.parametrize("name", [MANIFEST_FILE, CARD_FILE, *HASHED_FILES])
def test_missing_file(copy, name):
    (copy / name).unlink()
    message = (
        f"{copy} is not a whole model: {name} is missing. "
        "Copy the folder again, or train the model again."
    )
    with pytest.raises(ArtifactError, match=exactly(message)):
        load_artifact(copy)


def test_model_card_may_be_changed(random_model, copy):
    """It is for people, who may add to it."""
    (copy / CARD_FILE).write_text("mine")
    assert load_artifact(copy).manifest == random_model().manifest


@pytest.mark.parametrize("name", HASHED_FILES)
@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_changed_byte(copy, name, place):
    data = bytearray((copy / name).read_bytes())
    data[place] ^= 1
    (copy / name).write_bytes(data)
    message = (
        f"{copy / name} was changed since it was written (its SHA-256 is not the one in "
        f"{MANIFEST_FILE}). Copy the folder again, or train the model again."
    )
    with pytest.raises(ArtifactError, match=exactly(message)):
        load_artifact(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["positive", "negative"]},
        {"label_values": [1.0, -1.0]},
        {"metrics": {"accuracy": 1.0}},
        {"model": "lstm"},
        {"colour": "blue"},
        {"sha256": {name: "0" * 64 for name in (MANIFEST_FILE, *HASHED_FILES)}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_changed_manifest(copy, changes):
    """No label can change its place unnoticed."""
    path = copy / MANIFEST_FILE
    path.write_text(json.dumps(read_manifest(copy) | changes))
    message = (
        f"{path} was changed since it was written (its SHA-256 is not the one it holds). "
        "Copy the folder again, or train the model again."
    )
    with pytest.raises(ArtifactError, match=exactly(message)):
        load_artifact(copy)


def test_layout_and_order_of_the_manifest_do_not_matter(random_model, copy):
    stored = dict(reversed(read_manifest(copy).items()))
    (copy / MANIFEST_FILE).write_text(json.dumps(stored, indent=7))
    assert load_artifact(copy).manifest == random_model().manifest


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, "1", None])
def test_other_format_version(copy, version):
    change_manifest(copy, format_version=version)
    message = (
        f"{copy} has format version {version}; this version of the package reads "
        f"{FORMAT_VERSION}. Train the model again, or install the version that wrote it: 9.8.7."
    )
    with pytest.raises(ArtifactError, match=exactly(message)):
        load_artifact(copy)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"format_version": 2}',
        b"\xff\xfe\x00",
        b'{"format_version": 2, "sha256": [], "label_values": null, "labels": []}',
    ],
)
def test_garbage_manifest(copy, content):
    (copy / MANIFEST_FILE).write_bytes(content)
    start = f"^{re.escape(str(copy / MANIFEST_FILE))} is not a manifest: "
    with pytest.raises(ArtifactError, match=start):
        load_artifact(copy)


@pytest.mark.parametrize("change", ["sha256", "labels", "label_values", "fitting", "model"])
def test_manifest_without_a_key(copy, change):
    stored = read_manifest(copy)
    del stored[change]
    write_manifest(copy, stored)
    with pytest.raises(ArtifactError, match=f"is not a manifest: .*{change}"):
        load_artifact(copy)


def test_manifest_without_its_own_hash(copy):
    stored = read_manifest(copy)
    del stored["sha256"][MANIFEST_FILE]
    (copy / MANIFEST_FILE).write_text(json.dumps(stored))
    with pytest.raises(ArtifactError, match=f"is not a manifest: .*{MANIFEST_FILE}"):
        load_artifact(copy)


def test_manifest_with_an_unknown_key(copy):
    change_manifest(copy, colour="blue")
    with pytest.raises(ArtifactError, match="is not a manifest: .*colour"):
        load_artifact(copy)


@pytest.mark.parametrize("labels", [["one"], ["negative", "neutral", "positive"]])
def test_labels_that_do_not_fit_the_network(copy, labels):
    change_manifest(copy, labels=labels, label_values=None)
    message = (
        f"{copy}: the network has 2 outputs, but the manifest names {len(labels)} labels: "
        f"{', '.join(labels)}."
    )
    with pytest.raises(ArtifactError, match=exactly(message)):
        Predictor.load(copy)


def test_tokenizer_that_is_none(copy):
    """Even where hashes fit: a folder put together by hand."""
    (copy / TOKENIZER_FILE).write_text("{}")
    hashes = {name: artifact._sha256(copy / name) for name in HASHED_FILES}
    change_manifest(copy, sha256=hashes)
    start = f"^{re.escape(str(copy / TOKENIZER_FILE))}: Expected the JSON of a TextEncoder"
    with pytest.raises(ArtifactError, match=start):
        load_artifact(copy)


def test_network_that_is_none(copy):
    (copy / ONNX_FILE).write_bytes(b"nonsense")
    hashes = {name: artifact._sha256(copy / name) for name in HASHED_FILES}
    change_manifest(copy, sha256=hashes)
    with pytest.raises(ArtifactError, match=f"^{re.escape(str(copy))}: the network cannot be load"):
        Predictor.load(copy)


def test_strays_of_a_killed_save_are_ignored(random_model, copy):
    """A save that was killed leaves folders beside the model; reading and writing go on."""
    strays = [copy.with_name(".model.0badcafe.part"), copy.with_name(".model.0badcafe.old")]
    for stray in strays:
        stray.mkdir()
        (stray / MANIFEST_FILE).write_text("half")
    assert load_artifact(copy).manifest == random_model().manifest
    random_model().save(copy, overwrite=True)
    assert load_artifact(copy).manifest == random_model().manifest
    assert all(stray.is_dir() for stray in strays)


# ------------------------------------------------------------------------------------------ writing


def test_parents_are_made(random_model, tmp_path):
    folder = random_model().save(tmp_path / "a" / "b" / "model")
    assert load_artifact(folder).manifest == random_model().manifest


def test_existing_folder_is_refused(random_model, copy):
    before = contents(copy.parent)
    message = f"{copy} exists already. Choose another, or add --overwrite."
    with pytest.raises(ArtifactError, match=exactly(message)):
        random_model().save(copy)
    assert contents(copy.parent) == before


def test_overwrite_replaces_the_whole_model(random_model, copy):
    random_model(("1", "2", "3")).save(copy, overwrite=True)
    assert load_artifact(copy).manifest.labels == ("1", "2", "3")
    assert [path.name for path in copy.parent.iterdir()] == ["model"]
    assert {path.name for path in copy.iterdir()} == ALL_FILES


@pytest.mark.parametrize("overwrite", [True, False])
def test_other_folders_are_refused(random_model, tmp_path, overwrite):
    """Overwrite is no leave to remove them, so it is not advised either."""
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("ten years of work")
    message = f"{folder} exists and is not a model folder. Choose another name."
    with pytest.raises(ArtifactError, match=exactly(message)):
        random_model().save(folder, overwrite=overwrite)
    assert contents(folder) == {"chapter1.txt": b"ten years of work"}


def test_overwrite_removes_no_file_of_the_person(random_model, copy):
    """Many programs call a file manifest.json; and notes may lie beside a model."""
    (copy / "notes.txt").write_text("mine")
    before = contents(copy.parent)
    message = (
        f"{copy} also holds 'notes.txt', which is no part of a model; the folder is left alone."
    )
    with pytest.raises(ArtifactError, match=exactly(message)):
        random_model().save(copy, overwrite=True)
    assert contents(copy.parent) == before


@pytest.mark.parametrize("old", [True, False], ids=["over an old model", "new"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_failing_save_leaves_everything_as_it_was(random_model, copy, old, error):
    folder = copy if old else copy.with_name("new")
    before = contents(copy.parent)

    def fail(path: Path) -> None:
        path.write_bytes(b"half a model")
        raise error

    broken = random_model()
    with pytest.raises(type(error)):
        artifact.save_artifact(folder, broken.artifact, fail, overwrite=old)
    assert contents(copy.parent) == before


def test_manifest_that_is_not_json_leaves_everything_as_it_was(random_model, copy):
    """A metric that is not a number is found when all other files are written already."""
    before = contents(copy.parent)
    broken = dataclasses.replace(
        random_model(),
        manifest=dataclasses.replace(random_model().manifest, settings={"x": float("nan")}),
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.save(copy, overwrite=True)
    assert contents(copy.parent) == before


def test_numbers_of_numpy_become_those_of_python(random_model, tmp_path):
    """A grid search gives them as settings; JSON knows none."""
    settings = {"units": np.int64(6), "dropout": np.float32(0.5), "layers": np.int8(1)}
    manifest = dataclasses.replace(random_model().manifest, settings=settings)
    folder = dataclasses.replace(random_model(), manifest=manifest).save(tmp_path / "model")
    found = load_artifact(folder).manifest.settings
    assert found == {"units": 6, "dropout": 0.5, "layers": 1}
    assert [type(value) for value in found.values()] == [int, float, int]


def test_failing_move_brings_the_old_model_back(random_model, copy, monkeypatch):
    before = contents(copy.parent)
    replace = os.replace

    def fail_on_the_new_model(source, target):
        if Path(target) == copy and Path(source).suffix == ".part":
            raise OSError("no")
        replace(source, target)

    monkeypatch.setattr(artifact.os, "replace", fail_on_the_new_model)
    with pytest.raises(OSError, match=r"^no$"):
        random_model(("1", "2", "3")).save(copy, overwrite=True)
    assert contents(copy.parent) == before


@pytest.mark.parametrize("below", ["model", "a/b/model"])
def test_parent_that_is_a_file(random_model, tmp_path, below):
    file = tmp_path / "file"
    file.write_text("content")
    folder = file / below
    message = f"{folder} cannot be written: {file} is not a folder."
    for action in (
        lambda: check_writable(folder, overwrite=False),
        lambda: check_parent_writable(folder),
        lambda: random_model().save(folder),
    ):
        with pytest.raises(ArtifactError, match=exactly(message)):
            action()
    assert contents(tmp_path) == {"file": b"content"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_parent_without_permission(random_model, tmp_path):
    parent = tmp_path / "locked"
    parent.mkdir(mode=0o500)
    folder = parent / "model"
    message = f"{folder} cannot be written: no permission to write in {parent}."
    with pytest.raises(ArtifactError, match=exactly(message)):
        random_model().save(folder)
    assert not list(parent.iterdir())


# ---------------------------------------------------------------------------------------- contents


LOADER = """
import json, sys
import keras
import sentiment.models  # registers the layers
import numpy as np

model = keras.saving.load_model(sys.argv[1])  # safe mode is Keras' default
batch = np.array(json.loads(sys.argv[2]), "int32")
print(json.dumps(model.predict_on_batch(batch).tolist()))
"""


def test_keras_file_loads_in_a_new_process(model_folder):
    """With Keras' own loader in safe mode; the answers are those of the ONNX graph."""
    texts = ["word3 word4 word4", "word40", "", "word1 unknown word2 word9 word30 word31"]
    predictor = Predictor.load(model_folder)
    ids = predictor.encoder.encode(texts).token_ids
    longest = max(map(len, ids))
    batch = [row + [0] * (longest - len(row)) for row in ids]
    answer = subprocess.run(
        [sys.executable, "-c", LOADER, model_folder / KERAS_FILE, json.dumps(batch)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(artifact.__file__).parent.parent,
    )
    from_keras = np.array(json.loads(answer.stdout.splitlines()[-1]))
    assert np.ptp(from_keras[:, 0]) > 0.05  # else equality would say little
    # float32, sums in another order
    np.testing.assert_allclose(predictor.predict_proba(texts), from_keras, atol=1e-5)


METRICS = {
    "split": "test",
    "n": 1500,
    "labels": ["negative", "positive"],
    "accuracy": 0.8765,
    "accuracy_interval": [0.8589, 0.8922],
    "macro_f1": 0.8743,
    "ece": 0.0123,
    "brier": 0.1789,
    "roc_auc": 0.9432,
    "confusion": [[700, 50], [135, 615]],
    "per_label": {
        "negative": {"precision": 0.838, "recall": 0.933, "f1": 0.883, "n": 750},
        "positive": {"precision": 0.925, "recall": 0.820, "f1": 0.869, "n": 751},
    },
    "oov_share": 0.0345,
    "truncated_share": 0.0678,
}


@pytest.fixture
def card(random_model, tmp_path, monkeypatch) -> str:
    """The model card of a measured model, saved below the current folder."""
    monkeypatch.chdir(tmp_path)
    manifest = dataclasses.replace(random_model().manifest, metrics=METRICS)
    folder = dataclasses.replace(random_model(), manifest=manifest).save(Path("models/mine"))
    return (folder / CARD_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "expected",
    [
        "# mine\n",
        "`bilstm` network that labels texts: negative, positive.",
        "temperature 1.250",
        "The score is the mean of -1 (negative), +1 (positive) under these probabilities.",
        # use
        'python -m sentiment.predict --model-dir models/mine "This film was okay"\n',
        "python -m sentiment.evaluate --model-dir models/mine --data reviews.csv\n",
        # data: source, counts, hash, notes
        "Source: `reviews.csv`.",
        "| train | 1,234 | negative 617, positive 617 | `0123456789abcdef…` |",
        "* removed 5 repeated training texts\n",
        # metrics with their interval
        "Measured on the test split.",
        "| texts | 1,500 |",
        "| accuracy | 87.65% (95 % interval 85.89% to 89.22%) |",
        "| macro-F1 | 0.8743 |",
        "| ROC-AUC | 0.9432 |",
        "| expected calibration error, 15 bins | 1.23% |",
        "| Brier score | 0.1789 |",
        "| words out of vocabulary | 3.45% |",
        "| texts cut | 6.78% |",
        "| negative | 0.838 | 0.933 | 0.883 | 750 |",
        "| positive | 0.925 | 0.820 | 0.869 | 751 |",
        # settings
        "| units | 6 |",
        "| pooling | max |",
        "| epochs | 7 |",
        "| seed | 3 |",
        "Versions: sentiment 9.8.7, numpy ",
        # limits
        "## Limits\n",
        "It reads at most 20 words of a text, head and tail",
    ],
)
def test_model_card(card, expected):
    assert expected in card


def test_model_card_of_labels_without_order_and_metrics(random_model):
    card = model_card(random_model(("a", "b", "c")).manifest, Path("x"))
    assert "The labels have no order, so there is no score." in card
    assert "Not measured: no texts were kept for it." in card


def test_model_card_without_roc(random_model):
    manifest = dataclasses.replace(random_model().manifest, metrics=METRICS | {"roc_auc": None})
    card = model_card(manifest, Path("x"))
    assert "ROC" not in card
    assert "macro-F1" in card


def test_model_card_quotes_paths(random_model, tmp_path):
    manifest = random_model().manifest
    manifest = dataclasses.replace(manifest, data=manifest.data | {"source": "my reviews.csv"})
    card = model_card(manifest, tmp_path / "my model")
    assert f"--model-dir '{tmp_path / 'my model'}' --data 'my reviews.csv'\n" in card


@pytest.mark.parametrize("source", [artifact.IN_MEMORY, "reviews.csv"])
def test_model_card_shows_no_command_that_measures_other_texts(random_model, tmp_path, source):
    """Where the source has no test split of its own, it has the training texts too."""
    manifest = random_model().manifest
    changes = {"source": source, "own_test_split": False}
    card = model_card(dataclasses.replace(manifest, data=manifest.data | changes), tmp_path)
    assert f"Source: `{source}`." in card
    assert "sentiment.predict" in card
    assert "sentiment.evaluate" not in card


def test_installed_versions():
    import sentiment

    found = installed_versions("numpy")
    assert found == {
        "sentiment": sentiment.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "numpy": np.__version__,
    }


def test_a_folder_of_another_version_says_so_first(copy):
    """Whatever else it lacks: older versions had fewer files."""
    (copy / "weights.npz").unlink()
    change_manifest(copy, format_version=1)
    with pytest.raises(ArtifactError, match=r"has format version 1; this version of the package"):
        load_artifact(copy)
