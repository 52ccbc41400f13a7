"""Fitting by steps: schedule, averaging, reports, and runs that were killed."""

import math
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from sentiment import stepwise
from sentiment.checkpoints import write_checkpoint
from sentiment.models import build_model
from sentiment.stepwise import StepReport, fit_steps

WORDS, CLASSES = 8, 3
CROSSENTROPY = "categorical_crossentropy"


class Killed(Exception):
    """In the place of a signal."""


def bag() -> keras.Model:
    """Softmax of the sum of the words' vectors: nothing that takes long to compile."""
    ids = keras.Input((None,), dtype="int32")
    start = keras.initializers.GlorotUniform(seed=1)
    vectors = keras.layers.Embedding(WORDS, CLASSES, embeddings_initializer=start)(ids)
    return keras.Model(ids, keras.layers.Softmax()(keras.ops.sum(vectors, axis=1)))


def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Two to five texts of one to nine words, and random labels; the same at every call."""
    generator = np.random.default_rng(step)
    texts, length = 2 + step % 4, 1 + step * 4 % 9
    ids = generator.integers(0, WORDS, (texts, length)).astype("int32")
    return ids, np.eye(CLASSES, dtype="float32")[generator.integers(CLASSES, size=texts)]


class Watched:
    """Gives batches, and notes what the network was before each."""

    def __init__(self, model: keras.Model):
        self.model = model
        self.weights: dict[int, np.ndarray] = {}
        self.rates: dict[int, float] = {}

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        self.weights[step] = self.model.get_weights()[0]
        self.rates[step] = float(self.model.optimizer.learning_rate)
        return batch(step)

    def losses(self) -> list[float]:
        """Cross-entropy of each step, by NumPy."""
        found = []
        for step, weights in self.weights.items():
            ids, targets = batch(step)
            logits = weights[ids].sum(axis=1)
            found.append(float((np.log(np.exp(logits).sum(1)) - (targets * logits).sum(1)).mean()))
        return found


# ------------------------------------------------------------------------------------------ updates


def test_learning_rate_rises_and_falls():
    watched = Watched(bag())
    fit_steps(watched.model, watched, loss=CROSSENTROPY, steps=20, learning_rate=0.5, warmup=0.2)
    assert list(watched.rates) == list(range(20))
    rising = [0.5 * step / 4 for step in range(4)]
    falling = [0.25 * (1 + math.cos(math.pi * step / 16)) for step in range(16)]
    np.testing.assert_allclose([*watched.rates.values()], rising + falling, rtol=1e-5, atol=1e-7)


def test_first_update_is_adams():
    """Each weight with a gradient moves by the learning rate, against its sign."""
    watched = Watched(bag())
    fit_steps(watched.model, watched, loss=CROSSENTROPY, steps=2, learning_rate=0.25)
    ids, targets = batch(0)
    before, after = watched.weights.values()
    logits = before[ids].sum(axis=1)
    errors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - targets
    gradient = np.zeros_like(before)
    for row, error in zip(ids, errors, strict=True):
        np.add.at(gradient, row, error / len(ids))
    assert (gradient != 0).any(axis=1).tolist() == np.isin(range(WORDS), ids).tolist()
    np.testing.assert_allclose(after - before, -0.25 * np.sign(gradient), atol=1e-4)


def test_without_an_average_the_last_weights_stay():
    runs = []
    for ema in (None, 1e-9):
        model = bag()
        fit_steps(model, batch, loss=CROSSENTROPY, steps=3, learning_rate=0.1, ema=ema)
        runs.append(model.get_weights()[0])
    np.testing.assert_allclose(*runs, rtol=1e-6)


def test_averaged_weights_stand_at_the_end():
    """The first average is the weights after the first update."""
    watched = Watched(bag())
    options = {"loss": CROSSENTROPY, "steps": 5, "learning_rate": 0.1}
    fit_steps(watched.model, watched, **options, ema=0.7)
    last = bag()
    fit_steps(last, batch, **options)
    _, first, *others = [*watched.weights.values(), last.get_weights()[0]]
    average = first
    for weights in others:
        average = 0.7 * average + 0.3 * weights
    (found,) = watched.model.get_weights()
    np.testing.assert_allclose(found, average, rtol=1e-5)
    assert np.abs(found - others[-1]).max() > 0.01


def test_what_layers_add_is_the_loss_where_there_is_none():
    class Far(keras.layers.Layer):
        """Adds the squared distance of the vectors from 1."""

        def call(self, vectors):
            self.add_loss(keras.ops.mean((vectors - 1) ** 2))
            return vectors

    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, Far()(keras.layers.Embedding(2, 2)(ids)))
    reports = []
    fit_steps(
        model,
        lambda _: (np.array([[0, 1]], "int32"), None),
        loss=None,
        steps=40,
        learning_rate=0.2,
        on_report=reports.append,
    )
    assert reports[0].loss == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(model.get_weights()[0], 1, atol=0.1)


# ------------------------------------------------------------------------------------------ reports


def test_reports_come_evenly_with_mean_losses():
    watched, reports = Watched(bag()), []
    options = {"loss": CROSSENTROPY, "steps": 50, "learning_rate": 0.1}
    fit_steps(watched.model, watched, **options, on_report=reports.append)
    steps = [report.step for report in reports]
    assert steps == [math.ceil(50 * i / 20) for i in range(1, 21)]
    losses = watched.losses()
    for before, report in zip([0, *steps], reports, strict=False):
        assert report.loss == pytest.approx(np.mean(losses[before : report.step]), rel=1e-5)
    assert {report.steps for report in reports} == {50}
    seconds = [report.seconds for report in reports]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1] < 300


def test_of_few_steps_each_is_reported():
    watched, reports = Watched(bag()), []
    options = {"loss": CROSSENTROPY, "steps": 3, "learning_rate": 0.1}
    fit_steps(watched.model, watched, **options, on_report=reports.append)
    assert reports == [
        StepReport(step, 3, pytest.approx(loss, rel=1e-5), report.seconds)
        for step, loss, report in zip((1, 2, 3), watched.losses(), reports, strict=True)
    ]


@pytest.mark.parametrize(("bad", "text"), [(math.inf, "inf"), (math.nan, "nan"), (1e6, "1e+06")])
def test_a_loss_that_is_no_number(bad, text):
    def diverging(step):
        ids, targets = batch(step)
        return ids, np.full_like(targets, bad if step == 2 else 0)

    message = f"The training loss became {text} in step 3; try a lower learning rate."
    with pytest.raises(FloatingPointError, match=f"^{re.escape(message)}$"):
        fit_steps(
            bag(),
            diverging,
            loss=lambda targets, p: keras.ops.max(targets, -1) + 0 * keras.ops.sum(p, -1),
            steps=5,
            learning_rate=0.1,
        )


# ---------------------------------------------------------------------------- runs that were killed

STEPS = 6
SIZES = ((3, 7), (4, 5), (3, 2), (5, 9), (4, 7), (3, 1))  # texts and words of each batch


def everything(path: Path | None = None, kill_at: int | None = None, **more):
    """A run with all that holds state; gives the weights it ends with."""
    model = build_model(
        "rnn", WORDS, CLASSES, seed=3, embedding_dim=3, units=4, pooling="max+mean",
        word_dropout=0.2, dropout=0.3, recurrent_dropout=0.2,
    )  # fmt: skip

    def batch_at(step):
        if step == kill_at:
            raise Killed
        generator = np.random.default_rng(step)
        ids = generator.integers(1, WORDS, SIZES[step]).astype("int32")
        return ids, np.eye(CLASSES, dtype="float32")[ids[:, 0] % CLASSES]

    fit_steps(
        model,
        batch_at,
        loss=CROSSENTROPY,
        steps=STEPS,
        learning_rate=0.05,
        ema=0.9,
        checkpoint=path,
        identity="me",
        **more,
    )
    return model.get_weights()


@pytest.fixture
def every_step(monkeypatch):
    """Checkpoints after every step."""
    monkeypatch.setattr(stepwise, "CHECKPOINT_SECONDS", -1)


@pytest.mark.usefixtures("every_step")
def test_resumed_run_ends_as_if_it_had_not_been_killed(tmp_path):
    path = tmp_path / "kept" / "run.npz"
    with pytest.raises(Killed):
        everything(path, kill_at=4)
    assert [p.name for p in path.parent.iterdir()] == ["run.npz"]
    reports = []
    found = everything(path, on_report=reports.append)
    assert [report.step for report in reports] == [5, 6]
    for weights, expected in zip(found, everything(), strict=True):
        np.testing.assert_array_equal(weights, expected)
    assert path.exists()  # until what it gave is kept elsewhere


AVERAGED = {"loss": CROSSENTROPY, "steps": 4, "learning_rate": 0.1, "ema": 0.5, "identity": "me"}


@pytest.mark.usefixtures("every_step")
def test_a_run_that_was_killed_at_its_very_end(tmp_path):
    """The checkpoint is complete; the averaged weights are still to be taken."""
    path, whole, again, reports = tmp_path / "run.npz", bag(), bag(), []
    fit_steps(whole, batch, **AVERAGED, checkpoint=path)
    fit_steps(again, batch, **AVERAGED, checkpoint=path, on_report=reports.append)
    np.testing.assert_array_equal(again.get_weights()[0], whole.get_weights()[0])
    assert reports == []


def test_another_runs_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    write_checkpoint(path, "you", {"step": 2}, {})
    message = (
        f"The checkpoint {path} belongs to other data or settings. Repeat the command that made "
        "it, or leave --resume out to start again."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fit_steps(bag(), batch, **AVERAGED, checkpoint=path)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=f"^The checkpoint {re.escape(str(path))} cannot be read"):
        fit_steps(bag(), batch, **AVERAGED, checkpoint=path)
    assert path.read_bytes() == b"damaged"


def test_checkpoints_are_a_minute_apart(tmp_path, monkeypatch):
    """With a clock that goes on by 25 seconds a step."""
    written, clock = [], iter(range(0, 10_000, 25))
    monkeypatch.setattr(stepwise.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(
        stepwise, "write_checkpoint", lambda *args: written.append((args[1], args[2]["step"]))
    )
    path = tmp_path / "run.npz"
    options = {"loss": CROSSENTROPY, "steps": 10, "learning_rate": 0.1, "identity": "me"}
    fit_steps(bag(), batch, **options, checkpoint=path)
    assert written == [("me", 3), ("me", 6), ("me", 9)]
    fit_steps(bag(), batch, **options)
    assert len(written) == 3
