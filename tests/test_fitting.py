"""Fitting: batches, schedule, averaging, stopping, calibration, and runs that were killed."""

import csv
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from sklearn.utils.class_weight import compute_class_weight

from sentiment import fitting
from sentiment.fitting import (
    bucketed_batches,
    calibrate,
    check_fit_settings,
    default_epochs,
    fit_model,
    fit_temperature,
    pad_batch,
    predict_token_ids,
)
from sentiment.models import build_model
from sentiment.onnx_export import export_onnx

# Everything that holds state between epochs: dropout of both kinds, averages, weighted labels.
EVERYTHING = {"epochs": 4, "batch_size": 16, "ema": 0.9, "class_weight": "balanced"}


def task(texts: int = 40, seed: int = 0) -> tuple[list[list[int]], np.ndarray]:
    """Random ids, three labels: which of the words 2, 3 and 4 a text has."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, texts, p=[0.6, 0.3, 0.1]).astype("int32")
    labels[:3] = 0, 1, 2
    ids = [generator.integers(5, 20, generator.integers(1, 13)).tolist() for _ in labels]
    for words, label in zip(ids, labels, strict=True):
        words[generator.integers(len(words))] = 2 + int(label)
    return ids, labels


def data() -> tuple:
    return *task(seed=0), *task(24, seed=1)


def network(name: str = "rnn", seed: int = 3, **settings) -> keras.Model:
    return build_model(name, 20, 3, seed=seed, embedding_dim=4, units=5, **settings)


def everything(**options):
    """Fit the network with all that holds state, and return weights and history without times."""
    model = network("bilstm", dropout=0.3, recurrent_dropout=0.2)
    result = fit_model(model, *data(), **EVERYTHING, **options)
    history = [(r.loss, r.validation_loss, r.validation_accuracy) for r in result.history]
    return model.get_weights(), history, result.best_epoch, result.temperature


class Killed(Exception):
    pass


def kill_after_two(report) -> None:
    if report.epoch == 2:
        raise Killed


def kill_process_after_two(report) -> None:
    if report.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def run_python(code: str, *, hash_seed: str) -> subprocess.CompletedProcess:
    """Run code in a new process, where this file can be imported."""
    path = ":".join([str(Path(__file__).parent), *(p or "." for p in sys.path)])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)


def assert_same_run(found, expected) -> None:
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[1:] == expected[1:]


@pytest.fixture(scope="module")
def uninterrupted():
    return everything()


class Recorder:
    """Stands between `fit_model` and a network: what each update was given, and its result."""

    def __init__(self, model: keras.Model, train: bool = True):
        self.model, self.rates, self.labels, self.sample_weights, self.weights = (
            model,
            [],
            [],
            [],
            [],
        )
        update = model.train_on_batch

        def train_on_batch(ids, labels, sample_weight):
            if ids.shape in ((1, 1), (2, 2)):  # only compiles, before the first batch
                return update(ids, labels, sample_weight) if train else 1.0
            self.rates.append(float(model.optimizer.learning_rate))
            self.labels.append(labels)
            self.sample_weights.append(sample_weight)
            if train:
                loss = update(ids, labels, sample_weight)
                self.weights.append([np.array(v) for v in model.trainable_variables])
                return loss
            model.optimizer.iterations.assign_add(1)
            return 1.0

        model.train_on_batch = train_on_batch


# --- batches ---


@pytest.mark.parametrize(("texts", "batch_size"), [(1, 4), (8, 4), (1003, 8), (30, 64)])
def test_batches_hold_every_position_once(texts, batch_size):
    lengths = np.random.default_rng(0).integers(1, 200, texts)
    batches = bucketed_batches(lengths, batch_size, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(texts))
    sizes = sorted(map(len, batches), reverse=True)
    assert sizes[:-1] == [batch_size] * (math.ceil(texts / batch_size) - 1)
    assert 1 <= sizes[-1] <= batch_size


def test_batches_group_lengths():
    lengths = np.random.default_rng(0).integers(1, 200, 2000)
    batches = bucketed_batches(lengths, 16, np.random.default_rng(1))
    steps = sum(lengths[b].max() * len(b) for b in batches)
    assert steps / lengths.sum() < 1.1  # unsorted batches of 16 come to about 1.9


def test_batches_are_shuffled():
    lengths = np.tile(np.arange(1, 21), 20)
    batches = bucketed_batches(lengths, 8, np.random.default_rng(1))
    longest = [lengths[b].max() for b in batches]
    assert longest != sorted(longest)
    other = bucketed_batches(lengths, 8, np.random.default_rng(2))
    together = {frozenset(b.tolist()) for b in batches}
    assert not together & {frozenset(b.tolist()) for b in other}  # texts of one length change too
    again = bucketed_batches(lengths, 8, np.random.default_rng(1))
    for a, b in zip(batches, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_is_padded_to_its_longest():
    batch = pad_batch([[5, 6], [7], [8, 9, 10], [11, 12, 13, 14]], [2, 0, 1])
    np.testing.assert_array_equal(batch, [[8, 9, 10], [5, 6, 0], [7, 0, 0]])
    assert batch.dtype == np.int32


def test_predictions_are_in_the_order_of_the_texts(random_network, monkeypatch):
    monkeypatch.setattr(fitting, "EVALUATION_BATCH", 4)
    model = random_network("bilstm")
    ids, _ = task(11)
    expected = [np.asarray(model(np.array([words], "int32")))[0] for words in ids]
    # float32 sums over other batch shapes
    np.testing.assert_allclose(predict_token_ids(model, ids), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "batch_size", "epochs"),
    [(1600, 32, 20), (22500, 64, 3), (12800, 64, 5), (12801, 64, 5), (10, 64, 20), (10**6, 64, 3)],
)
def test_default_epochs(texts, batch_size, epochs):
    assert default_epochs(texts, batch_size) == epochs


# --- the optimiser ---


def test_schedule_warms_up_and_then_falls():
    recorder = Recorder(network(), train=False)
    options = {"batch_size": 4, "learning_rate": 0.02, "warmup": 0.25, "patience": 4}
    fit_model(recorder.model, *data(), epochs=4, **options)
    rates = np.array(recorder.rates)  # 4 epochs of 10 updates
    assert rates.shape == (40,)
    np.testing.assert_allclose(rates[:11], 0.02 * np.arange(11) / 10, rtol=1e-5)
    falling = 0.02 * (1 + np.cos(np.pi * np.arange(30) / 30)) / 2
    np.testing.assert_allclose(rates[10:], falling, rtol=1e-5)


def test_schedule_without_warm_up_starts_at_its_peak():
    recorder = Recorder(network(), train=False)
    fit_model(recorder.model, *data(), epochs=1, batch_size=4, learning_rate=0.02, warmup=0.0)
    assert recorder.rates[0] == pytest.approx(0.02)
    assert recorder.rates == sorted(recorder.rates, reverse=True)


def test_balanced_labels_weigh_the_same():
    recorder = Recorder(network(), train=False)
    fit_model(recorder.model, *data(), epochs=1, class_weight="balanced")
    labels, weights = (np.concatenate(x) for x in (recorder.labels, recorder.sample_weights))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=data()[1])
    np.testing.assert_allclose(weights, expected[labels], rtol=1e-6)
    totals = np.bincount(labels, weights)
    np.testing.assert_allclose(totals, totals[0], rtol=1e-6)
    assert weights.mean() == pytest.approx(1, rel=1e-6)


def test_labels_are_not_weighed_by_default():
    recorder = Recorder(network(), train=False)
    fit_model(recorder.model, *data(), epochs=1)
    assert {float(w) for ws in recorder.sample_weights for w in ws} == {1.0}


def test_ema_weights_are_the_running_average():
    """The average of the weights after each update, the first one counting fully; decay 0.8."""
    recorder = Recorder(network(dropout=0.0))
    result = fit_model(recorder.model, *data(), epochs=2, batch_size=8, ema=0.8, learning_rate=0.02)
    average = recorder.weights[0]
    averages = []
    for weights in recorder.weights:
        average = [0.8 * a + 0.2 * w for a, w in zip(average, weights, strict=True)]
        averages.append(average)
    expected = averages[5 * result.best_epoch - 1]  # 5 updates an epoch
    last = recorder.weights[5 * result.best_epoch - 1]
    for weight, found, value, unaveraged in zip(
        recorder.model.trainable_variables,
        recorder.model.get_weights(),
        expected,
        last,
        strict=True,
    ):
        if "rnn" in weight.path:  # embeddings are rounded afterwards, the output is calibrated
            np.testing.assert_allclose(found, value, rtol=0, atol=1e-6)
            assert np.abs(found - unaveraged).max() > 1e-3


# --- stopping and the best weights ---


def scripted(losses: list[float]):
    """Stands for `fit_temperature`: these validation losses, and a temperature of 1 at the end."""
    values = iter([*losses, 0.0])
    return lambda *_: (1.0, next(values))


def test_early_stop_and_best_weights(monkeypatch):
    monkeypatch.setattr(fitting, "fit_temperature", scripted([0.9, 0.5, 0.6, 0.5, 0.7]))
    model, seen = network(), []
    result = fit_model(
        model, *data(), epochs=9, patience=3, on_epoch=lambda _: seen.append(model.get_weights())
    )
    assert [r.epoch for r in result.history] == [1, 2, 3, 4, 5]  # an equal loss is no better one
    assert [r.validation_loss for r in result.history] == [0.9, 0.5, 0.6, 0.5, 0.7]
    assert result.best_epoch == 2
    assert result.stopped_early
    embeddings, *others = model.get_weights()
    for found, best, last in zip(others, seen[1][1:], seen[4][1:], strict=True):
        np.testing.assert_array_equal(found, best)
        assert (found != last).any()
    np.testing.assert_array_equal(embeddings, seen[1][0].astype("float16").astype("float32"))


def test_improving_run_uses_all_epochs(monkeypatch):
    monkeypatch.setattr(fitting, "fit_temperature", scripted([0.9, 0.8, 0.7]))
    result = fit_model(Recorder(network(), train=False).model, *data(), epochs=3, patience=1)
    assert result.best_epoch == 3
    assert not result.stopped_early


def test_history_says_what_happened():
    model = network(dropout=0.0)
    reports = []
    ids, labels, validation_ids, validation_labels = data()
    result = fit_model(
        model, ids, labels, validation_ids, validation_labels,
        epochs=12, batch_size=8, learning_rate=0.03, patience=12, on_epoch=reports.append,
    )  # fmt: skip
    assert tuple(reports) == result.history
    assert [r.epoch for r in reports] == list(range(1, 13))
    assert reports[-1].loss < 0.5 < reports[0].loss
    assert all(0 <= r.seconds < 60 for r in reports)
    found = predict_token_ids(model, validation_ids)
    best = result.history[result.best_epoch - 1]
    assert best.validation_loss == min(r.validation_loss for r in reports)
    assert best.validation_accuracy == np.mean(found.argmax(1) == validation_labels) > 0.8
    # The network is calibrated: its own loss is what the report said. Not exactly, since the
    # embeddings were rounded to float16 in between.
    likelihood = found[range(len(found)), validation_labels]
    assert -np.log(likelihood).mean() == pytest.approx(best.validation_loss, abs=1e-3)


# --- calibration ---


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_temperature_is_recovered(temperature):
    """Labels drawn from softmax(logits), told softmax(logits × T): T makes it right again."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (40_000, 3))
    honest, told = (
        np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (logits, logits * temperature)
    )
    labels = (generator.random((40_000, 1)) > honest.cumsum(1)).sum(1)
    found, loss = fit_temperature(told.astype("float32"), labels)
    assert found == pytest.approx(temperature, rel=0.02)  # 40,000 texts: about 0.8 % by chance
    expected = -np.log(honest[np.arange(40_000), labels]).mean()
    assert loss == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["rnn", "bilstm"])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_calibrated_network_gives_the_scaled_probabilities(
    name, num_classes, random_network, mixed_ids
):
    model = random_network(name, num_classes)
    before = np.asarray(model(mixed_ids), "float64")
    calibrate(model, 2.5)
    after = np.asarray(model(mixed_ids))
    if num_classes == 1:
        before = np.hstack([1 - before, before])
        after = np.hstack([1 - after, after])
    scaled = before ** (1 / 2.5)
    expected = scaled / scaled.sum(1, keepdims=True)
    assert np.abs(expected - before).max() > 0.05
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-6)  # float32
    session = onnxruntime.InferenceSession(export_onnx(model))
    (found,) = session.run(["probabilities"], {"token_ids": mixed_ids})
    np.testing.assert_allclose(found[:, -1], expected[:, -1], rtol=0, atol=2e-6)


# --- seeds ---


def test_other_seeds_give_other_weights():
    """Of the network and of the batches, each by itself; the global state has no say."""

    def weights(network_seed, fit_seed, global_seed):
        keras.utils.set_random_seed(global_seed)
        model = network(seed=network_seed)
        fit_model(model, *data(), epochs=1, batch_size=8, seed=fit_seed)
        return model.get_weights()

    first, again, other_batches, other_network = (
        weights(*seeds) for seeds in ((3, 0, 1), (3, 0, 2), (3, 1, 1), (4, 0, 1))
    )
    for a, b, c, d in zip(first, again, other_batches, other_network, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
        assert (a != d).any()


@pytest.mark.slow
def test_seed_reproduces_weights_exactly_in_another_process(uninterrupted, tmp_path):
    code = f"""
import numpy as np, test_fitting
weights, history, *rest = test_fitting.everything()
np.savez({str(tmp_path / "run.npz")!r}, np.array(history), np.array(rest), *weights)
"""
    done = run_python(code, hash_seed="7")
    assert done.returncode == 0, done.stderr.decode()
    with np.load(tmp_path / "run.npz") as stored:
        history, rest, *weights = stored.values()
    found = weights, [tuple(row) for row in history.tolist()], *rest.tolist()
    assert_same_run(found, uninterrupted)


# --- runs that were killed ---


def test_resumed_run_ends_as_if_it_had_not_been_killed(uninterrupted, tmp_path):
    checkpoint = tmp_path / "kept" / "run.npz"
    with pytest.raises(Killed):
        everything(checkpoint=checkpoint, on_epoch=kill_after_two)
    epochs = []
    found = everything(
        checkpoint=checkpoint, resume=True, on_epoch=lambda report: epochs.append(report.epoch)
    )
    assert epochs == [3, 4]
    assert_same_run(found, uninterrupted)
    assert [p.name for p in tmp_path.rglob("*")] == ["kept", "run.npz"]

    # Once more, from a run that is complete: nothing is left to do, the end is the same.
    again = everything(checkpoint=checkpoint, resume=True, on_epoch=kill_after_two)
    assert_same_run(again, uninterrupted)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_resumed_run_ends_as_if_its_process_had_not_been_killed(uninterrupted, tmp_path):
    checkpoint = tmp_path / "run.npz"
    code = f"""
import pathlib, test_fitting as t
t.everything(checkpoint=pathlib.Path({str(checkpoint)!r}), on_epoch=t.kill_process_after_two)
"""
    done = run_python(code, hash_seed="8")
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert_same_run(everything(checkpoint=checkpoint, resume=True), uninterrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_resumed_run_stops_early_as_well(monkeypatch, tmp_path):
    """Patience counts the epochs before the run was killed."""
    options = {"epochs": 9, "patience": 2, "checkpoint": tmp_path / "run.npz"}
    monkeypatch.setattr(fitting, "fit_temperature", scripted([0.5, 0.9]))
    with pytest.raises(Killed):
        fit_model(
            Recorder(network(), train=False).model, *data(), **options, on_epoch=kill_after_two
        )
    monkeypatch.setattr(fitting, "fit_temperature", scripted([0.8]))
    model = Recorder(network(), train=False).model
    result = fit_model(model, *data(), **options, resume=True)
    assert [r.validation_loss for r in result.history] == [0.5, 0.9, 0.8]
    assert (result.best_epoch, result.stopped_early) == (1, True)


def test_a_checkpoint_is_not_used_unasked(tmp_path):
    options = {"epochs": 1, "checkpoint": tmp_path / "run.npz"}
    for _ in range(2):
        recorder = Recorder(network(), train=False)
        fit_model(recorder.model, *data(), **options)
        assert recorder.rates


def test_resume_without_a_checkpoint_starts(tmp_path):
    recorder = Recorder(network(), train=False)
    fit_model(recorder.model, *data(), epochs=1, checkpoint=tmp_path / "run.npz", resume=True)
    assert recorder.rates


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> bytes:
    """A checkpoint of one epoch."""
    path = tmp_path_factory.mktemp("checkpoint") / "run.npz"
    fit_model(Recorder(network(), train=False).model, *data(), epochs=1, checkpoint=path)
    return path.read_bytes()


def changed(place: int, value) -> tuple:
    """The data with one value of one of its parts changed."""
    parts = list(data())
    parts[place] = parts[place].copy()
    parts[place][0] = value
    return tuple(parts)


OTHERS = {
    "a training text": (network, changed(0, [9, 9]), {}),
    "a training label": (network, changed(1, 1), {}),
    "a validation text": (network, changed(2, [9, 9]), {}),
    "a validation label": (network, changed(3, 1), {}),
    "fewer texts": (network, (*task(39), *data()[2:]), {}),
    "epochs": (network, data(), {"epochs": 2}),
    "batch_size": (network, data(), {"batch_size": 24}),
    "learning_rate": (network, data(), {"learning_rate": 0.001}),
    "warmup": (network, data(), {"warmup": 0.2}),
    "clip_norm": (network, data(), {"clip_norm": 2.0}),
    "ema": (network, data(), {"ema": 0.9}),
    "class_weight": (network, data(), {"class_weight": "balanced"}),
    "patience": (network, data(), {"patience": 2}),
    "seed": (network, data(), {"seed": 1}),
    "the network's seed": (lambda: network(seed=4), data(), {}),
    "the network": (lambda: network("gru"), data(), {}),
    "a setting of the network": (lambda: network(dropout=0.1), data(), {}),
}


@pytest.mark.parametrize("other", OTHERS)
def test_resume_with_other_data_or_settings(other, checkpoint, tmp_path):
    build, parts, settings = OTHERS[other]
    path = tmp_path / "run.npz"
    path.write_bytes(checkpoint)
    model = build()
    before = model.get_weights()
    message = (
        f"The checkpoint {path} belongs to other data or settings. Repeat "
        "the command that made it, or leave --resume out to start again."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fit_model(model, *parts, **{"epochs": 1} | settings, checkpoint=path, resume=True)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert path.read_bytes() == checkpoint


def test_resume_with_numbers_of_numpy(checkpoint, tmp_path):
    """They are the same settings."""
    path = tmp_path / "run.npz"
    path.write_bytes(checkpoint)
    settings = {"epochs": np.int64(1), "seed": np.int64(0), "warmup": np.float64(0.1)}
    fit_model(network(), *data(), **settings, checkpoint=path, resume=True)


def test_resume_with_the_same_data_and_settings(checkpoint, tmp_path):
    """So it is the change that was refused above."""
    path = tmp_path / "run.npz"
    path.write_bytes(checkpoint)
    fit_model(network(), *data(), epochs=1, checkpoint=path, resume=True)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[:middle]
        + bytes(255 - b for b in content[middle : middle + 64])
        + content[middle + 64 :]
    )


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda _: b"",
        lambda _: b"not a checkpoint",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-10],
        flipped,
    ],
    ids=["empty", "text", "half", "cut", "flipped"],
)
def test_corrupt_checkpoint(corrupt, checkpoint, tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(corrupt(checkpoint))
    model = network()
    before = model.get_weights()
    with pytest.raises(
        ValueError, match=f"^The checkpoint {re.escape(str(path))} cannot be read: "
    ):
        fit_model(model, *data(), epochs=1, checkpoint=path, resume=True)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_arrays_are_no_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, something=np.zeros(3))
    with pytest.raises(
        ValueError, match=f"^The checkpoint {re.escape(str(path))} cannot be read: "
    ):
        fit_model(network(), *data(), epochs=1, checkpoint=path, resume=True)


# --- what listens ---


def test_callbacks_hear_every_epoch_once(tmp_path):
    log, checkpoint = tmp_path / "log.csv", tmp_path / "run.npz"
    options = {"epochs": 4, "patience": 4, "checkpoint": checkpoint}
    with pytest.raises(Killed):
        fit_model(
            Recorder(network(), train=False).model, *data(), **options,
            callbacks=[keras.callbacks.CSVLogger(log)], on_epoch=kill_after_two,
        )  # fmt: skip
    result = fit_model(
        Recorder(network(), train=False).model, *data(), **options, resume=True,
        callbacks=[keras.callbacks.CSVLogger(log, append=True)],
    )  # fmt: skip
    with log.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]  # Keras counts from 0
    for row, report in zip(rows, result.history, strict=True):
        for name in ("loss", "validation_loss", "validation_accuracy", "seconds"):
            assert float(row[name]) == getattr(report, name)


def test_progress_is_shown_when_asked(capsys):
    fit_model(Recorder(network(), train=False).model, *data(), epochs=1)
    assert capsys.readouterr().err == ""
    fit_model(Recorder(network(), train=False).model, *data(), epochs=1, progress=True)
    assert "epoch 1/1" in capsys.readouterr().err


# --- errors ---


def test_loss_that_is_no_number(tmp_path):
    model = network()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    message = "The training loss became nan in epoch 1; try a lower learning rate."
    with pytest.raises(FloatingPointError, match=f"^{re.escape(message)}$"):
        fit_model(model, *data(), epochs=2, checkpoint=tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


def test_last_update_that_breaks_the_network(tmp_path):
    """The loss was fine before it; what it left is seen on the validation texts."""
    model = network()
    learn = model.train_on_batch

    def train_on_batch(*batch):
        loss = learn(*batch)
        model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
        return loss

    model.train_on_batch = train_on_batch
    message = "The validation loss became nan in epoch 1; try a lower learning rate."
    with pytest.raises(FloatingPointError, match=f"^{re.escape(message)}$"):
        fit_model(model, *data(), epochs=1, batch_size=64, checkpoint=tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


def test_weights_that_no_float16_holds(tmp_path):
    """Losses may stay finite while the weights explode; embeddings are stored as float16."""
    model = network()
    learn = model.train_on_batch

    def train_on_batch(*batch):
        loss = learn(*batch)
        weights = model.get_weights()
        weights[0][1, 0] = -7e4
        model.set_weights(weights)
        return loss

    model.train_on_batch = train_on_batch
    message = "The largest weight became 7e+04 in epoch 1; try a lower learning rate."
    with pytest.raises(FloatingPointError, match=f"^{re.escape(message)}$"):
        fit_model(model, *data(), epochs=1, batch_size=64, checkpoint=tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("epochs", 0, "`epochs` must be a whole number of at least 1. Received: 0"),
        ("epochs", -3, "`epochs` must be a whole number of at least 1. Received: -3"),
        ("epochs", 1.5, "`epochs` must be a whole number of at least 1. Received: 1.5"),
        ("batch_size", 0, "`batch_size` must be a whole number of at least 1. Received: 0"),
        ("patience", 0, "`patience` must be a whole number of at least 1. Received: 0"),
        ("learning_rate", 0, "`learning_rate` must be a number above 0. Received: 0"),
        ("learning_rate", -1.0, "`learning_rate` must be a number above 0. Received: -1.0"),
        ("learning_rate", math.inf, "`learning_rate` must be a number above 0. Received: inf"),
        ("learning_rate", math.nan, "`learning_rate` must be a number above 0. Received: nan"),
        ("clip_norm", 0.0, "`clip_norm` must be a number above 0. Received: 0.0"),
        ("warmup", 1.0, "`warmup` must be at least 0 and below 1. Received: 1.0"),
        ("warmup", -0.1, "`warmup` must be at least 0 and below 1. Received: -0.1"),
        ("ema", 1, "`ema` must be None or between 0 and 1. Received: 1"),
        ("ema", 0.0, "`ema` must be None or between 0 and 1. Received: 0.0"),
        (
            "class_weight",
            "even",
            "`class_weight` must be None or \"balanced\". Received: 'even'",
        ),
        ("seed", -1, "`seed` must be a whole number from 0 to 2³² − 1. Received: -1"),
        ("seed", 0.5, "`seed` must be a whole number from 0 to 2³² − 1. Received: 0.5"),
        ("seed", 2**32, "`seed` must be a whole number from 0 to 2³² − 1. Received: 4294967296"),
        ("seed", True, "`seed` must be a whole number from 0 to 2³² − 1. Received: True"),
        ("epochs", True, "`epochs` must be a whole number of at least 1. Received: True"),
        ("batch_size", True, "`batch_size` must be a whole number of at least 1. Received: True"),
        ("patience", True, "`patience` must be a whole number of at least 1. Received: True"),
        ("learning_rate", "1", "`learning_rate` must be a number above 0. Received: '1'"),
    ],
)
def test_settings_out_of_range(setting, value, message):
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fit_model(model, *data(), **{setting: value})
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_settings_at_their_limits():
    check_fit_settings(
        epochs=None, batch_size=1, learning_rate=1e-9, warmup=0.0, clip_norm=1e-9, ema=0.999,
        class_weight="balanced", patience=1, seed=0,
    )  # fmt: skip


def test_numbers_of_numpy_are_numbers():
    """As a search over settings gives them."""
    fit_model(
        Recorder(network(), train=False).model, *data(),
        epochs=np.int64(1), batch_size=np.int32(64), learning_rate=np.float64(0.01),
        warmup=np.float32(0.5), seed=np.int64(2),
    )  # fmt: skip


def test_few_texts_that_are_all_right_do_not_make_a_network_certain():
    """24 texts, all right at 0.7: their mean cross-entropy alone would fall for ever."""
    labels = np.arange(24) % 2
    probabilities = np.where(np.eye(2)[labels] == 1, 0.7, 0.3)
    temperature, _ = fit_temperature(probabilities, labels)
    sharpened = 0.7 ** (1 / temperature) / (0.7 ** (1 / temperature) + 0.3 ** (1 / temperature))
    assert sharpened == pytest.approx(25 / 26, abs=1e-3)  # Platt's (n + 1) / (n + 2)
