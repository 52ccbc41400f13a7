"""python -m sentiment.explain, as a person runs it."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from sentiment import explain as command
from sentiment.explanation import METHODS, explain, load_examples, verdict
from sentiment.predictor import Predictor

SENTENCE = "I loved the movie, but the ending was disappointing."
WORDS = ["i", "loved", "the", "movie", "but", "the", "ending", "was", "disappointing"]


@pytest.fixture
def run(capsys):
    def call(*arguments) -> str:
        status = command.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    return call


@pytest.fixture
def refused(capsys, tmp_path):
    """Run the command, which must print one line and write nothing; returns the message."""

    def call(*arguments) -> str:
        before = sorted(tmp_path.rglob("*"))
        status = command.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        assert sorted(tmp_path.rglob("*")) == before
        start = "python -m sentiment.explain: error: "
        assert err.startswith(start)
        assert err.count("\n") == 1
        return err.removeprefix(start).rstrip("\n")

    return call


@pytest.fixture(scope="module")
def explained():
    return explain(Predictor.load(), SENTENCE)


# -------------------------------------------------------------------------------------------- table


def test_table_has_a_row_for_each_word(run, explained):
    head, *rows = run(SENTENCE).split("\n\n")[0].splitlines()
    assert head.split()[0] == "word"
    assert head.split()[-4:] == ["so", "far", "score", "effect"]
    columns = re.findall(r"\w+ [→←]", head)
    gates = [f"{gate} {way}" for way in "→←" for gate in ("input", "forget", "output")]
    assert columns == [*gates, "change →", "change ←"]
    assert [row.split()[1] for row in rows] == WORDS
    for number, (row, word) in enumerate(zip(rows, explained.words, strict=True), 1):
        cells = row.split()
        assert cells[0] == str(number)
        means = [*word.gates.values(), *word.memory_change.values()]
        assert cells[2:-3] == [f"{value:.2f}" for value in means]
        assert cells[-3:] == [word.label, f"{word.score:+.2f}", f"{word.effects['removed']:+.2f}"]
    assert len({len(row) for row in [head, *rows]}) == 1  # numbers stand under each other


@pytest.mark.parametrize("method", METHODS)
def test_the_method_chooses_effects_and_verdict(method, run, explained):
    out = run(SENTENCE, "--method", method)
    assert verdict(explained, method) in out
    ends = [line.split()[-1] for line in out.split("\n\n")[0].splitlines()[1:]]
    assert ends == [f"{word.effects[method]:+.2f}" for word in explained.words]
    assert f"Effects ({method}) are differences in the score." in out


def test_methods_of_help_are_those_there_are():
    assert set(command.METHODS) == set(METHODS)


def test_unknown_words_are_marked(run):
    rows = run("A zzqfilm").splitlines()
    assert rows[2].split()[1:3] == ["zzqfilm", "(unknown)"]


def test_long_words_are_shortened(run):
    out = run("a" + "bc" * 30)
    assert "abcbcbcbcbcbcbcbcbcbcbc… (unknown)" in out


def test_labels_without_an_order(run, random_model, tmp_path):
    folder = random_model(("books", "films", "music")).save(tmp_path / "topics")
    out = run("--model-dir", folder, "word1 word2")
    assert out.splitlines()[0].split()[-4:] == ["so", "far", "p", "effect"]
    label = Predictor.load(folder).predict(["word1 word2"])[0]
    assert f"differences in the probability of {label}." in out


def test_a_text_that_is_cut_says_so(run, model_folder):
    out = run("--model-dir", model_folder, " ".join(f"word{i}" for i in range(30)))
    assert "The text is too long: 10 words in its middle were left out." in out
    rows = out.split("\n\n")[0].splitlines()
    assert [row.split()[:2] for row in rows[5:8]] == [
        ["5", "word4"],
        ["…", "(10"],
        ["16", "word15"],
    ]


def test_disagreement_is_said(run, monkeypatch):
    monkeypatch.setitem(METHODS, "removed", lambda *a: -METHODS["unknown"](*a))
    out = run(SENTENCE)
    expected = (
        r"Careful: the effects by unknown and by removed disagree \(correlation -1\.00\)\.\n"
        r"Careful: the effects by removed and by gradients disagree \(correlation -0\.\d\d\)\."
    )
    assert re.search(expected, out)


@pytest.mark.parametrize(
    ("gate", "head"),
    [
        ("forget", "forget"),
        ("forward_forget", "forget →"),
        ("layer_2_backward_reset", "reset ←"),
        ("layer_2_update", "update"),
        ("backward_time_input_2", "time input ←"),
        ("clock_16", "clock 16"),
        ("backward", "←"),
    ],
)
def test_heads(gate, head):
    assert command._head(gate) == head


# --------------------------------------------------------------------------------------------- JSON


def test_json(run, explained):
    found = json.loads(run(SENTENCE, "--json", "--method", "unknown"))
    assert (found["text"], found["label"], found["method"]) == (
        SENTENCE,
        explained.label,
        "unknown",
    )
    assert found["score"] == explained.score
    assert found["replay_error"] == explained.replay_error < 1e-5
    assert found["completeness_error"] == explained.completeness_error
    assert found["verdict"] == verdict(explained, "unknown")
    assert [word["word"] for word in found["words"]] == WORDS
    for word, expected in zip(found["words"], explained.words, strict=True):
        assert word["known"] is expected.known
        assert (word["label"], word["score"]) == (expected.label, expected.score)
        assert word["effect"] == expected.effects["unknown"]
        assert word["effects"] == expected.effects
        assert word["gates"] == expected.gates
        assert word["memory_change"] == expected.memory_change
        assert word["probabilities"] == expected.probabilities


# ----------------------------------------------------------------------------------------- examples


def test_examples(run):
    out = run("--examples")
    for example in load_examples():
        assert example.text in out
    found = json.loads(run("--examples", "--json"))
    agree = [word["agrees"] for text in found for word in text["words"]]
    ends = [text["words"][-1]["agrees"] for text in found]
    assert out.count(" differs\n") == agree.count(False)
    assert out.rstrip().endswith(
        f"The model says what a reader could say after {sum(agree)} of {len(agree)} words, and at "
        f"the end of {sum(ends)} of {len(ends)} sentences."
    )
    assert [text["text"] for text in found] == [example.text for example in load_examples()]


# ------------------------------------------------------------------------------- pictures and pages


def test_picture_and_page(run, tmp_path):
    picture, page = tmp_path / "reading.svg", tmp_path / "reading.html"
    run(SENTENCE, "--plot", picture, "--html", page)
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert "disappointing" in page.read_text(encoding="utf-8")
    before = page.read_bytes()
    run("Fine.", "--plot", picture, "--html", page, "--overwrite")
    assert page.read_bytes() != before


def test_files_are_kept(refused, tmp_path):
    file = tmp_path / "reading.html"
    file.write_text("mine")
    message = refused(SENTENCE, "--html", file)
    assert message == f"{file} exists already. Choose another, or add --overwrite."
    assert file.read_text() == "mine"


def test_file_names_say_what_is_wanted(refused, tmp_path):
    assert refused(SENTENCE, "--plot", tmp_path / "a.gif") == (
        f"Expected a file that ends in .png or .svg. Received: {tmp_path / 'a.gif'}"
    )
    assert refused(SENTENCE, "--html", tmp_path / "a.txt") == (
        f"Expected a file that ends in .html or .htm. Received: {tmp_path / 'a.txt'}"
    )


def test_a_folder_that_is_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "a.html"
    assert refused(SENTENCE, "--html", target) == (
        f"{target} cannot be written: {tmp_path / 'file'} is not a folder."
    )
    assert refused(SENTENCE, "--html", tmp_path / "no" / "a.html") == (
        f"{tmp_path / 'no' / 'a.html'} cannot be written: its folder does not exist."
    )
    (tmp_path / "folder.html").mkdir()
    assert refused(SENTENCE, "--html", tmp_path / "folder.html", "--overwrite") == (
        f"{tmp_path / 'folder.html'} exists already. Choose another."
    )


def test_pictures_need_matplotlib_and_say_so_at_once(refused, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = refused("--units", "--data", "sample", "--plot", tmp_path / "units.png")
    assert message.startswith("this needs the package matplotlib: ")


def test_a_picture_that_is_refused_leaves_no_page(refused, tmp_path):
    files = ("--plot", tmp_path / "a.png", "--html", tmp_path / "a.html")
    assert refused("so " * 61, *files).startswith("A picture holds at most 60 words. Received: 61.")


def test_a_terminal_without_arrows(monkeypatch, run):
    monkeypatch.setattr(command.command_line, "writes_utf8", lambda: False)
    head = run(SENTENCE).splitlines()[0]
    assert head.isascii()
    assert "forget >" in head
    assert "forget <" in head


def test_closed_standard_output():
    code = (
        "import sys; sys.stdout = None; from sentiment import explain; "
        f"sys.exit(explain.main([{SENTENCE!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


# -------------------------------------------------------------------------------------- wrong input


def test_texts_without_words(refused):
    assert refused("") == "Expected a text with at least one word. Received: ''"
    assert refused("...") == "Expected a text with at least one word. Received: '...'"


def test_unknown_method(refused):
    assert refused(SENTENCE, "--method", "guess").startswith(
        "argument --method: invalid choice: 'guess' (choose from"
    )


NEEDED = (
    'Expected a text, such as "This film was okay", or one of --examples, --faithfulness and '
    "--units. Received: "
)
OF_A_TEXT = "--method, --plot, --html, --overwrite, --model-dir, --json."
OF_REVIEWS = (
    "--data, --text-column, --label-column, --skip-bad-rows, --split, --texts, --plot, "
    "--overwrite, --model-dir, --json."
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], f"{NEEDED}none of them"),
        (["Fine.", "--examples"], f"{NEEDED}TEXT, --examples"),
        (["--units", "--faithfulness", "--data", "sample"], f"{NEEDED}--faithfulness, --units"),
        (["Fine.", "--data", "sample"], f"TEXT goes without --data. It takes: {OF_A_TEXT}"),
        (["Fine.", "--texts", "9"], f"TEXT goes without --texts. It takes: {OF_A_TEXT}"),
        (
            ["--examples", "--plot", "a.png", "--html", "a.html"],
            "--examples goes without --plot and --html. It takes: --model-dir, --json.",
        ),
        (
            ["--units", "--data", "sample", "--method", "unknown"],
            f"--units goes without --method. It takes: {OF_REVIEWS}",
        ),
        (
            ["--faithfulness", "--data", "sample", "--html", "a.html"],
            f"--faithfulness goes without --html. It takes: {OF_REVIEWS}",
        ),
        (["--units"], "--units measures on reviews. Add --data, such as --data sample."),
        (
            ["--faithfulness", "--texts", "9"],
            "--faithfulness measures on reviews. Add --data, such as --data sample.",
        ),
        (["Fine.", "--overwrite"], "--overwrite goes with --plot and --html. Received neither."),
    ],
)
def test_what_does_not_go_together(arguments, message, refused):
    assert refused(*arguments) == message


def test_a_folder_without_weights(refused, model_folder, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / "weights.npz").unlink()
    assert refused(SENTENCE, "--model-dir", folder) == (
        f"{folder} is not a whole model: weights.npz is missing. "
        "Copy the folder again, or train the model again."
    )


# -------------------------------------------------------------------------------------- the process


def test_it_needs_neither_tensorflow_nor_matplotlib():
    code = (
        "import sys\n"
        "from sentiment import explain\n"
        f"assert explain.main([{SENTENCE!r}]) == 0\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'onnx'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
