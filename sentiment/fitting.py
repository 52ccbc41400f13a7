"""Encoded texts and a built network → a fitted, calibrated network.

Batches hold texts of similar length, the learning rate warms up and then falls along a cosine, the
weights of the best validation epoch are kept, and the probabilities are calibrated at the end.  A
checkpoint after every epoch holds all state, so a run that was killed ends as if it had not been.
"""

import contextlib
import hashlib
import math
import numbers
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sentiment.checkpoints import (
    identity_of,
    read_checkpoint,
    training_state,
    write_checkpoint,
)
from sentiment.metrics import negative_log_likelihood
from sentiment.models import check_at_least_one, is_whole
from sentiment.ngrams import NgramTable, ngram_scores
from sentiment.preprocessing import pad_sequences

EVALUATION_BATCH = 256
# Texts are sorted by length within groups of this many batches: wide enough for good shuffling,
# and almost nothing is padding.
BUCKET_BATCHES = 50


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave.

    Attributes:
        epoch: number of the epoch, from 1.
        loss: mean training loss, dropout included.
        validation_loss: mean cross-entropy on the validation texts, in nats, at the temperature
            that suits them best.  So an epoch is judged by what it will be after calibration: a
            network that is right more often is not passed over for being too sure of itself.
        validation_accuracy: share of validation texts labelled right.
        seconds: time the epoch took.
    """

    epoch: int
    loss: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """What fitting gave.

    Attributes:
        history: one report per epoch.
        best_epoch: the epoch whose weights the network has now.
        temperature: what the logits were divided by to calibrate the probabilities.
        stopped_early: whether validation had stopped improving before the last epoch.
    """

    history: tuple[EpochReport, ...]
    best_epoch: int
    temperature: float
    stopped_early: bool


def default_epochs(texts: int, batch_size: int) -> int:
    """Epochs that come to about 1,000 updates, at least 3 and at most 20."""
    return max(3, min(20, math.ceil(1000 / math.ceil(texts / batch_size))))


def bucketed_batches(
    lengths: Sequence[int], batch_size: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Shuffle texts into batches of similar length.

    Args:
        lengths: ids per text.
        batch_size: texts per batch; the last one may have fewer.
        generator: where the order comes from.

    Returns:
        Arrays of positions; each position occurs once.
    """
    lengths = np.asarray(lengths)
    order = generator.permutation(len(lengths))
    bucket = batch_size * BUCKET_BATCHES
    batches = []
    for start in range(0, len(order), bucket):
        positions = order[start : start + bucket]
        positions = positions[np.argsort(lengths[positions], kind="stable")]
        batches += [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def pad_batch(token_ids: Sequence[Sequence[int]], positions: Sequence[int]) -> np.ndarray:
    """The rows at `positions`, padded on the right to the longest: int32 (batch, time)."""
    return pad_sequences([token_ids[i] for i in positions], padding="post")


def predict_token_ids(model: keras.Model, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
    """Probabilities of a Keras model, in batches of similar length.

    Args:
        model: a built model.
        token_ids: ids of each text.

    Returns:
        float32 (texts, num_classes), in the order of `token_ids`.
    """
    order = np.argsort([len(ids) for ids in token_ids], kind="stable")
    result = np.zeros((len(token_ids), model.output_shape[-1]), "float32")
    for start in range(0, len(order), EVALUATION_BATCH):
        positions = order[start : start + EVALUATION_BATCH]
        result[positions] = model.predict_on_batch(pad_batch(token_ids, positions))
    return result


def fit_model(
    model: keras.Model,
    train_ids: Sequence[Sequence[int]],
    train_labels: np.ndarray,
    validation_ids: Sequence[Sequence[int]],
    validation_labels: np.ndarray,
    *,
    epochs: int = 5,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    warmup: float = 0.1,
    clip_norm: float = 1.0,
    ema: float | None = None,
    class_weight: str | None = None,
    patience: int = 3,
    seed: int = 0,
    ngrams: NgramTable | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    on_epoch: Callable[[EpochReport], None] | None = None,
    progress: bool = False,
) -> FitResult:
    """Fit a network in place, restore its best weights, calibrate it.

    Args:
        model: a built model with at least two outputs.
        train_ids: ids of each training text.
        train_labels: int (texts,), index of each training text's label.
        validation_ids: ids of the texts that decide on the best epoch and on calibration.
        validation_labels: their labels.
        epochs: the most passes over the training texts.
        batch_size: texts per update.
        learning_rate: Adam's peak learning rate, reached after the warm-up.
        warmup: share of all updates over which the learning rate rises from zero.
        clip_norm: the gradient is scaled down to this norm.
        ema: if given, the weights used are their running average with this decay, such as 0.99.
        class_weight: `"balanced"` weighs each text by the rarity of its label; `None` does not.
        patience: stop after this many epochs without a lower validation loss.
        seed: of the order of batches.  Dropout and first weights follow the builder's seed.
        ngrams: the table of a network that has one; it joins in at the end, weighed by the
            validation texts: on the training texts, which it was made from, it is too sure.
        checkpoint: file that keeps all state after every epoch; removed at the end by the caller.
        resume: go on from `checkpoint` where it exists.
        callbacks: Keras callbacks that listen to epochs, such as `CSVLogger` and `TensorBoard`.
        on_epoch: called with each finished epoch's report.
        progress: whether to show a progress bar on standard error.

    Returns:
        History, best epoch and temperature.

    Raises:
        ValueError: a number is out of range, or `checkpoint` is damaged or belongs to other data or
            settings.
        FloatingPointError: the loss is no longer a number.
    """
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "warmup": warmup,
        "clip_norm": clip_norm,
        "ema": ema,
        "class_weight": class_weight,
        "patience": patience,
        "seed": seed,
    }
    check_fit_settings(**settings)
    train_labels = np.asarray(train_labels, "int32")
    steps = math.ceil(len(train_ids) / batch_size)
    optimizer = adam(steps * epochs, learning_rate, warmup=warmup, clip_norm=clip_norm, ema=ema)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    optimizer.build(model.trainable_variables)
    weights = _class_weights(train_labels, class_weight)

    start = [hashlib.sha256(weight.tobytes()).hexdigest() for weight in model.get_weights()]
    identity = identity_of(
        model, start, train_ids, train_labels, validation_ids, validation_labels, settings
    )
    state = _State(model, optimizer, identity, checkpoint)
    state.compile_for_any_shape()
    if resume and checkpoint is not None and checkpoint.exists():
        state.read()
    lengths = [len(ids) for ids in train_ids]
    with _listening(callbacks, model) as listeners:
        while len(state.history) < epochs and not state.out_of_patience(patience):
            epoch = len(state.history) + 1
            listeners.on_epoch_begin(epoch - 1)
            started = time.perf_counter()
            loss, seen = 0.0, 0
            batches = bucketed_batches(lengths, batch_size, np.random.default_rng([seed, epoch]))
            with _bar(f"epoch {epoch}/{epochs}", len(batches), progress) as bar:
                for positions in batches:
                    labels = train_labels[positions]
                    token_ids = pad_batch(train_ids, positions)
                    batch_loss = float(model.train_on_batch(token_ids, labels, weights[labels]))
                    model.reset_metrics()  # else the next value is a running mean
                    check_value("training loss", batch_loss, f"epoch {epoch}")
                    loss += batch_loss * len(positions)
                    seen += len(positions)
                    bar.set_postfix(loss=f"{loss / seen:.4f}", refresh=False)
                    bar.update()
            with _averaged(model, optimizer, ema):
                probabilities = predict_token_ids(model, validation_ids)
                report = EpochReport(
                    epoch,
                    loss / seen,
                    fit_temperature(probabilities, validation_labels)[1],
                    float((probabilities.argmax(1) == validation_labels).mean()),
                    time.perf_counter() - started,
                )
                averaged = model.get_weights()
                largest = max(float(np.abs(weight).max()) for weight in averaged)
                check_value("validation loss", report.validation_loss, f"epoch {epoch}")
                check_value("largest weight", largest, f"epoch {epoch}")  # the loss may stay finite
                state.add(report, averaged)
            state.write()
            logs = asdict(report)
            del logs["epoch"]  # Keras passes it by itself
            listeners.on_epoch_end(epoch - 1, logs)
            if on_epoch is not None:
                on_epoch(report)

    model.set_weights(state.best_weights)
    temperature = finish(model, ngrams, validation_ids, validation_labels)
    return FitResult(
        tuple(state.history), state.best_epoch, temperature, len(state.history) < epochs
    )


def finish(
    model: keras.Model,
    ngrams: NgramTable | None,
    validation_ids: Sequence[Sequence[int]],
    validation_labels: np.ndarray,
) -> float:
    """Make a fitted network what is saved: embeddings rounded, n-grams joined, calibrated.

    Args:
        model: the network, changed in place.
        ngrams: the table of a network that has one.
        validation_ids: ids of texts that neither was fitted on.
        validation_labels: int (texts,).

    Returns:
        The temperature.
    """
    _round_embeddings(model)
    if ngrams is not None:
        join_ngrams(model, ngrams, validation_ids, validation_labels)
    probabilities = predict_token_ids(model, validation_ids)
    temperature, _ = fit_temperature(probabilities, validation_labels)
    calibrate(model, temperature)
    return temperature


def adam(
    steps: int, learning_rate: float, *, warmup: float, clip_norm: float, ema: float | None
) -> keras.optimizers.Adam:
    """Adam for a run of `steps` updates, with settings as `fit_model` has them."""
    warmup_steps = int(steps * warmup)
    return keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(
            0.0 if warmup_steps else learning_rate,
            max(1, steps - warmup_steps),
            warmup_target=learning_rate if warmup_steps else None,
            warmup_steps=warmup_steps,
        ),
        global_clipnorm=clip_norm,
        use_ema=ema is not None,
        ema_momentum=ema if ema is not None else 0.99,
    )


def check_fit_settings(
    *,
    epochs: int | None,
    batch_size: int,
    learning_rate: float,
    warmup: float,
    clip_norm: float,
    ema: float | None,
    class_weight: str | None,
    patience: int,
    seed: int,
) -> None:
    """Raise `ValueError` for the first setting of `fit_model` that is out of range."""
    for name, value in {"epochs": epochs, "batch_size": batch_size, "patience": patience}.items():
        if name == "epochs" and value is None:
            continue
        check_at_least_one(name, value)
    for name, value in {"learning_rate": learning_rate, "clip_norm": clip_norm}.items():
        if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be a number above 0. Received: {value!r}")
    if not isinstance(warmup, numbers.Real) or not 0 <= warmup < 1:
        raise ValueError(f"`warmup` must be at least 0 and below 1. Received: {warmup!r}")
    if ema is not None and not (isinstance(ema, numbers.Real) and 0 < ema < 1):
        raise ValueError(f"`ema` must be None or between 0 and 1. Received: {ema!r}")
    if class_weight not in (None, "balanced"):
        raise ValueError(f'`class_weight` must be None or "balanced". Received: {class_weight!r}')
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be a whole number from 0 to 2³² − 1. Received: {seed!r}")


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The temperature under which the labels are the most likely.

    The labels are smoothed as if each had been seen once more: few texts that are all right are no
    reason to become certain.  With thousands of texts that changes nothing.

    Args:
        probabilities: float (texts, num_classes), uncalibrated.
        labels: int (texts,).

    Returns:
        The temperature, within 0.05…20 and above 1 where the network was too sure of itself; and
        the mean cross-entropy at it, in nats.

    Source: Guo et al., "On calibration of modern neural networks" (2017), section 4.2; smoothing:
    Platt, "Probabilistic outputs for support vector machines" (1999), section 2.2.
    """
    from scipy.optimize import minimize_scalar

    logits, truth = _logits_and_truth(probabilities, labels)

    def log_likelihoods(log_temperature: float) -> np.ndarray:
        scaled = logits / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))

    found = minimize_scalar(
        lambda x: -(truth * log_likelihoods(x)).sum(axis=1).mean(),
        bounds=(math.log(0.05), math.log(20)),
        method="bounded",
    )
    calibrated = np.exp(log_likelihoods(found.x))
    return math.exp(found.x), negative_log_likelihood(calibrated, labels)


def _logits_and_truth(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of uncalibrated answers, and labels smoothed as `fit_temperature` says.

    Both float64 (texts, num_classes).
    """
    logits = np.log(np.maximum(probabilities.astype("float64"), 1e-30))
    texts, num_classes = logits.shape
    return logits, (texts * np.eye(num_classes)[labels] + 1) / (texts + num_classes)


def join_ngrams(
    model: keras.Model,
    table: NgramTable,
    token_ids: Sequence[Sequence[int]],
    labels: np.ndarray,
) -> None:
    """Fill a network's table of n-grams, and weigh both so that the labels are most likely.

    Args:
        model: a network whose table is empty.
        table: what fills it.
        token_ids: ids of texts that the table was not made from.
        labels: int (texts,).
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    logits, truth = _logits_and_truth(predict_token_ids(model, token_ids), labels)
    scores = ngram_scores(pad_batch(token_ids, range(len(token_ids))), table)

    def loss(values: np.ndarray) -> float:
        joined = values[0] * logits + scores[:, None] * values[1:]
        return -(truth * log_softmax(joined, axis=1)).sum(axis=1).mean() + 1e-4 * values @ values

    start = np.r_[1.0, np.zeros(logits.shape[1])]
    share, *weights = minimize(loss, start, method="L-BFGS-B").x
    model.get_layer("ngrams").set_table(table)
    output = model.get_layer("probabilities")
    kernel, bias = (share * weight for weight in output.get_weights())
    kernel[-1] = weights
    output.set_weights([kernel, bias])


def calibrate(model: keras.Model, temperature: float) -> None:
    """Divide the logits by `temperature` for good, by scaling the output layer's weights.

    So every copy of the network is calibrated: Keras, ONNX, NumPy.
    """
    output = model.get_layer("probabilities")
    output.set_weights([weight / np.float32(temperature) for weight in output.get_weights()])


def _round_embeddings(model: keras.Model) -> None:
    """Round embeddings to values that float16 holds, so that they are stored at half the size.

    Done before calibration and measuring: what is measured is what is saved.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            layer.set_weights([w.astype("float16").astype("float32") for w in layer.get_weights()])


def compile_for_any_shape(
    model: keras.Model, variables: Sequence[Any], run: Callable[[np.ndarray], None]
) -> None:
    """Let TensorFlow compile a network's functions before the first batch, changing nothing.

    It compiles the first shape alone and the second for all others, and the two round differently:
    a resumed run, whose first batch is another, would end with other weights.

    Args:
        model: the network.
        variables: all that running changes.
        run: runs the functions on token ids, int32 (batch, time).
    """
    before = [np.array(variable) for variable in variables]
    for size in (1, 2):
        run(np.ones((size, size), "int32"))
    model.reset_metrics()
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)


def _class_weights(labels: np.ndarray, class_weight: str | None) -> np.ndarray:
    """Weight of each label, float32 (num_classes,); their mean over the texts is one."""
    counts = np.bincount(labels)
    if class_weight is None:
        return np.ones(len(counts), "float32")
    return (len(labels) / (len(counts) * np.maximum(counts, 1))).astype("float32")


def check_value(name: str, value: float, when: str) -> None:
    """Refuse what has diverged: numbers that are infinite, or that no float16 holds."""
    if not value <= float(np.finfo("float16").max):  # as a float16, `value` itself would overflow
        raise FloatingPointError(
            f"The {name} became {value:.3g} in {when}; try a lower learning rate."
        )


@contextlib.contextmanager
def _listening(
    callbacks: Sequence[keras.callbacks.Callback], model: keras.Model
) -> Iterator[keras.callbacks.CallbackList]:
    """Callbacks, told when training begins and ends; also when it is interrupted."""
    listeners = keras.callbacks.CallbackList(list(callbacks), model=model)
    listeners.on_train_begin()
    try:
        yield listeners
    finally:
        listeners.on_train_end()


@contextlib.contextmanager
def _averaged(model: keras.Model, optimizer: Any, ema: float | None) -> Iterator[None]:
    """Within the block the model has its averaged weights, if there are any."""
    if ema is None:
        yield
        return
    current = model.get_weights()
    optimizer.finalize_variable_values(model.trainable_variables)
    yield
    model.set_weights(current)


def _bar(description: str, total: int, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(desc=description, total=total, disable=not shown, leave=False, unit="batch")


class _State:
    """All that a run needs to go on: weights, optimiser, dropout seeds, history, best weights."""

    def __init__(self, model: keras.Model, optimizer: Any, identity: str, path: Path | None):
        self._model = model
        self._optimizer = optimizer
        self._identity = identity
        self._path = path
        self.history: list[EpochReport] = []
        self.best_epoch = 0
        self.best_weights: list[np.ndarray] = []

    def add(self, report: EpochReport, weights: list[np.ndarray]) -> None:
        """Note an epoch, and its weights if it is the best."""
        best = min((r.validation_loss for r in self.history), default=math.inf)
        self.history.append(report)
        if report.validation_loss < best:
            self.best_epoch, self.best_weights = report.epoch, weights

    def out_of_patience(self, patience: int) -> bool:
        return len(self.history) - self.best_epoch >= patience

    def _variables(self) -> list[Any]:
        return training_state(self._model, self._optimizer)

    def compile_for_any_shape(self) -> None:
        """Compile update and prediction, see `compile_for_any_shape`."""

        def run(token_ids: np.ndarray) -> None:
            size = len(token_ids)
            self._model.train_on_batch(token_ids, np.zeros(size, "int32"), np.ones(size, "float32"))
            self._model.predict_on_batch(token_ids)

        compile_for_any_shape(self._model, self._variables(), run)

    def write(self) -> None:
        """Write the checkpoint, if there is a place for it."""
        if self._path is None:
            return
        header = {
            "best_epoch": self.best_epoch,
            "history": [asdict(report) for report in self.history],
        }
        arrays = {f"state_{i}": np.asarray(v) for i, v in enumerate(self._variables())}
        arrays |= {f"best_{i}": w for i, w in enumerate(self.best_weights)}
        write_checkpoint(self._path, self._identity, header, arrays)

    def read(self) -> None:
        """Take everything from the checkpoint."""
        header, arrays = read_checkpoint(self._path, self._identity)
        for i, variable in enumerate(self._variables()):
            variable.assign(arrays[f"state_{i}"])
        self.best_weights = [arrays[f"best_{i}"] for i in range(len(self._model.get_weights()))]
        self.best_epoch = header["best_epoch"]
        self.history = [EpochReport(**report) for report in header["history"]]
