"""Measure start-up, speed, memory and agreement on this machine: python -m sentiment.benchmark."""

import argparse
import csv
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentiment import command_line
from sentiment.data import DataError, load_reviews

EXAMPLES = """examples:
  python -m sentiment.benchmark
  python -m sentiment.benchmark --data path/to/aclImdb_v1.tar.gz --rows 1000000
  python -m sentiment.benchmark --builders
"""
TEXT = "This film was okay"
STARTS = 9
UNITS, LENGTH, VOCAB_SIZE = 64, 240, 20_000  # of the networks whose speed is compared
TRAINING_TEXTS, TURNS = 32, 9
# All alike but the recurrent layers, and attention where that is what the builder adds.
SHARED_SETTINGS = {"pooling": "max+mean", "word_dropout": 0.3, "dropout": 0.6}
# What a Keras user does for the same answer: import, load, tokenise, predict.
KERAS_PROGRAM = """
import sys
import keras
from sentiment.artifact import load_artifact
from sentiment.preprocessing import pad_sequences
import sentiment.models
artifact = load_artifact(sys.argv[1])
model = keras.saving.load_model(artifact.folder / "model.keras", compile=False)
ids = artifact.encoder.encode([sys.argv[2]]).token_ids
print(model.predict(pad_sequences(ids, padding="post"), verbose=0))
"""
# A process inherits the peak memory of the one that started it: this small one stands between.
LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
seconds = time.perf_counter() - started
print(json.dumps([seconds, usage.ru_maxrss, process.returncode]))
"""


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    Attributes:
        what: what was measured.
        value: the value with its unit.
    """

    what: str
    value: str


@dataclass(frozen=True)
class Process:
    """How a process went.

    Attributes:
        seconds: wall time.
        peak_mb: largest resident memory, in MB (10⁶ bytes).
    """

    seconds: float
    peak_mb: float


def run_process(arguments: Sequence[str]) -> Process:
    """Run Python with these arguments and measure it.

    Raises:
        DataError: it failed.
    """
    launched = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, peak, status = json.loads(launched.stdout)
    if status:
        message = launched.stderr.strip().splitlines()[-1:]
        raise DataError(f"A measured process failed: {' '.join(message)}")
    kilobyte = 1024 if sys.platform != "darwin" else 1  # macOS reports bytes
    return Process(seconds, peak * kilobyte / 1e6)


def measure_start(folder: Path) -> Iterator[Measured]:
    """One text, whole process, warm disk: this package against Keras, taking turns."""
    own_arguments = ["-m", "sentiment.predict", "--model-dir", str(folder), TEXT]
    keras_arguments = ["-c", KERAS_PROGRAM, str(folder), TEXT]
    run_process(own_arguments)
    run_process(keras_arguments)
    own, by_keras = [], []
    for number in range(STARTS):
        own.append(run_process(own_arguments))
        if number < 3:
            by_keras.append(run_process(keras_arguments))
    for name, processes in (("this package", own), ("Keras", by_keras)):
        seconds = statistics.median(process.seconds for process in processes)
        peak = max(process.peak_mb for process in processes)
        yield Measured(f"one text, whole process, {name}", f"{seconds:.2f} s, {peak:.0f} MB")


def measure_scoring(folder: Path, texts: Sequence[str], name: str) -> Iterator[Measured]:
    """All texts from CSV to CSV in three fresh processes, with start-up, reading and writing."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "texts.csv")
        write_csv(source, texts)
        processes = [score(folder, source) for _ in range(3)]
    rates = [len(texts) / process.seconds for process in processes]
    yield Measured(
        f"{len(texts):,} {name} reviews, CSV to CSV, whole process",
        f"{statistics.median(rates):,.0f} reviews/s (three runs: {min(rates):,.0f} to "
        f"{max(rates):,.0f}), {max(process.peak_mb for process in processes):.0f} MB",
    )


def measure_memory(folder: Path, texts: Sequence[str], rows: int) -> Iterator[Measured]:
    """Peak memory of a process that scores a tenth of the rows, and all of them.

    Every row is different: two of the texts and a number.
    """
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "rows.csv")
        for count in (rows // 10, rows):
            write_csv(
                source,
                (
                    f"{generator.choice(texts)} {number} {generator.choice(texts)}"
                    for number in range(count)
                ),
            )
            process = score(folder, source)
            yield Measured(
                f"{count:,} different rows, CSV to CSV",
                f"{process.peak_mb:.0f} MB at most, {count / process.seconds:,.0f} rows/s",
            )


def score(folder: Path, source: Path) -> Process:
    """Score a file in a process of its own."""
    target = source.with_name("scored.csv")
    process = run_process(
        ["-m", "sentiment.predict", "--model-dir", str(folder), "--overwrite"]
        + ["--input", str(source), "--output", str(target)]
    )
    target.unlink()
    return process


def measure_agreement(folder: Path, texts: Sequence[str]) -> Measured:
    """Largest difference in probability between Keras, ONNX Runtime and the NumPy equations."""
    with command_line.quiet_import():
        import keras

        from sentiment import equations, fitting, models  # noqa: F401  registers its layers
    import numpy as np

    from sentiment.artifact import KERAS_FILE, load_artifact
    from sentiment.predictor import Predictor
    from sentiment.preprocessing import pad_sequences

    artifact = load_artifact(folder)
    predictor = Predictor(artifact)
    model = keras.saving.load_model(artifact.folder / KERAS_FILE, compile=False)
    token_ids = artifact.encoder.encode(texts).token_ids
    answers = [
        fitting.predict_token_ids(model, token_ids),
        predictor.predict_proba(texts),
        equations.network_probabilities(
            pad_sequences(token_ids, padding="post"), predictor.network
        ),
    ]
    difference = max(np.abs(a - b).max() for a in answers for b in answers)
    return Measured(
        f"Keras, ONNX Runtime and NumPy on {len(texts)} reviews", f"{difference:.1e} apart at most"
    )


@dataclass(frozen=True)
class BuilderSpeed:
    """How fast a builder's network is.

    Attributes:
        model: name of the builder.
        training: ids a second that Keras trains on, on all cores.
        prediction: ids a second that ONNX Runtime reads, on one core.
    """

    model: str
    training: float
    prediction: float


def measure_builders() -> list[BuilderSpeed]:
    """Speed of every builder's network with the same units on random ids, all taking turns."""
    with command_line.quiet_import():
        import tensorflow as tf

        from sentiment import models, onnx_export, predictor
        from sentiment.artifact import quiet_onnxruntime
    import numpy as np

    tf.get_logger().setLevel("ERROR")  # it warns of many networks in one process
    onnxruntime = quiet_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    generator = np.random.default_rng(0)

    def ids(texts: int) -> np.ndarray:
        return generator.integers(1, VOCAB_SIZE, (texts, LENGTH)).astype("int32")

    batch, labels = ids(TRAINING_TEXTS), generator.integers(0, 2, TRAINING_TEXTS)
    networks, sessions, read = {}, {}, {}
    for name in models.list_models():
        shared = models.settings_it_has(name, SHARED_SETTINGS)
        network = models.build_model(name, VOCAB_SIZE, 2, seed=0, units=UNITS, **shared)
        graph = onnx_export.export_onnx(network)
        network.compile("adam", "sparse_categorical_crossentropy")
        for shape in (batch, batch[:, 1:]):  # TensorFlow compiles the first shape, then any
            network.train_on_batch(shape, labels)
        networks[name] = network
        sessions[name] = onnxruntime.InferenceSession(graph, options)
        read[name] = {"token_ids": ids(predictor.batch_ids(sessions[name]) // LENGTH)}
    training, prediction = ({name: [] for name in networks} for _ in range(2))
    for _ in range(TURNS):
        for name in networks:
            started = time.perf_counter()
            networks[name].train_on_batch(batch, labels)
            training[name].append(batch.size / (time.perf_counter() - started))
            started = time.perf_counter()
            sessions[name].run(["probabilities"], read[name])
            seconds = time.perf_counter() - started
            prediction[name].append(read[name]["token_ids"].size / seconds)
    return [
        BuilderSpeed(name, statistics.median(training[name]), statistics.median(prediction[name]))
        for name in networks
    ]


def write_csv(path: Path, texts: "Sequence[str] | Iterator[str]") -> None:
    """A file with the one column `text`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([text] for text in texts)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(
        "benchmark", "Measure start-up, speed, memory and agreement on this machine.", EXAMPLES
    )
    command_line.add_model_option(parser)
    parser.add_argument(
        "--data",
        default="sample",
        metavar="SOURCE",
        help="reviews to score; its test split if it has one (default: sample)",
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=100_000,
        metavar="N",
        help="rows of the file that memory is measured with (default: 100000)",
    )
    parser.add_argument(
        "--builders",
        action="store_true",
        help="measure instead how fast each builder's network trains and predicts; the other "
        "options have no effect then",
    )
    return parser


def _main(options: argparse.Namespace) -> None:
    from sentiment.predictor import Predictor  # not at the top: --help need not wait for NumPy

    if options.rows < 10:
        raise DataError(f"Expected at least 10 --rows. Received: {options.rows}")
    if importlib.util.find_spec("tensorflow") is None:  # better now than after minutes
        raise ModuleNotFoundError(name="tensorflow")

    if options.builders:
        _print_builders(measure_builders())
        return
    folder = Predictor.load(options.model_dir).folder
    splits, _ = load_reviews(options.data)
    texts = (splits.get("test") or next(iter(splits.values()))).texts
    sample, _ = load_reviews("sample")
    short = [text for part in sample.values() for text in part.texts]
    print(f"{os.cpu_count()} cores, model {folder}\n")
    print("| what | measured |\n|---|---|")
    for measured in measure_start(folder):
        _print(measured)
    for measured in measure_scoring(folder, texts, Path(options.data).name.split(".")[0]):
        _print(measured)
    for measured in measure_memory(folder, short, options.rows):
        _print(measured)
    _print(measure_agreement(folder, short[:500]))


def _print(measured: Measured) -> None:
    print(f"| {measured.what} | {measured.value} |", flush=True)


def _print_builders(speeds: Sequence[BuilderSpeed]) -> None:
    lstm = next(speed for speed in speeds if speed.model == "lstm")
    print(f"{os.cpu_count()} cores, {UNITS} units, texts of {LENGTH} words\n")
    print("| builder | training, words/s | of `lstm` | prediction, words/s | of `lstm` |")
    print("|---|---:|---:|---:|---:|")
    for speed in speeds:
        print(
            f"| `{speed.model}` | {speed.training:,.0f} | {speed.training / lstm.training:.2f} "
            f"| {speed.prediction:,.0f} | {speed.prediction / lstm.prediction:.2f} |"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command_line.run(_main, _parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
