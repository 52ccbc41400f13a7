"""What several test files share: a quiet TensorFlow, tiny networks, mixed ids, files of data/."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere

import csv
import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

VOCAB_SIZE = 20
DATA = Path(__file__).parent.parent / "data"


def _scale(weight: str) -> float:
    """Of a weight's values: where all were as large as the embeddings, states would saturate."""
    return 0.5 if "recurrent" in weight or "bias" in weight else 1.0


@pytest.fixture
def saved_figures(monkeypatch) -> list[Any]:
    """The matplotlib figures that were written to files since the test began."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig

    def keep(figure, *args, **options):
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


@pytest.fixture
def interrupted_at(monkeypatch) -> Callable[[str], AbstractContextManager[None]]:
    """Within it, a fit ends as by Ctrl-C at its first `on_step` or `on_epoch`, as named."""
    from sentiment.classifier import SentimentClassifier

    fit = SentimentClassifier.fit

    def stop(_):
        raise KeyboardInterrupt

    @contextmanager
    def interrupted(report: str) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(
                SentimentClassifier,
                "fit",
                lambda *args, **options: fit(*args, **options | {report: stop}),
            )
            yield

    return interrupted


@pytest.fixture(scope="session")
def svg_of() -> Callable[[Path], str]:
    """Reads an SVG without its ids, which hash coordinates to the last bit.

    The layout's solver gives the last bits as they come, other ones in another run.
    """

    def read(path: Path) -> str:
        return re.sub(r"\b[a-z][0-9a-f]{10}\b", "", path.read_text(encoding="utf-8"))

    return read


@pytest.fixture(scope="session")
def data_rows() -> Callable[[str], list[dict[str, str]]]:
    """Reads a CSV file of data/, a dictionary for each of its rows."""

    def read(name: str) -> list[dict[str, str]]:
        with (DATA / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture(scope="session")
def measured_on(data_rows) -> list[str]:
    """Every text of data/ and of the behaviour tests that a model is measured on or shown with."""
    from sentiment.behaviour import CAPABILITIES

    held_out = [row["text"] for row in data_rows("reviews.csv") if row["split"] != "train"]
    cases = [case for capability in CAPABILITIES.values() for case in capability.cases()]
    shown = [row["text"] for row in data_rows("examples.csv")]
    return list(dict.fromkeys([*held_out, *shown, *(t for case in cases for t in case.texts)]))


@pytest.fixture(scope="session")
def checked_section() -> Callable[..., str]:
    """The section of data/README.md on rows to train on, once what it counts was counted again.

    Its tables must be those of `columns` × label, no more and no less; the labels' shares and the
    lengths of the texts must stand in it.
    """

    def check(title: str, rows: list[dict[str, str]], *columns: str) -> str:
        text = (DATA / "README.md").read_text(encoding="utf-8")
        section = " ".join(text.partition(f"\n# {title}\n")[2].partition("\n# ")[0].split())
        labels = ("negative", "neutral", "positive")
        counted = Counter((row[column], row["label"]) for row in rows for column in columns)
        counted.update(("all", row["label"]) for row in rows)
        table = {name: [counted[name, label] for label in labels] for name, _ in counted}
        stated = re.findall(r"\| ([a-z ]+)" + r" \| (\d+)" * 4 + r" \|", section)
        assert {name: [int(count) for count in counts] for name, *counts in stated} == {
            name: [*counts, sum(counts)] for name, counts in table.items()
        }
        shares = [
            f"{100 * count / len(rows):.1f} % {label}"
            for count, label in zip(table["all"], labels, strict=True)
        ]
        assert "{}, {} and {}".format(*shares) in section
        lengths = sorted(len(row["text"].split()) for row in rows)
        median = lengths[len(lengths) // 2]
        assert f"{lengths[0]} to {lengths[-1]} words (median {median})" in section
        return section

    return check


@pytest.fixture(scope="session")
def random_network() -> Callable[..., Any]:
    """Builds a tiny network in which every weight is different, biases too.

    Freshly built ones have equal biases and small embeddings: swapped gates would go unnoticed.
    """
    from sentiment.models import build_model, model_settings

    def build(name: str, num_classes: int = 3, *, seed: int = 0, **settings: Any) -> Any:
        tiny = {"embedding_dim": 4, "units": 5, "groups": 3}  # groups of 2, 2 and 1 units
        tiny = {key: value for key, value in tiny.items() if key in model_settings(name)}
        model = build_model(name, VOCAB_SIZE, num_classes, seed=seed, **tiny | settings)
        generator = np.random.default_rng(seed)
        model.set_weights(
            [generator.normal(0, _scale(w.name), w.shape).astype("float32") for w in model.weights]
        )
        return model

    return build


@pytest.fixture(scope="session")
def mixed_ids() -> np.ndarray:
    """int32 (8, 12): texts of 1 to 12 random words, padded on the right with 0."""
    generator = np.random.default_rng(1)
    ids = generator.integers(1, VOCAB_SIZE, (8, 12)).astype("int32")
    for row, length in zip(ids, (1, 12, 2, 7, 3, 11, 5, 9), strict=True):
        row[length:] = 0
    ids.setflags(write=False)
    return ids


@dataclasses.dataclass(frozen=True)
class RandomModel:
    """An untrained network with everything that belongs to its folder.

    All weights are drawn large and different, so that its answers to different texts differ.
    """

    model: Any
    manifest: Any
    encoder: Any
    onnx: bytes

    @property
    def artifact(self) -> Any:
        from sentiment.artifact import Artifact, pack_network
        from sentiment.equations import network_of

        weights = pack_network(network_of(self.model), self.onnx)
        return Artifact(Path("in memory"), self.manifest, self.encoder, self.onnx, weights)

    def save(self, folder: Path, **options: Any) -> Path:
        from sentiment.artifact import save_artifact

        save_artifact(folder, self.artifact, self.model.save, **options)
        return folder


@pytest.fixture(scope="session")
def random_model() -> Callable[..., RandomModel]:
    """`random_model(labels)` makes a `RandomModel` with a vocabulary of word0 … word49."""
    from sentiment.artifact import Manifest
    from sentiment.data import label_values
    from sentiment.models import build_model, model_settings
    from sentiment.onnx_export import export_onnx
    from sentiment.preprocessing import TextEncoder

    @functools.cache
    def make(labels: Sequence[str] = ("negative", "positive"), max_length: int = 20) -> RandomModel:
        encoder = TextEncoder.fit(
            [" ".join(f"word{i}" for i in range(50))], num_words=52, max_length=max_length
        )
        settings = model_settings("bilstm") | {"units": 6, "embedding_dim": 5, "pooling": "max"}
        model = build_model("bilstm", encoder.vocab_size, len(labels), seed=1, **settings)
        generator = np.random.default_rng(2)
        model.set_weights(
            [generator.normal(0, 1, w.shape).astype("float32") for w in model.get_weights()]
        )
        manifest = Manifest(
            model="bilstm",
            settings=settings,
            labels=tuple(labels),
            label_values=label_values(labels),
            fitting={"temperature": 1.25, "max_length": max_length, "epochs": 7, "seed": 3},
            data={
                "source": "reviews.csv",
                "own_test_split": True,
                "splits": {
                    "train": {
                        "texts": 1234,
                        "labels": dict.fromkeys(labels, 617),
                        "sha256": "0123456789abcdef" * 4,
                    }
                },
                "notes": ["removed 5 repeated training texts"],
            },
            metrics={},
            versions={"sentiment": "9.8.7", "numpy": np.__version__},
        )
        return RandomModel(model, manifest, encoder, export_onnx(model))

    return make


@pytest.fixture(scope="session")
def model_folder(random_model, tmp_path_factory) -> Path:
    """Folder of `random_model()`.  Shared: copy it before changing it."""
    return random_model().save(tmp_path_factory.mktemp("models") / "random")
