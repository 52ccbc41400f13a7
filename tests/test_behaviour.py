"""Behaviour tests: the cases are sound, and the engine fails what it should fail."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sentiment import behaviour, evaluate
from sentiment.behaviour import (
    AGAINST,
    ALLOWED,
    CAPABILITIES,
    WORDS,
    Capability,
    CapabilityResult,
    Failure,
    expand,
    measure_behaviour,
)
from sentiment.data import label_values, load_splits
from sentiment.predictor import Answers, Predictor

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
CASES = {name: capability.cases() for name, capability in CAPABILITIES.items()}
TWO = ("negative", "positive")
THREE = ("negative", "neutral", "positive")
STARS = ("1", "2", "3", "4", "5")
KINDS = {"MFT": set(ALLOWED), "INV": {"same"}, "DIR": {"not lower", "not higher"}}

# Cases that an answer which is always positive fails, counted in the tables by hand.
ALWAYS_POSITIVE = {
    "positive words": 0,
    "negative words": 60,
    "neutral facts": 70,
    "mild words": 40,
    "negated positive": 80,
    "negated negative": 0,
    "negated neutral": 50,
    "negation at the end": 40,
    "negation from afar": 40,
    "used to, but now": 40,
    "contrast": 40,
    "questions answered": 40,
    "author against others": 40,
    "comparisons": 50,
    "wishes": 60,
    "deeds as verdicts": 30,
    "ratings": 29,
    "sayings": 30,
}
ALWAYS_NEUTRAL = {
    "positive words": 60,
    "negative words": 60,
    "neutral facts": 0,
    "mild words": 0,
    "negated positive": 50,
    "negated negative": 0,
    "negated neutral": 0,
    "negation at the end": 0,
    "negation from afar": 0,
    "used to, but now": 80,
    "contrast": 80,
    "questions answered": 60,
    "author against others": 60,
    "comparisons": 80,
    "wishes": 0,
    "deeds as verdicts": 60,
    "ratings": 58,
    "sayings": 60,
}


class Fake:
    """Answers with known scores; the label is the one that lies nearest to the score."""

    def __init__(self, labels: Sequence[str], score: Callable[[str], float]):
        self.labels = tuple(labels)
        self.manifest = SimpleNamespace(label_values=label_values(labels))
        self.score = score
        self.calls = 0

    def answers(self, texts: Sequence[str]) -> Answers:
        self.calls += 1
        values = np.array(self.manifest.label_values)
        scores = np.array([self.score(text) for text in texts])
        names = [self.labels[i] for i in np.abs(scores[:, None] - values).argmin(axis=1)]
        rest = [[False] * len(texts), [1] * len(texts), [0] * len(texts)]
        return Answers(names, scores, np.zeros((len(texts), len(values)), "float32"), *rest)


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    """Scores of one reader who agrees with every case of every capability.

    Texts that share an INV or DIR case get one score, and that fits all MFT cases among them.
    """
    group: dict[str, str] = {}

    def root(text: str) -> str:
        while group.setdefault(text, text) != text:
            text = group[text]
        return text

    cases = [case for them in CASES.values() for case in them]
    for case in cases:
        for text in case.texts:
            group[root(text)] = root(case.texts[0])
    allowed: dict[str, set[int]] = {}
    for case in cases:
        if case.expected in ALLOWED:
            name = root(case.texts[0])
            allowed[name] = allowed.get(name, {-1, 0, 1}) & ALLOWED[case.expected]
            assert allowed[name], case
    return {text: float(min(allowed.get(root(text), {0}))) for text in group}


# ------------------------------------------------------------------------------------------- cases


@pytest.mark.parametrize("name", CAPABILITIES)
def test_enough_cases_of_enough_kinds(name):
    capability = CAPABILITIES[name]
    frames = [frame for frames in capability.frames.values() for frame in frames]
    assert len(set(frames)) == len(frames) >= 5
    assert len(set(CASES[name])) == len(CASES[name])
    assert 50 <= len(CASES[name]) <= 100
    texts = [text for case in CASES[name] for text in case.texts]
    assert len(set(texts)) == len(texts)
    assert set(capability.frames) <= KINDS[capability.kind]
    assert {len(case.texts) == 1 for case in CASES[name]} == {capability.kind == "MFT"}


def test_enough_capabilities():
    assert len(CAPABILITIES) == 32
    assert {capability.kind for capability in CAPABILITIES.values()} == set(KINDS)


def test_cases_are_english_and_expanded():
    for cases in CASES.values():
        for text in (text for case in cases for text in case.texts):
            assert not re.search(r"[][{}|→]|  |^\s|\s$|\b[Aa] [aeiou]|\b[Aa]n [^aeiouAF]", text)


def test_every_list_is_used_and_repeats_nothing():
    frames = [f for c in CAPABILITIES.values() for them in c.frames.values() for f in them]
    slots = {slot for frame in frames for slot in re.findall("{(.*?)}", frame)}
    assert {slot for slot in slots if "|" not in slot} == set(WORDS)
    for words in [*(slot.split("|") for slot in slots), *(w.split("|") for w in WORDS.values())]:
        assert len(set(words)) == len(words)
        assert all(word == word.strip() != "" for word in words)


def test_cases_are_not_in_the_sample_reviews():
    def words(text: str) -> tuple[str, ...]:
        return tuple(re.findall(r"\w+", text.casefold()))

    splits = load_splits("sample")
    sample = {words(t) for s in ("train", "validation", "test") for t in getattr(splits, s).texts}
    assert not sample & {words(t) for them in CASES.values() for case in them for t in case.texts}


def test_expand():
    assert expand("{a|b|c} {x|y}") == [("a x",), ("b y",), ("c x",)]
    assert expand("{a|b|c} {x|y}", 1) == [("a y",), ("b x",), ("c y",)]
    assert expand("[1→2→3] {a|b}[→!]") == [("1 a", "2 a!", "3 a!"), ("1 b", "2 b!", "3 b!")]
    assert expand("plain") == [("plain",)]
    assert [texts[0] for texts in expand("{regular}")] == WORDS["regular"].split("|")
    with pytest.raises(KeyError, match="nonesuch"):
        expand("{nonesuch}")


def test_changes_of_whole_texts():
    cases = Capability("INV", {"same": ("{One|Two}.",)}, (str.upper, str.lower)).cases()
    assert [case.texts for case in cases] == [("One.", "ONE.", "one."), ("Two.", "TWO.", "two.")]


# ------------------------------------------------------------------------------------------ engine


@pytest.mark.parametrize("labels", [TWO, THREE, STARS, ("positive", "negative"), ("neg", "pos")])
def test_a_perfect_reader_fails_nothing(truth, labels):
    fake = Fake(labels, truth.__getitem__)
    report = measure_behaviour(fake)
    assert fake.calls == 1
    assert report.mean_failure_rate == 0
    assert report.capabilities == {
        name: CapabilityResult(CAPABILITIES[name].kind, len(cases), 0, 0.0, ())
        for name, cases in CASES.items()
    }


@pytest.mark.parametrize("labels", [TWO, THREE, STARS])
@pytest.mark.parametrize(("score", "known"), [(1.0, ALWAYS_POSITIVE), (0.0, ALWAYS_NEUTRAL)])
def test_an_answer_that_is_always_the_same(labels, score, known):
    report = measure_behaviour(Fake(labels, lambda _: score))
    failures = {name: result.failures for name, result in report.capabilities.items()}
    assert failures == dict.fromkeys(CAPABILITIES, 0) | known
    rates = [failures[name] / len(CASES[name]) for name in CAPABILITIES]
    assert [result.failure_rate for result in report.capabilities.values()] == rates
    assert report.mean_failure_rate == pytest.approx(np.mean(rates))


def test_an_adversary_fails_everything():
    """Wrong in MFT; elsewhere every version of a text strays in the direction that is wrong."""
    wrong = {"positive": -1, "negative": 1, "neutral": 1, "not negative": -1, "not positive": 1}
    wrong |= {"not lower": -1, "not higher": 1, "same": 1}
    scores = iter(
        [
            wrong[case.expected] * (1 if case.expected in ALLOWED else 0.5 * (i > 0))
            for cases in CASES.values()
            for case in cases
            for i in range(len(case.texts))
        ]
    )
    report = measure_behaviour(Fake(STARS, lambda _: next(scores)))
    assert report.mean_failure_rate == 1
    for result in report.capabilities.values():
        assert result.failures == result.cases
        assert len(result.examples) == 3


def only(monkeypatch, kind: str, expected: str, frame: str) -> None:
    """Leave one capability with one frame."""
    monkeypatch.setattr(behaviour, "CAPABILITIES", {"it": Capability(kind, {expected: (frame,)})})


def failures(labels: Sequence[str], *scores: float) -> tuple[Failure, ...]:
    them = iter(scores)
    return measure_behaviour(Fake(labels, lambda _: next(them))).capabilities["it"].examples


@pytest.mark.parametrize(
    ("expected", "bad"),
    [
        ("negative", [-0.33, 0.0, 0.33, 0.34]),
        ("neutral", [-0.34, 0.34]),
        ("positive", [-0.34, -0.33, 0.0, 0.33]),
        ("not negative", [-0.34]),
        ("not positive", [0.34]),
    ],
)
def test_mft_by_thirds(monkeypatch, expected, bad):
    only(monkeypatch, "MFT", expected, "a text")
    names = {-0.34: "negative", -0.33: "neutral", 0.0: "neutral", 0.33: "neutral", 0.34: "positive"}
    for labels in (TWO, STARS):
        for score in (-0.34, -0.33, 0.0, 0.33, 0.34):
            found = failures(labels, score)
            expected_failure = Failure(("a text",), expected, (names[score],), (score,))
            assert found == ((expected_failure,) if score in bad else ())


def test_three_labels_speak_for_themselves(monkeypatch):
    """Nearest labels change at ±½, not at ±⅓."""
    only(monkeypatch, "MFT", "neutral", "a text")
    assert failures(THREE, 0.45) == failures(THREE, -0.45) == ()
    assert failures(THREE, 0.55)[0].polarities == ("positive",)
    assert failures(THREE, -0.55)[0].polarities == ("negative",)
    assert failures(("1", "2", "3"), 0.45) == ()
    assert failures(STARS, 0.45)[0].polarities == ("positive",)


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        ((0.5, 0.5, 0.5), None),
        ((0.5, 0.625, 0.375), None),
        ((0.9, 0.71, 0.9), None),  # within the tolerance
        ((0.9, 0.69, 0.9), 1),
        ((0.6, 0.6, 0.81), 2),
        ((0.4, 0.4, 0.3), 2),  # another label
        ((0.3, 0.4, 0.3), 1),
        ((-0.5, 0.0, 0.5), 2),  # the furthest
        ((-0.5, 0.5, 0.0), 1),
    ],
)
def test_inv(monkeypatch, scores, shown):
    only(monkeypatch, "INV", "same", "[one→two→three]")
    texts = ("one", "two", "three")
    found = failures(TWO, *scores)
    if shown is None:
        assert found == ()
    else:
        names = {True: "positive", False: "neutral"}
        assert found[0].texts == ("one", texts[shown])
        assert found[0].scores == (scores[0], scores[shown])
        if scores[0] >= 0:
            assert found[0].polarities == tuple(names[s > 1 / 3] for s in found[0].scores)


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        ((0.5, 0.5, 0.5), None),
        ((-0.5, 0.9, 0.1), None),  # as far as it likes in the right direction
        ((0.5, 0.41, 0.6), None),
        ((0.3, 0.3, 0.19), 2),
        ((0.3, 0.1, 0.19), 1),  # the furthest
        ((0.35, 0.3, 0.35), None),  # the label alone does not matter
    ],
)
@pytest.mark.parametrize(("expected", "sign"), [("not lower", 1), ("not higher", -1)])
def test_dir(monkeypatch, expected, sign, scores, shown):
    only(monkeypatch, "DIR", expected, "[one→two→three]")
    found = failures(TWO, *(sign * score for score in scores))
    if shown is None:
        assert found == ()
    else:
        assert found[0].texts == ("one", ("one", "two", "three")[shown])
        assert found[0].scores == (sign * scores[0], sign * scores[shown])


def test_examples_are_from_all_over(monkeypatch):
    only(monkeypatch, "MFT", "positive", "{a|b|c|d|e|f|g|h|i}")
    assert [failure.texts[0] for failure in failures(TWO, *[-1] * 9)] == ["a", "d", "g"]
    assert [failure.texts[0] for failure in failures(TWO, -1, *[1] * 7, -1)] == ["a", "i"]


@pytest.mark.parametrize(
    ("labels", "reading"),
    [
        (TWO, "as neutral where the probability of positive is from 1/3 to 2/3"),
        (("pos", "neg"), "as neutral where the probability of pos is from 1/3 to 2/3"),
        (THREE, "by their labels"),
        (STARS, "as neutral where their scores are from −1/3 to 1/3"),
    ],
)
def test_the_report_says_how_answers_were_read(labels, reading):
    assert measure_behaviour(Fake(labels, lambda _: 0.0)).reading == reading


def test_labels_without_an_order():
    message = (
        "Behaviour tests need a model whose labels have an order, such as negative and positive, "
        "or 1 to 5. Received one with: films, books."
    )
    fake = Fake(("films", "books"), lambda _: 0.0)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure_behaviour(fake)
    assert fake.calls == 0


def test_expectations_are_of_one_kind():
    assert not set(ALLOWED) & set(AGAINST)


# ----------------------------------------------------------------------------------------- command


@pytest.fixture(scope="module")
def shipped():
    """What the model that ships with the package does."""
    return measure_behaviour(Predictor.load())


def test_json(shipped, capsys):
    assert evaluate.main(["--behaviour", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(dataclasses.asdict(shipped)))
    assert list(printed["capabilities"]) == list(CAPABILITIES)
    fields = {"kind", "cases", "failures", "failure_rate", "examples"}
    for name, result in printed["capabilities"].items():
        assert set(result) == fields
        assert result["cases"] == len(CASES[name])
        assert len(result["examples"]) == min(3, result["failures"])
    assert 0 < printed["mean_failure_rate"] < 1


def test_table(shipped, capsys):
    assert evaluate.main(["--behaviour"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Answers are read by their labels."
    table = lines[2 : lines.index("", 2)]
    assert table[0].split() == ["capability", "kind", "cases", "failures", "rate"]
    assert [re.split(r"  +", line) for line in table[1:-1]] == [
        [name, r.kind, str(r.cases), str(r.failures), f"{r.failure_rate:.1%}"]
        for name, r in shipped.capabilities.items()
    ]
    assert table[-1].split() == ["mean", f"{shipped.mean_failure_rate:.1%}"]
    found = shipped.capabilities.items()
    name, result = next((n, r) for n, r in found if r.kind == "INV" and r.examples)
    start = lines.index(f"{name}: some failures")
    failure = result.examples[0]
    assert lines[start + 1] == "  expected same, received"
    for line, polarity, score, text in zip(
        lines[start + 2 : start + 4],
        failure.polarities,
        failure.scores,
        failure.texts,
        strict=True,
    ):
        assert line == f"    {polarity:8}  {score:+.2f}  {text}"


def test_readme_shows_the_measured_table(shipped):
    """Up to two cases: other processors may round a score that lies at a border differently."""
    block = README.split("$ python -m sentiment.evaluate --behaviour\n")[1].split("```")[0]
    rows = re.findall(r"^(\w.*?)  +(MFT|INV|DIR) +(\d+) +(\d+) +([\d.]+)%$", block, re.MULTILINE)
    assert len(rows) >= 10
    for name, kind, cases, failed, rate in rows:
        result = shipped.capabilities[name]
        assert (kind, int(cases)) == (result.kind, result.cases)
        assert abs(int(failed) - result.failures) <= 2
        assert rate == f"{100 * int(failed) / int(cases):.1f}"
    mean = float(re.search(r"^mean +([\d.]+)%$", block, re.MULTILINE)[1])
    assert mean == pytest.approx(100 * shipped.mean_failure_rate, abs=0.5)


def test_needs_no_training_packages():
    code = (
        "import sys; from sentiment import evaluate; status = evaluate.main(['--behaviour']); "
        "sys.exit(status or bool({'tensorflow', 'keras', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--data", "sample"], "--data"),
        (["--data", ""], "--data"),
        (["--split", "all"], "--split"),
        (["--text-column", "a", "--label-column", "b"], "--text-column, --label-column"),
        (["--skip-bad-rows"], "--skip-bad-rows"),
        (["--plots", "pictures", "--overwrite"], "--plots, --overwrite"),
    ],
)
def test_options_that_contradict(capsys, tmp_path, monkeypatch, options, named):
    monkeypatch.chdir(tmp_path)
    assert evaluate.main(["--behaviour", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "python -m sentiment.evaluate: error: --behaviour brings its own texts and goes with "
        f"--model-dir and --json alone. Received also: {named}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_command_refuses_labels_without_an_order(random_model, tmp_path, capsys):
    folder = random_model(("books", "films")).save(tmp_path / "model")
    assert evaluate.main(["--behaviour", "--model-dir", str(folder)]) == 2
    assert capsys.readouterr().err == (
        "python -m sentiment.evaluate: error: Behaviour tests need a model whose labels have an "
        "order, such as negative and positive, or 1 to 5. Received one with: books, films.\n"
    )


def test_command_measures_star_ratings(random_model, tmp_path, capsys):
    folder = random_model(STARS).save(tmp_path / "model")
    assert evaluate.main(["--behaviour", "--model-dir", str(folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["reading"] == "as neutral where their scores are from −1/3 to 1/3"
