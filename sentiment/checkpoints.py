"""A run's whole state in a file: written whole or not at all, and read only by the same run."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

FORMAT = 1


def identity_of(model: "keras.Model", *parts: Any) -> str:
    """Hash of network, data and settings: a checkpoint is only good for the same ones.

    Not of `model.to_json()`, which names the optimizer by how many the process has made.

    Args:
        model: the network.
        parts: what else decides on the run: numbers, strings, arrays, and lists of them.
    """
    digest = hashlib.sha256()
    for part in (model.get_config(), *parts):
        digest.update(json.dumps(part, default=lambda array: array.tolist()).encode())
    return digest.hexdigest()


def training_state(model: "keras.Model", optimizer: "keras.Optimizer") -> list[Any]:
    """The variables that a run changes: weights, optimiser, and the random state of dropout."""
    return [*model.weights, *optimizer.variables, *_dropout_state(model)]


def _dropout_state(model: "keras.Model") -> list[Any]:
    """What dropout draws next, which `model.weights` leaves out."""
    return [
        generator.state
        for layer in model._flatten_layers(include_self=False)
        for generator in getattr(layer, "_seed_generators", [])
    ]


def write_checkpoint(
    path: Path, identity: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a checkpoint beside its place, then move it there.

    Args:
        path: the file; its folder is made where it is missing.
        identity: of the run.
        header: what JSON can hold.
        arrays: the rest.
    """
    stored = json.dumps({"format": FORMAT, "identity": identity, **header})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            np.savez(file, header=np.array(stored), **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(path: Path, identity: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a checkpoint.

    Raises:
        ValueError: it is damaged, or another run's.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        header = json.loads(str(arrays.pop("header")))
        found = header["format"], header["identity"]
    except (OSError, KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"The checkpoint {path} cannot be read: {error}") from error
    if found != (FORMAT, identity):
        raise ValueError(
            f"The checkpoint {path} belongs to other data or settings. Repeat "
            "the command that made it, or leave --resume out to start again."
        )
    return header, arrays


def steps_path(path: Path) -> Path:
    """Where a fit keeps its state whose outcome `keep_weights` will keep at `path`."""
    return path.with_name(path.name + ".steps")


def keep_weights(
    path: Path | None, identity: str, model: "keras.Model", fit: Callable[[Path | None], None]
) -> bool:
    """Give a network the weights that a fit of it ends with, unless they are kept already.

    The random state of its dropout is kept too, so that a fit that follows is the same.

    Args:
        path: where they are kept; `None` keeps them nowhere.
        identity: of the fit.
        model: the network, changed in place.
        fit: changes it; called with the file for its own checkpoint, which is removed once the
            weights are kept.

    Returns:
        Whether they were there.

    Raises:
        ValueError: `path` is damaged or another run's.
    """
    if path is None:
        fit(None)
        return False
    state = [*model.weights, *_dropout_state(model)]
    found = path.exists()
    if not found:
        fit(steps_path(path))
        arrays = {f"state_{i}": np.asarray(variable) for i, variable in enumerate(state)}
        write_checkpoint(path, identity, {}, arrays)
    _, arrays = read_checkpoint(path, identity)
    for i, variable in enumerate(state):
        variable.assign(arrays[f"state_{i}"])
    steps_path(path).unlink(missing_ok=True)
    return found


def pretrained_path(checkpoint: Path) -> Path:
    """Where a run with this checkpoint keeps the weights that it starts from."""
    return checkpoint.with_name(f"{checkpoint.name}.pretrained")


def files_of_run(checkpoint: Path) -> tuple[Path, Path, Path]:
    """All files that a run with this checkpoint may leave.

    They are itself, the weights that the run starts from, and what there is while these are fitted.
    """
    path = pretrained_path(checkpoint)
    return checkpoint, path, steps_path(path)


def remove_files_of_run(checkpoint: Path) -> None:
    """Remove all of them that are there."""
    for path in files_of_run(checkpoint):
        path.unlink(missing_ok=True)
