"""Faithfulness: areas that are known by hand, orders that must win or lose, intervals, the command.

The stand-in for a network adds up a weight for each word, all of them sixteenths, so that every
probability is exact in float32 and every area can be worked out on paper.
"""

import dataclasses
import json
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from sentiment import explain, faithfulness
from sentiment.data import load_reviews
from sentiment.explanation import METHODS, ExplanationError, Target, effect_of_removal
from sentiment.faithfulness import STEPS, deletion_falls, measure_faithfulness, verdict
from sentiment.predictor import Predictor
from sentiment.preprocessing import Encoded
from sentiment.reading_plots import save_deletion_plot

# Of each id; an unknown word, 1, says nothing.
WEIGHTS = np.array([0, 0, 2, 1, 0, -1, 3, -2]) / 16
UP = Target("up", np.array([0.0, 1.0]))
TEXT = [5, 3, 4, 2]  # weighs −1 + 1 + 0 + 2 sixteenths
PERFECT = np.array([3, 1, 2, 0])  # positions, the largest weight first
# In sixteenths, after 0 … 4 deleted words: 0, 2, 3, 3, 2.  Between them lie four points each, so
# that the 21 points sum to 6 + 13 + 15 + 12.
AREA = 46 / 21 / 16
REVERSED_AREA = (21 * 2 - 46) / 21 / 16  # what is lost in all, minus the curve read backwards


class Sums:
    """Says `up` with probability ½ + the sum of the words' weights."""

    labels = ("down", "up")

    def __init__(self):
        self.encoder = self

    def encode(self, texts: list[str]) -> Encoded:
        ids = [[int(word) for word in text.split()] for text in texts]
        return Encoded(
            token_ids=[row or [1] for row in ids],
            truncated=[len(row) > 6 for row in ids],
            words=[len(row) for row in ids],
            oov=[row.count(1) for row in ids],
        )

    def probabilities(self, token_ids) -> np.ndarray:
        up = np.array([0.5 + WEIGHTS[list(ids)].sum() for ids in token_ids])
        return np.stack([1 - up, up], axis=1).astype("float32")


class Order(Sums):
    """A network for which the order of words matters."""

    def probabilities(self, token_ids) -> np.ndarray:
        sums = [
            sum(np.sin(3 * t + word) for t, word in enumerate(ids)) / len(ids) for ids in token_ids
        ]
        up = 0.5 + 0.4 * np.array(sums)
        return np.stack([1 - up, up], axis=1)


class Three(Sums):
    """Three labels without an order, of which the middle one is most probable."""

    labels = ("art", "business", "sport")

    def probabilities(self, token_ids) -> np.ndarray:
        return np.tile(np.array([0.25, 0.5, 0.25], "float32"), (len(token_ids), 1))


def perfect(_, ids, target) -> np.ndarray:
    return WEIGHTS[list(ids)] * (target.weights[1] - target.weights[0])


def flipped(_, ids, target) -> np.ndarray:
    return -perfect(_, ids, target)


def flat(_, ids, target) -> np.ndarray:  # noqa: ARG001
    return np.zeros(len(ids))


@pytest.fixture
def methods(monkeypatch):
    """The methods under test in place of the package's own."""
    stand_ins = {"perfect": perfect, "flat": flat, "flipped": flipped}
    monkeypatch.setattr(faithfulness, "METHODS", stand_ins)
    monkeypatch.setattr(faithfulness, "RESAMPLES", 1000)  # faster


def some_reviews(count: int = 30, words: int = 5) -> list[str]:
    """Texts of 2 to `words` words whose probability stays within 0…1."""
    generator = np.random.default_rng(3)
    rows = [generator.integers(1, 6, generator.integers(2, words + 1)) for _ in range(count)]
    return [" ".join(map(str, row)) for row in rows]


def without_seconds(report: faithfulness.Faithfulness) -> faithfulness.Faithfulness:
    methods = {k: dataclasses.replace(m, seconds=0.0) for k, m in report.methods.items()}
    return dataclasses.replace(report, methods=methods)


# --- one text ---


def test_the_curve_of_four_words_by_hand():
    falls = deletion_falls(Sums(), TEXT, UP, [PERFECT, PERFECT[::-1]])
    steps = np.linspace(0, 4, STEPS + 1)
    want = [
        np.interp(steps, range(5), [0, 2, 3, 3, 2]),
        np.interp(steps, range(5), [0, -1, -1, 0, 2]),
    ]
    np.testing.assert_allclose(falls, np.array(want) / 16, atol=1e-15)
    np.testing.assert_allclose(falls.mean(axis=1), [AREA, REVERSED_AREA], atol=1e-15)


def test_the_reversed_order_mirrors_where_effects_add_up():
    claimed, turned = deletion_falls(Sums(), TEXT, UP, [PERFECT, PERFECT[::-1]])
    np.testing.assert_allclose(turned, claimed[-1] - claimed[::-1], atol=1e-15)


def test_the_right_order_has_the_largest_area_of_all():
    orders = [np.array(order) for order in permutations(range(4))]
    areas = deletion_falls(Sums(), TEXT, UP, orders).mean(axis=1)
    assert orders[areas.argmax()].tolist() == PERFECT.tolist()
    assert (areas == areas.max()).sum() == 1
    assert orders[areas.argmin()].tolist() == PERFECT[::-1].tolist()


def test_the_effect_of_removal_finds_that_order():
    effects = effect_of_removal(Sums(), TEXT, UP)
    assert np.argsort(-effects, kind="stable").tolist() == PERFECT.tolist()


@pytest.mark.parametrize("length", [1, 2, 7, 20, 33, 47])
def test_few_deletions_are_measured_and_the_curve_is_that_of_all(length):
    """Every number of deleted words is measured here, and the network depends on word order."""
    generator = np.random.default_rng(length)
    ids = generator.integers(1, 9, length).tolist()
    order = generator.permutation(length)
    rests = [[ids[t] for t in sorted(order[count:])] or [1] for count in range(length + 1)]
    values = UP.values(Order(), rests)
    want = np.interp(np.linspace(0, length, STEPS + 1), range(length + 1), values[0] - values)
    (found,) = deletion_falls(Order(), ids, UP, [order])
    np.testing.assert_allclose(found, want, atol=1e-12)


def test_a_rest_that_two_orders_share_is_read_once(monkeypatch):
    read = []
    whole = Sums.probabilities
    monkeypatch.setattr(
        Sums, "probabilities", lambda self, ids: read.append(ids) or whole(self, ids)
    )
    deletion_falls(Sums(), [2, 3], UP, [np.array([0, 1]), np.array([1, 0])])
    assert read == [[(2, 3), (3,), (1,), (2,)]]


def test_one_word_gives_the_same_curve_in_every_order():
    falls = deletion_falls(Sums(), [2], UP, [np.array([0]), np.array([0])])
    np.testing.assert_allclose(falls, np.tile(np.linspace(0, 2 / 16, STEPS + 1), (2, 1)))


# --- many texts ---


@pytest.mark.usefixtures("methods")
def test_the_areas_of_two_texts_by_hand():
    """The second is the first with all signs turned: `down` is predicted, and falls as much."""
    mirrored = [3, 5, 4, 7]  # 1 − 1 + 0 − 2 sixteenths
    report = measure_faithfulness(Sums(), [" ".join(map(str, t)) for t in (TEXT, mirrored)])
    assert (report.texts, report.words, report.truncated) == (2, 8, 0)
    assert report.methods["perfect"].curve.area.value == pytest.approx(AREA, abs=1e-12)
    assert report.methods["perfect"].reversed.area.value == pytest.approx(REVERSED_AREA, abs=1e-12)
    assert report.methods["flipped"].curve.area.value == pytest.approx(REVERSED_AREA, abs=1e-12)
    over = report.methods["perfect"].over_reversed
    assert over.value == pytest.approx(AREA - REVERSED_AREA, abs=1e-12)
    # Both texts have the same areas, and so has every draw of them.
    assert over.interval == pytest.approx((over.value, over.value), abs=1e-12)
    want = np.interp(np.linspace(0, 4, 21), range(5), [0, 2, 3, 3, 2]) / 16
    np.testing.assert_allclose(report.methods["perfect"].curve.fall, want, atol=1e-12)
    np.testing.assert_allclose(report.methods["perfect"].curve.low, want, atol=1e-12)
    assert report.shares == pytest.approx(np.linspace(0, 1, 21))


@pytest.mark.usefixtures("methods")
def test_a_perfect_method_beats_random_and_a_flipped_one_loses():
    report = measure_faithfulness(Sums(), some_reviews())
    assert list(report.methods) == ["perfect", "flat", "flipped"]
    best, _, worst = report.methods.values()
    assert best.over_random.interval[0] > 0 > worst.over_random.interval[1]
    assert best.beats_random > 0.8
    assert worst.beats_random == 0
    assert best.over_random.value == best.curve.area.value - report.random.area.value
    # Effects that add up lose half of all that there is to lose in a random order.
    half = best.curve.fall[-1] / 2
    assert report.random.area.interval[0] < half < report.random.area.interval[1]
    assert best.curve.area.value + worst.curve.area.value == pytest.approx(2 * half, abs=1e-7)


@pytest.mark.usefixtures("methods")
def test_the_mean_of_random_orders_is_what_a_method_is_compared_with(monkeypatch):
    """With one random order that is the reversed one of a text of two words, worked out."""

    class Turned:
        def permutation(self, n):
            return np.arange(n)

        def multinomial(self, n, even):
            return np.ones(len(even), int) * n // len(even)

    monkeypatch.setattr(np.random, "default_rng", lambda _: Turned())
    monkeypatch.setattr(faithfulness, "RANDOM_ORDERS", 1)
    report = measure_faithfulness(Sums(), ["4 2", "4 2"])  # 0 and 2 sixteenths
    # The text's own order loses 0, then 2; the perfect one 2, then 2.
    own = np.interp(np.linspace(0, 2, 21), range(3), [0, 0, 2]).mean() / 16
    right = np.interp(np.linspace(0, 2, 21), range(3), [0, 2, 2]).mean() / 16
    assert report.random.area.value == pytest.approx(own)
    assert report.methods["perfect"].over_random.value == pytest.approx(right - own)
    assert report.methods["perfect"].beats_random == 1
    assert report.methods["flat"].over_random.value == 0  # equal effects: the text's own order
    assert report.methods["flat"].beats_random == 0
    longer = measure_faithfulness(Sums(), [" ".join(["2", "5", "3", "4"] * 10)] * 2)
    assert longer.methods["flat"].over_random.value == 0


@pytest.mark.usefixtures("methods")
def test_on_texts_of_one_word_no_order_is_better():
    report = measure_faithfulness(Sums(), ["2", "3", "6"])
    assert {m.curve.area.value for m in report.methods.values()} == {report.random.area.value}
    assert {m.beats_random for m in report.methods.values()} == {0.0}
    assert report.lead.interval == (0, 0)
    assert verdict(report) == "On these 3 texts no method is surely better than a random order."


def test_effects_are_those_on_the_predicted_label(monkeypatch):
    seen = []

    def watched(_, ids, target):
        seen.append((target.name, target.weights.tolist()))
        return np.zeros(len(ids))

    monkeypatch.setattr(faithfulness, "METHODS", {"one": watched, "other": flat})
    measure_faithfulness(Three(), ["2 3", "4"])
    assert seen == [("business", [0, 1, 0])] * 2


@pytest.mark.usefixtures("methods")
def test_texts_without_words_are_left_out_and_cut_ones_counted():
    report = measure_faithfulness(Sums(), ["", "2 3", "2 3 4 5 4 3 1", ""])
    assert (report.texts, report.words, report.truncated) == (2, 9, 1)


@pytest.mark.usefixtures("methods")
def test_texts_are_chosen_by_the_seed_and_none_twice(monkeypatch):
    chosen = []
    encode = Sums.encode
    monkeypatch.setattr(
        Sums, "encode", lambda self, texts: chosen.append(texts) or encode(self, texts)
    )
    reviews = [f"{a} {b} {c}" for a in range(1, 6) for b in range(1, 6) for c in range(1, 3)]
    for seed in (0, 0, 1):
        measure_faithfulness(Sums(), reviews, texts=20, seed=seed)
    first, again, other = chosen
    assert len(set(first)) == 20
    assert first == again
    assert first != other
    measure_faithfulness(Sums(), reviews, texts=500)
    assert chosen[-1] == reviews


@pytest.mark.usefixtures("methods")
def test_the_same_seed_gives_the_same_report():
    one, same, other = (
        without_seconds(measure_faithfulness(Sums(), some_reviews(), texts=12, seed=seed))
        for seed in (5, 5, 6)
    )
    assert one == same
    assert one != other


@pytest.mark.usefixtures("methods")
@pytest.mark.parametrize(
    ("reviews", "texts", "message"),
    [
        (["2"], 1, "`texts` must be a whole number of at least 2. Received: 1"),
        (["2", ""], 9, "Expected at least two texts with words. Received: 1"),
        ([], 9, "Expected at least two texts with words. Received: 0"),
    ],
)
def test_too_few_texts_are_refused(reviews, texts, message):
    with pytest.raises(ExplanationError, match=f"^{re.escape(message)}$"):
        measure_faithfulness(Sums(), reviews, texts=texts)


def test_one_string_is_refused():
    with pytest.raises(TypeError, match=r"^Expected a list of texts\. Received: one str"):
        measure_faithfulness(Sums(), "2 3")


# --- intervals ---


def test_intervals_are_those_of_scipy():
    falls = np.random.default_rng(1).gamma(2, 1, (60, 1, 3))
    draws = faithfulness._resampled_means(falls, np.random.default_rng(2))
    assert draws.shape == (faithfulness.RESAMPLES, 1, 3)
    curve = faithfulness._curve(falls.mean(axis=0)[0], draws[:, 0])
    columns = np.column_stack([falls[:, 0], falls[:, 0].mean(axis=1)])  # the last is the area
    other = scipy.stats.bootstrap(
        (columns,), np.mean, axis=0, method="percentile", n_resamples=9999, rng=3
    ).confidence_interval
    found = np.array([[*curve.low, curve.area.interval[0]], [*curve.high, curve.area.interval[1]]])
    spread = columns.std(axis=0) / np.sqrt(60)
    assert (np.abs(found - np.array(other)) < 0.1 * spread).all()  # of a width of 4 spreads
    np.testing.assert_allclose([*curve.fall, curve.area.value], columns.mean(axis=0))


def test_about_95_of_100_intervals_cover_the_mean(monkeypatch):
    monkeypatch.setattr(faithfulness, "RESAMPLES", 300)
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        values = generator.normal(3, 2, (40, 1, 1))
        draws = faithfulness._resampled_means(values, generator)
        low, high = faithfulness._estimate(values.mean(), draws).interval
        covered += low < 3 < high
    assert 0.90 <= covered / 200 <= 0.98  # three standard errors around 94 %, as of 40 texts


def test_differences_are_paired_over_texts():
    """Two orders that differ by the same in every text: each spreads, their difference does not."""
    falls = np.random.default_rng(1).normal(size=(50, 1, STEPS + 1))
    draws = faithfulness._resampled_means(
        np.concatenate([falls, falls + 0.25], axis=1), np.random.default_rng(2)
    )
    assert draws[:, 0].mean(axis=1).std() > 0.01
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 0.25, atol=1e-12)


# --- in a sentence, as a picture ---


@pytest.mark.usefixtures("methods")
def test_the_verdict_says_what_is_beyond_chance():
    report = measure_faithfulness(Sums(), some_reviews())
    low, high = report.lead.interval
    said = (
        "On these 30 texts perfect is the most faithful, ahead of flat by "
        f"{report.lead.value:.3f} (95 % interval {low:.3f} to {high:.3f}), "
    )
    assert verdict(report) == f"{said}more than chance."
    unsure = dataclasses.replace(report.lead, interval=(-0.001, 0.5))
    assert verdict(dataclasses.replace(report, lead=unsure)).endswith(
        "(95 % interval -0.001 to 0.500), which may be chance."
    )


# --- the shipped model, and the command ---


@pytest.fixture(scope="module")
def shipped() -> faithfulness.Faithfulness:
    reviews = load_reviews("sample")[0]["test"]
    return measure_faithfulness(Predictor.load(threads=1), reviews.texts, texts=4)


def test_every_method_of_the_shipped_model_beats_random_and_reversed(shipped):
    assert set(shipped.methods) == set(METHODS)
    for method in shipped.methods.values():
        assert method.over_random.interval[0] > 0
        assert method.over_reversed.interval[0] > method.over_random.interval[0]
        assert method.seconds > 0
        assert method.curve.fall[0] == 0
        # Without any word all orders come to the same.
        assert method.curve.fall[-1] == pytest.approx(shipped.random.fall[-1], abs=1e-12)


@pytest.mark.parametrize(("ending", "first"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_picture(shipped, tmp_path, ending, first):
    path = save_deletion_plot(tmp_path / f"deletion{ending}", shipped)
    assert path.read_bytes().startswith(first)


@pytest.fixture
def call(capfd, monkeypatch, tmp_path):
    """`call(*arguments)` → status, standard output, standard error, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = explain.main(arguments)
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


SAMPLE = ("--faithfulness", "--data", "sample", "--texts", "4")


def test_the_command_prints_the_report_as_json(call, shipped):
    status, out, err = call(*SAMPLE, "--json")
    assert (status, err) == (0, "")
    printed = json.loads(out)
    want = json.loads(json.dumps(dataclasses.asdict(without_seconds(shipped))))
    for method in printed["methods"].values():
        assert method["seconds"] > 0
        method["seconds"] = 0.0
    assert printed["methods"].keys() == want["methods"].keys()
    # Cores read other batches than one core does, which changes float32's last digits.
    for name, method in want["methods"].items():
        found = printed["methods"][name]["curve"]
        np.testing.assert_allclose(found["fall"], method["curve"]["fall"], atol=1e-5)
    assert {k: printed[k] for k in ("texts", "words", "truncated", "shares")} == {
        k: want[k] for k in ("texts", "words", "truncated", "shares")
    }


def test_the_command_prints_a_sentence_and_a_table_and_draws(call, shipped):
    status, out, err = call(*SAMPLE, "--plot", "deletion.svg")
    assert (status, err) == (0, "wrote deletion.svg\n")
    assert Path("deletion.svg").stat().st_size > 1000
    sentence, _, source, head, *rows = out.splitlines()
    assert sentence.startswith("On these 4 texts ")
    assert source == f"sample, test split: 4 texts, {shipped.words} words"
    assert head.split("  ")[0] == "order"
    assert {row.split()[0] for row in rows[:4]} == {*METHODS, "random"}
    area = shipped.random.area
    assert f"random     {area.value:.3f} ({area.interval[0]:.3f} to {area.interval[1]:.3f})" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (*SAMPLE, "--plot", "a.pdf"),
            "Expected a file that ends in .png or .svg. Received: a.pdf",
        ),
        (
            ("--faithfulness", "--data", "sample", "--texts", "1"),
            "`texts` must be a whole number of at least 2. Received: 1",
        ),
        (
            ("--faithfulness", "--data", "missing.csv"),
            "There is no file or folder missing.csv. Expected `sample`, `imdb`, or a path.",
        ),
    ],
)
def test_wrong_values_of_options(call, tmp_path, arguments, message):
    assert call(*arguments) == (2, "", f"python -m sentiment.explain: error: {message}\n")
    assert not list(tmp_path.iterdir())


def test_measuring_needs_what_prediction_needs_and_no_more():
    code = (
        "import sys; from sentiment.explain import main; "
        f"status = main([*{SAMPLE!r}, '--json']); "
        "print(status, sorted({'tensorflow', 'keras', 'scipy', 'sklearn', 'matplotlib', 'pandas'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
