"""The folder that is a saved model: its files, written whole or not at all, read strictly.

    model.keras      the network, for Keras
    model.onnx       the same network, for prediction without TensorFlow
    tokenizer.json   vocabulary and lengths
    manifest.json    labels and their order, settings, data, metrics, versions, hashes of the above
    README.md        the model card

Copied to another machine, the folder gives the same numbers.
"""

import dataclasses
import hashlib
import io
import json
import os
import shlex
import shutil
import sys
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sentiment.data import bundled
from sentiment.equations import DIRECTIONS, Network
from sentiment.ngrams import NgramTable
from sentiment.preprocessing import TextEncoder, encoder_from_json

FORMAT_VERSION = 2
BATCH_IDS_KEY = "batch_ids"  # of the graph's metadata: the most ids that suit a batch
KERAS_FILE = "model.keras"
ONNX_FILE = "model.onnx"
WEIGHTS_FILE = "weights.npz"
TOKENIZER_FILE = "tokenizer.json"
MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"
HASHED_FILES = (KERAS_FILE, ONNX_FILE, WEIGHTS_FILE, TOKENIZER_FILE)
ALL_FILES = (*HASHED_FILES, MANIFEST_FILE, CARD_FILE)
IN_MEMORY = "texts in memory"  # the source of texts that came from no file
FREE_SETTINGS = ("word_dropout", "dropout", "recurrent_dropout")  # change no weight's shape


class ArtifactError(ValueError):
    """A model folder that cannot be read or written; the message names folder, file and reason."""


def quiet_onnxruntime() -> Any:
    """The module `onnxruntime`, which reports to nobody: that is settled at its first import."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


@dataclass(frozen=True)
class Manifest:
    """What a saved model says of itself, beyond weights and vocabulary.

    Attributes:
        model: name of the builder.
        settings: the builder's settings.
        labels: label names, in the order of the network's outputs.
        label_values: where each label lies between −1 and 1, or `None` if they have no order.
        fitting: how it was fitted: epochs, best epoch, temperature, seed, …
        data: source, size and SHA-256 of each split.
        metrics: what `metrics` of the test (or validation) split gave, with `split` naming it.
        versions: package → version at the time of training.
        format_version: of this folder.
    """

    model: str
    settings: dict[str, Any]
    labels: tuple[str, ...]
    label_values: tuple[float, ...] | None
    fitting: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Any]
    versions: dict[str, str]
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Artifact:
    """A model folder, read.

    Attributes:
        folder: where it is.
        manifest: see `Manifest`.
        encoder: turns texts into ids as in training.
        onnx: the serialised ONNX graph.
        weights: the same network as `pack_network` wrote it.
    """

    folder: Path
    manifest: Manifest
    encoder: TextEncoder
    onnx: bytes
    weights: bytes

    def network(self) -> Network:
        """The weights by their places in the network, for `equations.py`."""
        return unpack_network(self.weights, self.onnx)


def check_writable(folder: Path, *, overwrite: bool) -> None:
    """Refuse, before any work is done, a folder that `save_artifact` could not write.

    Raises:
        ArtifactError: it exists and `overwrite` is false, it exists and is no model folder or holds
            other files too, or its parent cannot be written to.
    """
    if folder.exists() and not (folder / MANIFEST_FILE).is_file():
        raise ArtifactError(f"{folder} exists and is not a model folder. Choose another name.")
    if folder.exists() and not overwrite:
        raise ArtifactError(f"{folder} exists already. Choose another, or add --overwrite.")
    found = [path.name for path in folder.iterdir()] if folder.exists() else []
    others = sorted(set(found) - set(ALL_FILES))
    if others:
        raise ArtifactError(
            f"{folder} also holds {others[0]!r}, which is no part of a model; the folder is left "
            "alone."
        )
    check_parent_writable(folder)


def check_parent_writable(path: Path) -> None:
    """Refuse a path in whose folder nothing can be created.

    Raises:
        ArtifactError: the nearest existing parent is a file or is not writable.
    """
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ArtifactError(f"{path} cannot be written: {parent} is not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ArtifactError(f"{path} cannot be written: no permission to write in {parent}.")


def save_artifact(
    folder: Path,
    artifact: Artifact,
    save_keras: Callable[[Path], None],
    *,
    overwrite: bool = False,
) -> None:
    """Write a model folder with its card: beside its place first, then moved there.

    Args:
        folder: where to.
        artifact: what to write, wherever it comes from.
        save_keras: writes the Keras model to the path it is given (`model.save`).
        overwrite: whether a model folder may be replaced.

    Raises:
        ArtifactError: as `check_writable`.
    """
    check_writable(folder, overwrite=overwrite)
    folder = folder.resolve()  # a link's target is replaced, not the link
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    partial.mkdir()
    try:
        save_keras(partial / KERAS_FILE)
        _compress(partial / KERAS_FILE)
        (partial / ONNX_FILE).write_bytes(artifact.onnx)
        (partial / WEIGHTS_FILE).write_bytes(artifact.weights)
        (partial / TOKENIZER_FILE).write_text(artifact.encoder.to_json(), encoding="utf-8")
        (partial / CARD_FILE).write_text(model_card(artifact.manifest, folder), encoding="utf-8")
        # NumPy's numbers, which a grid search gives as settings, become Python's.
        plain = json.dumps(
            dataclasses.asdict(artifact.manifest), default=lambda number: number.item()
        )
        stored = json.loads(plain)
        stored["sha256"] = {name: _sha256(partial / name) for name in HASHED_FILES}
        stored["sha256"][MANIFEST_FILE] = _manifest_sha256(stored)
        text = json.dumps(stored, indent=2, ensure_ascii=False, allow_nan=False)
        (partial / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
            os.replace(folder, old)
            try:
                os.replace(partial, folder)
            except BaseException:
                os.replace(old, folder)
                raise
            shutil.rmtree(old)
        else:
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def start_folder(name: str | Path) -> Path:
    """The folder of a model to start from: `"default"` is the one that ships with the package.

    A folder called default in the current one is `./default`.
    """
    return bundled("saved_models", "default") if name == "default" else Path(name)


def misfit(saved: Manifest, wanted: Mapping[str, Any]) -> str | None:
    """The first wanted setting with which no network can start from a saved model's.

    Args:
        saved: of the saved model.
        wanted: settings of the builder, and the builder itself as `model`.

    Returns:
        The setting's name, `None` where all of them suit.
    """
    known = {"model": saved.model, **saved.settings}
    for name, value in wanted.items():
        if name not in known or (name not in FREE_SETTINGS and value != known[name]):
            return name
    return None


def load_artifact(folder: str | Path) -> Artifact:
    """Read a model folder.

    Args:
        folder: path of the folder.

    Raises:
        ArtifactError: a file is missing, was changed since it was written, or has another format.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"There is no model folder {folder}.")
    _check_there(folder, MANIFEST_FILE)
    try:
        stored = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        version = stored["format_version"]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST_FILE} is not a manifest: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{folder} has format version {version}; this version of the package reads "
            f"{FORMAT_VERSION}. Train the model again, or install the version that wrote it: "
            f"{(stored.get('versions') or {}).get('sentiment', 'unknown')}."
        )
    for name in ALL_FILES:
        _check_there(folder, name)
    try:
        if stored["sha256"][MANIFEST_FILE] != _manifest_sha256(stored):
            raise ArtifactError(
                f"{folder / MANIFEST_FILE} was changed since it was written (its SHA-256 is not "
                "the one it holds). Copy the folder again, or train the model again."
            )
        hashes = stored.pop("sha256")
        values = stored.pop("label_values")
        manifest = Manifest(
            **stored | {"labels": tuple(stored["labels"])},
            label_values=None if values is None else tuple(values),
        )
        expected = {name: hashes[name] for name in HASHED_FILES}
    except (AttributeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST_FILE} is not a manifest: {error!r}") from error
    for name, digest in expected.items():
        if _sha256(folder / name) != digest:
            raise ArtifactError(
                f"{folder / name} was changed since it was written (its SHA-256 is not the one in "
                f"{MANIFEST_FILE}). Copy the folder again, or train the model again."
            )
    try:
        encoder = encoder_from_json((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{folder / TOKENIZER_FILE}: {error}") from error
    onnx, weights = ((folder / name).read_bytes() for name in (ONNX_FILE, WEIGHTS_FILE))
    return Artifact(folder, manifest, encoder, onnx, weights)


def _check_there(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise ArtifactError(
            f"{folder} is not a whole model: {name} is missing. "
            "Copy the folder again, or train the model again."
        )


def pack_network(network: Network, onnx: bytes) -> bytes:
    """The weights of a network as the bytes of an uncompressed `.npz`, in float32.

    Its embedding, most of its size, is left where it lies in the graph.

    Args:
        network: the weights.
        onnx: the graph of the same network.

    Raises:
        ArtifactError: the graph holds another embedding.
    """
    table = network.embeddings.astype("float32")
    half = table.astype("float16")
    if np.array_equal(half, table):  # as the export decides
        table = half
    offset = onnx.find(table.tobytes())
    if offset < 0:
        raise ArtifactError("The network and its graph have different embeddings.")
    arrays = {
        "cell": network.cell,
        "pooling": network.pooling,
        "merge": network.merge,
        "embeddings_type": table.dtype.name,
        "embeddings_place": [offset, *table.shape],  # byte in the graph, rows, columns
    }
    for layer, directions in enumerate(network.recurrent, 1):
        for side, weights in zip(DIRECTIONS, directions, strict=False):
            for number, weight in enumerate(weights):
                arrays[f"recurrent_{layer}/{side}/{number}"] = weight.astype("float32")
    for group, weights in {"context": network.context, "output": network.output}.items():
        for number, weight in enumerate(weights):
            arrays[f"{group}/{number}"] = weight.astype("float32")
    if network.ngrams is not None:
        arrays["ngrams/0"] = network.ngrams.values.astype("float16")
        arrays["ngrams/1"] = network.ngrams.tags
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack_network(weights: bytes, onnx: bytes) -> Network:
    """The weights that `pack_network` wrote, in float64; the embedding as it is in the graph."""
    groups: dict[str, list[np.ndarray]] = {}  # in the order in which they were written
    with np.load(io.BytesIO(weights), allow_pickle=False) as arrays:
        for name in arrays.files:
            group, _, number = name.rpartition("/")
            groups.setdefault(group or number, []).append(arrays[name])
    offset, rows, columns = groups.pop("embeddings_place")[0].tolist()
    kind = str(groups.pop("embeddings_type")[0])
    settings = {name: str(groups.pop(name)[0]) for name in ("cell", "pooling", "merge")}
    ngrams = groups.pop("ngrams", None)
    if ngrams is not None:
        ngrams = NgramTable(ngrams[0].astype("float32"), ngrams[1])
    by_group = {name: tuple(w.astype("float64") for w in group) for name, group in groups.items()}
    kernel, bias = by_group.pop("output")
    context = by_group.pop("context", ())
    layers: dict[str, list[Any]] = {}
    for name, direction in by_group.items():
        layers.setdefault(name.split("/")[0], []).append(direction)
    embeddings = np.frombuffer(onnx, kind, rows * columns, offset).reshape(rows, columns)
    recurrent = tuple(map(tuple, layers.values()))
    return Network(
        embeddings,
        recurrent=recurrent,
        output=(kernel, bias),
        context=context,
        ngrams=ngrams,
        **settings,
    )


def model_card(manifest: Manifest, folder: Path) -> str:
    """Text of the model card: what the model is, how good it is, how to use it, in Markdown."""
    labels = ", ".join(manifest.labels)
    scored = (
        "The score is the mean of "
        + ", ".join(
            f"{value:+g} ({name})"
            for name, value in zip(manifest.labels, manifest.label_values, strict=True)
        )
        + " under these probabilities."
        if manifest.label_values
        else "The labels have no order, so there is no score."
    )
    settings = {**manifest.settings, **manifest.fitting}
    recipe = manifest.fitting.get("recipe")
    plain = {k: v for k, v in settings.items() if not isinstance(v, list | dict)}
    return "\n".join(
        [
            f"# {folder.name}",
            "",
            f"A `{manifest.model}` network that labels texts: {labels}. Its probabilities "
            f"are calibrated on the validation split (temperature "
            f"{manifest.fitting['temperature']:.3f}). {scored}",
            "",
            "## Use",
            "",
            "```",
            f'python -m sentiment.predict --model-dir {_shown(folder)} "This film was okay"',
            *_card_evaluate(manifest, folder),
            *([f"python -m sentiment.train --recipe {recipe}  # makes it again"] if recipe else []),
            "```",
            "",
            "## Quality",
            "",
            *_card_metrics(manifest.metrics),
            "",
            "## Data",
            "",
            f"Source: `{manifest.data['source']}`.",
            "",
            "| split | texts | labels | SHA-256 |",
            "|---|---|---|---|",
            *(
                f"| {name} | {part['texts']:,} | "
                + ", ".join(f"{label} {n:,}" for label, n in part["labels"].items())
                + f" | `{part['sha256'][:16]}…` |"
                for name, part in manifest.data["splits"].items()
            ),
            "",
            *(f"* {note}" for note in manifest.data["notes"]),
            "",
            "## Settings",
            "",
            "| setting | value |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in plain.items()),
            "",
            "Versions: " + ", ".join(f"{k} {v}" for k, v in manifest.versions.items()) + ".",
            "",
            "## Limits",
            "",
            "* It knows the words of its training texts; other words are all the same to it. "
            "Texts from another field, time or language get less reliable answers.",
            f"* It reads at most {manifest.fitting['max_length']} words of a text, head and tail, "
            "and says when it left out the middle.",
            "* Irony, and verdicts that rest on knowledge about the world, often escape it.",
            "* A probability is right on average over texts like those of the validation split, "
            "not for a single text.",
            "",
        ]
    )


def _shown(folder: Path) -> str:
    """The path as a person would type it: relative to the current folder if it is below."""
    folder = folder.absolute()
    below = folder.is_relative_to(Path.cwd())
    return shlex.quote(str(folder.relative_to(Path.cwd()) if below else folder))


def _card_evaluate(manifest: Manifest, folder: Path) -> list[str]:
    """The command that measures the model again, if its reviews can be read again."""
    source = manifest.data["source"]
    if not manifest.data.get("own_test_split"):
        return []  # evaluating on the whole source would count training texts
    return [
        f"python -m sentiment.evaluate --model-dir {_shown(folder)} --data {shlex.quote(source)}"
    ]


def _card_metrics(metrics: dict[str, Any]) -> list[str]:
    if not metrics:
        return ["Not measured: no texts were kept for it."]
    if "measured" in metrics:
        return [*_card_measured(metrics["measured"]), "", *_card_behaviour(metrics["behaviour"])]
    low, high = metrics["accuracy_interval"]
    rows = [
        ("texts", f"{metrics['n']:,}"),
        ("accuracy", f"{metrics['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})"),
        ("macro-F1", f"{metrics['macro_f1']:.4f}"),
        ("expected calibration error, 15 bins", f"{metrics['ece']:.2%}"),
        ("Brier score", f"{metrics['brier']:.4f}"),
        ("words out of vocabulary", f"{metrics['oov_share']:.2%}"),
        ("texts cut", f"{metrics['truncated_share']:.2%}"),
    ]
    if metrics["roc_auc"] is not None:
        rows.insert(3, ("ROC-AUC", f"{metrics['roc_auc']:.4f}"))
    return [
        f"Measured on the {metrics['split']} split.",
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "| label | precision | recall | F1 | texts |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {m['precision']:.3f} | {m['recall']:.3f} | {m['f1']:.3f} | {m['n']:,} |"
            for name, m in metrics["per_label"].items()
        ),
    ]


def _card_measured(measured: list[dict[str, Any]]) -> list[str]:
    """Table of what a recipe's model was measured on."""
    rows = []
    for result in measured:
        figures = result["evaluation"]
        low, high = figures["accuracy_interval"]
        rows.append(
            f"| {result['source']}, {result['split']} | {', '.join(result['labels'])} "
            f"| {figures['n']:,} | {figures['accuracy']:.2%} ({low:.2%} to {high:.2%}) "
            f"| {figures['macro_f1']:.4f} | {figures['ece']:.2%} |"
        )
    return [
        "Among the labels that each source has. Validation texts decided on calibration and on the "
        "weight of the n-grams; the others were used for nothing but this.",
        "",
        "| source, split | labels | texts | accuracy (95 % interval) | macro-F1 "
        "| calibration error, 15 bins |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def _card_behaviour(behaviour: dict[str, Any]) -> list[str]:
    """Table of the behaviour tests."""
    return [
        "Behaviour tests (`python -m sentiment.evaluate --behaviour`): mean failure rate "
        f"{behaviour['mean_failure_rate']:.1%}.",
        "",
        "| capability | cases | failures |",
        "|---|---|---|",
        *(
            f"| {name} | {result['cases']} | {result['failures'] / result['cases']:.1%} |"
            for name, result in behaviour["capabilities"].items()
        ),
    ]


def installed_versions(*packages: str) -> dict[str, str]:
    """Versions of this package, Python and others, as a manifest keeps them."""
    from importlib.metadata import version

    import sentiment

    found = {name: version(name) for name in packages}
    return {"sentiment": sentiment.__version__, "python": sys.version.split()[0], **found}


def _manifest_sha256(stored: dict[str, Any]) -> str:
    """Hash of everything in a manifest but its own hash, so that no label can change its place."""
    others = {name: digest for name, digest in stored["sha256"].items() if name != MANIFEST_FILE}
    text = json.dumps(stored | {"sha256": others}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compress(path: Path) -> None:
    """Deflate the `.keras` archive, which Keras stores as it is; half of an embedding is zeros."""
    partial = path.with_suffix(".part")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(partial, "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry), zipfile.ZIP_DEFLATED, 9)
    os.replace(partial, path)
