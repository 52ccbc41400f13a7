"""Pictures of readings: what is drawn is what the network did."""

import dataclasses
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

import sentiment
from sentiment import explain as command
from sentiment import plots, reading_plots
from sentiment.explanation import METHODS, Explanation, Trace, WordReading, explain

LABELS = ("negative", "positive")


def reading(
    words="so dull then great",
    *,
    gates=("input", "forget", "candidate"),
    directions=("forward", "backward"),
    units=7,
    layers=1,
    attention=False,
    ordered=True,
):
    """An explanation full of random numbers, all of them different."""
    generator = np.random.default_rng(5)
    words = words.split()
    scores = generator.uniform(-1, 1, len(words))
    means = {"attention"} if attention else set()
    readings = tuple(
        WordReading(
            word=word,
            position=position,
            known=word != "dull",
            label=LABELS[int(score >= 0)],
            score=float(score) if ordered else None,
            probabilities={"negative": (1 - score) / 2, "positive": (1 + score) / 2},
            effects={method: float(generator.normal()) for method in METHODS},
            gates={name: float(generator.uniform()) for name in means},
            memory_change={way: float(generator.uniform()) for way in directions},
        )
        for position, (word, score) in enumerate(zip(words, scores, strict=True), 1)
    )
    traces = tuple(
        Trace(
            layer,
            way,
            {name: generator.uniform(size=(len(words), units)) for name in gates},
            generator.normal(size=(len(words), units)),
        )
        for layer in range(1, layers + 1)
        for way in directions
    )
    last = readings[-1]
    return Explanation(
        text=" ".join(words),
        label=last.label,
        score=last.score,
        probabilities=last.probabilities,
        target="score" if ordered else last.label,
        words=readings,
        traces=traces,
        replay_error=1e-8,
        completeness_error=1e-4,
        left_out=0,
    )


def figure_of(explanation, method="removed"):
    return reading_plots._reading_figure(explanation, method)


def panels_of(figure):
    """Those over the words, without the colour bar."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def images_of(figure):
    """Title of a gate's panel → what is drawn there."""
    return {
        axes.get_ylabel(): np.asarray(axes.images[0].get_array())
        for axes in panels_of(figure)
        if axes.images
    }


def orders(rows, values):
    """Which units the rows are, from the first gate of a direction."""
    return [int(np.flatnonzero((values.T == row).all(axis=1))[0]) for row in rows]


@pytest.mark.parametrize("layers", [1, 2])
def test_gates_are_those_of_the_top_layer_in_one_order(layers):
    explanation = reading(layers=layers)
    images = images_of(figure_of(explanation))
    assert list(images) == [
        "input →\n7 units", "forget →\n7 units", "input ←\n7 units", "forget ←\n7 units",
    ]  # fmt: skip
    for trace, arrow in zip(explanation.traces[-2:], "→←", strict=True):
        order = orders(images[f"input {arrow}\n7 units"], trace.gates["input"])
        assert sorted(order) == list(range(7))
        for name in ("input", "forget"):
            shown = images[f"{name} {arrow}\n7 units"]
            np.testing.assert_array_equal(shown, trace.gates[name].T[order])


def test_gates_have_one_scale():
    figure = figure_of(reading())
    scales = {(i.get_clim(), i.get_cmap().name) for axes in figure.axes for i in axes.images}
    assert scales == {((0, 1), "viridis")}
    assert len(figure.axes) - len(panels_of(figure)) == 1


def test_units_that_do_alike_are_neighbours():
    kinds = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    values = np.eye(3)[:, kinds] + np.random.default_rng(0).normal(0, 0.01, (3, 9))
    order = reading_plots._unit_order(values)
    assert sorted(order) == list(range(9))
    assert np.count_nonzero(np.diff(kinds[order])) == 2


def test_one_unit_needs_no_order():
    explanation = reading(units=1, directions=("forward",))
    images = images_of(figure_of(explanation))
    np.testing.assert_array_equal(
        images["forget\n1 units"], explanation.traces[0].gates["forget"].T
    )


def test_neighbours_of_many_units_share_rows():
    explanation = reading(units=300, directions=("forward",), gates=("forget",))
    (shown,) = images_of(figure_of(explanation)).values()
    values = explanation.traces[0].gates["forget"]
    order = reading_plots._unit_order(values)
    assert shown.shape == (128, 4)
    np.testing.assert_allclose(shown[0], values[:, order[:3]].mean(axis=1))
    np.testing.assert_allclose(shown[-1], values[:, order[-2:]].mean(axis=1))


@pytest.mark.parametrize(
    ("gates", "shown"),
    [
        (("input_1", "forget_1", "input_2", "depth_2", "candidate_2"), ["input 2", "depth 2"]),
        (
            ("time_forget_1", "depth_forget_1", "time_forget_2", "depth_forget_2"),
            ["time forget 2", "depth forget 2"],
        ),
        (("clock",), ["clock"]),
        ((), []),
    ],
)
def test_gates_of_other_cells(gates, shown):
    figure = figure_of(reading(gates=gates, directions=("forward",)))
    assert [title.split("\n")[0] for title in images_of(figure)] == shown
    assert len(panels_of(figure)) == 3 + len(shown)
    assert len(figure.axes) == 3 + len(shown) + bool(shown)


@pytest.mark.parametrize("method", METHODS)
def test_bars_are_the_effects(method):
    explanation = reading()
    axes = panels_of(figure_of(explanation, method))[-1]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == explanation.effects(method).tolist()
    colours = [to_hex(bar.get_facecolor()).upper() for bar in axes.patches]
    assert colours == [plots.BLUE if height >= 0 else plots.VERMILION for height in heights]
    assert len(set(colours)) == 2
    assert axes.get_ylabel() == f"effect on\nscore\n({method})"


def test_attention_is_drawn_over_the_memory():
    explanation = reading(attention=True)
    axes = panels_of(figure_of(explanation))[-3]
    assert axes.get_ylabel() == "attention,\nsums to 1"
    assert [bar.get_height() for bar in axes.patches] == [
        word.gates["attention"] for word in explanation.words
    ]


def test_memory_changes():
    explanation = reading()
    lines = panels_of(figure_of(explanation))[-2].lines
    assert [line.get_label() for line in lines] == ["→ forward", "← backward"]
    for line, way in zip(lines, ("forward", "backward"), strict=True):
        assert list(line.get_ydata()) == [word.memory_change[way] for word in explanation.words]


def test_running_score_and_where_the_label_changes():
    explanation = reading("so dull then great and so on again")
    axes = panels_of(figure_of(explanation))[0]
    line = next(line for line in axes.lines if len(line.get_ydata()) == 8)
    assert list(line.get_ydata()) == [word.score for word in explanation.words]
    labels = [word.label for word in explanation.words]
    changes = {t for t in range(1, 8) if labels[t] != labels[t - 1]}
    marks = {line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"}
    assert marks == changes != set()
    assert axes.texts[0].get_text() == explanation.label
    title = f"{explanation.label.capitalize()}, probability "
    assert axes.get_title().startswith(title)
    assert axes.get_title().endswith(f"score {explanation.score:+.2f}".replace("-", "−"))


def test_labels_without_order_show_the_probability_of_the_answer():
    explanation = reading(ordered=False)
    figure = figure_of(explanation)
    axes = panels_of(figure)[0]
    line = next(line for line in axes.lines if len(line.get_ydata()) == 4)
    label = explanation.label
    assert list(line.get_ydata()) == [word.probabilities[label] for word in explanation.words]
    assert axes.get_ylabel() == f"probability\nof {label}\nso far"
    assert "score" not in axes.get_title()
    assert panels_of(figure)[-1].get_ylabel() == f"effect on\nprobability\nof {label}\n(removed)"


def test_words_stand_at_the_same_places_in_all_panels():
    figure = figure_of(reading(attention=True))
    figure.draw_without_rendering()  # settles the layout
    panels = panels_of(figure)
    edges = np.array([axes.get_position().intervalx for axes in panels])
    np.testing.assert_allclose(edges, np.broadcast_to(edges[0], edges.shape), atol=1e-9)
    assert {axes.get_xlim() for axes in panels} == {(-0.6, 4.6)}
    labelled = [axes for axes in panels if axes.xaxis.get_tick_params()["labelbottom"]]
    assert labelled == panels[-1:]
    written = [text.get_text() for text in panels[-1].get_xticklabels()]
    assert written == ["so", "[dull]", "then", "great"]
    assert panels[-1].get_xlabel() == "[in brackets]: not in the vocabulary"


@pytest.mark.parametrize(
    ("word", "drawn"),
    [
        ("naïve", "naïve"),
        ("$x_1$", "$x_1$"),
        ("👍", "thumbs up sign"),
        ("电影", "U+7535U+5F71"),
        ("\U000e0001", "U+E0001"),
    ],
)
def test_letters_that_the_font_lacks(word, drawn):
    assert reading_plots._drawable(word) == drawn


def test_letters_that_the_font_lacks_cause_no_warning(tmp_path):
    label = "$电影$ 👍"
    shares = {label: 0.75, "positive": 0.25}
    changes = {"label": label, "probabilities": shares, "score": None}
    explanation = reading("so $x_1$ 👍 电影 \U000e0001 $ good", directions=("forward",))
    words = tuple(dataclasses.replace(word, **changes) for word in explanation.words)
    changed = dataclasses.replace(explanation, words=words, target=label, **changes)
    path = tmp_path / "reading.png"
    reading_plots.save_reading_plot(path, changed, method="removed")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_long_words_are_cut():
    text = panels_of(figure_of(reading("so " + "a" * 50)))[-1].get_xticklabels()[1].get_text()
    assert text == "a" * 17 + "…"


def test_svg_is_well_formed_and_always_the_same(tmp_path, svg_of):
    explanation = reading("a < b & $c$ 👍")
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    assert reading_plots.save_reading_plot(files[0], explanation, method="removed") == files[0]
    with matplotlib.rc_context({"font.family": "serif", "svg.hashsalt": "mine"}):
        reading_plots.save_reading_plot(files[1], explanation, method="removed")
    one = files[0].read_text(encoding="utf-8")
    assert svg_of(files[0]) == svg_of(files[1])
    assert ElementTree.fromstring(one).tag == "{http://www.w3.org/2000/svg}svg"
    assert "date>" not in one


@pytest.mark.parametrize("words", [1, 60])
def test_shortest_and_longest(words, tmp_path):
    explanation = reading(" ".join(["so"] * words))
    reading_plots.save_reading_plot(tmp_path / "reading.png", explanation, method="removed")


def test_too_long(tmp_path):
    message = (
        r"^A picture holds at most 60 words\. Received: 61\. Explain a part of the text, or write "
        r"the page \(--html\), which takes any length\.$"
    )
    with pytest.raises(ValueError, match=message):
        reading_plots.save_reading_plot(
            tmp_path / "reading.png", reading("so " * 61), method="removed"
        )
    assert not list(tmp_path.iterdir())


def test_unknown_method(tmp_path):
    with pytest.raises(ValueError, match=r"^`method` must be one of .*\. Received: 'guess'$"):
        reading_plots.save_reading_plot(tmp_path / "reading.png", reading(), method="guess")


def test_the_shipped_model():
    explanation = explain(sentiment.load(), "I loved it, but the ending was bad")
    images = images_of(figure_of(explanation))
    assert len(images) == 6
    means = {
        title.split("\n")[0]: rows.mean(axis=0)
        for title, rows in images.items()  # 64 units, a row each
    }
    for way, arrow in (("forward", "→"), ("backward", "←")):
        for gate in ("input", "forget", "output"):
            np.testing.assert_allclose(
                means[f"{gate} {arrow}"],
                [word.gates[f"{way}_{gate}"] for word in explanation.words],
            )


def test_without_matplotlib_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "sentiment.plots")
    path = tmp_path / "reading.png"
    assert command.main(["--plot", str(path), "It was good"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "python -m sentiment.explain: error: this needs the package matplotlib: in the checkout, "
        "pip install -e '.[train]'\n"
    )
    assert not path.exists()


def test_the_command_draws(tmp_path, capsys, svg_of):
    path = tmp_path / "reading.svg"
    assert command.main(["--plot", str(path), "It was good"]) == 0
    assert capsys.readouterr().err == f"wrote {path}\n"
    explanation = explain(sentiment.load(), "It was good")
    again = reading_plots.save_reading_plot(tmp_path / "again.svg", explanation, method="removed")
    assert svg_of(path) == svg_of(again)
