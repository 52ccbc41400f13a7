"""Checkpoints: whole or not there, read by the run that wrote them and by no other."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from sentiment import checkpoints
from sentiment.checkpoints import (
    files_of_run,
    identity_of,
    keep_weights,
    pretrained_path,
    read_checkpoint,
    training_state,
    write_checkpoint,
)
from sentiment.models import build_model

ARRAYS = {
    "state_0": np.arange(6, dtype="float32").reshape(2, 3) / 7,
    "state_1": np.array(3, "int64"),
    "state_2": np.zeros((0, 4), "uint8"),
}
HEADER = {"step": 7, "history": [{"loss": 0.1}], "name": "Größe"}


def network(seed: int = 3, name: str = "rnn", **settings) -> keras.Model:
    return build_model(name, 12, 2, seed=seed, embedding_dim=3, units=2, **settings)


# ---------------------------------------------------------------------------------------- identity


PARTS = ([np.array([1, 2]), np.array([3])], "imdb", 0.5, {"steps": 3}, None)


def test_the_same_run_has_the_same_identity():
    """In another process too, whatever was made or compiled before."""
    first = identity_of(network(), *PARTS)
    other = network()
    other.compile("adam", "categorical_crossentropy")
    assert identity_of(other, *PARTS) == first
    assert identity_of(network(), [[1, 2], [3]], *PARTS[1:]) == first
    assert re.fullmatch("[0-9a-f]{64}", first)


@pytest.mark.parametrize(
    "parts",
    [
        ([np.array([1, 2]), np.array([4])], *PARTS[1:]),
        ([np.array([1]), np.array([2, 3])], *PARTS[1:]),
        (PARTS[0], "sample", *PARTS[2:]),
        (*PARTS[:2], 0.25, *PARTS[3:]),
        (*PARTS[:3], {"steps": 4}, None),
        PARTS[:4],
        PARTS[::-1],
    ],
)
def test_every_part_belongs_to_the_identity(parts):
    assert identity_of(network(), *parts) != identity_of(network(), *PARTS)


@pytest.mark.parametrize(
    "other",
    [{"seed": 4}, {"name": "gru"}, {"dropout": 0.1}, {"layers": 2}],
    ids=lambda settings: next(iter(settings)),
)
def test_the_network_belongs_to_the_identity(other):
    assert identity_of(network(**other)) != identity_of(network())


# ------------------------------------------------------------------------------------------- state


def test_state_is_weights_optimizer_and_dropout():
    model = network(name="bilstm", dropout=0.5, word_dropout=0.4, recurrent_dropout=0.3)
    optimizer = keras.optimizers.Adam(use_ema=True)
    optimizer.build(model.trainable_variables)
    state = training_state(model, optimizer)
    count = len(model.weights)
    assert [id(v) for v in state[:count]] == [id(v) for v in model.weights]
    rest = state[count:]
    count = len(optimizer.variables)
    assert [id(v) for v in rest[:count]] == [id(v) for v in optimizer.variables]
    # word dropout, dropout of the output, and recurrent dropout of two directions
    assert len(rest[count:]) == len({id(v) for v in rest[count:]}) == 4

    ids = np.arange(1, 12, dtype="int32")[None]
    before = [np.array(v) for v in state]
    first, second = (np.array(model(ids, training=True)) for _ in range(2))
    assert (first != second).any()
    for variable, value in zip(state, before, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(model(ids, training=True), first)


# ------------------------------------------------------------------------------------------- files


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "folder" / "run.npz"
    write_checkpoint(path, "me", HEADER, ARRAYS)
    header, arrays = read_checkpoint(path, "me")
    assert header == {"format": 1, "identity": "me", **HEADER}
    assert arrays.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        assert arrays[name].dtype == expected.dtype
        np.testing.assert_array_equal(arrays[name], expected)
    assert [p.name for p in path.parent.iterdir()] == ["run.npz"]


@pytest.mark.parametrize("place", ["savez", "replace"])
def test_what_cannot_be_written_leaves_the_old_one(place, tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    write_checkpoint(path, "old", HEADER, ARRAYS)

    def fail(file, *_, **__):
        if place == "savez":
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np if place == "savez" else checkpoints.os, place, fail)
    with pytest.raises(OSError, match="^disk full$"):
        write_checkpoint(path, "new", HEADER, ARRAYS)
    assert read_checkpoint(path, "old")[0]["step"] == 7
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def another_runs(path: Path) -> str:
    return (
        f"The checkpoint {path} belongs to other data or settings. Repeat the command that made "
        "it, or leave --resume out to start again."
    )


def test_another_runs_checkpoint_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    write_checkpoint(path, "me", HEADER, ARRAYS)
    with pytest.raises(ValueError, match=f"^{re.escape(another_runs(path))}$"):
        read_checkpoint(path, "you")
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    with pytest.raises(ValueError, match=f"^{re.escape(another_runs(path))}$"):
        read_checkpoint(path, "me")


def damaged(path: Path, how: str) -> None:
    write_checkpoint(path, "me", HEADER, ARRAYS)
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "changed":
        place = content.index(ARRAYS["state_0"].tobytes())
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    elif how == "no header":
        np.savez(path, **ARRAYS)
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif how == "objects":
        np.savez(path, header=np.array([{}]), allow_pickle=True)
    else:
        path.write_bytes({"empty": b"", "something else": b"no archive" * 9}[how])


@pytest.mark.parametrize(
    "how", ["empty", "cut", "changed", "something else", "no header", "a folder", "objects"]
)
def test_damaged_checkpoint_is_refused(how, tmp_path):
    path = tmp_path / "run.npz"
    damaged(path, how)
    message = f"^The checkpoint {re.escape(str(path))} cannot be read: ."
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path, "me")


# ------------------------------------------------------------------------------------ kept weights


def filling(model: keras.Model, value: float, paths: list):
    """A fit that sets all weights to a value and notes the path that it is given."""

    def fit(path):
        paths.append(path)
        model.set_weights([np.full(w.shape, value, w.dtype) for w in model.get_weights()])

    return fit


def never(_):
    pytest.fail("the weights are kept already")


def test_weights_that_are_kept_nowhere():
    model, paths = network(), []
    assert keep_weights(None, "me", model, filling(model, 2, paths)) is False
    assert paths == [None]
    assert all((w == 2).all() for w in model.get_weights())


def test_weights_are_kept_and_read_again(tmp_path):
    path = tmp_path / "stages" / "first.npz"
    model, paths = network(ngrams=5), []  # whose table has weights that are no floats
    before = [np.full(w.shape, 3, w.dtype) for w in model.get_weights()]
    assert keep_weights(path, "me", model, filling(model, 3, paths)) is False
    assert paths == [tmp_path / "stages" / "first.npz.steps"]
    other = network(seed=4, ngrams=5)
    assert keep_weights(path, "me", other, never) is True
    for found, expected in zip(other.get_weights(), before, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert [p.name for p in path.parent.iterdir()] == ["first.npz"]


def test_what_dropout_draws_next_is_kept(tmp_path):
    """Else a run that goes on after a fit would not be the one that was never stopped."""
    ids = np.arange(1, 12, dtype="int32")[None]
    model, other = (network(name="bilstm", dropout=0.5, word_dropout=0.4) for _ in range(2))

    def fit(_):
        model(ids, training=True)

    keep_weights(tmp_path / "first.npz", "me", model, fit)
    keep_weights(tmp_path / "first.npz", "me", other, never)
    expected = np.array(model(ids, training=True))
    np.testing.assert_array_equal(other(ids, training=True), expected)
    assert (np.array(model(ids, training=True)) != expected).any()


def test_a_fits_own_checkpoint_is_there_until_its_weights_are_kept(tmp_path, monkeypatch):
    path, steps = tmp_path / "first.npz", tmp_path / "first.npz.steps"

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_checkpoint", full)
        with pytest.raises(OSError, match="^disk full$"):
            keep_weights(path, "me", network(), lambda own: own.write_bytes(b"all steps"))
    assert [p.name for p in tmp_path.iterdir()] == [steps.name]
    keep_weights(path, "me", network(), lambda _: None)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    steps.write_bytes(b"left by a kill between the two")
    keep_weights(path, "me", network(), never)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_files_of_a_run():
    """All different, whatever the checkpoint is called."""
    for name in ("model.checkpoint.npz", "run.npz", "run"):
        checkpoint = Path("a.checkpoint") / name
        assert pretrained_path(checkpoint) == checkpoint.with_name(f"{name}.pretrained")
        assert files_of_run(checkpoint) == (
            checkpoint,
            checkpoint.with_name(f"{name}.pretrained"),
            checkpoint.with_name(f"{name}.pretrained.steps"),
        )


def test_weights_of_another_fit_are_refused(tmp_path):
    path = tmp_path / "first.npz"
    model = network()
    keep_weights(path, "me", model, filling(model, 3, []))
    with pytest.raises(ValueError, match=f"^{re.escape(another_runs(path))}$"):
        keep_weights(path, "you", model, never)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"^The checkpoint {re.escape(str(path))} cannot be read"):
        keep_weights(path, "me", model, never)


def test_a_fit_that_fails_keeps_nothing(tmp_path):
    def fail(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_weights(tmp_path / "first.npz", "me", network(), fail)
    assert not list(tmp_path.iterdir())
