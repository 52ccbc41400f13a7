"""Comparisons: fair budgets, runs that are kept, a true leaderboard, commands that go on."""

import csv
import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

import sentiment
from sentiment import baselines, compare, comparison, plots
from sentiment.baselines import BASELINES
from sentiment.comparison import Comparison, ComparisonError, Conditions, Run, Task
from sentiment.data import Reviews, Splits
from sentiment.memory import MemoryReport
from sentiment.models import build_model, list_models, model_settings
from sentiment.onnx_export import export_onnx
from sentiment.workers import WorkerError

ROOT = Path(sentiment.__file__).parent.parent
GOOD, BAD = ("good", "great", "lovely"), ("bad", "awful", "dull")


def reviews(count: int, start: int = 0) -> Reviews:
    """Reviews with two labels, a third of them positive; none equals another."""
    texts, labels = [], []
    for i in range(start, start + count):
        words = GOOD if i % 3 == 0 else BAD
        texts.append(f"a {words[i % 2]} film and a {words[i // 3 % 3]} plot, number {i}")
        labels.append("positive" if i % 3 == 0 else "negative")
    return Reviews(texts, labels)


SPLITS = Splits("tiny", reviews(48), reviews(12, 100), reviews(24, 200))
TINY = {"units": 2, "epochs": 1, "batch_size": 16}


def a_run(model: str = "lstm", seed: int = 0, **changes) -> Run:
    values = {
        "baseline": False,
        "units": 4,
        "accuracy": 0.8,
        "macro_f1": 0.79,
        "ece": 0.05,
        "brier": 0.3,
        "validation_accuracy": 0.81,
        "parameters": 1200,
        "outside_embedding": 200,
        "best_epoch": 2,
        "epochs": 3,
        "training_seconds": 12.5,
        "tokens_per_second": 45678.0,
        "prediction_ms": 0.456,
        "model_mb": 1.5,
    }
    return Run(model=model, seed=seed, **values | changes)


@pytest.fixture
def without_training(monkeypatch):
    """Runs are made up in this process; gives the tasks for which they were."""
    made = []

    def in_process(function, tasks, splits, *, jobs, progress):
        assert (function, len(splits.test) > 0, progress) == (comparison.run_task, True, False)
        assert jobs >= 1
        for task in tasks:
            made.append(str(task))
            yield task, a_run(task.model, task.seed)

    monkeypatch.setattr(comparison, "with_bar", in_process)
    return made


# -------------------------------------------------------------------------------------- the plan


@pytest.mark.parametrize("size", [2, 3, 7, 24, 47])
def test_smaller_training_keeps_the_shares(size):
    smaller = comparison.smaller_training(SPLITS, size)
    counts = Counter(smaller.train.labels)
    assert sum(counts.values()) == size
    assert counts["positive"] == pytest.approx(size / 3, abs=1)
    known = dict(zip(SPLITS.train.texts, SPLITS.train.labels, strict=True))
    pairs = dict(zip(smaller.train.texts, smaller.train.labels, strict=True))
    assert len(pairs) == size
    assert pairs.items() <= known.items()
    assert smaller == comparison.smaller_training(SPLITS, size)
    assert smaller.notes == (f"training on {size} of 48 reviews, the same in every run",)
    assert (smaller.validation, smaller.test) == (SPLITS.validation, SPLITS.test)


def test_training_that_is_not_smaller():
    assert comparison.smaller_training(SPLITS, None) is SPLITS
    assert comparison.smaller_training(SPLITS, 48) is SPLITS
    more = comparison.smaller_training(SPLITS, 5000)
    assert more.train == SPLITS.train
    assert more.notes == ("there are 48 training reviews, fewer than 5,000: all are used",)
    with pytest.raises(ComparisonError, match=r"at least 2, one review for each label.*: 1$"):
        comparison.smaller_training(SPLITS, 1)


def test_weights_are_those_outside_the_embedding():
    """An LSTM's, by the textbook: 4 (units (inputs + units) + units), and the output's."""
    expected = 4 * (64 * (128 + 64) + 64) + 3 * (2 * 64 + 1)
    counted = comparison.weights_outside_embedding("lstm", 3, units=64, pooling="max+mean")
    assert counted == expected


@pytest.mark.parametrize(
    ("name", "budget"),
    [*((name, 2500) for name in list_models()), ("clockwork_rnn", 95), ("grid_lstm", 9000)],
)
def test_units_come_closest_to_the_budget(name, budget):
    """Those next to them are further away, and weights grow with the units."""

    def distance(units):
        network = build_model(name, 3, 2, units=units, embedding_dim=8)
        return abs(network.count_params() - 3 * 8 - budget)

    found = comparison.units_for(name, 2, budget, embedding_dim=8)
    fewest = model_settings(name).get("groups", 1)
    tried = range(max(fewest, found - 2), found + 3)
    assert len(tried) > 2
    assert min(tried, key=distance) == found


def test_budget_below_one_unit():
    message = r"'rnn' has 136 weights outside the embedding with 1 unit.*Received: 135$"
    with pytest.raises(ComparisonError, match=message):
        comparison.units_for("rnn", 2, 135, pooling="max+mean")
    assert comparison.units_for("rnn", 2, 136, pooling="max+mean") == 1


def conditions(splits: Splits = SPLITS, **changes) -> Conditions:
    settings = {"parameters": None, "units": 2, "pooling": "max", "epochs": 1, "batch_size": 16}
    return comparison.conditions_of(splits, **settings | changes)


def test_default_budget_is_that_of_an_lstm():
    found = conditions(units=None, pooling="last", epochs=None)
    assert found.parameters == 4 * (64 * (128 + 64) + 64) + 2 * (64 + 1)
    assert (found.units, found.epochs) == (None, 20)
    assert (found.word_dropout, found.dropout) == (0.3, 0.6)


def test_identity_follows_data_and_settings_alone():
    texts = list(SPLITS.test.texts)
    texts[3] += "!"
    other_test = Splits("tiny", SPLITS.train, SPLITS.validation, Reviews(texts, SPLITS.test.labels))
    renamed = Splits("other", SPLITS.train, SPLITS.validation, SPLITS.test)
    same = conditions()
    assert conditions(renamed).identity() == same.identity()
    others = [
        conditions(other_test),
        conditions(units=3),
        conditions(units=None, parameters=2),
        conditions(pooling="mean"),
        conditions(epochs=2),
        conditions(batch_size=8),
    ]
    assert len({other.identity() for other in [same, *others]}) == 7
    tasks = [Task("lstm", 0, {"units": 2}), Task("lstm", 1, {"units": 2})]
    tasks += [Task("lstm", 0, {"units": 3}), Task("gru", 0, {"units": 2}), Task("lstm", 0, None)]
    assert len({task.identity(each) for task in tasks for each in (same, others[0])}) == 10


def test_identity_is_that_of_files_written_before():
    """Else nobody's comparison would go on after an update: then `FORMAT` says so."""
    known = Conditions("x", {"train": 2}, {"train": "ab"}, 2, 9, None, "max", 0.3, 0.6, 1, 16)
    identities = known.identity(), Task("lstm", 1, {"units": 2}).identity(known)
    assert [identity[:16] for identity in identities] == ["a9e98ffc4ab18283", "83692374eb80ea9f"]


def test_no_test_reviews():
    empty = Splits("tiny", SPLITS.train, SPLITS.validation, Reviews([], []))
    with pytest.raises(ComparisonError, match=r"^tiny has no test reviews\. Expected some"):
        conditions(empty)


def test_tasks_share_their_settings():
    tasks = comparison.plan_tasks(None, conditions(), seeds=2)
    networks = [task for task in tasks if task.settings is not None]
    assert [task.model for task in networks] == list_models() * 2
    for task in networks:
        assert task.settings["word_dropout"] == 0.3
        assert task.settings["dropout"] == 0.6
        assert task.settings.get("pooling", "max") == "max"
        assert (task.settings["units"], task.settings["epochs"], task.steps) == (2, 1, 2)
    assert networks[1].settings["pooling"] == "max"


def test_baseline_that_ignores_the_seed_runs_once(monkeypatch):
    monkeypatch.setitem(BASELINES, "seeded", lambda seed: LogisticRegression(random_state=seed))
    tasks = comparison.plan_tasks(["tfidf_lr", "seeded"], conditions(), seeds=3)
    assert [str(task) for task in tasks] == [
        "tfidf_lr, seed 0",
        "seeded, seed 0",
        "seeded, seed 1",
        "seeded, seed 2",
    ]


# -------------------------------------------------------------------------------------- one run


@pytest.mark.slow
def test_run_of_a_network(monkeypatch):
    """The measures are those of the classifier that was fitted, taken apart here again."""
    from sentiment.classifier import SentimentClassifier

    fitted = []
    fit = SentimentClassifier.fit

    def spied(self, *arguments, **options):
        fitted.append(self)
        return fit(self, *arguments, **options)

    monkeypatch.setattr(SentimentClassifier, "fit", spied)
    steps = []
    task = Task("gru", 3, {**TINY, "epochs": 2})
    before = time.process_time()
    run = comparison.run_task(task, SPLITS, lambda: steps.append(1))
    assert 0 < run.training_seconds < time.process_time() - before
    (classifier,) = fitted
    assert (run.model, run.seed, run.baseline, run.units) == ("gru", 3, False, 2)
    assert classifier.seed == 3
    predicted = classifier.predict(SPLITS.test.texts)
    assert run.accuracy == (predicted == np.array(SPLITS.test.labels)).mean()
    weights = classifier.model_.get_weights()
    assert run.parameters == sum(weight.size for weight in weights)
    assert run.outside_embedding == run.parameters - weights[0].size
    history = classifier.result_.history
    assert len(steps) == run.epochs == len(history) == 2
    assert run.validation_accuracy == history[run.best_epoch - 1].validation_accuracy
    ids = classifier.predictor_.encoder.encode(SPLITS.train.texts).token_ids
    read = run.tokens_per_second * run.training_seconds
    assert read == pytest.approx(2 * sum(map(len, ids)))
    assert run.model_mb == len(export_onnx(classifier.model_)) / 1e6
    assert 0 < run.prediction_ms < 1000


def test_run_of_a_baseline():
    run = comparison.run_task(Task("tfidf_lr", 0, None), SPLITS, lambda: None)
    estimator = BASELINES["tfidf_lr"](0).fit(SPLITS.train.texts, SPLITS.train.labels)
    for measure, part in (("accuracy", SPLITS.test), ("validation_accuracy", SPLITS.validation)):
        expected = (estimator.predict(part.texts) == np.array(part.labels)).mean()
        assert getattr(run, measure) == expected
    blank = ("units", "outside_embedding", "best_epoch", "epochs", "tokens_per_second")
    assert run.baseline
    assert all(getattr(run, name) is None for name in blank)
    assert run.ece is not None


def test_uncalibrated_baseline_has_no_calibration_error(monkeypatch):
    class Uncalibrated(type(BASELINES["tfidf_lr"](0))):
        calibrated = False

    steps = BASELINES["tfidf_lr"](0).steps
    monkeypatch.setitem(BASELINES, "tfidf_lr", lambda _: Uncalibrated(steps))
    run = comparison.run_task(Task("tfidf_lr", 0, None), SPLITS, lambda: None)
    assert (run.ece, run.brier) == (None, None)
    assert str(run).startswith("tfidf_lr, seed 0: accuracy 100.00%, trained in ")


# ------------------------------------------------------------------------------ runs that are kept


def test_finished_runs_are_kept_and_others_added(without_training, tmp_path):
    options = {"folder": tmp_path / "out", "seeds": 1, "jobs": 1, **TINY}
    plans = []
    first = comparison.compare(SPLITS, ["lstm"], **options)
    assert without_training == ["lstm, seed 0"]
    stored = tmp_path / "out" / "runs" / "lstm-seed0.json"
    before = stored.read_bytes()
    assert Run(**json.loads(before)["run"]) == first.runs[0]
    more = comparison.compare(
        SPLITS,
        ["gru", "lstm"],
        **options | {"seeds": 2},
        on_plan=lambda _, tasks, finished: plans.append((len(tasks), finished)),
    )
    assert without_training[1:] == ["gru, seed 0", "gru, seed 1", "lstm, seed 1"]
    assert plans == [(3, 1)]
    assert stored.read_bytes() == before
    assert [(run.model, run.seed) for run in more.runs] == [
        ("gru", 0),
        ("gru", 1),
        ("lstm", 0),
        ("lstm", 1),
    ]


def test_interrupted_comparison_goes_on(without_training, tmp_path):
    options = {"folder": tmp_path, "seeds": 2, "jobs": 1, **TINY}

    def stop(run):
        if run.model == "gru":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        comparison.compare(SPLITS, ["lstm", "gru"], **options, on_run=stop)
    assert without_training == ["lstm, seed 0", "gru, seed 0"]
    comparison.compare(SPLITS, ["lstm", "gru"], **options)
    assert without_training[2:] == ["lstm, seed 1", "gru, seed 1"]


def test_other_settings_are_refused_and_overwritten(without_training, tmp_path):
    options = {"folder": tmp_path, "seeds": 1, "jobs": 1, **TINY}
    comparison.compare(SPLITS, ["lstm"], **options)
    (tmp_path / "notes.txt").write_text("mine")
    message = r"lstm-seed0\.json was made with other data or settings\. Choose another folder"
    with pytest.raises(ComparisonError, match=message):
        comparison.compare(SPLITS, ["gru"], **options | {"units": 3})
    with pytest.raises(ComparisonError, match=message):
        comparison.compare(comparison.smaller_training(SPLITS, 20), ["lstm"], **options)
    assert without_training == ["lstm, seed 0"]
    comparison.compare(SPLITS, ["gru"], **options | {"units": 3}, overwrite=True)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["gru-seed0.json"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_damaged_run_is_named(without_training, tmp_path):
    options = {"folder": tmp_path, "seeds": 1, "jobs": 1, **TINY}
    comparison.compare(SPLITS, ["lstm"], **options)
    (tmp_path / "runs" / "lstm-seed0.json").write_text("{")
    with pytest.raises(ComparisonError, match=r"lstm-seed0\.json is not a finished run.*Delete it"):
        comparison.compare(SPLITS, ["lstm"], **options)
    assert without_training == ["lstm, seed 0"]


def test_foreign_results_are_not_replaced(without_training, tmp_path):
    (tmp_path / "comparison.csv").write_text("mine")
    with pytest.raises(ComparisonError, match=r"comparison\.csv exists already, without the runs"):
        comparison.compare(SPLITS, ["lstm"], folder=tmp_path, seeds=1, jobs=1, **TINY)
    assert without_training == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_interrupt_keeps_finished_runs_and_ends_all_processes(tmp_path):
    """Ctrl-C reaches the whole group of processes, as from a terminal."""
    data = tmp_path / "reviews.csv"
    with data.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(*vars(reviews(300)).values(), strict=True))
    arguments = ["--data", str(data), "--models", "tfidf_lr,lstm", "--seeds", "1", "--jobs", "2"]
    arguments += ["--units", "2", "--epochs", "100000", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "sentiment.compare", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for line in process.stdout:
        if line.startswith("tfidf_lr, seed 0: accuracy "):
            break
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == (
        "python -m sentiment.compare: interrupted. What is finished is kept in "
        f"{tmp_path / 'out'}; the same command goes on from it.\n"
    )
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["tfidf_lr-seed0.json"]
    left = subprocess.run(["ps", "-o", "args=", "-g", str(process.pid)], capture_output=True).stdout
    assert b"spawn_main" not in left


# --------------------------------------------------------------------------------------- results


RUNS = (
    a_run("gru", 0, accuracy=0.80),
    a_run("gru", 1, accuracy=0.84, prediction_ms=0.556),
    a_run("lstm", 0, accuracy=0.83),
    a_run(
        "vader",
        0,
        accuracy=0.6,
        baseline=True,
        ece=None,
        brier=None,
        units=None,
        outside_embedding=None,
        best_epoch=None,
        epochs=None,
        tokens_per_second=None,
    ),
)


def test_leaderboard():
    table = Comparison(conditions(), RUNS).table().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert len({len(line) for line in table}) == 1
    assert rows[0] == [
        "model",
        "accuracy %",
        "macro-F1",
        "calibration error %",
        "parameters",
        "outside embedding",
        "training tokens/s",
        "prediction ms",
        "model MB",
        "units",
        "seeds",
    ]
    shared = ["0.7900", "5.00", "1,200", "200", "45,678"]
    assert rows[2] == ["lstm", "83.00", *shared, "0.46", "1.50", "4", "1"]
    assert rows[3] == ["gru", "82.00 ± 2.83", *shared, "0.51", "1.50", "4", "2"]
    blank = ["0.7900", "–", "1,200", "–", "–", "0.46", "1.50", "–", "1"]
    assert rows[4] == ["vader", "60.00", *blank]


def test_written_files(tmp_path):
    compared = Comparison(conditions(), RUNS)
    files = comparison.write_comparison(compared, tmp_path, command="python -m x --out 'a b'")
    names = ["comparison.csv", "comparison.md", "comparison.png"]
    assert [path.name for path in files] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with files[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["seed"], row["accuracy"]) for row in rows] == [
        ("gru", "0", "0.8"),
        ("gru", "1", "0.84"),
        ("lstm", "0", "0.83"),
        ("vader", "0", "0.6"),
    ]
    assert rows[3]["ece"] == rows[3]["units"] == ""
    first, empty, *table = files[1].read_text(encoding="utf-8").splitlines()
    assert first == (
        "tiny: train 48, validation 12, test 24 reviews; networks: 2 units each, pooling max, word "
        "dropout 0.3, dropout 0.6, at most 1 epoch, batches of 16; seeds 0 to 1; times of one "
        "core; made by `python -m x --out 'a b'`."
    )
    assert (empty, "\n".join(table)) == ("", compared.table())
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_baselines_that_do_not_know_the_labels(monkeypatch):
    """Left out by default; refused before any training where they were asked for."""
    monkeypatch.setattr(baselines, "installed_baselines", lambda: list(baselines.BASELINES))
    stars = dataclasses.replace(SPLITS, train=Reviews(["a", "b", "c"], ["1", "2", "3"]))
    assert "vader" not in comparison._fitting(None, stars)
    assert "vader" in comparison._fitting(None, SPLITS)
    with pytest.raises(
        ComparisonError,
        match="^vader takes the labels negative and positive, with or without neutral. "
        "Received: 1, 2, 3$",
    ):
        comparison._fitting(["lstm", "vader"], stars)


def test_the_picture_leaves_out_what_learned_nothing(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        plots, "save_comparison_plot", lambda _, names, *__, **___: drawn.append(names)
    )
    unlearned = a_run("vader", baseline=True, parameters=0)
    for runs in ((a_run(), unlearned), (unlearned,)):
        comparison.write_comparison(Comparison(conditions(), runs), tmp_path)
    assert drawn == [["lstm"], ["vader"]]


@pytest.mark.parametrize("crowd", [0.001, 0.1, 3.0])
def test_labels_of_the_picture_do_not_overlap(crowd, monkeypatch):
    kept = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (kept.append(self), save(self, *a, **k))
    )
    generator = np.random.default_rng(4)
    names = [f"a_model_with_a_name_{i}" for i in range(17)]
    plots.save_comparison_plot(
        io.BytesIO(),
        names,
        [[100 * np.exp(crowd * generator.normal())] * 2 for _ in names],
        [list(0.8 + 0.01 * crowd * generator.normal(size=2)) for _ in names],
        baselines=[i > 12 for i in range(17)],
        title="crowd",
    )
    (figure,) = kept
    boxes = [text.get_window_extent() for text in figure.texts]
    assert [text.get_text() for text in figure.texts] == names
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # with itself
    whole = figure.bbox
    assert all(whole.contains(*corner) for box in boxes for corner in box.corners())


# -------------------------------------------------------------------------------------- command


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """`call(*arguments)` → status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = compare.main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "lstm,ltsm"], r"There is no model 'ltsm'\. Expected some of: rnn, lstm, .*"),
        (["--models", ","], r"Expected some of: rnn, .* Received no model\."),
        (["--seeds", "0"], r"`seeds` must be a whole number of at least 1\. Received: 0"),
        (["--jobs", "0"], r"`jobs` must be a whole number of at least 1\. Received: 0"),
        (["--units", "0"], r"`units` must be a whole number of at least 1\. Received: 0"),
        (["--epochs", "0"], r"`epochs` must be a whole number of at least 1\. Received: 0"),
        (["--pooling", "min"], r"`pooling` must be one of last, .*\. Received: 'min'"),
        (["--parameters", "9"], r"The network 'rnn' has 139 weights .* Received: 9"),
        (
            ["--models", "clockwork_rnn", "--units", "3"],
            r"clockwork_rnn: `groups` must be a whole .* 1 to 3\. Received: 5",
        ),
        (["--train-size", "0"], r".*expected a whole number of at least 1, or all\. Rec.*: '0'.*"),
        (["--units", "4", "--parameters", "9"], r".*not allowed with argument --units.*"),
        (["--out", "file"], r"file is a file\. Expected a folder for the comparison\."),
        (
            ["--out", "file/out"],
            r"file/out/comparison\.csv cannot be written: .* is not a folder\.",
        ),
        (["--data", "nowhere.csv"], r".*nowhere\.csv.*"),
        (["--gradients", "--seeds", "2"], r"--seeds does not go with --gradients, .*: 2"),
        (["--gradients", "--models", "tfidf_lr"], r"Gradients are those of networks\. .*tfidf_lr"),
    ],
)
def test_wrong_arguments(call, arguments, message, tmp_path):
    (tmp_path / "file").touch()
    status, out, errors = call("--data", "sample", "--models", "rnn", *arguments)
    assert status == 2
    assert re.fullmatch(rf"python -m sentiment\.compare: error: {message}\n", errors)
    assert "runs to make" not in out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_command(call, without_training, tmp_path):
    arguments = ["--data", "sample", "--models", "lstm,tfidf_lr", "--seeds", "2", "--jobs", "1"]
    status, out, errors = call(*arguments, "--train-size", "600", "--out", "o u t")
    assert (status, errors) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "training on 600 of 1,944 reviews, the same in every run"
    assert lines[1].startswith(
        "sample: train 600, validation 279, test 555 reviews; networks: about 49,795 weights "
    )
    assert lines[2] == "3 runs to make"
    run = "accuracy 80.00%, calibration error 5.00%, trained in 12.5 s"
    assert lines[3:6] == [f"{task}: {run}" for task in without_training]
    assert lines[-1] == "wrote " + ", ".join(f"o u t/comparison.{e}" for e in ("csv", "md", "png"))
    leaderboard = (tmp_path / "o u t" / "comparison.md").read_text(encoding="utf-8")
    assert leaderboard.split("\n\n")[1] in out
    made = "made by `python -m sentiment.compare --data sample --models lstm,tfidf_lr --seeds 2"
    assert f"{made} --jobs 1 --train-size 600 --out 'o u t'`." in leaderboard
    assert call(*arguments, "--train-size", "600", "--out", "o u t")[1].splitlines()[2] == (
        "0 runs to make, 3 finished before"
    )


@pytest.fixture
def long_reviews(tmp_path) -> Path:
    """A file with reviews of 400 words and more."""
    data = tmp_path / "reviews.csv"
    with data.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for text, label in zip(*vars(reviews(90)).values(), strict=True):
            writer.writerow([text + " and" * 400, label])
    return data


def a_report(model: str, seconds: float = 2.5) -> MemoryReport:
    norms = (1.0, 0.5)
    return MemoryReport(
        model=model,
        texts=4,
        distances=(0, 1),
        **{f"{a}_{b}": norms for a in ("untrained", "trained") for b in ("median", "low", "high")},
        trained_accuracy=0.75,
        recall_sequences=8,
        recall_distances=(2, 4),
        recall_alone=((1.0, 0.5),),
        recall_mixed=((0.75, 0.625),),
        seconds=seconds,
    )


@pytest.fixture
def without_measuring(monkeypatch):
    """Reports are made up in this process; gives the tasks, and stops after some if told."""
    made = []

    def in_process(function, tasks, _, **__):
        assert function is comparison.measure_task
        for task in reversed(tasks):  # not finished in the order of the builders
            made.append(task)
            yield task, a_report(task.model)

    monkeypatch.setattr(comparison, "with_bar", in_process)
    return made


MEASURED = "validation accuracy 75.00% after training, measured in 2.5 s"
MEMORY_FILES = ["gradients.csv", "recall.csv", "gradients.png", "recall.png"]


def measured_models(folder: Path) -> list[str]:
    """The models of both tables, which name the same."""
    tables = []
    for name in MEMORY_FILES[:2]:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            tables.append(list(dict.fromkeys(row["model"] for row in csv.DictReader(file))))
    assert tables[0] == tables[1]
    return tables[0]


def test_gradients(call, without_measuring, long_reviews, tmp_path):
    arguments = ["--data", str(long_reviews), "--gradients", "--units", "3", "--epochs", "2"]
    status, out, errors = call(*arguments, "--models", "gru,rnn")
    assert (status, errors) == (0, "")
    assert out.splitlines()[-4:] == [
        "2 runs to make",
        f"rnn: {MEASURED}",
        f"gru: {MEASURED}",
        "wrote " + ", ".join(f"comparison/{name}" for name in MEMORY_FILES),
    ]
    settings = {"pooling": "last", "word_dropout": 0.3, "dropout": 0.6, "units": 3, "epochs": 2}
    settings["batch_size"] = 32
    assert without_measuring == [Task(name, 0, settings) for name in ("rnn", "gru")]
    folder = tmp_path / "comparison"
    assert measured_models(folder) == ["rnn", "gru"]
    kept = {path.name: path.read_bytes() for path in (folder / "memory").iterdir()}
    assert set(kept) == {"gru.json", "rnn.json"}
    stored = json.loads(kept["gru.json"])
    assert stored["settings"] == settings
    assert stored["report"] == json.loads(json.dumps(dataclasses.asdict(a_report("gru"))))

    status, out, _ = call(*arguments, "--models", "lstm,rnn")
    assert status == 0
    assert f"1 run to make, 1 finished before\nlstm: {MEASURED}\n" in out
    assert measured_models(folder) == ["rnn", "lstm", "gru"]
    assert kept.items() < {p.name: p.read_bytes() for p in (folder / "memory").iterdir()}.items()


def test_interrupted_gradients_go_on(call, without_measuring, long_reviews, monkeypatch):
    arguments = ["--data", str(long_reviews), "--gradients", "--models", "rnn,lstm,gru"]
    arguments += ["--units", "3", "--out", "out"]

    def stop(line):
        if line.model == "lstm":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(compare, "_print_line", stop)
        status, _, errors = call(*arguments)
    assert status == 130
    assert errors == (
        "python -m sentiment.compare: interrupted. What is finished is kept in out; the same "
        "command goes on from it.\n"
    )
    assert [task.model for task in without_measuring] == ["gru", "lstm"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["memory"]
    status, out, _ = call(*arguments)
    assert (status, [task.model for task in without_measuring][2:]) == (0, ["rnn"])
    assert measured_models(Path("out")) == ["rnn", "lstm", "gru"]


def test_gradients_of_other_settings(call, without_measuring, long_reviews):
    arguments = ["--data", str(long_reviews), "--gradients", "--models", "rnn"]
    assert call(*arguments, "--units", "3")[0] == 0
    Path("comparison", "comparison.csv").write_text("of a comparison in the same folder")
    status, _, errors = call(*arguments, "--units", "4")
    assert status == 2
    assert "comparison/memory/rnn.json was made with other data or settings. Choose" in errors
    status, _, errors = call(*arguments, "--units", "4", "--train-size", "40")
    assert (status, len(without_measuring)) == (2, 1)
    status, _, errors = call(*arguments[:-1], "gru", "--units", "4", "--overwrite")
    assert (status, errors) == (0, "")
    assert measured_models(Path("comparison")) == ["gru"]
    assert [path.name for path in Path("comparison", "memory").iterdir()] == ["gru.json"]
    assert Path("comparison", "comparison.csv").exists()


def test_gradients_are_not_replaced(call, without_measuring, long_reviews):
    Path("comparison").mkdir()
    Path("comparison", "recall.csv").touch()
    arguments = ["--data", str(long_reviews), "--gradients", "--models", "rnn", "--units", "2"]
    status, _, errors = call(*arguments)
    assert (status, without_measuring) == (2, [])
    assert (
        "comparison/recall.csv exists already, without the reports it came from. Choose another "
        "folder with --out, or add --overwrite." in errors
    )


def test_gradients_need_long_reviews(call, without_measuring):
    status, out, errors = call("--data", "sample", "--gradients", "--models", "rnn", "--units", "2")
    assert status == 2
    assert re.fullmatch(
        r"python -m sentiment\.compare: error: Expected at least one test review of 400 words\. "
        r"Received: 555 reviews, the longest of \d+\n",
        errors,
    )
    assert ("to make" in out, without_measuring) == (False, [])
    assert not Path("comparison").exists()


def test_a_failing_run_says_what_is_kept(call, monkeypatch):
    """As Ctrl-C does."""

    def failing(_, tasks, __, **___):
        yield tasks[0], a_run("rnn", 0)
        raise WorkerError("The process for rnn, seed 1 ended with 3.")

    monkeypatch.setattr(comparison, "with_bar", failing)
    arguments = ["--data", "sample", "--models", "rnn", "--units", "2", "--overwrite"]
    status, _, errors = call(*arguments)
    assert (status, errors) == (
        2,
        "python -m sentiment.compare: error: The process for rnn, seed 1 ended with 3. What is "
        "finished is kept in comparison; the same command without --overwrite goes on from it.\n",
    )


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from sentiment import compare; assert compare.main(['--help']) == 0; "
        "print([m for m in ('numpy', 'keras', 'tensorflow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"
