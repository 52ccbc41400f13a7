"""The commands as a person uses them: one chain, every wrong input, and Ctrl-C."""

import argparse
import csv
import gzip
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

import sentiment
from sentiment import __main__ as commands
from sentiment import command_line, evaluate, predict, train
from sentiment.artifact import load_artifact
from sentiment.classifier import SentimentClassifier
from sentiment.data import load_reviews, load_splits
from sentiment.models import list_models, model_settings
from sentiment.predictor import Predictor

ROOT = Path(sentiment.__file__).parent.parent
GOOD = ("good", "great", "lovely", "superb", "moving", "funny")
BAD = ("bad", "awful", "dull", "boring", "dreadful", "silly")
THINGS = ("film", "plot", "ending", "cast", "music", "story", "hero", "dialogue")
GREAT, DREADFUL = "a good film great lovely superb", "a bad film awful dull boring"
TINY = ["--from", "scratch", "--model", "gru", "--units", "4", "--embedding-dim", "8"]
TINY += ["--epochs", "6", "--batch-size", "8", "--learning-rate", "0.05", "--ema", "none"]
ONE_EPOCH = ["--from", "scratch", "--model", "rnn", "--units", "2", "--embedding-dim", "2"]
ONE_EPOCH += ["--epochs", "1"]
MAINS = {"train": train.main, "evaluate": evaluate.main, "predict": predict.main}


def rows(labels: tuple[str, ...] = ("negative", "positive")) -> list[dict[str, str]]:
    """96 different reviews of each label, the better the label the more good words in them.

    Every eleventh says the opposite: else a network would be certain, and right, everywhere.
    """
    found = []
    for i, label in enumerate(labels):
        for a in range(96):
            good = i / (len(labels) - 1) if a % 11 else 1 - i / (len(labels) - 1)
            words = [
                (GOOD if k < round(4 * good) else BAD)[(a * (k + 1) + k) % 6] for k in range(4)
            ]
            thing = THINGS[a % 8]
            text = f"a {words[0]} {thing} {words[1]} {words[2]} {words[3]} number {a}"
            found.append({"review": text, "sentiment": label})
    return found


def write_csv(path: Path, table: list[dict[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
    return path


def write_jsonl(path: Path, table: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return path


def listing(folder: Path) -> dict[str, tuple[int, int] | None]:
    """Every path below a folder, with size and time of the files."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> Path:
    """A CSV of 192 reviews with two labels."""
    return write_csv(tmp_path_factory.mktemp("reviews") / "reviews.csv", rows())


@pytest.fixture(scope="module")
def chain(reviews, tmp_path_factory) -> tuple[Path, str]:
    """A model trained by the command, and what the command printed."""
    folder = tmp_path_factory.mktemp("chain") / "model"
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", printed)
        assert train.main(["--data", str(reviews), "--out", str(folder), *TINY]) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def model(chain) -> str:
    """Folder of a trained model."""
    return str(chain[0])


@pytest.fixture
def call(capfd, monkeypatch, tmp_path):
    """`call(command, *arguments, stdin=bytes)` → status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capfd.readouterr()
        status = MAINS[command](list(map(str, arguments)))
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def refused(call, tmp_path):
    """`refused(command, *arguments)` → the one line on standard error; nothing else happens."""

    def run(command: str, *arguments: object, stdin: bytes = b"") -> str:
        before = listing(tmp_path)
        status, out, err = call(command, *arguments, stdin=stdin)
        assert status == 2
        assert out == ""
        assert listing(tmp_path) == before
        start = f"python -m sentiment.{command}: error: "
        assert err.startswith(start)
        assert err.endswith("\n")
        assert err.count("\n") == 1
        return err.removeprefix(start).removesuffix("\n")

    return run


def process(*arguments: object, **options) -> subprocess.CompletedProcess:
    """A command as a process of its own."""
    options = {"capture_output": True, "cwd": ROOT, "timeout": 120} | options
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], **options)


@pytest.fixture
def heeds_ctrl_c():
    """Processes started in the test heed SIGINT, even if the test run itself was told not to."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# ------------------------------------------------------------------------------------------- --help

HEAVY = ("tensorflow", "keras", "sklearn", "pandas", "onnxruntime", "onnx", "matplotlib", "pyarrow")


@pytest.mark.parametrize("command", ["sentiment", *(f"sentiment.{name}" for name in MAINS)])
def test_help_answers_at_once(command):
    times = []
    for _ in range(5):
        started = time.perf_counter()
        done = process(command, "--help")
        times.append(time.perf_counter() - started)
        assert done.returncode == 0
        assert done.stdout
        assert not done.stderr
    assert statistics.median(times) < 0.5


@pytest.mark.parametrize("name", MAINS)
def test_help_imports_nothing_heavy(name):
    code = (
        "import contextlib, io, json, sys\n"
        f"from sentiment import {name}\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    assert {name}.main(['--help']) == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=True)
    assert set(json.loads(done.stdout)).isdisjoint(HEAVY)


def help_of(name: str, monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", "1000")
    return getattr(sentiment, name)._parser().format_help()


def test_defaults_named_by_train_are_the_real_ones(monkeypatch):
    """`--help` imports no TensorFlow, so it names the defaults; here it is held to its word."""
    named = {}
    shown = " ".join(help_of("train", monkeypatch).split())
    for action in train._parser()._actions:
        if found := re.search(r"\(default: ([^)]*)\)$", action.help):
            assert action.help in shown
            named[action.option_strings[-1].removeprefix("--")] = found[1]
    real = SentimentClassifier().get_params()
    builders = {name: model_settings(name) for name in list_models()}
    options = [name for name, _, _ in train.SETTINGS] + ["ema"]
    assert set(options) <= set(named)
    for option in options:
        name, text = option.replace("-", "_"), named[option]
        choices = {settings[name] for settings in builders.values() if name in settings}
        if real[name] is not None:
            assert text == str(real[name]), option
        elif option == "epochs":
            assert text == "about 1,000 updates"
        elif len(choices) == 1:
            assert text == str(choices.pop()), option
        else:
            assert choices, option
            assert text == "the builder's", option
    assert named["model"] == real["model"]
    assert (named["class-weight"], real["class_weight"]) == ("none", None)


def test_types_of_train_options_fit_the_defaults():
    real = SentimentClassifier().get_params()
    for option, kind, _ in train.SETTINGS:
        name = option.replace("-", "_")
        values = {settings[name] for m in list_models() if name in (settings := model_settings(m))}
        for value in values | ({real[name]} - {None}):
            assert type(value) is kind, option


def test_models_named_by_train_are_those_there_are(monkeypatch):
    found = re.search(r"--model NAME +builder: (.*) \(default", help_of("train", monkeypatch))
    assert re.split(", | or ", found[1]) == list_models()


@pytest.mark.parametrize("name", MAINS)
def test_examples_can_be_parsed(name):
    module = getattr(sentiment, name)
    lines = [line.strip() for line in module.EXAMPLES.splitlines()[1:]]
    assert len(lines) >= 3
    for line in lines:
        words = shlex.split(line.split("|")[-1])
        assert words[:3] == ["python", "-m", f"sentiment.{name}"]
        module._parser().parse_args(words[3:])


def test_the_package_lists_its_commands(capsys):
    assert commands.main([]) == 0
    out = capsys.readouterr().out
    for name in MAINS:
        assert f"python -m sentiment.{name} " in out
    assert commands.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{sentiment.__version__}\n"


def test_the_package_runs_a_command(model, capsys):
    assert commands.main(["predict", "--model-dir", model, GREAT]) == 0
    assert capsys.readouterr().out.startswith("positive")


def test_unknown_command(capsys):
    assert commands.main(["fly"]) == 2
    assert capsys.readouterr().err == (
        "python -m sentiment: error: no command 'fly'; expected one of: "
        f"{', '.join(commands.COMMANDS)}\n"
    )


# -------------------------------------------------------------------------------------------- train


def test_train(chain):
    folder, printed = chain
    lines = printed.splitlines()
    assert lines[:4] == [
        "text column of reviews.csv: 'review' (guessed by its name)",
        "label column of reviews.csv: 'sentiment' (guessed by its name)",
        "reviews.csv: train 154, validation 19, test 19 reviews",
        "starting from scratch",
    ]
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert 1 <= len(epochs) <= 6
    assert re.fullmatch(
        r"epoch 1: loss \d\.\d{4}, validation loss \d\.\d{4}, "
        r"validation accuracy \d+\.\d\d%, \d+\.\d s",
        epochs[0],
    )
    assert re.search(
        r"^test: accuracy .*% \(95 % interval .*% to .*%\), macro-F1 .*, calibration error .*%, "
        r"19 reviews$",
        printed,
        re.MULTILINE,
    )
    assert lines[-2] == f"saved in {folder}; predict with:"
    assert lines[-1] == (f'  python -m sentiment.predict --model-dir {folder} "This film was okay"')
    assert [path.name for path in folder.parent.iterdir()] == ["model"]  # no checkpoint is left


def test_the_command_that_train_prints_works(chain):
    done = subprocess.run(
        chain[1].splitlines()[-1].strip().replace("python", sys.executable, 1),
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert re.match(r"(negative|positive)  [+-]\d\.\d{3}  \(negative ", done.stdout)
    assert not done.stderr


def test_train_writes_what_it_did_into_the_folder(chain):
    manifest = load_artifact(chain[0]).manifest
    assert manifest.model == "gru"
    assert manifest.labels == ("negative", "positive")
    assert manifest.settings["units"] == 4
    assert manifest.fitting["learning_rate"] == 0.05
    assert manifest.data["source"] == "reviews.csv"
    sizes = {name: part["texts"] for name, part in manifest.data["splits"].items()}
    assert sizes == {"train": 154, "validation": 19, "test": 19}
    assert manifest.metrics["split"] == "test"
    assert manifest.metrics["n"] == 19


def by_folder(folder: Path, table: list[dict[str, str]]) -> Path:
    for i, row in enumerate(table):
        path = folder / row["sentiment"] / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row["review"], encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv.gz", "tsv", "parquet", "folder", "files", "stars"])
def test_train_from_every_kind_of_source(call, tmp_path, kind):
    table, labels = rows(), ("negative", "positive")
    out = tmp_path / "out" / "model"
    source = tmp_path / f"source.{kind}"
    sources = ["--data", source]
    if kind == "jsonl":
        write_jsonl(source, table)
    elif kind == "csv.gz":
        plain = write_csv(tmp_path / "plain.csv", table)
        source.write_bytes(gzip.compress(plain.read_bytes()))
    elif kind == "tsv":
        write_csv(source, table, "\t")
    elif kind == "parquet":
        pd.DataFrame(table).to_parquet(source)
    elif kind == "folder":
        by_folder(source, table)
    elif kind == "stars":
        labels = ("1", "2", "3", "4", "5")
        write_csv(source.with_suffix(".csv"), rows(labels))
        sources = ["--data", source.with_suffix(".csv")]
    else:
        sources = []
        for i, name in enumerate(("train", "validation", "test")):
            path = write_csv(tmp_path / f"{name}.csv", table[i::3])
            sources += [f"--{name}", path]
    status, printed, err = call("train", *sources, "--out", out, *ONE_EPOCH)
    assert (status, err) == (0, "")
    size = 64 if kind == "files" else round(len(labels) * 96 / 10)
    assert f"validation {size}, test {size} reviews\n" in printed
    manifest = load_artifact(out).manifest
    assert manifest.labels == labels
    if kind == "stars":
        assert manifest.label_values == (-1, -0.5, 0, 0.5, 1)
        (prediction,) = Predictor.load(out).details(["a good film"])
        expected = sum((int(k) - 3) / 2 * p for k, p in prediction.probabilities.items())
        assert prediction.score == pytest.approx(expected, abs=1e-6)


def test_train_with_validation_but_no_test_split(call, tmp_path):
    files = [write_csv(tmp_path / f"{i}.csv", rows()[i::2]) for i in range(2)]
    status, printed, _ = call(
        "train", "--train", files[0], "--validation", files[1], "--out", "model", *ONE_EPOCH
    )
    assert status == 0
    assert re.search(r"^validation: accuracy .*, 96 reviews$", printed, re.MULTILINE)
    assert load_artifact(tmp_path / "model").manifest.metrics["split"] == "validation"


def test_notes_are_printed_and_kept(call, tmp_path):
    table = [{"verdict": row["sentiment"], "words": row["review"]} for row in rows()]
    table += [table[0], {"verdict": "positive", "words": " "}, {"verdict": "", "words": "so so"}]
    # The same 99 rows for each split to be sure that the repeated one is in training.
    files = [write_csv(tmp_path / f"{i}.csv", table[i::2]) for i in range(2)]
    files[0] = write_csv(tmp_path / "0.csv", [*table[0::2], table[0], *table[-2:]])
    status, printed, err = call(
        "train", "--train", files[0], "--validation", files[1], "--text-column", "words",
        "--label-column", "verdict", "--skip-bad-rows", "--out", "model", *ONE_EPOCH,
    )  # fmt: skip
    assert (status, err) == (0, "")
    notes = printed.splitlines()[: printed.splitlines().index(next(
        line for line in printed.splitlines() if line.endswith("reviews")))]  # fmt: skip
    assert any("bad rows: row " in note and "blank text" in note for note in notes)
    assert any("missing label" in note for note in notes)
    assert any(re.fullmatch(r"removed \d repeated training texts", note) for note in notes)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert load_artifact(tmp_path / "model").manifest.data["notes"] == notes
    for note in notes:
        assert f"* {note}\n" in card


def test_log_csv(call, tmp_path, reviews):
    arguments = ["--data", reviews, "--log-csv", "log.csv", *ONE_EPOCH[:-1], "2"]
    status, *_ = call("train", *arguments, "--out", "a")
    assert status == 0
    log = pd.read_csv(tmp_path / "log.csv")
    assert len(log) == 2
    assert {"epoch", "loss", "validation_loss", "validation_accuracy"} <= set(log.columns)
    history = load_artifact(tmp_path / "a").manifest.fitting["history"]
    np.testing.assert_allclose(log["loss"], [report["loss"] for report in history], rtol=1e-6)
    np.testing.assert_allclose(
        log["validation_accuracy"], [r["validation_accuracy"] for r in history], rtol=1e-6
    )


has_tensorboard = importlib.util.find_spec("tensorboard") is not None


@pytest.mark.skipif(not has_tensorboard, reason="tensorboard is not installed")
def test_tensorboard(call, tmp_path, reviews):
    status, *_ = call(
        "train", "--data", reviews, "--out", "a", "--tensorboard", "board", *ONE_EPOCH
    )
    assert status == 0
    assert list((tmp_path / "board").rglob("events.*"))


@pytest.mark.skipif(has_tensorboard, reason="tensorboard is installed")
def test_tensorboard_that_is_not_installed(refused, reviews):
    message = refused(
        "train", "--data", reviews, "--out", "a", "--tensorboard", "board", *ONE_EPOCH
    )
    assert message == (
        "this needs the package tensorboard: in the checkout, pip install -e '.[tensorboard]'"
    )


def test_default_out():
    assert train.default_out("lstm", "sample") == Path("saved_models/lstm-sample")
    assert train.default_out("gru", "data/my.reviews.csv.gz") == Path("saved_models/gru-my")
    assert train.default_out("gru", ".") == Path("saved_models/gru-reviews")


def test_ema_and_class_weight_are_passed_on(call, tmp_path, reviews):
    status, *_ = call(
        "train", "--data", reviews, "--out", "m", *ONE_EPOCH, "--ema", "0.9",
        "--class-weight", "balanced", "--dropout", "0.25",
    )  # fmt: skip
    assert status == 0
    manifest = load_artifact(tmp_path / "m").manifest
    assert manifest.fitting["ema"] == 0.9
    assert manifest.fitting["class_weight"] == "balanced"
    assert manifest.settings["dropout"] == 0.25


# ----------------------------------------------------------------------------------------- evaluate

JSON_KEYS = ["n", "labels", "accuracy", "accuracy_interval", "macro_f1", "ece", "brier", "roc_auc",
             "confusion", "per_label", "oov_share", "truncated_share"]  # fmt: skip


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> Path:
    """Reviews whose labels are wrong for a third: an evaluation with mistakes."""
    table = rows()[::3]
    swap = {"negative": "positive", "positive": "negative"}
    for row in table[::3]:
        row["sentiment"] = swap[row["sentiment"]]
    table[1]["review"] += " nonesuch" * 3
    return write_csv(tmp_path_factory.mktemp("noisy") / "noisy.csv", table)


def test_evaluate_json(call, model, noisy):
    status, out, _ = call("evaluate", "--model-dir", model, "--data", noisy, "--json")
    assert status == 0
    (line,) = out.splitlines()
    found = json.loads(line)
    assert set(found) == set(JSON_KEYS)

    table = pd.read_csv(noisy)
    truth = list(table["sentiment"])
    probabilities = Predictor.load(model).predict_proba(list(table["review"]))
    labels = ["negative", "positive"]
    predicted = [labels[i] for i in probabilities.argmax(axis=1)]
    is_positive = [label == "positive" for label in truth]
    assert found["n"] == len(table) == 64
    assert found["labels"] == labels
    assert found["accuracy"] == sklearn_metrics.accuracy_score(truth, predicted)
    assert 0 < found["accuracy"] < 1
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high
    assert found["macro_f1"] == pytest.approx(
        sklearn_metrics.f1_score(truth, predicted, average="macro")
    )
    assert found["roc_auc"] == pytest.approx(
        sklearn_metrics.roc_auc_score(is_positive, probabilities[:, 1])
    )
    # scikit-learn counts one label of two, we count both
    assert found["brier"] == pytest.approx(
        2 * sklearn_metrics.brier_score_loss(is_positive, probabilities[:, 1]), rel=1e-5
    )
    assert found["confusion"] == sklearn_metrics.confusion_matrix(truth, predicted).tolist()
    report = sklearn_metrics.classification_report(truth, predicted, output_dict=True)
    for label in labels:
        expected = report[label]
        assert found["per_label"][label] == pytest.approx(
            {
                "precision": expected["precision"],
                "recall": expected["recall"],
                "f1": expected["f1-score"],
                "n": expected["support"],
            }
        )
    right = np.array(truth) == predicted
    confidence = probabilities.max(axis=1)
    ece = 0.0
    for i in range(15):
        inside = (confidence >= i / 15) & ((confidence < (i + 1) / 15) | (i == 14))
        if inside.any():
            ece += abs(right[inside].mean() - confidence[inside].mean()) * inside.mean()
    assert found["ece"] == pytest.approx(ece, abs=1e-6)
    answers = Predictor.load(model).answers(list(table["review"]))
    assert found["oov_share"] == sum(answers.oov) / sum(answers.words)
    assert found["oov_share"] >= 3 / sum(answers.words)
    assert found["truncated_share"] == 0


def test_evaluate_for_people(call, model, noisy):
    status, out, err = call("evaluate", "--model-dir", model, "--data", noisy)
    assert status == 0
    assert f"{noisy}, all split: 64 reviews" in out
    for name in ("accuracy", "macro-F1", "ROC-AUC", "calibration error", "Brier score"):
        assert re.search(f"^{name} +[0-9.]+", out, re.MULTILINE)
    assert "95 % interval" in out
    mistakes = out.split("most confident mistakes\n")[1].splitlines()
    table = pd.read_csv(noisy)
    probabilities = Predictor.load(model).predict_proba(list(table["review"]))
    wrong = [
        p.max()
        for p, label in zip(probabilities, table["sentiment"], strict=True)
        if ("negative", "positive")[p.argmax()] != label
    ]
    assert len(mistakes) == min(10, len(wrong)) > 3
    shown = [float(line.split()[1].strip(",")) for line in mistakes]
    assert shown == pytest.approx(sorted(wrong, reverse=True)[:10], abs=6e-4)
    assert err.splitlines() == [
        "text column of noisy.csv: 'review' (guessed by its name)",
        "label column of noisy.csv: 'sentiment' (guessed by its name)",
    ]


def test_evaluate_without_mistakes(call, model, tmp_path):
    table = [{"text": GREAT, "label": "positive"}, {"text": DREADFUL, "label": "negative"}]
    path = write_csv(tmp_path / "a.csv", table)
    status, out, _ = call("evaluate", "--model-dir", model, "--data", path)
    assert status == 0
    assert out.endswith("\nno mistakes\n")


def test_evaluate_of_one_label_has_no_roc(call, model, tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"text": GREAT, "label": "positive"}])
    status, out, _ = call("evaluate", "--model-dir", model, "--data", path, "--json")
    assert status == 0
    assert json.loads(out)["roc_auc"] is None
    assert json.loads(out)["confusion"] == [[0, 0], [0, 1]]


def read_png(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_plots(call, model, noisy, tmp_path):
    import matplotlib

    backend = matplotlib.get_backend()
    folder = tmp_path / "new" / "pictures"
    status, out, err = call(
        "evaluate", "--model-dir", model, "--data", noisy, "--json", "--plots", folder
    )
    assert status == 0
    json.loads(out)
    names = {"confusion_matrix.png", "reliability.png", "roc.png"}
    assert {path.name for path in folder.iterdir()} == names
    for path in folder.iterdir():
        assert str(path) in err
        pixels = read_png(path)
        assert min(pixels.shape[:2]) > 400
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20  # something is drawn
    assert matplotlib.get_backend() == backend  # a notebook goes on showing its own
    status, *_ = call(
        "evaluate", "--model-dir", model, "--data", noisy, "--plots", folder, "--overwrite"
    )
    assert status == 0


def test_existing_plots_are_refused(refused, model, noisy, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "roc.png").write_bytes(b"mine")
    message = refused("evaluate", "--model-dir", model, "--data", noisy, "--plots", folder)
    assert message == (
        f"{folder / 'roc.png'} exists already. Choose another folder, or add --overwrite."
    )


def test_other_pictures_are_left_alone(call, model, noisy, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "holiday.png").write_bytes(b"mine")
    status, *_ = call("evaluate", "--model-dir", model, "--data", noisy, "--plots", folder)
    assert status == 0
    assert (folder / "holiday.png").read_bytes() == b"mine"
    assert {path.name for path in folder.iterdir()} == {"holiday.png", *evaluate.PLOT_FILES}


def test_plots_of_three_labels_have_no_roc(random_model, call, tmp_path):
    folder = random_model(("negative", "neutral", "positive")).save(tmp_path / "three")
    table = [{"text": f"word{i}", "label": ("negative", "neutral", "positive")[i % 3]}
             for i in range(30)]  # fmt: skip
    path = write_csv(tmp_path / "a.csv", table)
    status, *_ = call("evaluate", "--model-dir", folder, "--data", path, "--plots", "p")
    assert status == 0
    assert {p.name for p in (tmp_path / "p").iterdir()} == {
        "confusion_matrix.png",
        "reliability.png",
    }


@pytest.mark.parametrize(
    ("arguments", "name", "n"),
    [([], "test", 2), (["--split", "train"], "train", 3), (["--split", "validation"], "valid", 1),
     (["--split", "all"], "all", 6)],
)  # fmt: skip
def test_split(call, model, tmp_path, arguments, name, n):
    splits = ["train", "train", "train", "dev", "test", "test"]
    table = [{"text": f"{word} film", "label": "positive", "split": split}
             for word, split in zip(GOOD, splits, strict=True)]  # fmt: skip
    path = write_csv(tmp_path / "a.csv", table)
    status, out, _ = call("evaluate", "--model-dir", model, "--data", path, *arguments)
    assert status == 0
    assert out.startswith(f"{path}, {name}")
    assert f" split: {n} reviews\n" in out


def test_evaluating_on_the_source_of_training_is_said(call, model, reviews, tmp_path):
    status, _, err = call("evaluate", "--model-dir", model, "--data", reviews)
    assert status == 0
    assert "beware: the model was trained on a source called reviews.csv" in err
    other = tmp_path / "other.csv"
    other.write_bytes(reviews.read_bytes())
    assert "beware" not in call("evaluate", "--model-dir", model, "--data", other)[2]


def test_split_that_is_not_there(refused, model, reviews, tmp_path):
    message = refused("evaluate", "--model-dir", model, "--data", reviews, "--split", "test")
    assert message == "There is no test split. Expected one of: all."
    table = [{"text": "x", "label": "positive", "split": s} for s in ("train", "dev")]
    path = write_csv(tmp_path / "a.csv", table)
    message = refused("evaluate", "--model-dir", model, "--data", path)
    assert message == "There is no test split. Choose with --split: train, validation, all."


def test_evaluate_needs_data(refused, model):
    """A model is not measured on the sample reviews by chance."""
    assert refused("evaluate", "--model-dir", model) == (
        "Expected --data with reviews to measure on, or --behaviour."
    )


def test_unseen_label(refused, call, model, tmp_path):
    table = [{"text": "good", "label": "positive"}, {"text": "so so", "label": "mixed"}]
    path = write_csv(tmp_path / "a.csv", table)
    message = refused("evaluate", "--model-dir", model, "--data", path)
    assert message == (
        "The label 'mixed' was never seen in training; the model knows: negative, positive. "
        "Leave such reviews out with --skip-bad-rows."
    )
    status, out, err = call(
        "evaluate", "--model-dir", model, "--data", path, "--skip-bad-rows", "--json"
    )
    assert status == 0
    assert json.loads(out)["n"] == 1
    assert "left out: 1 review" in err


def test_no_known_label(refused, model, tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"text": "so so", "label": "mixed"}])
    message = refused("evaluate", "--model-dir", model, "--data", path, "--skip-bad-rows")
    assert message == f"{path} has no review whose label the model knows."


# ------------------------------------------------------------------------------------------ predict


def test_predict_arguments(call, model):
    status, out, err = call("predict", "--model-dir", model, GREAT, f"{DREADFUL} nonesuch")
    assert (status, err) == (0, "")
    first, second = Predictor.load(model).details([GREAT, f"{DREADFUL} nonesuch"])
    number = r"[+-]?[01]\.\d{3}"
    line = re.compile(
        rf"(\w+)  ({number})  \(negative ({number}), positive ({number})\)  (.*?)(?:  \[(.*)\])?"
    )
    for prediction, printed in zip((first, second), out.splitlines(), strict=True):
        found = line.fullmatch(printed)
        assert found[1] == prediction.label
        assert float(found[2]) == pytest.approx(prediction.score, abs=6e-4)
        assert float(found[3]) == pytest.approx(prediction.probabilities["negative"], abs=6e-4)
        assert float(found[4]) == pytest.approx(prediction.probabilities["positive"], abs=6e-4)
        assert found[5] == prediction.text
        assert bool(found[6]) == bool(prediction.oov)
    assert (first.label, second.label) == ("positive", "negative")


def test_predict_warns_of_long_texts(call, model):
    status, out, _ = call("predict", "--model-dir", model, "good " * 500)
    assert status == 0
    assert out.endswith("  [too long: only head and tail were read]\n")
    assert out.count("\n") == 1


def test_predict_labels_without_order(random_model, call, tmp_path):
    folder = random_model(("books", "food", "hotels")).save(tmp_path / "topics")
    status, out, _ = call("predict", "--model-dir", folder, "word1")
    assert status == 0
    assert re.match(r"(books|food|hotels)  \(books \d", out)
    _, out, _ = call("predict", "--model-dir", folder, "--json", "word1")
    assert json.loads(out)["score"] is None


LINES = ["a good film", "", "a bad film", "   ", "\ttabs\tand NUL \0", "last without newline"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_predict_lines(call, model, end):
    """Line i of the output answers line i of the input, blank ones too."""
    stdin = end.join(LINES).encode()
    status, out, err = call("predict", "--model-dir", model, "--json", stdin=stdin)
    assert (status, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["text"] for answer in answers] == LINES
    expected = Predictor.load(model).details(LINES)
    for answer, prediction in zip(answers, expected, strict=True):
        assert list(answer) == ["text", "label", "score", "probabilities", "truncated", "oov"]
        assert answer["label"] == prediction.label
        assert answer["score"] == pytest.approx(prediction.score, abs=1e-5)
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-5)
        assert answer["truncated"] is prediction.truncated
        assert answer["oov"] == prediction.oov
    _, out, _ = call("predict", "--model-dir", model, stdin=stdin)
    assert len(out.split("\n")) == len(LINES) + 1


def test_predict_more_lines_than_are_held(call, model, monkeypatch):
    monkeypatch.setattr(predict, "LINES", 3)
    texts = [f"a {word} film" for word in GOOD + BAD + GOOD[:1]]
    status, out, _ = call(
        "predict", "--model-dir", model, "--json", stdin="\n".join(texts).encode()
    )
    assert status == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["text"] for answer in answers] == texts
    expected = Predictor.load(model).predict_proba(texts)[:, 1]
    found = [answer["probabilities"]["positive"] for answer in answers]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_predict_nothing(call, model):
    assert call("predict", "--model-dir", model, stdin=b"") == (0, "", "")


def test_closed_standard_input(model):
    command = f"{shlex.quote(sys.executable)} -m sentiment.predict --model-dir {model} <&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "python -m sentiment.predict: error: Expected texts, or lines on standard input. Received "
        "neither.\n"
    )


def test_byte_order_mark_is_no_part_of_the_text(call, model):
    _, out, _ = call("predict", "--model-dir", model, "--json", stdin=b"\xef\xbb\xbfgood\n")
    assert json.loads(out)["text"] == "good"


def test_wrong_encoding_on_standard_input(model):
    done = process(
        "sentiment.predict", "--model-dir", model, input="good\nna\xefve\n".encode("latin1")
    )
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode() == (
        "python -m sentiment.predict: error: Standard input is not UTF-8: byte 7 cannot be "
        "decoded (invalid continuation byte).\n"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_json_is_json_on_any_terminal(model, encoding):
    text = "naïve 🎬 film \x00 “quoted”"
    done = process(
        "sentiment.predict", "--model-dir", model, "--json",
        input=text.encode(), env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0
    assert json.loads(done.stdout.decode(encoding))["text"] == text


def test_lone_surrogates_in_arguments(model):
    """Bytes of an argument that are no UTF-8 reach Python as lone surrogates."""
    command = [sys.executable, "-m", "sentiment.predict", "--model-dir", model, "--json", b"a \xff"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["text"] == "a \udcff"


def test_closed_pipe(model, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text(f"{GREAT}\n" * 30_000)
    done = subprocess.run(
        f"{sys.executable} -m sentiment.predict --model-dir {model} < {lines} | head -1; "
        "echo ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    answer, status = done.stdout.splitlines()
    assert answer.startswith("positive")
    assert done.stderr == ""
    assert status == str(128 + signal.SIGPIPE)


def test_neutral_band(call, model):
    texts = [GREAT, DREADFUL, "a good film bad"]
    shares = [
        p["positive"] for p in (d.probabilities for d in Predictor.load(model).details(texts))
    ]
    low, high = sorted(shares)[0] + 1e-4, sorted(shares)[2] + 1e-4
    band = f"{low},{high}"
    status, out, _ = call("predict", "--model-dir", model, "--neutral-band", band, "--json", *texts)
    assert status == 0
    labels = [json.loads(line)["label"] for line in out.splitlines()]
    plain = Predictor.load(model).predict(texts)
    expected = [
        "neutral" if low < p < high else name for p, name in zip(shares, plain, strict=True)
    ]
    assert labels == expected
    assert labels.count("neutral") == 2


@pytest.mark.parametrize(
    ("band", "message"),
    [
        ("0.6,0.4", "Expected a neutral band with 0 <= LOW < HIGH <= 1. Received: 0.6,0.4"),
        ("0.4,1.2", "Expected a neutral band with 0 <= LOW < HIGH <= 1. Received: 0.4,1.2"),
        ("half", "argument --neutral-band: expected two numbers such as 0.4,0.6. Received: 'half'"
                 " (--help lists all options)"),
        ("0.5", "argument --neutral-band: expected two numbers such as 0.4,0.6. Received: '0.5'"
                " (--help lists all options)"),
    ],
)  # fmt: skip
def test_wrong_band(refused, model, band, message):
    assert refused("predict", "--model-dir", model, f"--neutral-band={band}", "text") == message


def test_wrong_band_for_a_file(refused, model, reviews, tmp_path):
    message = refused(
        "predict", "--model-dir", model, "--input", reviews, "--output", tmp_path / "o.csv",
        "--neutral-band", "0.6,0.4",
    )  # fmt: skip
    assert message.startswith("Expected a neutral band")


# ----------------------------------------------------------------------------------- predict, files

TABLE = [
    {"id": f"{i:03}", "review": review, "note": note}
    for i, (review, note) in enumerate(
        [
            ("a good film", ""),
            ('quoted "bad" plot, with a comma', "=1+1"),
            ("two\nlines of a good story", "naïve 🎬"),
            ("awful", "tab\there"),
            ("nothing known", "null"),
        ]
    )
]
ADDED = ["predicted_label", "predicted_score", "p_negative", "p_positive"]
FORMATS = ["csv", "tsv", "jsonl", "parquet", "csv.gz", "tsv.gz", "jsonl.gz"]


def write_table(path: Path, table: list[dict]) -> Path:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".parquet":
        pd.DataFrame(table).to_parquet(plain)
    elif plain.suffix == ".jsonl":
        write_jsonl(plain, table)
    else:
        write_csv(plain, table, "\t" if plain.suffix == ".tsv" else ",")
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def read_table(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_dict("records")
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if ".jsonl" in path.suffixes:
        return [json.loads(line) for line in text.split("\n") if line]
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_predict_file(call, model, tmp_path, source, target):
    path = write_table(tmp_path / f"in.{source}", TABLE)
    out = tmp_path / f"out.{target}"
    status, printed, err = call("predict", "--model-dir", model, "--input", path, "--output", out)
    assert (status, printed) == (0, "")
    assert err.splitlines() == [
        f"text column of in.{source}: 'review' (guessed by its name)",
        f"5 rows written to {out}",
    ]
    result = read_table(out)
    expected = Predictor.load(model).details([row["review"] for row in TABLE])
    assert len(result) == len(TABLE)
    for row, given, prediction in zip(result, TABLE, expected, strict=True):
        assert list(row) == [*given, *ADDED]
        assert {name: row[name] for name in given} == given
        assert row["predicted_label"] == prediction.label
        assert float(row["predicted_score"]) == pytest.approx(prediction.score, abs=1e-5)
        for label, p in prediction.probabilities.items():
            assert float(row[f"p_{label}"]) == pytest.approx(p, abs=1e-5)
    assert {p.name for p in tmp_path.iterdir()} == {path.name, out.name}


def test_predict_file_of_one_row(call, model, tmp_path):
    path = write_table(tmp_path / "in.csv", TABLE[:1])
    _, _, err = call("predict", "--model-dir", model, "--input", path, "--output", "o.csv")
    assert err.splitlines()[-1] == "1 row written to o.csv"


@pytest.mark.parametrize("target", ["csv", "tsv", "jsonl", "parquet"])
def test_predict_file_keeps_the_keys_of_all_lines(call, model, tmp_path, target):
    table = [{"review": "good", "a": "1"}, {"b": "2", "review": "awful"}, {"review": "x", "a": "3"}]
    path = write_jsonl(tmp_path / "in.jsonl", table)
    out = tmp_path / f"out.{target}"
    assert call("predict", "--model-dir", model, "--input", path, "--output", out)[0] == 0
    result = read_table(out)
    if target != "jsonl":
        assert list(result[0]) == ["review", "a", "b", *ADDED]
    for given, row in zip(table, result, strict=True):
        kept = {name: row.get(name) for name in ("review", "a", "b")}
        assert {
            name: value for name, value in kept.items() if value and not pd.isna(value)
        } == given


def test_predict_file_of_many_chunks(call, model, tmp_path, monkeypatch):
    """Every answer stands beside its own text, wherever the chunks are cut."""
    from sentiment import scoring

    monkeypatch.setattr(scoring, "CHUNK", 7)
    path = write_csv(tmp_path / "in.csv", rows())
    assert call("predict", "--model-dir", model, "--input", path, "--output", "out.csv")[0] == 0
    result = read_table(tmp_path / "out.csv")
    answers = Predictor.load(model).answers([row["review"] for row in rows()])
    assert [row["review"] for row in result] == [row["review"] for row in rows()]
    found = [float(row["p_positive"]) for row in result]
    np.testing.assert_allclose(found, answers.probabilities[:, 1], atol=1e-5)


def test_predict_file_without_order(random_model, call, tmp_path):
    folder = random_model(("books", "food", "hotels")).save(tmp_path / "topics")
    path = write_table(tmp_path / "in.csv", TABLE)
    assert call("predict", "--model-dir", folder, "--input", path, "--output", "o.csv")[0] == 0
    assert list(read_table(tmp_path / "o.csv")[0]) == [
        "id", "review", "note", "predicted_label", "p_books", "p_food", "p_hotels",
    ]  # fmt: skip


def test_predict_file_with_a_band(call, model, tmp_path):
    path = write_table(tmp_path / "in.csv", TABLE)
    status, *_ = call(
        "predict", "--model-dir", model, "--input", path, "--output", "o.csv",
        "--neutral-band", "0,1",
    )  # fmt: skip
    assert status == 0
    assert {row["predicted_label"] for row in read_table(tmp_path / "o.csv")} == {"neutral"}


def test_values_keep_their_types(call, model, tmp_path):
    table = [{"text": "good", "n": 3, "x": 0.5, "tags": ["a", "b"], "ok": True, "none": None}]
    path = write_jsonl(tmp_path / "in.jsonl", table)
    assert call("predict", "--model-dir", model, "--input", path, "--output", "o.jsonl")[0] == 0
    (row,) = read_table(tmp_path / "o.jsonl")
    assert {name: row[name] for name in table[0]} == table[0]


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("target", ["csv", "jsonl", "parquet"])
def test_skip_bad_rows_keeps_rows_aligned(call, model, tmp_path, source, target):
    reviews = ["a good film", "", "  ", "awful", "\n", "lovely"]
    table = [{"id": str(i), "review": review} for i, review in enumerate(reviews)]
    path = write_table(tmp_path / f"in.{source}", table)
    out = tmp_path / f"out.{target}"
    status, _, err = call(
        "predict", "--model-dir", model, "--input", path, "--output", out, "--skip-bad-rows"
    )
    assert status == 0
    assert "without an answer: " in err
    assert "3 bad rows: row " in err
    result = read_table(out)
    assert [row["id"] for row in result] == [row["id"] for row in table]
    answers = Predictor.load(model).predict(reviews)
    for i, row in enumerate(result):
        label, p = row.get("predicted_label"), row.get("p_positive")
        if reviews[i].strip():
            assert label == answers[i]
            assert 0 <= float(p) <= 1
        else:
            assert not label or pd.isna(label)
            assert p in ("", None) or pd.isna(p)


def test_skip_bad_rows_leaves_out_lines_that_cannot_be_read(call, model, tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,review\n1,good\n2,bad,extra\n3,awful\n")
    status, _, err = call(
        "predict", "--model-dir", model, "--input", path, "--output", "o.csv", "--skip-bad-rows"
    )
    assert status == 0
    assert "row 3 (3 fields instead of 2)" in err
    assert [row["id"] for row in read_table(tmp_path / "o.csv")] == ["1", "3"]


def test_hostile_texts_in_files(call, model, tmp_path):
    """Every row comes out as it went in, with an answer."""
    texts = ["NUL \0 in it", "🎬🍿", "x" * 1_000_000, "good " * 100_000, "e\u0301", "\u202eסרט"]
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    for target in ("o.jsonl", "o.parquet", "o.csv"):
        status, *_ = call("predict", "--model-dir", model, "--input", path, "--output", target)
        assert status == 0
    for target in ("o.jsonl", "o.parquet"):
        result = read_table(tmp_path / target)
        assert [row["text"] for row in result] == texts
        assert all(row["predicted_label"] for row in result)


@pytest.mark.parametrize("target", ["o.jsonl", "o.csv", "o.parquet"])
def test_lone_surrogates_in_files(call, model, tmp_path, target):
    """JSON can hold half a character; no other format can, and there it becomes a `?`."""
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "good \\ud83d film"}\n')
    assert call("predict", "--model-dir", model, "--input", path, "--output", target)[0] == 0
    (row,) = read_table(tmp_path / target)
    assert row["text"] in ("good ? film", "good \ud83d film", "good \ufffd film")
    assert row["predicted_label"]


# -------------------------------------------------------------------------------------- wrong input


def csv_text(*lines: str) -> bytes:
    return "\n".join(lines).encode() + b"\n"


ENOUGH = csv_text("review,sentiment", *(f"{r['review']},{r['sentiment']}" for r in rows()))
# name → (file name, content, message after the path, whether predict refuses it too)
BAD_FILES = {
    "empty": ("a.csv", b"", " is empty.", True),
    "blank": ("a.csv", b" \n\n", " is empty.", True),
    "header only": ("a.csv", b"review,sentiment\n", " has no rows under its header.", True),
    "binary": ("a.csv", bytes(range(256)) * 20, " is a binary file. Expected text in UTF-8.", True),
    "zip": ("a.csv", b"PK\x03\x04" + b"x" * 99, " is a binary file. Expected text in UTF-8.", True),
    "wrong encoding": (
        "a.csv",
        ENOUGH + "na\xefve film,positive\n".encode("latin-1"),
        f" is not UTF-8: byte {len(ENOUGH) + 2} cannot be decoded (invalid continuation byte). "
        "Save it as UTF-8.",
        True,
    ),
    "UTF-16": (
        "a.csv",
        ENOUGH.decode().encode("utf-16"),
        " is not UTF-8: byte 0 starts a UTF-16 file. Save it as UTF-8.",
        True,
    ),
    "unclosed quote": (
        "a.csv",
        csv_text("review,sentiment", "good,positive", '"bad,negative', "bad,negative"),
        ", near line 3: malformed CSV: unexpected end of data",
        True,
    ),
    "text after quote": (
        "a.csv",
        csv_text("review,sentiment", "good,positive", "bad,negative", '"bad"x,negative'),
        ", near line 4: malformed CSV: ',' expected after '\"'",
        True,
    ),
    "fields": (
        "a.csv",
        csv_text("review,sentiment", "good,positive", "bad,negative,what"),
        ": 1 bad row: row 3 (3 fields instead of 2). Mend them, or leave them out with "
        "--skip-bad-rows.",
        True,
    ),
    "JSONL": (
        "a.jsonl",
        csv_text('{"review": "good", "sentiment": "positive"}', '{"review": bad}'),
        ": 1 bad row: row 2 (not JSON: Expecting value at column 12). Mend them, or leave them out "
        "with --skip-bad-rows.",
        True,
    ),
    "blank texts": (
        "a.csv",
        csv_text("review,sentiment", "good,positive", ",negative", "  ,negative", "bad,negative"),
        ": 2 bad rows: row 3 (blank text), row 4 (blank text). Mend them, or leave them out with "
        "--skip-bad-rows.",
        True,
    ),
    "many blank texts": (
        "a.csv",
        csv_text("review,sentiment", "good,positive", *[" ,negative"] * 25),
        ": 25 bad rows: "
        + ", ".join(f"row {i} (blank text)" for i in range(3, 13))
        + " and 15 more. Mend them, or leave them out with --skip-bad-rows.",
        True,
    ),
    "missing texts": (
        "a.jsonl",
        csv_text(
            '{"review": "good", "sentiment": "positive"}',
            '{"sentiment": "positive"}',
            '{"review": null, "sentiment": "positive"}',
            '{"review": 3, "sentiment": "positive"}',
        ),
        ": 3 bad rows: row 2 (missing text), row 3 (missing text), row 4 (text is int). Mend them, "
        "or leave them out with --skip-bad-rows.",
        True,
    ),
    "missing labels": (
        "a.csv",
        csv_text("review,sentiment", "good,positive", "bad,"),
        ": 1 bad row: row 3 (missing label). Mend them, or leave them out with --skip-bad-rows.",
        False,
    ),
    "no usual text column": (
        "a.csv",
        csv_text("words,sentiment", "good,positive"),
        " has no column with a usual name for the text. Its columns: 'words', 'sentiment'. Name "
        "one with --text-column.",
        True,
    ),
    "no usual label column": (
        "a.csv",
        csv_text("review,verdict", "good,positive"),
        " has no column with a usual name for the label. Its columns: 'review', 'verdict'. Name "
        "one with --label-column.",
        False,
    ),
    "semicolons": (
        "a.csv",
        csv_text("review;sentiment", "good;positive"),
        " has one column only: 'review;sentiment'. Its fields seem to be separated by semicolons "
        "or tabs. Expected commas, or tabs in a .tsv file.",
        True,
    ),
    "not gzipped": ("a.csv.gz", ENOUGH, " cannot be read: Not a gzipped file (b're')", True),
    "no Parquet": ("a.parquet", b"PAR1" + b"x" * 99, " is not a readable Parquet file: ", True),
}


def refused_in_all(refused, command: str, source: Path, model: str) -> str:
    if command == "predict":
        target = source.with_name("scored.csv")
        return refused(command, "--model-dir", model, "--input", source, "--output", target)
    if command == "evaluate":
        return refused(command, "--model-dir", model, "--data", source)
    return refused(command, "--data", source, "--out", source.with_name("new"), *ONE_EPOCH)


@pytest.mark.parametrize("command", MAINS)
@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file(refused, model, tmp_path, command, case):
    name, content, message, also_predict = BAD_FILES[case]
    if command == "predict" and not also_predict:
        return  # scoring needs no labels
    path = tmp_path / name
    path.write_bytes(content)
    found = refused_in_all(refused, command, path, model)
    if case == "no Parquet":  # the rest is said by another library
        assert found.startswith(f"{path}{message}")
    else:
        assert found == f"{path}{message}"


@pytest.mark.parametrize("command", MAINS)
def test_missing_file(refused, model, tmp_path, command):
    path = tmp_path / "nowhere.csv"
    expected = f"There is no file or folder {path}. Expected `sample`, `imdb`, or a path."
    if command == "predict":
        expected = f"There is no file {path}."
    assert refused_in_all(refused, command, path, model) == expected


@pytest.mark.parametrize("command", MAINS)
def test_unknown_kind_of_file(refused, model, tmp_path, command):
    path = tmp_path / "reviews.docx"
    path.write_bytes(b"x")
    assert refused_in_all(refused, command, path, model) == (
        f"The name of {path} must end in .csv, .tsv, .jsonl, .parquet (the first three also with "
        ".gz)."
    )


@pytest.mark.parametrize("command", MAINS)
@pytest.mark.parametrize("option", ["--text-column", "--label-column"])
def test_no_such_column(refused, model, reviews, tmp_path, command, option):
    arguments = {
        "train": ["--data", reviews, "--out", "new", *ONE_EPOCH],
        "evaluate": ["--model-dir", model, "--data", reviews],
        "predict": ["--model-dir", model, "--input", reviews, "--output", tmp_path / "o.csv"],
    }[command]
    if (command, option) == ("predict", "--label-column"):
        message = refused(command, *arguments, f"{option}=x")
        assert message == "unrecognized arguments: --label-column=x (--help lists all options)"
        return
    message = refused(command, *arguments, option, "wording")
    assert message == f"{reviews} has no column 'wording'. Its columns: 'review', 'sentiment'."


def test_one_label_only(refused, tmp_path):
    path = write_csv(tmp_path / "a.csv", [row | {"sentiment": "fine"} for row in rows()])
    assert refused("train", "--data", path, "--out", "new", *ONE_EPOCH) == (
        "a.csv: expected at least two labels in training. Received only 'fine'."
    )


def test_too_few_rows(refused, tmp_path):
    path = write_csv(tmp_path / "a.csv", [*rows(), {"review": "so so", "sentiment": "mixed"}])
    assert refused("train", "--data", path, "--out", "new", *ONE_EPOCH) == (
        "a.csv: the label 'mixed' has 1 row. Expected at least 3, one for each split, and many "
        "more to learn from."
    )


@pytest.mark.parametrize("split", ["validation", "test"])
def test_label_that_training_lacks(refused, tmp_path, split):
    known = write_csv(tmp_path / "a.csv", rows()[::2])
    other = write_csv(tmp_path / "b.csv", [{"review": "so so", "sentiment": "mixed"}])
    sources = {"validation": known, split: other}
    arguments = [word for name, path in sources.items() for word in (f"--{name}", path)]
    assert refused("train", "--train", known, *arguments, "--out", "new", *ONE_EPOCH) == (
        f"a.csv: the label 'mixed' occurs in {split} but never in training (negative, positive)."
    )


def test_validation_without_train(refused, reviews):
    for option in ("--validation", "--test"):
        message = refused("train", option, reviews, "--out", "new", *ONE_EPOCH)
        assert message == (
            "--validation and --test go with --train, the source of the training split. Received "
            "no --train."
        )


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_empty_name_of_a_source(refused, model, command):
    """`--data "$UNSET"` is not `--data sample`."""
    rest = ["--out", "new", *ONE_EPOCH] if command == "train" else ["--model-dir", model]
    assert refused(command, "--data", "", *rest) == (
        "Expected a source: `sample`, `imdb`, or a path. Received an empty name."
    )


def test_train_source_without_that_split(refused, tmp_path):
    table = [row | {"split": "test"} for row in rows()]
    path = write_csv(tmp_path / "a.csv", table)
    assert refused("train", "--train", path, "--out", "new", *ONE_EPOCH) == (
        f"{path} has no train split, only: test. Expected a source with one, or without splits, "
        "for --train."
    )


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_columns_of_a_folder(refused, model, tmp_path, command):
    folder = by_folder(tmp_path / "source", rows())
    rest = ["--out", "new", *ONE_EPOCH] if command == "train" else ["--model-dir", model]
    assert refused(command, "--data", folder, "--text-column", "review", *rest) == (
        f"--text-column and --label-column go with a file of rows. Received: {folder}"
    )


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize("damage", ["missing", "file", "changed", "version", "labels"])
def test_damaged_model(refused, model, reviews, tmp_path, command, damage):
    folder = tmp_path / "damaged"
    if damage != "missing":
        shutil.copytree(model, folder)
    manifest = folder / "manifest.json"
    if damage == "missing":
        expected = f"There is no model folder {folder}."
    elif damage == "file":
        (folder / "model.onnx").unlink()
        expected = (
            f"{folder} is not a whole model: model.onnx is missing. Copy the folder again, or "
            "train the model again."
        )
    elif damage == "changed":
        with (folder / "tokenizer.json").open("a") as file:
            file.write(" ")
        expected = (
            f"{folder / 'tokenizer.json'} was changed since it was written (its SHA-256 is not the "
            "one in manifest.json). Copy the folder again, or train the model again."
        )
    elif damage == "version":
        manifest.write_text(
            manifest.read_text().replace('"format_version": 2', '"format_version": 9')
        )
        expected = (
            f"{folder} has format version 9; this version of the package reads 2. Train the model "
            f"again, or install the version that wrote it: {sentiment.__version__}."
        )
    else:
        changed = json.loads(manifest.read_text()) | {"labels": ["positive", "negative"]}
        manifest.write_text(json.dumps(changed))
        expected = (
            f"{manifest} was changed since it was written (its SHA-256 is not the one it holds). "
            "Copy the folder again, or train the model again."
        )
    arguments = ["--data", reviews] if command == "evaluate" else ["a text"]
    assert refused(command, "--model-dir", folder, *arguments) == expected
    if command == "predict":
        output = tmp_path / "o.csv"
        message = refused(command, "--model-dir", folder, "--input", reviews, "--output", output)
        assert message == expected


WRONG_SETTINGS = [
    (["--model", "transformer"], f"`model` must be one of {', '.join(list_models())}. Received: "
                                 "'transformer'"),
    (["--bidirectional"], "Model 'bilstm' has no setting 'bidirectional'; it has: embedding_dim, "
     "units, layers, merge, pooling, word_dropout, dropout, recurrent_dropout, ngrams"),
    (["--model", "clockwork_rnn", "--units", "4"], "`groups` must be a whole number from 1 to 4. "
                                                   "Received: 5"),
    (["--model", "depth_gated_lstm", "--layers", "1"], "`layers` must be a whole number from 2 to "
                                                       "4. Received: 1"),
    (["--model", "lstm", "--merge", "sum"], "Model 'lstm' has no setting 'merge'; it has: embedding"
     "_dim, units, layers, pooling, word_dropout, dropout, recurrent_dropout, ngrams"),
    (["--merge", "product"], "`merge` must be one of concatenate, sum, average. Received: "
                             "'product'"),
    (["--pooling", "min"], "`pooling` must be one of last, max, mean, max+mean, attention. "
                           "Received: 'min'"),
    (["--units", "0"], "`units` must be a whole number from 1 to 8192. Received: 0"),
    (["--units", "1000000"], "`units` must be a whole number from 1 to 8192. Received: 1000000"),
    (["--layers", "5"], "`layers` must be a whole number from 1 to 4. Received: 5"),
    (["--epochs", "-1"], "`epochs` must be a whole number of at least 1. Received: -1"),
    (["--epochs", "0"], "`epochs` must be a whole number of at least 1. Received: 0"),
    (["--batch-size", "0"], "`batch_size` must be a whole number of at least 1. Received: 0"),
    (["--patience", "0"], "`patience` must be a whole number of at least 1. Received: 0"),
    (["--dropout", "1.5"], "`dropout` must be at least 0 and below 1. Received: 1.5"),
    (["--dropout", "nan"], "`dropout` must be at least 0 and below 1. Received: nan"),
    (["--recurrent-dropout", "-1"], "`recurrent_dropout` must be at least 0 and below 1. Received: "
                                    "-1.0"),
    (["--learning-rate", "0"], "`learning_rate` must be a number above 0. Received: 0.0"),
    (["--learning-rate", "inf"], "`learning_rate` must be a number above 0. Received: inf"),
    (["--ema", "1"], "`ema` must be None or between 0 and 1. Received: 1.0"),
    (["--num-words", "1"], "`num_words` must be a whole number of at least 3. Received: 1"),
    (["--max-length", "0"], "`max_length` must be a whole number of at least 1. Received: 0"),
    (["--seed", "-1"], "`seed` must be a whole number from 0 to 2³² − 1. Received: -1"),
    (["--seed", "4294967296"], "`seed` must be a whole number from 0 to 2³² − 1. Received: "
                               "4294967296"),
    (["--units", "many"], "argument --units: invalid int value: 'many' (--help lists all options)"),
    (["--units", "1.5"], "argument --units: invalid int value: '1.5' (--help lists all options)"),
    (["--ema", "some"], "argument --ema: expected a number or none. Received: 'some' (--help lists "
                        "all options)"),
    (["--unit", "5"], "unrecognized arguments: --unit 5 (--help lists all options)"),
    (["--class-weight", "even"], "argument --class-weight: invalid choice: 'even' (choose from "
                                 "'balanced', 'none') (--help lists all options)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG_SETTINGS, ids=[" ".join(a) for a, _ in WRONG_SETTINGS]
)
def test_wrong_setting(refused, reviews, arguments, message):
    found = refused("train", "--data", reviews, "--out", "new", *arguments)
    assert found.replace("choose from balanced, none", "choose from 'balanced', 'none'") == message


@pytest.mark.slow
def test_wrong_setting_in_a_new_process(reviews, tmp_path):
    """What TensorFlow's libraries print while they are imported does not reach the person."""
    done = process("sentiment.train", "--data", reviews, "--out", tmp_path / "new", "--units", "0")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == (
        "python -m sentiment.train: error: `units` must be a whole number from 1 to 8192. "
        "Received: 0\n"
    )


def test_existing_model_is_refused(refused, model, reviews):
    before = listing(Path(model))
    assert refused("train", "--data", reviews, "--out", model, *ONE_EPOCH) == (
        f"{model} exists already. Choose another, or add --overwrite."
    )
    assert listing(Path(model)) == before


def test_overwrite_of_a_folder_that_is_no_model(refused, reviews, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    for options in ([], ["--overwrite"]):
        found = refused("train", "--data", reviews, "--out", "thesis", *options, *ONE_EPOCH)
        assert found == "thesis exists and is not a model folder. Choose another name."


def test_overwrite_of_a_model(call, model, reviews, tmp_path):
    shutil.copytree(model, tmp_path / "m")
    status, *_ = call("train", "--data", reviews, "--out", "m", "--overwrite", *ONE_EPOCH)
    assert status == 0
    assert load_artifact(tmp_path / "m").manifest.model == "rnn"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_model_below_a_file(refused, reviews, tmp_path):
    (tmp_path / "file").write_text("x")
    found = refused("train", "--data", reviews, "--out", "file/model", *ONE_EPOCH)
    assert found == f"file/model cannot be written: {tmp_path / 'file'} is not a folder."


def test_log_that_exists_or_cannot_be_written(refused, reviews, tmp_path):
    (tmp_path / "log.csv").write_text("mine")
    arguments = ["--data", reviews, "--out", "new", *ONE_EPOCH, "--log-csv"]
    assert refused("train", *arguments, "log.csv") == (
        "log.csv exists already. Choose another, or add --overwrite."
    )
    assert refused("train", *arguments, "nowhere/log.csv") == (
        "nowhere/log.csv cannot be written: its folder does not exist."
    )


@pytest.mark.parametrize("ending", ["", ".pretrained", ".pretrained.steps"])
def test_what_a_run_left_is_refused(refused, reviews, tmp_path, ending):
    left = tmp_path / f"new.checkpoint.npz{ending}"
    left.write_bytes(b"x")
    found = refused("train", "--data", reviews, "--out", "new", *ONE_EPOCH)
    assert found == (
        f"{left} is left from a run that did not end. Add --resume to go on, or --overwrite to "
        "start again."
    )


def test_overwrite_removes_a_left_checkpoint_at_once(call, reviews, tmp_path, monkeypatch):
    """Else Ctrl-C in the first epoch would advise to go on with the epochs of another run."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "new.checkpoint.npz").write_bytes(b"x")
    monkeypatch.setattr("sentiment.classifier.fit_model", interrupted)
    status, _, err = call("train", "--data", reviews, "--out", "new", "--overwrite", *ONE_EPOCH)
    assert status == 130
    assert err == (
        "python -m sentiment.train: interrupted. No epoch was finished; nothing was written.\n"
    )
    assert listing(tmp_path) == {}


def test_training_that_diverges(call, reviews, tmp_path):
    status, _, err = call(
        "train", "--data", reviews, "--out", "new", *TINY, "--learning-rate", "1e30"
    )
    assert status == 2
    assert re.fullmatch(
        r"python -m sentiment\.train: error: The (training loss|validation loss|largest weight) "
        r"became \S+ in epoch \d; try a lower learning rate\.\n",
        err,
    )
    assert listing(tmp_path) == {}


def test_existing_output_is_refused(refused, call, model, reviews, tmp_path):
    (tmp_path / "o.csv").write_text("mine")
    arguments = ["--model-dir", model, "--input", reviews, "--output", "o.csv"]
    assert refused("predict", *arguments) == (
        "o.csv exists already. Choose another name, or add --overwrite."
    )
    assert call("predict", *arguments, "--overwrite")[0] == 0
    assert len(read_table(tmp_path / "o.csv")) == 192


def test_output_that_is_the_input(refused, model, reviews, tmp_path):
    path = tmp_path / "same.csv"
    shutil.copy(reviews, path)
    arguments = ["--model-dir", model, "--input", path, "--output", "same.csv", "--overwrite"]
    assert refused("predict", *arguments) == (
        "same.csv is the input itself. Choose another name for the output."
    )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("nowhere/o.csv", "nowhere/o.csv cannot be written: its folder does not exist."),
        ("file/o.csv", "file/o.csv cannot be written: its folder does not exist."),
        ("folder.csv", "folder.csv is a folder. Expected the name of a file."),
        ("o.txt", "The name of o.txt must end in .csv, .tsv, .jsonl, .parquet (the first three "
                  "also with .gz)."),
        ("o.parquet.gz", "o.parquet.gz: Parquet files are compressed inside; unzip it first."),
    ],
)  # fmt: skip
def test_output_that_cannot_be_written(refused, model, reviews, tmp_path, output, message):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    found = refused("predict", "--model-dir", model, "--input", reviews, "--output", output)
    assert found == message


@pytest.mark.parametrize("column", ADDED)
def test_clash_of_columns(refused, model, tmp_path, column):
    path = write_csv(tmp_path / "a.csv", [{"review": "good", column: "mine"}])
    found = refused("predict", "--model-dir", model, "--input", path, "--output", "o.csv")
    assert found == (
        f"{path} already has a column {column!r}, which the result needs. Rename it first."
    )


def test_clash_in_a_later_line(refused, model, tmp_path):
    """Lines of a JSONL file have keys of their own."""
    path = write_jsonl(tmp_path / "a.jsonl", [{"review": "x"}, {"review": "y", "p_positive": 1}])
    found = refused("predict", "--model-dir", model, "--input", path, "--output", "o.jsonl")
    assert found == (
        f"{path} already has a column 'p_positive', which the result needs. Rename it first."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "a.csv"], "--input needs --output, the file to write."),
        (["--output", "o.csv"], "--output and --text-column go with --input. Received no --input."),
        (["--text-column", "x", "t"], "--output and --text-column go with --input. Received no "
                                      "--input."),
        (["--overwrite", "t"], "--overwrite and --skip-bad-rows go with --input. Received no "
                               "--input."),
        (["--skip-bad-rows", "t"], "--overwrite and --skip-bad-rows go with --input. Received no "
                                   "--input."),
        (["--input", "a.csv", "--output", "o.csv", "t"], "Expected either --input or texts. "
                                                         "Received both: 't'"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(refused, model, arguments, message):
    assert refused("predict", "--model-dir", model, *arguments) == message


def test_plots_that_cannot_be_written(refused, model, reviews, tmp_path):
    (tmp_path / "file").write_text("x")
    arguments = ["--model-dir", model, "--data", reviews, "--plots"]
    assert refused("evaluate", *arguments, "file") == (
        "file is a file. Expected a folder for the pictures."
    )
    found = refused("evaluate", *arguments, "file/pictures")
    assert found.endswith(f"cannot be written: {tmp_path / 'file'} is not a folder.")


def test_a_bug_keeps_its_traceback():
    """Only what a person can do something about becomes one line."""

    def fail(_):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        command_line.run(fail, command_line.Parser("predict", ""), [])


# ------------------------------------------------------------------------------------------- Ctrl-C


@pytest.mark.slow
@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_and_resume(reviews, tmp_path):
    """After Ctrl-C and --resume everything is as if nothing had happened."""
    settings = ["--data", reviews, *TINY, "--dropout", "0.3", "--ema", "0.9"]
    settings += ["--epochs", "30", "--patience", "30"]  # long enough to be interrupted
    settings = [*map(str, settings)]
    whole = process("sentiment.train", *settings, "--out", tmp_path / "whole", cwd=tmp_path,
                    env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    assert whole.stderr == b""

    command = [sys.executable, "-m", "sentiment.train", *settings, "--out", "cut"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    for line in started.stdout:
        if line.startswith(b"epoch 1:"):
            started.send_signal(signal.SIGINT)
            break
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert err.decode() == (
        "python -m sentiment.train: interrupted. The finished epochs are kept; add --resume to the "
        "same command to go on.\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "cut.checkpoint.npz"}

    resumed = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, capture_output=True, env=environment, timeout=120
    )
    assert (resumed.returncode, resumed.stderr) == (0, b"")
    assert b"epoch 1:" not in resumed.stdout
    assert b"epoch 2:" in resumed.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "cut"}
    first, second = (load_artifact(tmp_path / name) for name in ("whole", "cut"))
    assert first.manifest.metrics == second.manifest.metrics
    assert first.manifest.fitting["temperature"] == second.manifest.fitting["temperature"]
    assert first.onnx == second.onnx


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_while_scoring(model, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    table = [{"text": f"{row['review']} " * 20} for row in rows()]
    write_csv(source, table * 300)
    started = subprocess.Popen(
        [sys.executable, "-m", "sentiment.predict", "--model-dir", model, "--input", source,
         "--output", target],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size for p in tmp_path.iterdir() if p != source):
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert (out, err.decode()) == (b"", "python -m sentiment.predict: interrupted.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_overwritten_file_stays_when_scoring_fails(call, model, reviews, tmp_path, monkeypatch):
    target = tmp_path / "o.csv"
    target.write_text("the old result")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Predictor, "_answers", fail)
    status, _, err = call(
        "predict", "--model-dir", model, "--input", reviews, "--output", target, "--overwrite"
    )
    assert (status, err) == (2, "python -m sentiment.predict: error: disk full\n")
    assert listing(tmp_path).keys() == {"o.csv"}
    assert target.read_text() == "the old result"


# ------------------------------------------------------------------------------- the sample reviews


def test_evaluate_sample_reviews(call, random_model, tmp_path):
    """Of the bundled reviews, evaluation is on their test split."""
    folder = random_model(("negative", "neutral", "positive")).save(tmp_path / "three")
    status, out, err = call("evaluate", "--model-dir", folder, "--data", "sample", "--json")
    assert (status, err) == (0, "")
    splits, _ = load_reviews("sample")
    assert json.loads(out)["n"] == len(splits["test"])


def test_default_model_from_the_command_line():
    done = process(
        "sentiment.predict", "This film was okay", "A wonderful, moving film.", text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.endswith("This film was okay")
    assert second.startswith("positive")


# ------------------------------------------------------------------ labels that reviews cannot have


@pytest.fixture
def three(random_model, tmp_path) -> Path:
    """Folder of a model with a neutral label."""
    return random_model(("negative", "neutral", "positive")).save(tmp_path / "three")


@pytest.fixture
def clear(tmp_path) -> Path:
    """A CSV of reviews without neutral ones."""
    words = [" ".join(f"word{i * k % 50}" for k in range(1, 9)) for i in range(1, 31)]
    labels = ["negative", "positive"] * 15
    table = [{"text": t, "label": n} for t, n in zip(words, labels, strict=True)]
    return write_csv(tmp_path / "clear.csv", table)


def test_evaluate_without_a_label(call, three, clear):
    status, out, _ = call(
        "evaluate", "--model-dir", three, "--data", clear, "--ignore", "neutral", "--json"
    )
    assert status == 0
    found = json.loads(out)
    texts, truth = load_reviews(clear)[0]["all"].texts, load_reviews(clear)[0]["all"].labels
    negative, neutral, positive = Predictor.load(three).predict_proba(texts).T
    assert (neutral > np.maximum(negative, positive)).any()
    predicted = np.where(positive > negative, "positive", "negative")
    assert found["labels"] == ["negative", "positive"]
    assert found["accuracy"] == np.mean(predicted == truth)
    assert found["confusion"] == sklearn_metrics.confusion_matrix(truth, predicted).tolist()
    share = positive / (negative + positive)
    truth = np.array(truth) == "positive"
    assert found["roc_auc"] == pytest.approx(sklearn_metrics.roc_auc_score(truth, share))
    assert found["brier"] == pytest.approx(2 * np.mean((share - truth) ** 2), rel=1e-4)


@pytest.mark.parametrize("labels", [["mixed"], ["negative", "neutral"]])
def test_labels_that_cannot_be_left_out(refused, three, clear, labels):
    options = [option for label in labels for option in ("--ignore", label)]
    assert refused("evaluate", "--model-dir", three, "--data", clear, *options) == (
        "`ignore` must leave two of the labels negative, neutral, positive. "
        f"Received: {', '.join(labels)}"
    )


def test_behaviour_leaves_no_label_out(refused, three):
    assert refused("evaluate", "--model-dir", three, "--behaviour", "--ignore", "neutral") == (
        "--behaviour brings its own texts and goes with --model-dir and --json alone. "
        "Received also: --ignore"
    )


# --------------------------------------------------------------------------------- unlabelled texts


@pytest.fixture
def eagerly():
    """No compiling, which takes longer than a few tiny steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def more(reviews, tmp_path) -> Path:
    """Unlabelled texts, a line each: three of their own, and one each of validation and test."""
    splits = load_splits(reviews)
    own = ["an unheard thing", "another unheard thing of some length", "and a thing"]
    path = tmp_path / "more.txt"
    path.write_text("\n".join([splits.test.texts[0], *own, splits.validation.texts[1].upper()]))
    return path


@pytest.mark.usefixtures("eagerly")
def test_pretrain(call, reviews, more, tmp_path):
    status, out, err = call(
        "train", "--data", reviews, "--pretrain", more, "--out", "m", *ONE_EPOCH[2:]
    )
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[2:6] == [
        "reviews.csv: train 154, validation 19, test 19 reviews",
        "starting from scratch",
        "removed 2 unlabelled texts that are in validation or test",
        "more.txt: 3 unlabelled texts",
    ]
    assert re.fullmatch(r"language model: step 1 of 1, loss \d+\.\d{4}, \d+ s", lines[6])
    assert lines[7].startswith("epoch 1: ")
    assert {path.name for path in tmp_path.iterdir()} == {"more.txt", "m"}
    assert "unheard" in load_artifact(tmp_path / "m").encoder.tokenizer.word_index


@pytest.mark.usefixtures("eagerly")
def test_pretrain_on_a_table_with_a_bad_row(call, reviews, tmp_path):
    """The option that the message advises is heard."""
    words = ["an unheard thing", "", "another unheard thing"]
    write_csv(tmp_path / "more.csv", [{"review": text, "verdict": "a hero"} for text in words])
    command = ["train", "--data", reviews, "--pretrain", "more.csv", "--out", "m", *ONE_EPOCH]
    status, _, err = call(*command)
    assert status == 2
    assert err.endswith("leave them out with --skip-bad-rows.\n")
    status, out, _ = call(*command, "--skip-bad-rows")
    assert status == 0
    assert "more.csv: 2 unlabelled texts" in out.splitlines()


def test_column_of_the_unlabelled_texts(reviews, tmp_path):
    """That of --text-column, where they are a table that has it."""
    write_csv(tmp_path / "more.csv", [{"comment": "unheard", "review": "thing"}])
    (tmp_path / "more.txt").write_text("a line of its own")
    splits = load_splits(reviews, text_column="review")

    def read(name: str, column: str | None) -> list[str]:
        options = argparse.Namespace(
            pretrain=str(tmp_path / name), text_column=column, skip_bad_rows=False
        )
        return train._unlabelled(options, splits, False)

    assert read("more.csv", "comment") == ["unheard"]
    assert read("more.csv", "review") == read("more.csv", "other") == ["thing"]
    assert read("more.csv", None) == ["thing"]
    assert read("more.txt", "comment") == ["a line of its own"]


@pytest.mark.parametrize("start", ["default", "folder"])
def test_pretrain_and_a_saved_model(refused, reviews, start):
    assert refused("train", "--data", reviews, "--pretrain", "more.txt", "--from", start) == (
        "Expected either --from, a saved model, or --pretrain, texts to start from. Received both."
    )


@pytest.mark.parametrize("kind", ["missing", "all in test"])
def test_nothing_to_pretrain_on(call, reviews, tmp_path, kind):
    path = tmp_path / "more.txt"
    message = "There is no file or folder more.txt. Expected `sample`, `imdb`, or a path."
    if kind == "all in test":
        path.write_text("\n".join(load_splits(reviews).test.texts))
        message = "more.txt has no text to pre-train on that is not in validation or test."
    before = listing(tmp_path)
    status, _, err = call("train", "--data", reviews, "--pretrain", "more.txt", *ONE_EPOCH)
    assert (status, err) == (2, f"python -m sentiment.train: error: {message}\n")
    assert listing(tmp_path) == before


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("again", ["--resume", "--overwrite"])
def test_pretraining_that_is_interrupted(
    call, reviews, more, tmp_path, monkeypatch, interrupted_at, again
):
    """What was learned is kept, and it says so; it stands in nobody's way."""
    monkeypatch.setattr("sentiment.stepwise.CHECKPOINT_SECONDS", -1)
    command = ["train", "--data", reviews, "--pretrain", more, "--out", "m", *ONE_EPOCH]
    with interrupted_at("on_step"):
        status, _, err = call(*command)
    assert status == 130
    left = "m.checkpoint.npz.pretrained.steps"
    assert {path.name for path in tmp_path.iterdir()} == {"more.txt", left}
    assert err.endswith("add --resume to the same command to go on.\n")
    other = ["--seed", "1"] if again == "--overwrite" else []
    status, out, err = call(*command, again, *other)
    assert (status, err) == (0, "")
    assert ("language model: step 1 of 1" in out) == (again == "--overwrite")
    assert {path.name for path in tmp_path.iterdir()} == {"more.txt", "m"}


# ------------------------------------------------------------------------------------------ recipes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "sst5"],
         "There is no recipe 'sst5'. Expected one of default, imdb, or a file."),
        (["--source", "imdb=a.tar.gz"],
         "--source goes with --recipe. For other training there is --data."),
        (["--recipe", "imdb", "--source", "a.tar.gz"],
         "argument --source: expected NAME=PATH. Received: 'a.tar.gz' (--help lists all options)"),
        (["--recipe", "imdb", "--source", "imdb=nowhere"],
         "There is no file or folder nowhere. Expected `sample`, `imdb`, or a path."),
    ],
)  # fmt: skip
def test_recipe_that_cannot_be_made(refused, arguments, message):
    assert refused("train", *arguments) == message


@pytest.mark.parametrize(
    "arguments",
    [
        ["--units", "3"],
        ["--seed", "0"],
        ["--ema", "none"],
        ["--bidirectional"],
        ["--data", "reviews.csv"],
        ["--pretrain", "more.txt"],
        ["--from", "default"],
        ["--log-csv", "log.csv"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_recipe_brings_its_settings(refused, arguments):
    assert refused("train", "--recipe", "imdb", "--source", "imdb=nowhere", *arguments) == (
        "--recipe brings its own settings and goes with --source, --out, --overwrite and "
        f"--resume alone. Received also: {arguments[0]}"
    )


def test_recipe_does_not_replace_a_model_unasked(refused, model):
    found = refused("train", "--recipe", "imdb", "--source", "imdb=nowhere", "--out", model)
    assert found == f"{model} exists already. Choose another, or add --overwrite."
