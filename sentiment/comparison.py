"""Many models on the same reviews, under the same conditions: trained, measured, ranked.

    plan     every builder gets the units that bring it closest to one budget of weights
    runs     made in processes of their own (`sentiment.workers`), and measured
    kept     each finished run is one file; a comparison that was interrupted goes on from them
    result   Comparison: CSV, a leaderboard in Markdown, a picture

What is measured is what users get: networks are trained through `SentimentClassifier` and answer
through ONNX Runtime.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment.data import Reviews, Splits, TableWriter, order_labels, partial_path
from sentiment.workers import with_bar

if TYPE_CHECKING:
    from sentiment import memory
    from sentiment.metrics import Evaluation

RUNS_FOLDER, MEMORY_FOLDER = "runs", "memory"
TABLE_FILE, LEADERBOARD_FILE, PICTURE_FILE = "comparison.csv", "comparison.md", "comparison.png"
FORMAT = 1  # of the files of runs; part of what makes two runs the same
REFERENCE_BUILDER, REFERENCE_UNITS = "lstm", 64  # whose weights are the default budget
REGULARISED_LIKE = "bilstm"  # the builder whose word dropout and dropout all others get
TIMED_TEXTS = 200  # test texts whose answers are timed, one by one


class ComparisonError(ValueError):
    """A comparison that cannot be made or go on; the message says what to do."""


# ------------------------------------------------------------------------------------- data types


@dataclass(frozen=True)
class Conditions:
    """What all runs of a comparison share.

    Attributes:
        source: name of the data.
        texts: split → number of reviews.
        sha256: split → hash of its reviews.
        num_classes: number of labels.
        parameters: weights outside the embedding that every builder comes closest to, or `None`
            where all have the same units.
        units: width of every recurrent state, or `None` where all have the same parameters.
        pooling: of the states, for builders that have the setting.
        word_dropout: share of words left out in training.
        dropout: share of features dropped in training.
        epochs: the most passes over the training texts.
        batch_size: texts per update.
    """

    source: str
    texts: dict[str, int]
    sha256: dict[str, str]
    num_classes: int
    parameters: int | None
    units: int | None
    pooling: str
    word_dropout: float
    dropout: float
    epochs: int
    batch_size: int

    def identity(self) -> str:
        """Hash of all this but the name of the source: runs with the same one can be compared."""
        return _hash([FORMAT, dataclasses.asdict(self) | {"source": ""}])

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {n:,}" for name, n in self.texts.items())
        budget = (
            f"{self.units} units each"
            if self.parameters is None
            else f"about {self.parameters:,} weights outside the embedding each"
        )
        return (
            f"{self.source}: {sizes} reviews; networks: {budget}, pooling {self.pooling}, "
            f"word dropout {self.word_dropout:g}, dropout {self.dropout:g}, at most "
            f"{self.epochs} epoch{'s' * (self.epochs != 1)}, batches of {self.batch_size}"
        )


@dataclass(frozen=True)
class Task:
    """One run to be made.

    Attributes:
        model: name of a builder or a baseline.
        seed: of everything random.
        settings: of `SentimentClassifier`; `None` for a baseline.
    """

    model: str
    seed: int
    settings: dict[str, Any] | None

    def __str__(self) -> str:
        return f"{self.model}, seed {self.seed}"

    @property
    def steps(self) -> int:
        """Steps of the progress bar: the epochs, and measuring."""
        return 1 + (self.settings or {"epochs": 0})["epochs"]

    def identity(self, conditions: Conditions) -> str:
        """Hash of all that the run's quality follows from."""
        return _hash([conditions.identity(), self.model, self.seed, self.settings])


@dataclass(frozen=True)
class Run:
    """What one run gave.

    Times are of one core's work, not of a clock on the wall: what else the machine does hardly
    changes them.

    Attributes:
        model: name of the builder or the baseline.
        seed: of everything random.
        baseline: whether it is a baseline.
        units: width of the recurrent state; `None` for a baseline.
        accuracy, macro_f1: on the test reviews.
        ece: expected calibration error there, 15 bins; `None` if the model gives no probabilities.
        brier: Brier score there, 0…2; `None` as `ece`.
        validation_accuracy: on the validation reviews.
        parameters: number of trained numbers.
        outside_embedding: those outside the embedding; `None` for a baseline.
        best_epoch: the epoch whose weights were kept; `None` for a baseline.
        epochs: epochs that were trained; `None` for a baseline.
        training_seconds: processor time of the whole fit: words counted, network compiled and
            trained, validation reviews read after each epoch, calibrated and exported.
        tokens_per_second: words read in training, padding not counted, over that time; `None` for a
            baseline.
        prediction_ms: median processor time of the answer to one text.
        model_mb: size of what is needed for prediction, vocabulary of a network left out, in 10⁶
            bytes.
    """

    model: str
    seed: int
    baseline: bool
    units: int | None
    accuracy: float
    macro_f1: float
    ece: float | None
    brier: float | None
    validation_accuracy: float
    parameters: int
    outside_embedding: int | None
    best_epoch: int | None
    epochs: int | None
    training_seconds: float
    tokens_per_second: float | None
    prediction_ms: float
    model_mb: float

    def __str__(self) -> str:
        error = "" if self.ece is None else f", calibration error {self.ece:.2%}"
        return (
            f"{self.model}, seed {self.seed}: accuracy {self.accuracy:.2%}{error}, "
            f"trained in {self.training_seconds:.1f} s"
        )


@dataclass(frozen=True)
class Standing:
    """One model's place: its runs with all seeds.

    Attributes:
        model: its name.
        runs: one for each seed.
    """

    model: str
    runs: tuple[Run, ...]

    def values(self, measure: str) -> list[float]:
        """A measure of each run that has it; `measure` is an attribute of `Run`."""
        found = (getattr(run, measure) for run in self.runs)
        return [value for value in found if value is not None]

    def mean(self, measure: str) -> float | None:
        """Mean of a measure over the seeds, or `None` if no run has it."""
        values = self.values(measure)
        return statistics.fmean(values) if values else None

    def deviation(self, measure: str) -> float | None:
        """Standard deviation of a measure over the seeds (n − 1), or `None` below two runs."""
        values = self.values(measure)
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """What a comparison gave.

    Attributes:
        conditions: what all runs share.
        runs: every run in the folder, those of earlier calls too, by model and seed.
    """

    conditions: Conditions
    runs: tuple[Run, ...]

    @property
    def standings(self) -> tuple[Standing, ...]:
        """The models, the one with the best mean accuracy first."""
        names = dict.fromkeys(run.model for run in self.runs)
        found = [
            Standing(name, tuple(run for run in self.runs if run.model == name)) for name in names
        ]
        return tuple(sorted(found, key=lambda s: (-s.mean("accuracy"), s.model)))

    def table(self) -> str:
        """The leaderboard as a Markdown table, one row a model, aligned for a terminal too."""
        titles = ["model", *(column.title for column in COLUMNS), "seeds"]
        rows = [
            [standing.model, *(c.cell(standing) for c in COLUMNS), str(len(standing.runs))]
            for standing in self.standings
        ]
        return _markdown(titles, rows)


@dataclass(frozen=True)
class _Column:
    """A column of the leaderboard: an attribute of `Run`, its format and scale."""

    title: str
    measure: str
    form: str
    scale: float = 1
    spread: bool = False

    def cell(self, standing: Standing) -> str:
        mean = standing.mean(self.measure)
        if mean is None:
            return "–"
        deviation = standing.deviation(self.measure) if self.spread else None
        values = [mean] if deviation is None else [mean, deviation]
        return " ± ".join(format(value * self.scale, self.form) for value in values)


COLUMNS = (
    _Column("accuracy %", "accuracy", ".2f", 100, spread=True),
    _Column("macro-F1", "macro_f1", ".4f"),
    _Column("calibration error %", "ece", ".2f", 100),
    _Column("parameters", "parameters", ",.0f"),
    _Column("outside embedding", "outside_embedding", ",.0f"),
    _Column("training tokens/s", "tokens_per_second", ",.0f"),
    _Column("prediction ms", "prediction_ms", ".2f"),
    _Column("model MB", "model_mb", ".2f"),
    _Column("units", "units", ".0f"),
)


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose cells are padded; the first column is text, the others numbers."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for cells in (titles, rule, *rows):
        first = f"{cells[0]:{widths[0]}}"
        others = [f"{cell:>{w}}" for cell, w in zip(cells[1:], widths[1:], strict=True)]
        lines.append("| " + " | ".join([first, *others]) + " |")
    return "\n".join(lines)


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------------------------------- plan


def smaller_training(splits: Splits, size: int | None, *, seed: int = 0) -> Splits:
    """Splits with fewer training reviews, each label in its share.

    Args:
        splits: the reviews.
        size: training reviews to keep; `None` for all.
        seed: of the choice, so that it is the same in every run.

    Returns:
        The splits, with a note on what was taken.

    Raises:
        ComparisonError: `size` is below the number of labels.
    """
    available = len(splits.train)
    if size is None or size == available:
        return splits
    labels = order_labels(splits.train.labels)
    if size < len(labels):
        raise ComparisonError(
            f"The training size must be at least {len(labels)}, one review for each label. "
            f"Received: {size}"
        )
    if size > available:
        note = f"there are {available:,} training reviews, fewer than {size:,}: all are used"
        return dataclasses.replace(splits, notes=(*splits.notes, note))
    positions = _stratified_positions(splits.train.labels, labels, size, seed)
    train = Reviews(
        [splits.train.texts[i] for i in positions], [splits.train.labels[i] for i in positions]
    )
    note = f"training on {size:,} of {available:,} reviews, the same in every run"
    return dataclasses.replace(splits, train=train, notes=(*splits.notes, note))


def _stratified_positions(
    labels: Sequence[str], names: Sequence[str], size: int, seed: int
) -> list[int]:
    """`size` positions, each label in its share but at least once, by largest remainder."""
    generator = random.Random(seed)
    positions = {name: [i for i, label in enumerate(labels) if label == name] for name in names}
    spare = size - len(names)  # beyond the one that each label gets
    shares = {
        name: spare * (len(positions[name]) - 1) / (len(labels) - len(names)) for name in names
    }
    counts = {name: 1 + math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(names, key=lambda name: math.floor(shares[name]) - shares[name])
    for name in by_remainder[: size - sum(counts.values())]:
        counts[name] += 1
    return sorted(i for name in names for i in generator.sample(positions[name], counts[name]))


def list_compared() -> list[str]:
    """Names that can be compared: all builders, then the baselines that are installed."""
    from sentiment.baselines import installed_baselines
    from sentiment.models import list_models

    return [*list_models(), *installed_baselines()]


def check_comparison(
    models: Sequence[str] | None,
    folder: Path,
    *,
    seeds: int,
    parameters: int | None,
    units: int | None,
    pooling: str,
    epochs: int | None,
    batch_size: int,
    jobs: int | None,
) -> None:
    """Find out before reading any data whether a comparison can be made.

    Raises:
        TypeError: `models` is a single string.
        ValueError: a model is unknown, or a setting is out of range.
        sentiment.artifact.ArtifactError: the folder cannot be written to.
    """
    from sentiment.artifact import check_parent_writable
    from sentiment.classifier import SentimentClassifier
    from sentiment.models import is_whole

    counts = {"seeds": seeds, "parameters": parameters, "units": units, "jobs": jobs}
    for name, value in counts.items():
        if value is not None and (not is_whole(value) or value < 1):
            raise ComparisonError(
                f"`{name}` must be a whole number of at least 1. Received: {value!r}"
            )
    if parameters is not None and units is not None:
        raise ComparisonError(
            "Expected either a number of parameters or of units. Received both: "
            f"{parameters} and {units}"
        )
    if folder.exists() and not folder.is_dir():
        raise ComparisonError(f"{folder} is a file. Expected a folder for the comparison.")
    check_parent_writable(folder / TABLE_FILE)
    width = {} if units is None else {"units": units}

    def check(name: str) -> None:
        own = _shared_settings(name, pooling=pooling) | width
        SentimentClassifier(name, **own, epochs=epochs, batch_size=batch_size).check_settings()

    networks = _networks(_chosen(models))
    check(REFERENCE_BUILDER)  # what is wrong here is wrong for all
    for name in networks:
        try:
            check(name)
        except ValueError as error:
            raise ComparisonError(f"{name}: {error}") from error


def _chosen(models: Sequence[str] | None) -> list[str]:
    """The models asked for, each once.

    Raises:
        ComparisonError: one is unknown, or there is none.
    """
    from sentiment.baselines import BASELINES

    known = list_compared()
    if models is None:
        return known
    if isinstance(models, str):
        raise TypeError("Expected a list of models. Received: one str; write [model] instead.")
    if not models:
        raise ComparisonError(f"Expected some of: {', '.join(known)}. Received no model.")
    for name in models:
        if name not in known:
            missing = name in BASELINES
            what = "The package of the baseline" if missing else "There is no model"
            end = " is not installed" if missing else ""
            raise ComparisonError(f"{what} {name!r}{end}. Expected some of: {', '.join(known)}.")
    return list(dict.fromkeys(models))


def _fitting(models: Sequence[str] | None, splits: Splits) -> list[str]:
    """The models asked for; without a choice, those that can answer with the reviews' labels.

    Raises:
        ComparisonError: a model was asked for that cannot.
    """
    from sentiment.baselines import fits_labels

    labels = order_labels(splits.train.labels)
    chosen = _chosen(models)
    fitting = [name for name in chosen if fits_labels(name, labels)]
    if models is not None and len(fitting) < len(chosen):
        raise ComparisonError(
            "vader takes the labels negative and positive, with or without neutral. Received: "
            f"{', '.join(labels)}"
        )
    return fitting


def check_networks(models: Sequence[str] | None) -> list[str]:
    """Names of builders whose gradients are to be measured; `None` for all.

    Raises:
        ComparisonError: a model is unknown, or a baseline.
    """
    chosen = list_compared() if models is None else _chosen(models)
    networks = _networks(chosen)
    if models is not None and len(networks) < len(chosen):
        baseline = next(name for name in chosen if name not in networks)
        raise ComparisonError(f"Gradients are those of networks. Received a baseline: {baseline}")
    return networks


def _networks(models: Iterable[str]) -> list[str]:
    from sentiment.models import BUILDERS

    return [name for name in models if name in BUILDERS]


def _shared_settings(name: str, *, pooling: str) -> dict[str, Any]:
    """Those of the settings that all builders shall have alike that this one has."""
    from sentiment.models import model_settings, settings_it_has

    like = model_settings(REGULARISED_LIKE)
    shared = {"pooling": pooling, **{key: like[key] for key in ("word_dropout", "dropout")}}
    return settings_it_has(name, shared)


def weights_outside_embedding(name: str, num_classes: int, **settings: Any) -> int:
    """Number of weights of a builder's network, the embedding left out.

    Args:
        name: of the builder.
        num_classes: number of labels.
        settings: of the builder.

    Raises:
        ValueError: as `sentiment.models.build_model`.
    """
    from sentiment.models import build_model

    return _outside_embedding(build_model(name, 3, num_classes, seed=0, **settings))


def _outside_embedding(network: Any) -> int:
    import keras

    embeddings = [layer for layer in network.layers if isinstance(layer, keras.layers.Embedding)]
    return network.count_params() - sum(layer.count_params() for layer in embeddings)


def units_for(name: str, num_classes: int, parameters: int, **settings: Any) -> int:
    """The units with which a builder's weights outside the embedding come closest to a number.

    Args:
        name: of the builder.
        num_classes: number of labels.
        parameters: the number of weights.
        settings: of the builder, without `units`.

    Returns:
        The units; of two that are as close the fewer.

    Raises:
        ComparisonError: the fewest units that the builder takes have more weights than that.
        ValueError: a setting is out of range.
    """
    from sentiment.models import model_settings

    @functools.cache
    def weights(units: int) -> int:
        return weights_outside_embedding(name, num_classes, units=units, **settings)

    low = model_settings(name).get("groups", 1)  # each group has a unit
    high = math.inf  # `low` is within the budget, `high` is not
    if weights(low) > parameters:
        raise ComparisonError(
            f"The network {name!r} has {weights(low):,} weights outside the embedding with {low} "
            f"unit{'s' * (low > 1)}, its fewest. Expected a budget of at least as many. "
            f"Received: {parameters:,}"
        )
    while high - low > 1:
        # Weights grow at most with the square of the units: this does not jump over the goal.
        guess = math.floor(low * math.sqrt(parameters / weights(low)))
        guess = min(max(guess, low + 1), high - 1)
        if weights(guess) <= parameters:
            low = guess
        else:
            high = guess
    return low if parameters - weights(low) <= weights(high) - parameters else high


def conditions_of(
    splits: Splits,
    *,
    parameters: int | None,
    units: int | None,
    pooling: str,
    epochs: int | None,
    batch_size: int,
) -> Conditions:
    """What all runs on these reviews share; see `compare` for the arguments.

    Raises:
        ComparisonError: there are no test reviews.
    """
    from sentiment.fitting import default_epochs

    if not len(splits.test):
        raise ComparisonError(f"{splits.source} has no test reviews. Expected some to measure on.")
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    num_classes = len(order_labels(splits.train.labels))
    shared = _shared_settings(REGULARISED_LIKE, pooling=pooling)
    if parameters is None and units is None:
        own = _shared_settings(REFERENCE_BUILDER, pooling=pooling)
        parameters = weights_outside_embedding(
            REFERENCE_BUILDER, num_classes, units=REFERENCE_UNITS, **own
        )
    return Conditions(
        source=splits.source,
        texts={name: len(part) for name, part in parts.items()},
        sha256={name: part.sha256() for name, part in parts.items()},
        num_classes=num_classes,
        parameters=parameters,
        units=units,
        **shared,
        epochs=epochs or default_epochs(len(splits.train), batch_size),
        batch_size=batch_size,
    )


def plan_tasks(models: Sequence[str] | None, conditions: Conditions, *, seeds: int) -> list[Task]:
    """All runs of a comparison: the models with their first seed, then with their second, …

    A baseline whose settings do not follow the seed gives the same with each: it has one run.

    Raises:
        ComparisonError: a model is unknown, or a builder has more weights than the budget.
    """
    chosen = _chosen(models)
    settings = {name: _network_settings(name, conditions) for name in _networks(chosen)}
    return [
        Task(name, seed, settings.get(name))
        for seed in range(seeds)
        for name in chosen
        if seed == 0 or name in settings or _follows_seed(name)
    ]


def _network_settings(name: str, conditions: Conditions) -> dict[str, Any]:
    """Settings of `SentimentClassifier` for a builder under these conditions."""
    own = _shared_settings(name, pooling=conditions.pooling)
    units = conditions.units
    if units is None:
        units = units_for(name, conditions.num_classes, conditions.parameters, **own)
    return {
        **own,
        "units": units,
        "epochs": conditions.epochs,
        "batch_size": conditions.batch_size,
    }


def _follows_seed(baseline: str) -> bool:
    from sentiment.baselines import BASELINES

    return repr(BASELINES[baseline](0).get_params()) != repr(BASELINES[baseline](1).get_params())


# ------------------------------------------------------------------------------------------- runs


def run_task(task: Task, splits: Splits, on_step: Callable[[], None]) -> Run:
    """Train and measure one model.

    Args:
        task: which one and how.
        splits: the reviews.
        on_step: called after each epoch.

    Raises:
        FloatingPointError: its loss is no longer a number.
    """
    if task.settings is None:
        return _run_baseline(task, splits)
    return _run_network(task, splits, on_step)


def _run_network(task: Task, splits: Splits, on_step: Callable[[], None]) -> Run:
    _import_tensorflow()
    import keras

    from sentiment.classifier import SentimentClassifier

    keras.backend.clear_session()  # the runs that this process made before
    classifier = SentimentClassifier(task.model, seed=task.seed, **task.settings)
    started = time.process_time()
    classifier.fit(
        splits.train.texts,
        splits.train.labels,
        validation=(splits.validation.texts, splits.validation.labels),
        on_epoch=lambda _: on_step(),
    )
    seconds = time.process_time() - started
    predictor, result = classifier.predictor_, classifier.result_
    tokens = sum(map(len, predictor.encoder.encode(splits.train.texts).token_ids))
    epochs = len(result.history)
    evaluation, _ = predictor.evaluate(splits.test.texts, splits.test.labels)
    return Run(
        model=task.model,
        seed=task.seed,
        baseline=False,
        units=task.settings["units"],
        **_quality(evaluation, calibrated=True),
        validation_accuracy=result.history[result.best_epoch - 1].validation_accuracy,
        parameters=classifier.model_.count_params(),
        outside_embedding=_outside_embedding(classifier.model_),
        best_epoch=result.best_epoch,
        epochs=epochs,
        training_seconds=seconds,
        tokens_per_second=tokens * epochs / seconds,
        prediction_ms=_prediction_ms(predictor.predict_proba, splits.test.texts),
        model_mb=predictor.graph_bytes / 1e6,
    )


def _import_tensorflow() -> None:
    """In a process of its own: without its greetings, nor warnings of the many networks built."""
    from sentiment.command_line import quiet_import

    with quiet_import():
        import tensorflow as tf

    tf.get_logger().setLevel("ERROR")


def _run_baseline(task: Task, splits: Splits) -> Run:
    from sentiment.baselines import BASELINES, baseline_bytes, baseline_parameters
    from sentiment.metrics import evaluate_answers

    estimator = BASELINES[task.model](task.seed)
    started = time.process_time()
    estimator.fit(splits.train.texts, splits.train.labels)
    seconds = time.process_time() - started
    validation, test = (
        evaluate_answers(
            [str(label) for label in estimator.classes_],
            estimator.predict_proba(reviews.texts),
            reviews.labels,
            oov_share=0.0,
            truncated_share=0.0,
        )
        for reviews in (splits.validation, splits.test)
    )
    return Run(
        model=task.model,
        seed=task.seed,
        baseline=True,
        units=None,
        **_quality(test, calibrated=getattr(estimator, "calibrated", True)),
        validation_accuracy=validation.accuracy,
        parameters=baseline_parameters(estimator),
        outside_embedding=None,
        best_epoch=None,
        epochs=None,
        training_seconds=seconds,
        tokens_per_second=None,
        prediction_ms=_prediction_ms(estimator.predict_proba, splits.test.texts),
        model_mb=baseline_bytes(estimator) / 1e6,
    )


def _quality(evaluation: "Evaluation", *, calibrated: bool) -> dict[str, float | None]:
    """What a run says of the answers to the test reviews."""
    return {
        "accuracy": evaluation.accuracy,
        "macro_f1": evaluation.macro_f1,
        "ece": evaluation.ece if calibrated else None,
        "brier": evaluation.brier if calibrated else None,
    }


def _prediction_ms(answer: Callable[[list[str]], Any], texts: Sequence[str]) -> float:
    """Median processor time of the answer to one text, in ms, over texts from all of the split."""
    chosen = texts[:: max(1, len(texts) // TIMED_TEXTS)][:TIMED_TEXTS]
    answer([chosen[0]])  # the first one pays for what is made once
    times = []
    for text in chosen:
        started = time.process_time()
        answer([text])
        times.append(time.process_time() - started)
    return 1000 * statistics.median(times)


def measure_task(task: Task, splits: Splits, on_step: Callable[[], None]) -> "memory.MemoryReport":
    """What `sentiment.memory.measure_memory` finds of one builder.  Args, Raises: as `run_task`."""
    _import_tensorflow()
    from sentiment.memory import measure_memory

    return measure_memory(
        task.model,
        splits,
        settings=task.settings,
        seed=task.seed,
        on_epoch=lambda _: on_step(),
    )


# ------------------------------------------------------------------------------------------- kept


@dataclass(frozen=True)
class _Kept:
    """Finished results in a comparison's folder, each a file with what it came from.

    Attributes:
        folder: of the comparison.
        conditions: those of all results.
        kind: class of a result.
        key: name of the result within its file.
        files: of a task's result, below the folder, with its model and seed to be filled in.
        written: names of the files that are made from the results.
    """

    folder: Path
    conditions: Conditions
    kind: type
    key: str
    files: str
    written: tuple[str, ...]

    def path(self, task: Task) -> Path:
        return self.folder / self.files.format(model=task.model, seed=task.seed)

    def paths(self) -> list[Path]:
        return sorted(self.folder.glob(self.files.format(model="*", seed="*")))

    def read(self) -> dict[Path, tuple[str, Any]]:
        """File → identity of its task, and result."""
        found = {}
        for path in self.paths():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                conditions, identity = stored["conditions"], stored["identity"]
                found[path] = identity, self.kind(**stored[self.key])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ComparisonError(
                    f"{path} is not a finished {self.key}: {error!r}. Delete it, and it is made "
                    "again."
                ) from error
            if conditions != self.conditions.identity():
                raise self._other_settings(path)
        return found

    def write(self, task: Task, result: Any) -> None:
        stored = {
            "conditions": self.conditions.identity(),
            "identity": task.identity(self.conditions),
            "settings": task.settings,
            self.key: dataclasses.asdict(result),
        }
        _write_whole(self.path(task), (json.dumps(stored, indent=2) + "\n").encode())

    def finish(
        self,
        function: Callable[[Task, Splits, Callable[[], None]], Any],
        tasks: Sequence[Task],
        splits: Splits,
        *,
        jobs: int | None,
        overwrite: bool,
        on_plan: Callable[[Conditions, Sequence[Task], int], None] | None,
        on_result: Callable[[Any], None] | None,
        progress: bool,
    ) -> list[Any]:
        """Make the results that are missing and keep each at once; all that are in the folder."""
        from sentiment.predictor import available_cores

        if overwrite:  # what an earlier call wrote, and nothing else
            for path in (*self.paths(), *(self.folder / name for name in self.written)):
                path.unlink(missing_ok=True)
        finished = self.read()
        for name in self.written:
            if not finished and (self.folder / name).exists():
                raise ComparisonError(
                    f"{self.folder / name} exists already, without the {self.key}s it came from. "
                    "Choose another folder with --out, or add --overwrite."
                )
        for task in tasks:
            identity, _ = finished.get(self.path(task), (None, None))
            if identity not in (None, task.identity(self.conditions)):
                raise self._other_settings(self.path(task))
        remaining = [task for task in tasks if self.path(task) not in finished]
        results = [result for _, result in finished.values()]
        if on_plan is not None:
            on_plan(self.conditions, remaining, len(tasks) - len(remaining))
        made = with_bar(
            function, remaining, splits, jobs=jobs or available_cores(), progress=progress
        )
        with contextlib.closing(made):  # whatever happens here ends the processes
            for task, result in made:
                self.write(task, result)
                results.append(result)
                if on_result is not None:
                    on_result(result)
        return results

    def _other_settings(self, path: Path) -> ComparisonError:
        return ComparisonError(
            f"{path} was made with other data or settings. Choose another folder with --out, or "
            f"add --overwrite to start {self.folder} again."
        )


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------- result


def compare(
    splits: Splits,
    models: Sequence[str] | None = None,
    *,
    folder: Path = Path("comparison"),
    seeds: int = 3,
    parameters: int | None = None,
    units: int | None = None,
    pooling: str = "max+mean",
    epochs: int | None = None,
    batch_size: int = 32,
    jobs: int | None = None,
    overwrite: bool = False,
    on_plan: Callable[[Conditions, Sequence[Task], int], None] | None = None,
    on_run: Callable[[Run], None] | None = None,
    progress: bool = False,
) -> Comparison:
    """Train models on the same reviews under the same conditions and measure them.

    Runs are made in processes of their own, so a script that calls this needs
    `if __name__ == "__main__":`.  Each finished run is kept in the folder at once; called again
    with the same data and settings, the function makes those that are missing, and more models or
    seeds add runs.

    Args:
        splits: the reviews; see `smaller_training`.
        models: names of builders and baselines; `None` for all builders and installed baselines.
        folder: where the runs are kept.
        seeds: runs of each model, with the seeds 0, 1, ….
        parameters: weights outside the embedding that every builder's units come closest to;
            `None` and no `units`: those of an LSTM of 64 units.
        units: the same units for all builders instead.
        pooling: of the states, for all builders that have the setting: with different ones, the
            pooling would be compared and not the cells.
        epochs: the most passes over the training texts; `None` for about 1,000 updates.
        batch_size: texts per update.
        jobs: runs that are made at once, each with one thread; `None` for the number of cores.
        overwrite: remove what an earlier comparison left in the folder, and start again.
        on_plan: called before the first run with the conditions, the runs to be made and the
            number of those that are finished.
        on_run: called with each finished run.
        progress: whether to show a progress bar on standard error.

    Returns:
        Conditions and runs.

    Raises:
        TypeError: `models` is a single string.
        ValueError: a model is unknown, or a setting is out of range.
        ComparisonError: the folder holds runs of other data or settings, a builder has more
            weights than the budget with its fewest units, a baseline that was asked for does not
            know the labels, or there are no test reviews.
        sentiment.workers.WorkerError: a run failed; those that are finished are kept.
        sentiment.artifact.ArtifactError: the folder cannot be written to.
    """
    settings = {
        "parameters": parameters,
        "units": units,
        "pooling": pooling,
        "epochs": epochs,
        "batch_size": batch_size,
    }
    folder = Path(folder)
    check_comparison(models, folder, seeds=seeds, jobs=jobs, **settings)
    conditions = conditions_of(splits, **settings)
    tasks = plan_tasks(_fitting(models, splits), conditions, seeds=seeds)
    files = f"{RUNS_FOLDER}/{{model}}-seed{{seed}}.json"
    written = (TABLE_FILE, LEADERBOARD_FILE, PICTURE_FILE)
    runs = _Kept(folder, conditions, Run, "run", files, written).finish(
        run_task,
        tasks,
        splits,
        jobs=jobs,
        overwrite=overwrite,
        on_plan=on_plan,
        on_result=on_run,
        progress=progress,
    )
    return Comparison(conditions, tuple(sorted(runs, key=lambda run: (run.model, run.seed))))


def measure_gradients(
    splits: Splits,
    models: Sequence[str] | None = None,
    *,
    folder: Path = Path("comparison"),
    parameters: int | None = None,
    units: int | None = None,
    epochs: int | None = None,
    batch_size: int = 32,
    jobs: int | None = None,
    overwrite: bool = False,
    on_plan: Callable[[Conditions, Sequence[Task], int], None] | None = None,
    on_report: "Callable[[memory.MemoryReport], None] | None" = None,
    progress: bool = False,
) -> "tuple[memory.MemoryReport, ...]":
    """Measure how far back builders remember, see `sentiment.memory`, with budgets as `compare`.

    Networks that have the setting pool their last state; attention still sees every word.  There is
    one seed, 0.  Reports are kept in the folder as runs are by `compare`.

    Args:
        splits: the reviews; the test split has some of at least 400 words.
        models: names of builders; `None` for all.
        folder, parameters, units, epochs, batch_size, jobs, overwrite, on_plan, progress: as
            `compare`.
        on_report: called with each finished report.

    Returns:
        Every report in the folder, those of earlier calls too, in the order of the builders.

    Raises:
        ValueError: as `compare`; or no test review is long enough.
    """
    from sentiment.memory import FILES, MemoryReport, long_texts
    from sentiment.models import list_models

    settings = {
        "parameters": parameters,
        "units": units,
        "pooling": "last",
        "epochs": epochs,
        "batch_size": batch_size,
    }
    folder = Path(folder)
    models = check_networks(models)
    check_comparison(models, folder, seeds=1, jobs=jobs, **settings)
    long_texts(splits.test.texts, most=1)  # raises before anything is trained
    conditions = conditions_of(splits, **settings)
    tasks = plan_tasks(models, conditions, seeds=1)
    files = f"{MEMORY_FOLDER}/{{model}}.json"
    reports = _Kept(folder, conditions, MemoryReport, "report", files, FILES).finish(
        measure_task,
        tasks,
        splits,
        jobs=jobs,
        overwrite=overwrite,
        on_plan=on_plan,
        on_result=on_report,
        progress=progress,
    )
    order = list_models()
    return tuple(sorted(reports, key=lambda report: order.index(report.model)))


def write_comparison(comparison: Comparison, folder: Path, *, command: str = "") -> list[Path]:
    """Write `comparison.csv`, `comparison.md` and `comparison.png`, each whole or not at all.

    The picture leaves out a model that has learned nothing, such as VADER: accuracy against cost of
    training says nothing of it, and its place far from all others would crowd them together.

    Args:
        comparison: what to write.
        folder: where to.
        command: how it was made, for the Markdown file.

    Returns:
        The files.
    """
    from sentiment.plots import save_comparison_plot

    table, leaderboard, picture = (
        folder / name for name in (TABLE_FILE, LEADERBOARD_FILE, PICTURE_FILE)
    )
    folder.mkdir(parents=True, exist_ok=True)
    with TableWriter(table, [field.name for field in dataclasses.fields(Run)]) as file:
        file.write([dataclasses.asdict(run) for run in comparison.runs])
    last = max(run.seed for run in comparison.runs)
    seeds = f"seeds 0 to {last}" if last else "seed 0"
    made = f"; made by `{command}`" if command else ""
    text = f"{comparison.conditions}; {seeds}; times of one core{made}.\n\n{comparison.table()}\n"
    _write_whole(leaderboard, text.encode())
    standings = comparison.standings
    standings = [s for s in standings if s.mean("parameters")] or standings
    drawn = io.BytesIO()
    save_comparison_plot(
        drawn,
        [standing.model for standing in standings],
        [standing.values("training_seconds") for standing in standings],
        [standing.values("accuracy") for standing in standings],
        baselines=[standing.runs[0].baseline for standing in standings],
        title=f"{comparison.conditions.source}, {comparison.conditions.texts['train']:,} "
        "training reviews",
    )
    _write_whole(picture, drawn.getvalue())
    return [table, leaderboard, picture]
