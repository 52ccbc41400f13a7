"""How far back a network remembers: gradients over distance, and a word to be recalled.

Two measurements.  The gradient of the answer with respect to the word d words before the end says
how much that word still counts, and how well training can learn from it; where it vanishes, nothing
can be learned.  In the recall task all that matters is the first of many words, and it is counted
how often a network, after a short training, still knows it at the end.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sentiment.classifier import SentimentClassifier
from sentiment.data import Splits, TableWriter
from sentiment.fitting import EpochReport, pad_batch
from sentiment.models import build_model, check_at_least_one, settings_it_has
from sentiment.plots import save_gradient_plot, save_recall_plot
from sentiment.preprocessing import review_words

GRADIENTS_FILE, RECALL_FILE = "gradients.csv", "recall.csv"
GRADIENTS_PICTURE, RECALL_PICTURE = "gradients.png", "recall.png"
FILES = (GRADIENTS_FILE, RECALL_FILE, GRADIENTS_PICTURE, RECALL_PICTURE)  # of `write_memory`

DISTANCES = 400  # words before the end that gradients are measured for: what a network reads
GRADIENT_BATCH = 32
_QUANTILES = ("median", "low", "high")
RECALL_DISTANCES = (10, 25, 50, 100, 200, 400)
SENTIMENT_WORDS, NEUTRAL_WORDS = 8, 500  # ids 1…8, odd ones negative, then 9…508
# One schedule for all networks.
RECALL_NETWORK = {
    "units": 32,
    "embedding_dim": 32,
    "pooling": "last",
    "word_dropout": 0.0,
    "dropout": 0.0,
}
RECALL_BATCH, RECALL_LEARNING_RATE, RECALL_CLIP_NORM = 32, 3e-3, 1.0
LEARNED_LOSS, LEARNED_BATCHES = 0.05, 20  # training ends after so many batches in a row below it


@dataclass(frozen=True)
class GradientNorms:
    """Norms of the gradient of the answer, by distance from the end.

    Norms spread over orders of magnitude from text to text, so their mean is that of the few
    largest; the median is the text in the middle, also on a logarithmic axis and with zeros.

    Attributes:
        texts: number of texts measured.
        median: per distance, the norm in the middle text, log-odds per unit of word vector.
        low, high: per distance, the norms that a tenth of the texts are below and above.
    """

    texts: int
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Recall:
    """Share of first words recalled, by the number of neutral words after them; chance is ½.

    Attributes:
        sequences: fresh sequences per distance and seed.
        distances: neutral words after the first.
        alone: per seed and distance, the share recalled by a network that was trained at this
            distance alone: how far training reaches.
        mixed: per seed and distance, the share recalled by one network that was trained at
            distances from the smallest to the largest: how far a memory reaches that has learned
            from near words too.
    """

    sequences: int
    distances: tuple[int, ...]
    alone: tuple[tuple[float, ...], ...]
    mixed: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class MemoryReport:
    """What `measure_memory` found; `MemoryReport(**json.loads(…))` reads what JSON has kept.

    Attributes:
        model: name of the builder.
        texts: test reviews that gradients were measured on.
        distances: words before the end, from 0, in the order of the norms.
        untrained_median, untrained_low, untrained_high: norms with the first weights, see
            `GradientNorms`.
        trained_median, trained_low, trained_high: norms after training.
        trained_accuracy: on the validation reviews, after that training.
        recall_sequences, recall_distances, recall_alone, recall_mixed: see `Recall`.
        seconds: processor time of all of it.
    """

    model: str
    texts: int
    distances: tuple[int, ...]
    untrained_median: tuple[float, ...]
    untrained_low: tuple[float, ...]
    untrained_high: tuple[float, ...]
    trained_median: tuple[float, ...]
    trained_low: tuple[float, ...]
    trained_high: tuple[float, ...]
    trained_accuracy: float
    recall_sequences: int
    recall_distances: tuple[int, ...]
    recall_alone: tuple[tuple[float, ...], ...]
    recall_mixed: tuple[tuple[float, ...], ...]
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.model}: validation accuracy {self.trained_accuracy:.2%} after training, "
            f"measured in {self.seconds:.1f} s"
        )


def gradient_by_distance(
    model: keras.Model, token_ids: Sequence[Sequence[int]], *, distances: int = DISTANCES
) -> GradientNorms:
    """How much the answer changes with the word d words before the end, for d = 0, 1, ….

    The answer is the log-odds of the predicted label against all others: unlike its probability,
    they do not saturate where the network is sure.  The norm is Euclidean, over the word's vector;
    dropout is off.

    Args:
        model: a network of `sentiment.models`.
        token_ids: ids of each text; texts with fewer than `distances` ids are left out.
        distances: for how many distances.

    Returns:
        Median and deciles over the texts.

    Raises:
        ValueError: `distances` is below 1, or every text is shorter.
    """
    check_at_least_one("distances", distances)
    rows = [row for row in token_ids if len(row) >= distances]
    if not rows:
        raise ValueError(
            f"Expected at least one text of {distances} words. Received: {len(token_ids)} texts, "
            f"the longest of {max(map(len, token_ids), default=0)}"
        )
    gradient_norms = _gradient_norms(model)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found = []
    for start in range(0, len(order), GRADIENT_BATCH):
        positions = order[start : start + GRADIENT_BATCH]
        norms = gradient_norms(tf.constant(pad_batch(rows, positions))).numpy()
        for row, position in zip(norms, positions, strict=True):
            found.append(row[: len(rows[position])][::-1][:distances])
    low, median, high = np.quantile(np.array(found, "float64"), (0.1, 0.5, 0.9), axis=0)
    return GradientNorms(len(rows), *(tuple(q.tolist()) for q in (median, low, high)))


def _gradient_norms(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Token ids (batch, time) → norms of the gradient with respect to each word's vector."""
    embedding, output = model.get_layer("embedding"), model.get_layer("probabilities")
    mask = model.get_layer("mask")
    above = keras.Model([embedding.output, mask.output], output.input)  # vectors → features

    @tf.function(input_signature=[tf.TensorSpec((None, None), "int32")])
    def norms(token_ids: tf.Tensor) -> tf.Tensor:
        vectors = embedding(token_ids)
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            features = above([vectors, mask(token_ids)], training=False)
            log_odds = _predicted_log_odds(tf.matmul(features, output.kernel) + output.bias)
        # A text's log-odds depend on its own vectors only: the sum's gradient is that of each.
        return tf.norm(tape.gradient(log_odds, vectors), axis=-1)

    return norms


def _predicted_log_odds(logits: tf.Tensor) -> tf.Tensor:
    """Logits (batch, num_classes) → log-odds of the likeliest label against all others."""
    if logits.shape[-1] == 1:  # a sigmoid: the other label's logit is zero
        logits = tf.concat([tf.zeros_like(logits), logits], axis=-1)
    best = tf.one_hot(tf.argmax(logits, -1), logits.shape[-1], on_value=True, off_value=False)
    others = tf.where(best, logits.dtype.min, logits)
    return tf.reduce_max(logits, axis=-1) - tf.reduce_logsumexp(others, axis=-1)


def recall_sequences(
    count: int, distance: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences whose label is that of their first word.

    Args:
        count: how many.
        distance: neutral words after the first.
        generator: where words and labels come from.

    Returns:
        Token ids, int32 (count, 1 + distance), and labels, int32 (count,).
    """
    labels = generator.integers(0, 2, count)
    first = 1 + 2 * generator.integers(0, SENTIMENT_WORDS // 2, count) + labels
    neutral = generator.integers(0, NEUTRAL_WORDS, (count, distance)) + SENTIMENT_WORDS + 1
    token_ids = np.concatenate([first[:, None], neutral], axis=1)
    return token_ids.astype("int32"), labels.astype("int32")


def measure_recall(
    name: str,
    *,
    seeds: int = 3,
    updates: int = 200,
    tests: int = 400,
    distances: Sequence[int] = RECALL_DISTANCES,
) -> Recall:
    """Train networks to recall the first word, and count how often they do.

    A word of eight, half of them negative, is followed by random ones that mean nothing.  The
    schedule is the same for all networks, and every batch is new; all sequences of a batch have the
    same length.

    Args:
        name: a builder.  Where it has the setting, it pools only the last state: another pooling
            would show the first word to the output directly.
        seeds: of weights and sequences: 0, 1, ….
        updates: the most batches to learn from; fewer where the task is learned before.
        tests: fresh sequences per distance.
        distances: neutral words after the first, ascending.

    Raises:
        ValueError: no builder has this name, or a number is below 1.
    """
    for setting, value in {"seeds": seeds, "updates": updates, "tests": tests}.items():
        check_at_least_one(setting, value)
    pupil = _Pupil(name)

    def accuracies(learned: Sequence[int], tested: Sequence[int], seed: int) -> list[float]:
        generator = np.random.default_rng([seed, *learned])
        pupil.learn(learned, updates, seed, generator)
        return [pupil.accuracy(distance, tests, generator) for distance in tested]

    span = (distances[0], distances[-1])
    alone = tuple(
        tuple(accuracies((d, d), (d,), seed)[0] for d in distances) for seed in range(seeds)
    )
    mixed = tuple(tuple(accuracies(span, distances, seed)) for seed in range(seeds))
    return Recall(tests, tuple(distances), alone, mixed)


class _Pupil:
    """A network that learns the recall task from nothing, again and again; compiled once."""

    def __init__(self, name: str):
        self._name = name
        self._model = self._network(0)
        self._optimizer = keras.optimizers.Adam(
            RECALL_LEARNING_RATE, global_clipnorm=RECALL_CLIP_NORM
        )
        self._model.compile(self._optimizer, "sparse_categorical_crossentropy")
        self._optimizer.build(self._model.trainable_variables)
        self._first_values = [np.array(variable) for variable in self._optimizer.variables]

    def _network(self, seed: int) -> keras.Model:
        settings = settings_it_has(self._name, RECALL_NETWORK)
        vocab_size = 1 + SENTIMENT_WORDS + NEUTRAL_WORDS
        return build_model(self._name, vocab_size, 2, seed=seed, **settings)

    def learn(
        self, span: Sequence[int], updates: int, seed: int, generator: np.random.Generator
    ) -> None:
        """Start anew, and learn at distances within a span, even on a logarithmic scale."""
        self._model.set_weights(self._network(seed).get_weights())
        for variable, value in zip(self._optimizer.variables, self._first_values, strict=True):
            variable.assign(value)
        learned = 0
        for _ in range(updates):
            distance = int(np.exp(generator.uniform(np.log(span[0]), np.log(span[-1] + 1))))
            sequences = recall_sequences(RECALL_BATCH, distance, generator)
            loss = float(self._model.train_on_batch(*sequences))
            self._model.reset_metrics()  # else the next value is a running mean
            learned = learned + 1 if loss < LEARNED_LOSS else 0
            if learned == LEARNED_BATCHES:
                return

    def accuracy(self, distance: int, tests: int, generator: np.random.Generator) -> float:
        """Share of fresh sequences that are labelled right."""
        token_ids, labels = recall_sequences(tests, distance, generator)
        return float((self._model.predict_on_batch(token_ids).argmax(axis=1) == labels).mean())


def long_texts(
    texts: Sequence[str], *, words: int = DISTANCES, most: int = 128, seed: int = 0
) -> list[str]:
    """Some texts that are long enough to measure gradients on.

    Args:
        texts: reviews.
        words: the fewest words of each.
        most: how many to take.
        seed: of their choice and order.

    Raises:
        ValueError: no text has so many words.
    """
    found: list[str] = []
    longest = 0
    for position in np.random.default_rng([seed, 2]).permutation(len(texts)):
        length = len(review_words(texts[position]))
        longest = max(longest, length)
        if length >= words:
            found.append(texts[position])
        if len(found) == most:
            break
    if not found:
        raise ValueError(
            f"Expected at least one test review of {words} words. Received: {len(texts)} reviews, "
            f"the longest of {longest}"
        )
    return found


def measure_memory(
    name: str,
    splits: Splits,
    *,
    settings: Mapping[str, Any],
    seed: int = 0,
    texts: int = 128,
    distances: int = DISTANCES,
    recall: Mapping[str, Any] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> MemoryReport:
    """Measure a builder's gradients before and after training on reviews, and its recall.

    Where the builder has the setting `pooling`, only the last state is pooled: otherwise every word
    has a direct way to the output, and nothing is seen of the recurrence.  A review longer than
    `max_length` is read as its head and tail; distances count the words that are read.

    Args:
        name: a builder.
        splits: reviews to train on; the test split gives the long ones that are measured.
        settings: of `SentimentClassifier`, such as `units` and `epochs`; neither `model` nor
            `seed`.
        seed: of everything random.
        texts: the most long test reviews to measure gradients on.
        distances: words before the end to measure gradients for.
        recall: settings of `measure_recall`.
        on_epoch: called with the report of each epoch of training.

    Raises:
        ValueError: a setting is unknown or out of range, `distances` exceeds the classifier's
            `max_length`, or no test review has that many words.
        FloatingPointError: training diverged.
    """
    started = time.process_time()
    last = settings_it_has(name, {"pooling": "last"})
    classifier = SentimentClassifier(name, **last | dict(settings), seed=seed)
    classifier.check_settings()
    check_at_least_one("texts", texts)
    check_at_least_one("distances", distances)
    if distances > classifier.max_length:
        raise ValueError(
            f"`distances` must be at most `max_length`, {classifier.max_length}. "
            f"Received: {distances}"
        )
    measured = long_texts(splits.test.texts, words=distances, most=texts, seed=seed)
    recalled = measure_recall(name, **(recall or {}))
    classifier.fit(
        splits.train.texts,
        splits.train.labels,
        validation=(splits.validation.texts, splits.validation.labels),
        on_epoch=on_epoch,
    )
    encoder, result = classifier.predictor_.encoder, classifier.result_
    token_ids = encoder.encode(measured).token_ids
    first = build_model(
        name,
        encoder.vocab_size,
        len(classifier.classes_),
        seed=seed,
        **classifier.builder_settings(),
    )
    untrained = gradient_by_distance(first, token_ids, distances=distances)
    trained = gradient_by_distance(classifier.model_, token_ids, distances=distances)
    return MemoryReport(
        model=name,
        texts=trained.texts,
        distances=tuple(range(distances)),
        untrained_median=untrained.median,
        untrained_low=untrained.low,
        untrained_high=untrained.high,
        trained_median=trained.median,
        trained_low=trained.low,
        trained_high=trained.high,
        trained_accuracy=result.history[result.best_epoch - 1].validation_accuracy,
        recall_sequences=recalled.sequences,
        recall_distances=recalled.distances,
        recall_alone=recalled.alone,
        recall_mixed=recalled.mixed,
        seconds=round(time.process_time() - started, 1),
    )


def write_memory(reports: Sequence[MemoryReport], folder: Path) -> list[Path]:
    """Write tables and pictures.

    Args:
        reports: one per builder.
        folder: where to; made if it is missing.

    Returns:
        The files: `gradients.csv` and `recall.csv`, one row per model and distance, and
        `gradients.png` and `recall.png`.

    Raises:
        ValueError: there are no reports.
    """
    if not reports:
        raise ValueError("Expected at least one report. Received none.")
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _write_table(folder / GRADIENTS_FILE, [row for r in reports for row in _gradient_rows(r)]),
        _write_table(folder / RECALL_FILE, [row for r in reports for row in _recall_rows(r)]),
        save_gradient_plot(folder / GRADIENTS_PICTURE, reports),
        save_recall_plot(folder / RECALL_PICTURE, reports),
    ]


def _write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with TableWriter(path, list(rows[0])) as table:
        table.write(rows)
    return path


def _gradient_rows(report: MemoryReport) -> list[dict[str, Any]]:
    names = [f"{when}_{what}" for when in ("untrained", "trained") for what in _QUANTILES]
    columns = zip(*(getattr(report, name) for name in names), strict=True)
    return [
        {"model": report.model, "distance": distance, "texts": report.texts}
        | dict(zip(names, norms, strict=True))
        for distance, norms in zip(report.distances, columns, strict=True)
    ]


def _recall_rows(report: MemoryReport) -> list[dict[str, Any]]:
    return [
        {
            "model": report.model,
            "trained_at": trained_at,
            "distance": distance,
            "seed": seed,
            "sequences": report.recall_sequences,
            "accuracy": accuracy,
        }
        for trained_at in ("alone", "mixed")
        for seed, accuracies in enumerate(getattr(report, f"recall_{trained_at}"))
        for distance, accuracy in zip(report.recall_distances, accuracies, strict=True)
    ]
