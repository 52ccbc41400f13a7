"""Single units: one that separates the labels must be found, and gates are counted by hand."""

import dataclasses
import json
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from sklearn.metrics import roc_auc_score

from sentiment import explain, units
from sentiment.data import Reviews
from sentiment.equations import Network, network_of, network_probabilities, replay
from sentiment.explanation import ExplanationError
from sentiment.models import BUILDERS, MERGES, POOLINGS, model_settings
from sentiment.plots import BLUE, GREY, ORANGE, VERMILION
from sentiment.preprocessing import Encoded
from sentiment.reading_plots import _label_colours, save_units_plot
from sentiment.units import DRAWN, high_says, measure_units, name_of, sentence

PADDING = [9.0, -9.0]  # a vector that would be noticed wherever it were read


class Reader:
    """A predictor of one network, whose texts are its word ids, or words of its vocabulary."""

    folder = "in memory"

    def __init__(self, network: Network, labels: tuple[str, ...], words: tuple[str, ...] = ()):
        self.network, self.labels, self.encoder = network, labels, self
        self.ids = {word: number for number, word in enumerate(words, 2)}

    def words_read(self, text: str) -> list[str]:
        return text.split()

    def encode(self, texts: list[str]) -> Encoded:
        ids = [[self.ids.get(w) or int(w) for w in self.words_read(text)] for text in texts]
        return Encoded(ids, [False] * len(ids), [len(row) for row in ids], [0] * len(ids))

    def probabilities(self, token_ids) -> np.ndarray:
        rows = [network_probabilities(np.array([ids]), self.network)[0] for ids in token_ids]
        return np.array(rows, "float32")


WORDS = ("good", "bad", "odd", "even", "dull")
VECTORS = [PADDING, [0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [-0.5, 0]]


def by_hand(pooling: str, **changes) -> Network:
    """Three units without memory: tanh of good or bad, of odd or even, of bad or good."""
    kernel = np.array([[1.0, 0, -1], [0, 1, 0]])
    width = 3 * (2 if "+" in pooling else 1)
    output = np.zeros((width, 2))
    output[:2, 1] = 0.5, 0.8
    return Network(
        np.array(VECTORS, float),
        "rnn",
        (((kernel, np.zeros((3, 3)), np.zeros(3)),),),
        pooling,
        "concatenate",
        (output, np.zeros(2)),
        **changes,
    )


def reviews(copies: int = 4) -> Reviews:
    """Of each label one text of each length; `odd` and `even` are in both."""
    kinds = {
        "negative": ["bad odd", "even bad even", "bad dull", "dull even odd bad odd even"],
        "positive": ["odd good", "dull even good dull", "good odd odd", "even good"],
    }
    rows = [(t, label) for label, texts in kinds.items() for t in texts for _ in range(copies)]
    return Reviews([text for text, _ in rows], [label for _, label in rows])


LABELS = ("negative", "positive")
ONE = np.tanh(1.0)


# --- units by hand ---


def test_the_unit_that_separates_is_found():
    report = measure_units(Reader(by_hand("max"), LABELS, WORDS), reviews())
    best = report.units[0]
    assert (best.layer, best.direction, best.number, best.feature) == (1, "forward", 1, "max")
    assert (best.label, best.sign, best.auc, best.interval) == ("positive", 1, 1.0, (1.0, 1.0))
    assert best.chosen_auc == 1.0
    assert (report.all_units, report.chosen_on, report.measured_on) == (3, 16, 16)
    assert report.texts == {"negative": 16, "positive": 16}
    assert sorted(unit.number for unit in report.units) == [1, 2, 3]
    assert report.network["positive"] < 1  # misled by the other unit
    assert name_of(best) == "unit 1 forward, its maximum"
    assert sentence(report) == (
        "Unit 1 forward, its maximum: AUC 1.000 (1.000 to 1.000) on the other half; the whole "
        f"network {report.network['positive']:.3f}."
    )


def test_what_drives_it():
    report = measure_units(Reader(by_hand("max"), LABELS, WORDS), reviews())
    best = report.units[0]
    assert len(best.highest) == len(best.lowest) == units.EXTREMES
    for text in best.highest:
        assert (text.label, text.word, text.state) == ("positive", "good", ONE)
        assert text.excerpt in reviews().texts
    states = [text.state for text in best.lowest]
    assert states == sorted(states)
    for text in best.lowest:
        assert text.label == "negative"
        # where the maximum stands: an odd or even word, 0; in "bad dull" the dull one
        expected = "dull" if text.excerpt == "bad dull" else re.search("odd|even", text.excerpt)[0]
        assert text.word == expected


def test_histograms_count_every_measured_text():
    report = measure_units(Reader(by_hand("max"), LABELS, WORDS), reviews())
    for unit in report.units:
        assert list(unit.counts) == ["negative", "positive"]
        assert [sum(counts) for counts in unit.counts.values()] == [8, 8]
        assert len(unit.edges) == units.BINS + 1
    best = report.units[0]
    assert (best.counts["positive"][-1], best.counts["negative"][-1]) == (8, 0)
    assert (best.edges[0], best.edges[-1]) == (best.lowest[0].state, ONE)


def test_low_states_may_say_it():
    """Of the means of the first and the third unit one is the other's negative."""
    report = measure_units(Reader(by_hand("mean"), LABELS, WORDS), reviews())
    found = {unit.number: unit for unit in report.units}
    assert [found[number].sign for number in (1, 3)] == [1, -1]
    assert [found[number].auc for number in (1, 3)] == [1.0, 1.0]
    assert [high_says(found[number]) for number in (1, 3)] == ["positive", "negative"]
    assert found[3].counts == {k: v[::-1] for k, v in found[1].counts.items()}
    # the mean of the third is pushed up by bad words, and down by good ones
    assert {text.word for text in found[3].highest} == {"bad"}
    assert {text.word for text in found[3].lowest} == {"good"}


def test_both_features_compete():
    """With max+mean a unit comes once, by the better feature; the third by its mean."""
    texts = ["bad odd"] * 8 + ["good good bad even"] * 8  # the third's maximum stands at bad words
    data = Reviews(texts, ["negative"] * 8 + ["positive"] * 8)
    report = measure_units(Reader(by_hand("max+mean"), LABELS, WORDS), data)
    found = {unit.number: unit for unit in report.units}
    assert len(report.units) == report.all_units == 3
    assert (found[1].feature, found[1].auc) == ("max", 1.0)
    assert (found[3].feature, found[3].sign, found[3].auc) == ("mean", -1, 1.0)


def test_several_labels_each_against_the_rest():
    network = by_hand("max")
    kernel = np.zeros((3, 3))
    kernel[1, 1] = 5.0  # the second label where the second unit is high
    network = dataclasses.replace(network, output=(kernel, np.zeros(3)))
    data = Reviews(["bad good"] * 6 + ["odd"] * 6 + ["even good"] * 6, list("aaaaaabbbbbbcccccc"))
    report = measure_units(Reader(network, ("a", "b", "c"), WORDS), data)
    best = report.units[0]
    assert set(report.network) == {"a", "b", "c"}
    assert report.network["b"] == 1.0
    by_number = {unit.number: unit for unit in report.units}
    assert (by_number[2].label, by_number[2].sign, by_number[2].auc) == ("b", 1, 1.0)
    assert (by_number[1].label, by_number[1].sign, by_number[1].auc) == ("b", -1, 1.0)
    assert high_says(by_number[1]) == "not b"
    assert (by_number[3].label, by_number[3].sign) == ("a", 1)
    end = "low" if best.sign < 0 else "high"
    assert f", {end} for {best.label} against the rest: AUC 1.000" in sentence(report)


def test_long_texts_show_what_is_around():
    text = " ".join([*["odd"] * 20, "good", *["even"] * 20])
    data = Reviews([text] * 4 + ["bad"] * 4, ["positive"] * 4 + ["negative"] * 4)
    best = measure_units(Reader(by_hand("max"), LABELS, WORDS), data).units[0]
    odd, even = " ".join(["odd"] * units.AROUND), " ".join(["even"] * units.AROUND)
    assert best.highest[0].excerpt == f"… {odd} good {even} …"
    assert best.lowest[0].excerpt == "bad"


# --- choosing on one half, measuring on the other ---


def random_reviews(texts: int, labels: tuple[str, ...]) -> Reviews:
    generator = np.random.default_rng(3)
    rows = [generator.integers(1, 20, generator.integers(1, 13)) for _ in range(texts)]
    return Reviews(
        [" ".join(map(str, row)) for row in rows], [labels[i % len(labels)] for i in range(texts)]
    )


def test_areas_are_those_of_the_other_half(random_network):
    reader = Reader(network_of(random_network("bilstm", 2, pooling="max+mean")), LABELS)
    data = random_reviews(60, LABELS)
    report = measure_units(reader, data, texts=41)
    assert report.texts == {"negative": 20, "positive": 20}
    choosing, measuring = (
        units._read(reader, half, progress=False) for half in units._halves(data, LABELS, 41, 0)
    )
    assert not set(choosing.reviews.texts) & set(measuring.reviews.texts)
    columns = units._columns(reader.network)

    def areas(reading) -> np.ndarray:
        truth = [label == "positive" for label in reading.reviews.labels]
        return np.array([roc_auc_score(truth, states) for states in reading.features.T])

    chosen, measured = areas(choosing), areas(measuring)
    strengths = {}
    for column, (direction, number, _) in enumerate(columns):
        key = direction, number
        strengths[key] = max(strengths.get(key, 0), abs(chosen[column] - 0.5) + 0.5)
    expected = sorted(strengths.values(), reverse=True)[: units.SHOWN]
    assert [unit.chosen_auc for unit in report.units] == pytest.approx(expected, abs=1e-12)
    for unit in report.units:
        column = columns.index((unit.direction, unit.number, unit.feature))
        assert unit.sign == (1 if chosen[column] >= 0.5 else -1)
        oriented = measured[column] if unit.sign > 0 else 1 - measured[column]
        assert unit.auc == pytest.approx(oriented, abs=1e-12)
        assert unit.interval[0] < unit.auc < unit.interval[1]
    assert any(unit.auc < 0.5 for unit in report.units)  # noise: the other half does not flatter
    truth = [label == "positive" for label in measuring.reviews.labels]
    network_auc = roc_auc_score(truth, measuring.probabilities[:, 1])
    assert report.network == {"positive": pytest.approx(network_auc, abs=1e-12)}


def test_the_same_seed_gives_the_same_report(random_network):
    reader = Reader(network_of(random_network("gru", 2)), LABELS)
    data = random_reviews(80, LABELS)
    first, again, other = (measure_units(reader, data, texts=24, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_rare_labels_give_all_they_have(random_network):
    reader = Reader(network_of(random_network("gru", 2)), LABELS)
    data = Reviews(random_reviews(24, LABELS).texts, ["negative"] * 19 + ["positive"] * 5)
    report = measure_units(reader, data, texts=20)
    assert report.texts == {"negative": 10, "positive": 5}
    assert (report.chosen_on, report.measured_on) == (7, 8)


# --- reading ---


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in BUILDERS),
        *(("bilstm", {"pooling": pooling}) for pooling in POOLINGS),
        *(("bigru", {"pooling": "last", "merge": merge}) for merge in MERGES),
        *(("bigru", {"pooling": "max+mean", "merge": merge}) for merge in MERGES),
        ("lstm", {"layers": 2}),
        ("attention_bilstm", {"layers": 2, "merge": "sum"}),
    ],
)
def test_features_are_what_the_last_layer_reads(name, settings, random_network, mixed_ids):
    network = network_of(random_network(name, **settings))
    mask = mixed_ids != 0
    replayed = replay(network, network.word_vectors(mixed_ids), mask)
    features, up, down = units._features(network, replayed, mask)
    kernel, bias = network.output
    logits = features @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(expected, replayed.probabilities, atol=1e-12)
    columns = units._columns(network)
    assert features.shape == up.shape == down.shape == (8, len(columns))
    assert len(set(columns)) == len(columns)
    assert (up < mask.sum(axis=1, keepdims=True)).all()
    assert (down < mask.sum(axis=1, keepdims=True)).all()


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("pooling", ["max+mean", "last", "attention"])
def test_columns_and_words(merge, pooling, random_network, mixed_ids):
    """Each column by its name, found again in what each direction put out, text by text."""
    network = network_of(random_network("bilstm", pooling=pooling, merge=merge))
    mask = mixed_ids != 0
    replayed = replay(network, network.word_vectors(mixed_ids), mask)
    features, up, down = units._features(network, replayed, mask)
    forward, backward = (run.outputs for run in replayed.layers[-1])
    both = forward + backward if merge == "sum" else (forward + backward) / 2
    for column, (direction, number, feature) in enumerate(units._columns(network)):
        states = {"forward": forward, "backward": backward, "both": both}[direction]
        for row, length in enumerate(mask.sum(axis=1)):
            read = states[row, :length, number - 1]
            if feature == "last" and direction == "both":
                ends = forward[row, length - 1, number - 1] + backward[row, 0, number - 1]
                expected = ends / (1 if merge == "sum" else 2), length - 1, length - 1
            elif feature == "last":
                place = length - 1 if direction == "forward" else 0
                expected = read[place], place, place
            elif feature == "max":
                expected = read.max(), read.argmax(), read.argmax()
            elif feature == "mean":
                expected = read.mean(), read.argmax(), read.argmin()
            else:
                terms = replayed.attention[row, :length] * read
                expected = terms.sum(), terms.argmax(), terms.argmin()
            assert features[row, column] == pytest.approx(expected[0], abs=1e-12)
            assert (up[row, column], down[row, column]) == expected[1:]


@pytest.mark.parametrize("name", ["bilstm", "grid_lstm", "attention_gru"])
@pytest.mark.parametrize("words", [1, 17, 10**6])
def test_batches_and_padding_change_nothing(name, words, random_network, monkeypatch):
    reader = Reader(network_of(random_network(name, 2)), LABELS)
    data = random_reviews(30, LABELS)
    before = units._read(reader, data, progress=False)
    monkeypatch.setattr(units, "BATCH_WORDS", words)
    after = units._read(reader, data, progress=False)
    for field in ("features", "probabilities"):
        np.testing.assert_allclose(getattr(after, field), getattr(before, field), atol=1e-12)
    np.testing.assert_array_equal(after.up, before.up)
    np.testing.assert_array_equal(after.down, before.down)
    for gate, counts in before.saturated.items():
        np.testing.assert_array_equal(after.saturated[gate], counts)


def test_batches_hold_every_text_once_and_are_bounded():
    token_ids = [[1] * n for n in (3, 9000, 5, 2000, 2000, 1, 100)]
    batches = list(units._batches(token_ids))
    assert sorted(sum(batches, [])) == list(range(7))
    assert batches[:2] == [[1], [3, 4]]
    for positions in batches:
        words = len(positions) * max(len(token_ids[i]) for i in positions)
        assert len(positions) == 1 or words <= units.BATCH_WORDS


# --- saturation ---


def test_saturation_by_hand():
    """An LSTM whose gates see one number of each word: +4 opens, −4 shuts, 0 is between."""
    kernel = np.zeros((1, 8))  # two units; columns i, f, g, o
    kernel[0] = [1, -1, 0, 0, 0, 0, 1, 0]
    bias = np.array([0, 0, 5, -5, 0, 0, 0, 0.0])
    network = Network(
        np.array([[4.0], [0], [4], [-4]]),  # padding would open and shut
        "lstm",
        (((kernel, np.zeros((2, 8)), bias),),),
        "max",
        "concatenate",
        (np.zeros((2, 2)), np.zeros(2)),
    )
    texts = ["2", "2 3", "3 3 3 1", "1 2 1 1 1 1 1 1"] * 2  # of 15 words three are 2, four 3
    data = Reviews(texts, ["negative"] * 4 + ["positive"] * 4)
    report = measure_units(Reader(network, LABELS), data)
    assert report.words == 30
    opened, shut = 3 / 15, 4 / 15
    assert [dataclasses.astuple(gate) for gate in report.saturation] == [
        (1, "forward", "input", pytest.approx((shut, opened)), pytest.approx((opened, shut))),
        (1, "forward", "forget", (0.0, 1.0), (1.0, 0.0)),
        (1, "forward", "output", pytest.approx((shut, 0)), pytest.approx((opened, 0))),
    ]


@pytest.mark.parametrize("name", BUILDERS)
def test_gates_of_every_builder(name, random_network, mixed_ids):
    settings = {"layers": 2} if "layers" in model_settings(name) else {}
    network = network_of(random_network(name, **settings))
    mask = mixed_ids != 0
    replayed = replay(network, network.word_vectors(mixed_ids), mask)
    gates = units._gates(network, replayed)
    names = {name for _, _, name in gates}
    cell = network.cell
    lstm = {"input", "forget", "output"}
    assert names == {
        "rnn": set(),
        "clockwork_rnn": set(),
        "gru": {"update", "reset"},
        "coupled_lstm": {"forget", "output"},
        "forget_gate_lstm": {"forget"},
        "depth_gated_lstm": lstm | {"depth"},
        "grid_lstm": {f"{way}_{gate}" for way in ("time", "depth") for gate in lstm},
    }.get(cell, lstm)
    if names:
        assert {layer for layer, *_ in gates} == {1, 2}
        assert {way for _, way, _ in gates} == set(units.DIRECTIONS[: len(network.recurrent[0])])
        assert all(((g > 0) & (g < 1)).all() and g.shape[:2] == (8, 12) for g in gates.values())
    assert bool(names) != (cell in units.WITHOUT_GATES)


def test_units_are_of_the_top_layer(random_network):
    for name in ("lstm", "rnn", "grid_lstm"):
        reader = Reader(network_of(random_network(name, 2, layers=2)), LABELS)
        report = measure_units(reader, random_reviews(20, LABELS))
        assert {unit.layer for unit in report.units} == {2}


# --- what cannot be measured ---


@pytest.mark.parametrize(
    ("labels", "texts", "message"),
    [
        (
            ["positive"] * 9,
            500,
            "Expected reviews with at least two of the labels that the model knows: negative, "
            "positive. Received: positive",
        ),
        (["good", "bad", "positive"], 500, "knows: negative, positive. Received: bad, good, pos"),
        ([], 500, "Received: none"),
        (["negative"] * 3 + ["positive"] * 9, 500, "Received: 3 of 'negative'"),
        (["negative"] * 9 + ["positive"] * 9, 7, "`texts` must be at least 8, 4 of each label. R"),
        (["negative"] * 9 + ["positive"] * 9, -1, "4 of each label. Received: -1"),
    ],
)
def test_what_cannot_be_measured(labels, texts, message):
    data = Reviews(["good"] * len(labels), labels)
    with pytest.raises(ExplanationError, match=re.escape(message)):
        measure_units(Reader(by_hand("max"), LABELS, WORDS), data, texts=texts)


def test_unknown_labels_are_left_out_and_counted():
    known = reviews()
    data = Reviews([*known.texts, "good", "bad"], [*known.labels, "neutral", "mixed"])
    reader = Reader(by_hand("max"), LABELS, WORDS)
    report = measure_units(reader, data)
    assert report.left_out == 2
    assert dataclasses.replace(report, left_out=0) == measure_units(reader, known)


def test_other_weights_are_noticed():
    reader = Reader(by_hand("max"), LABELS, WORDS)
    reader.probabilities = lambda token_ids: np.full((len(token_ids), 2), 0.5)
    with pytest.raises(ExplanationError, match="^in memory: the saved weights give another answer"):
        measure_units(reader, reviews())


# --- the picture ---


def test_label_colours():
    assert _label_colours(["negative", "positive"]) == {"negative": VERMILION, "positive": BLUE}
    three = _label_colours(["negative", "neutral", "positive"])
    assert list(three.values()) == [VERMILION, GREY, BLUE]
    stars = list(_label_colours(["1", "2", "3", "4", "5"]).values())
    assert (stars[0], stars[2], stars[4]) == (VERMILION, GREY, BLUE)
    assert len(set(stars)) == 5
    assert _label_colours(["art", "sport"])["art"] == ORANGE


@pytest.fixture
def drawn(saved_figures, tmp_path):
    """Draws a report and returns the figure that was saved, and the file."""

    def draw(report, name: str = "units.png"):
        path = save_units_plot(tmp_path / name, report)
        return saved_figures[-1], path

    return draw


def test_picture_shows_the_report(drawn, random_network):
    reader = Reader(network_of(random_network("bilstm", 2)), LABELS)
    report = measure_units(reader, random_reviews(60, LABELS))
    figure, path = drawn(report)
    assert path.read_bytes().startswith(b"\x89PNG")
    above, below = figure.subfigs
    for axes, unit in zip(above.axes, report.units[:DRAWN], strict=True):
        lines = {patch.get_label(): patch for patch in axes.patches if not patch.get_fill()}
        assert list(lines) == ["negative", "positive"]
        for label, colour in (("negative", VERMILION), ("positive", BLUE)):
            values, edges, _ = lines[label].get_data()
            np.testing.assert_allclose(values * sum(unit.counts[label]), unit.counts[label])
            np.testing.assert_array_equal(edges, unit.edges)
            assert to_hex(lines[label].get_edgecolor()) == colour.lower()
        assert f"unit {unit.number} {unit.direction}" in axes.get_title()
        assert f"AUC {unit.auc:.2f}" in axes.get_title()
    for axes, gate in zip(below.axes, ("input", "forget", "output"), strict=True):
        found = [saturation for saturation in report.saturation if saturation.gate == gate]
        limit, *points = axes.lines
        np.testing.assert_allclose(limit.get_xdata() + limit.get_ydata(), 1)
        assert len(points) == len(found) == 2
        for line, saturation in zip(points, found, strict=True):
            assert tuple(line.get_xdata()) == saturation.open
            assert tuple(line.get_ydata()) == saturation.shut
        assert axes.get_title() == gate


@pytest.mark.parametrize(("name", "parts"), [("rnn", 1), ("clockwork_rnn", 1), ("grid_lstm", 2)])
def test_picture_of_cells_without_gates_or_with_many(name, parts, drawn, random_network):
    reader = Reader(network_of(random_network(name, 3)), ("a", "b", "c"))
    figure, _ = drawn(measure_units(reader, random_reviews(60, ("a", "b", "c"))))
    assert len(figure.subfigs) == parts


def test_svg_is_the_same_each_time(drawn, svg_of):
    report = measure_units(Reader(by_hand("max"), LABELS, WORDS), reviews())
    _, first = drawn(report, "one.svg")
    _, again = drawn(report, "two.svg")
    assert svg_of(first) == svg_of(again)
    assert xml.etree.ElementTree.parse(first).getroot().tag.endswith("svg")


# --- the command ---


def test_command(capsys, tmp_path):
    picture = tmp_path / "units.svg"
    argv = ["--units", "--data", "sample", "--texts", "40", "--plot", str(picture)]
    assert explain.main(argv) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert re.fullmatch(
        r"Unit \d+ \w+, its (maximum|mean), (high|low) for \w+ against the rest: AUC \d.\d{3} "
        r"\(\d.\d{3} to \d.\d{3}\) on the other half; the whole network \d.\d{3}\.",
        lines[0],
    )
    assert re.fullmatch(
        r"sample, test split: 13 negative, 13 neutral, 13 positive; \d+ words", lines[2]
    )
    assert lines[3] == "Of 128 units, the best on 18 texts, measured on 21 others:"
    assert lines[5].split() == [
        *("unit", "feature", "high", "says", "AUC", "95", "%", "interval", "AUC", "in", "choosing")
    ]
    assert len([line for line in lines if line.startswith("  highest")]) == 15
    assert [line.split()[0] for line in lines[-6:]] == [
        *("input", "forget", "output", "input", "forget", "output")
    ]
    assert shown.err.endswith(f"wrote {picture}\n")
    assert picture.is_file()


def test_command_says_what_it_left_out(capsys, tmp_path):
    table = tmp_path / "more.csv"
    rows = [f"{word} {i},{label}" for label in LABELS for i, word in enumerate(WORDS[:6])]
    rows = ["text,label", *rows, "so so,mixed", "neither,mixed"]
    table.write_text("\n".join(rows), encoding="utf-8")
    assert explain.main(["--units", "--data", str(table), "--split", "all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "Left out: 2 reviews whose label the model does not know."


def test_command_json_is_the_report(capsys):
    from sentiment.data import load_reviews
    from sentiment.predictor import Predictor

    assert explain.main(["--units", "--data", "sample", "--texts", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    report = measure_units(Predictor.load(), load_reviews("sample")[0]["test"], texts=40)
    assert found == json.loads(json.dumps(dataclasses.asdict(report)))
    assert found["replay_error"] < 1e-6


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--units", "--data", "sample", "--texts", "6", "--plot", "{}.png"], "Received: 6"),
        (["--units", "--data", "sample", "--plot", "{}.pdf"], "ends in .png or .svg"),
    ],
)
def test_wrong_values_of_options(argv, message, capsys, tmp_path):
    assert explain.main([part.replace("{}", str(tmp_path / "file")) for part in argv]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert not list(tmp_path.iterdir())


def test_one_label_alone(capsys, tmp_path):
    table = Path(tmp_path / "one.csv")
    table.write_text("text,label\nfine,positive\ngreat,positive\n", encoding="utf-8")
    assert explain.main(["--units", "--data", str(table)]) == 2
    assert "Received: positive" in capsys.readouterr().err


def test_neither_tensorflow_nor_scikit_learn_is_needed():
    code = (
        "import sys; from sentiment.explain import main; "
        "status = main(['--units', '--data', 'sample', '--texts', '16', '--json']); "
        "assert not {'tensorflow', 'keras', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules); "
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
