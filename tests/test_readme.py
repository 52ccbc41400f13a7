"""What the README shows is what happens."""

import csv
import json
import re
import shlex
import statistics
from pathlib import Path

import pytest

from sentiment import benchmark, compare, evaluate, explain, predict, train
from sentiment.data import bundled
from sentiment.models import list_models, model_settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^(?:\$ |.*&& |.*\| )?(python -m sentiment\.\w+.*)$", README, re.MULTILINE)
PARSERS = {
    "train": train._parser,
    "evaluate": evaluate._parser,
    "predict": predict._parser,
    "explain": explain._parser,
    "compare": compare._parser,
    "benchmark": benchmark._parser,
}


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_commands_have_the_options_that_they_show(command):
    words = shlex.split(command.replace("`", ""))
    name = words[2].removeprefix("sentiment.")
    PARSERS[name]().parse_args(words[3:])  # exits with an error for an option that isn't there


def test_commands_are_found():
    assert {command.split()[2] for command in COMMANDS} >= {f"sentiment.{n}" for n in PARSERS}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_runs(number, tmp_path, monkeypatch, capsys):
    """Every Python block runs as it stands, in an empty folder: the tutorial is one of them."""
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README.md, Python block {number + 1}", "exec"), {})
    assert capsys.readouterr().out


def test_tutorial_is_shown():
    tutorial = next(block for block in BLOCKS if "build_lstm" in block)
    for piece in ("num_words=10000", "maxlen=100", "binary_crossentropy", "epochs=5",
                  "batch_size=32", '"adam"', '"This film was okay"'):  # fmt: skip
        assert piece in tutorial


def test_ci_runs_the_two_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = re.findall(r"<<'COMMAND'\n(.*)\nCOMMAND", script)
    assert len(commands) == 2
    for command in commands:
        assert re.search(rf"^(\$ )?{re.escape(command)}$", README, re.MULTILINE), command


def test_prediction_that_opens_the_readme(capsys):
    shown = re.search(r'sentiment\.predict "This film was okay"\n(.*)\n', README)[1]
    assert predict.main(["This film was okay"]) == 0
    assert capsys.readouterr().out.strip() == shown.strip()


def test_table_of_builders():
    for name in list_models():
        assert f"| `{name}` |" in README
    for name, value in {"units": 64, "layers": 1, "embedding_dim": 128, "pooling": "last"}.items():
        assert model_settings("rnn")[name] == value
        assert f"`{name}` {value}" in README
    bilstm = model_settings("bilstm")
    row = next(line for line in README.splitlines() if line.startswith("| `bilstm` |"))
    assert f"`units` {bilstm['units']} each" in row
    assert f"`pooling` {bilstm['pooling']}" in row
    assert f"`dropout` {bilstm['dropout']}" in row
    assert f"`word_dropout` {bilstm['word_dropout']}" in row
    assert model_settings("bigru") == bilstm
    assert model_settings("lstm") == model_settings("gru") == model_settings("rnn")
    peephole = bilstm | {"bidirectional": False}
    del peephole["recurrent_dropout"]
    for name, other in {
        "peephole_lstm": {},
        "coupled_lstm": {},
        "forget_gate_lstm": {},
        "depth_gated_lstm": {"layers": 2},
        "clockwork_rnn": {"groups": 5},
        "grid_lstm": {"layers": 2},
    }.items():
        assert model_settings(name) == peephole | other
    attention = {setting: bilstm[setting] for setting in bilstm if setting != "pooling"}
    assert model_settings("attention_bilstm") == attention
    assert model_settings("attention_gru") == attention | {"bidirectional": False}


def test_comparison_is_the_measured_one():
    """The README's table is the leaderboard, and that follows from the kept runs."""
    folder = ROOT / "data" / "comparison"
    leaderboard = (folder / "comparison.md").read_text(encoding="utf-8")
    table = leaderboard[leaderboard.index("| model") :].strip()
    assert table in README
    runs = [json.loads(path.read_text())["run"] for path in folder.glob("runs/*.json")]
    assert {run["model"] for run in runs} >= set(list_models())
    with (folder / "comparison.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted((r["model"], int(r["seed"]), float(r["accuracy"])) for r in rows) == sorted(
        (run["model"], run["seed"], run["accuracy"]) for run in runs
    )
    for name in {run["model"] for run in runs}:
        mean = statistics.fmean(run["accuracy"] for run in runs if run["model"] == name)
        assert re.search(rf"^\| {name} +\| +{100 * mean:.2f}\b", table, re.MULTILINE), name


@pytest.mark.parametrize("picture", re.findall(r"^!\[[^]]+\]\((\S+)\)$", README, re.MULTILINE))
def test_pictures_are_there(picture):
    assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def test_architecture_names_every_file():
    section = README.split("## How it is built")[1].split("```")[1]
    files = {path.name for path in (ROOT / "sentiment").glob("*.py")} - {
        "__init__.py",
        "__main__.py",
    }
    assert set(re.findall(r"\w+\.py", section)) == files


def test_sample_reviews_are_bundled():
    assert bundled("data", "reviews.csv").is_file()


def test_default_model_is_small():
    """It is in the repository and in the wheel."""
    files = list(bundled("saved_models", "default").iterdir())
    assert 0 < sum(path.stat().st_size for path in files) <= 20e6


def test_nothing_names_a_machine():
    """Only the product: no absolute paths of a machine it was made on."""
    for path in [*ROOT.glob("sentiment/*.py"), *ROOT.glob("*.md"), *ROOT.glob("*/*.md")]:
        assert not re.search(r"(?<![\w.])/(work|root|tmp|home)/", path.read_text("utf-8")), path


def test_the_reading_is_that_of_the_shipped_model(capsys):
    """Word by word; the last digit may differ where a processor rounds otherwise."""
    shown = re.search(r"\$ python -m sentiment\.explain \"(.*?)\"\n(.*?)```", README, re.DOTALL)
    assert explain.main([shown[1]]) == 0
    found, expected = capsys.readouterr().out.split(), shown[2].split()
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        if re.fullmatch(r"[+-]?\d\.\d\d", b):
            assert float(a) == pytest.approx(float(b), abs=0.011)
        elif not re.fullmatch(r"\de-\d\d", b):  # rounding itself
            assert a == b
