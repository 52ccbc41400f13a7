"""Pictures of what a network did: of one text, of deleted words, of single units."""

import itertools
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sentiment.data import label_values
from sentiment.explanation import (
    LEAST_EFFECT,
    capitalised,
    check_method,
    gate_title,
    top_gates,
)
from sentiment.plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    VERMILION,
    make_figure,
    save_figure,
)
from sentiment.units import DRAWN, OPEN, SHUT

if TYPE_CHECKING:
    from sentiment.explanation import Explanation, WordReading
    from sentiment.faithfulness import DeletionCurve, Faithfulness
    from sentiment.units import UnitsReport

# Of the picture of a reading.
FONT = "DejaVu Sans"  # comes with matplotlib, so that a picture is the same everywhere
MOST_WORDS = 60  # that can be read at a width of 800 pixels
FEWEST_PLACES = 5  # for words: fewer stand on the left, and are not drawn wider
MOST_ROWS = 128  # of units in one gate, so that each has at least a pixel
WIDEST_WORD = 18  # letters

# A user's own style could choose a font that lacks what `_drawable` counts on.
STYLE = {"font.family": FONT, "font.size": 9, "svg.hashsalt": "sentiment"}


def save_reading_plot(path: Path, explanation: "Explanation", *, method: str) -> Path:
    """Draw how a network read a text: above its words the running answer, gates, memory, effects.

    Gates are those of the top layer, unit by unit.  Units stand in the order of a hierarchical
    clustering of their gates, so that units that do alike are neighbours; the order is the same in
    all gates of a direction.  Of more than `MOST_ROWS` units, neighbours share a row as their mean.

    Args:
        path: the PNG or SVG.
        explanation: of a text of at most `MOST_WORDS` words.
        method: whose effects to draw.

    Returns:
        The path.

    Raises:
        ValueError: no method has this name, or the text has more words.
    """
    check_method(method)
    words = explanation.words
    if len(words) > MOST_WORDS:
        raise ValueError(
            f"A picture holds at most {MOST_WORDS} words. Received: {len(words)}. Explain a part "
            "of the text, or write the page (--html), which takes any length."
        )
    with matplotlib.rc_context(STYLE):
        return save_figure(_reading_figure(explanation, method), path)


def _reading_figure(explanation: "Explanation", method: str) -> Figure:
    words = explanation.words
    maps = _gate_maps(explanation)
    attention = [word.gates["attention"] for word in words if "attention" in word.gates]
    heights = [1.5, *[0.9] * len(maps), *[0.6] * bool(attention), 0.8, 1.3]  # inches
    figure = Figure(figsize=(8, sum(heights) + 1.8), dpi=150, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.03, hspace=0)
    panels = figure.subplots(
        len(heights), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    _draw_running_answer(panels[0], explanation)
    for axes, (name, values) in zip(panels[1:], maps.items(), strict=False):
        image = _draw_gate(axes, name, values)
    if maps:
        beside = list(panels[1 : len(maps) + 1])
        bar = figure.colorbar(image, ax=beside, aspect=9 * len(maps), fraction=0.05)
        bar.set_ticks([0, 0.5, 1], labels=["0 closed", "0.5", "1 open"], size=8)
    if attention:
        panels[-3].bar(range(len(words)), attention, color=GREY, width=0.8)
        panels[-3].set(ylim=(0, None), ylabel="attention,\nsums to 1")
    _draw_memory(panels[-2], words)
    _draw_effects(panels[-1], explanation, method)
    _write_words(panels[-1], words)
    for axes in panels:
        axes.tick_params(axis="y", labelsize=8)
        axes.tick_params(axis="x", bottom=axes is panels[-1])
        axes.yaxis.label.set(rotation=0, ha="right", va="center", parse_math=False)
    figure.align_ylabels()
    return figure


def _draw_running_answer(axes: Axes, explanation: "Explanation") -> None:
    words = explanation.words
    label = _drawable(explanation.label)
    best = explanation.probabilities[explanation.label]
    title = f"{capitalised(label)}, probability {best:.0%}"
    if explanation.score is None:
        values = [word.probabilities[explanation.label] for word in words]
        axes.set(ylim=(0, 1.05), ylabel=f"probability\nof {label}\nso far")
    else:
        title += f", score {explanation.score:+.2f}".replace("-", "−")
        values = [word.score for word in words]
        axes.set(ylim=(-1.05, 1.05), ylabel="score so far,\n−1 negative\nto 1 positive")
    axes.set_title(title, parse_math=False, weight="bold", pad=18)
    axes.axhline(0, color="black", linewidth=0.8)
    places = np.arange(len(words))
    y = np.array(values)
    for sign, colour in ((1, BLUE), (-1, VERMILION)):
        side = sign * y >= 0
        axes.fill_between(places, y, where=side, interpolate=True, color=colour, alpha=0.3, lw=0)
    axes.plot(places, y, color="black", linewidth=1.2, marker="o", markersize=3)
    _mark_labels(axes, [word.label for word in words])


def _mark_labels(axes: Axes, labels: Sequence[str]) -> None:
    """A line where the running label changes; above it, from the last on, its name if it fits."""
    letter = max(len(labels), FEWEST_PLACES) * 0.013  # width of one, in words
    free = math.inf
    for t in reversed(range(len(labels))):
        name = _drawable(labels[t])
        if t and labels[t] == labels[t - 1]:
            continue
        if t:
            axes.axvline(t, color=GREY, linewidth=1, linestyle="--")
        half = letter * (len(name) + 1) / 2
        if t + half < free:
            axes.annotate(
                name,
                (t, 1),
                (0, 3),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                ha="center",
                size=8,
                parse_math=False,
            )
            free = t - half


def _gate_maps(explanation: "Explanation") -> dict[str, np.ndarray]:
    """`forget →` → (rows, words), for every gate of the top layer in every direction."""
    top = [trace for trace in explanation.traces if trace.layer == explanation.traces[-1].layer]
    maps = {}
    for trace in top:
        shown = top_gates(name for name in trace.gates if "candidate" not in name)
        gates = {name: trace.gates[name] for name in shown}
        if gates:
            order = _unit_order(np.concatenate(list(gates.values())))
        for name, values in gates.items():
            parts = np.array_split(values.T[order], min(len(order), MOST_ROWS))
            title = gate_title(f"{name}_{trace.direction}" if len(top) > 1 else name)
            rows = np.array([part.mean(axis=0) for part in parts])
            maps[f"{title}\n{len(order)} units"] = rows
    return maps


def _unit_order(values: np.ndarray) -> np.ndarray:
    """Order of units in which neighbours are alike, from what they did, (anything, units)."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    if values.shape[1] < 2:
        return np.arange(values.shape[1])
    return leaves_list(linkage(values.T, "ward", optimal_ordering=True))


def _draw_gate(axes: Axes, name: str, values: np.ndarray) -> AxesImage:
    image = axes.imshow(
        values, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    axes.set(ylabel=name)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return image


def _draw_memory(axes: Axes, words: Sequence["WordReading"]) -> None:
    ways = words[0].memory_change
    for way, colour, marker in zip(ways, (GREEN, PURPLE), ("o", "s"), strict=False):
        values = [word.memory_change[way] for word in words]
        label = f"{gate_title(way)} {way}"
        axes.plot(range(len(words)), values, color=colour, marker=marker, ms=3, lw=1.2, label=label)
    if len(ways) > 1:
        axes.legend(loc="upper left", ncols=2, fontsize=8, frameon=False)
    largest = max(change for word in words for change in word.memory_change.values())
    axes.set(ylim=(0, 1.5 * largest or 1))  # room for the legend
    axes.set(ylabel="change of\nmemory, mean\nover units")


def _draw_effects(axes: Axes, explanation: "Explanation", method: str) -> None:
    effects = explanation.effects(method)
    colours = np.where(effects >= 0, BLUE, VERMILION)
    axes.bar(range(len(effects)), effects, color=colours, width=0.8)
    axes.axhline(0, color="black", linewidth=0.8)
    low, high = axes.get_ylim()  # effects that nobody would notice are not to look like large ones
    axes.set_ylim(min(low, -LEAST_EFFECT), max(high, LEAST_EFFECT))
    target = explanation.target
    quantity = "score" if target == "score" else f"probability\nof {_drawable(target)}"
    axes.set(ylabel=f"effect on\n{quantity}\n({method})")


def _write_words(axes: Axes, words: Sequence["WordReading"]) -> None:
    written = [_drawable(word.word) for word in words]
    named = [text if word.known else f"[{text}]" for text, word in zip(written, words, strict=True)]
    style = {"rotation": 90, "size": 8 if len(words) <= 40 else 6.5}
    if len(words) <= 20:
        style = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(words)), named, parse_math=False, **style)
    axes.set_xlim(-0.6, max(len(words), FEWEST_PLACES) - 0.4)
    if not all(word.known for word in words):
        axes.set_xlabel("[in brackets]: not in the vocabulary", size=8)


def _drawable(text: str) -> str:
    """A word or label, cut if long; emoji that the font lacks by name, other letters by number."""
    drawn = get_font(findfont(FONT)).get_charmap()
    text = "".join(
        letter
        if ord(letter) in drawn
        else unicodedata.name(letter, "?").lower()
        if unicodedata.category(letter) == "So"
        else f"U+{ord(letter):04X}"
        for letter in text
    )
    return text if len(text) <= WIDEST_WORD else text[: WIDEST_WORD - 1] + "…"


def save_deletion_plot(path: Path, report: "Faithfulness") -> Path:
    """Draw how the answer falls as words are deleted in the order of each method's effects.

    Args:
        path: the PNG or SVG.
        report: what was measured.

    Returns:
        The path.
    """
    figure, axes = make_figure(6.5, 4.8)
    shares = np.array(report.shares)

    def draw(curve: "DeletionCurve", name: str, colour: str, **style: Any) -> None:
        label = f"{name}, area {curve.area.value:.3f}".replace("-", "−")
        axes.fill_between(shares, curve.low, curve.high, color=colour, alpha=0.12, lw=0)
        axes.plot(shares, curve.fall, color=colour, ms=4, label=label, **style)

    # Methods lie nearly on top of each other: their markers take turns.
    styles = {
        name: {"marker": "o^s"[number], "markevery": (number, len(report.methods)), "lw": 1}
        for number, name in enumerate(report.methods)
    }
    for name, method in report.methods.items():
        draw(method.curve, name, BLUE, **styles[name])
    draw(report.random, "random", GREY, ls=":", lw=2)
    for name, method in report.methods.items():
        draw(method.reversed, f"{name} reversed", ORANGE, **styles[name])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(
        xlabel="words deleted, those first that speak most for the answer (reversed: last)",
        ylabel="fall of the answer's probability",
    )
    axes.set_title(
        f"Deletion curves, mean of {report.texts:,} texts with 95 % intervals", fontsize=11
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, columnspacing=1, frameon=False)
    return save_figure(figure, path)


def save_units_plot(path: Path, report: "UnitsReport") -> Path:
    """Draw how the states of the best units differ by label, and how saturated the gates are.

    Below the histograms there is a panel for every kind of gate, in which a point is one unit: the
    more of the time it is open, the further right it stands, and the more it is shut, the higher.
    Both shares sum to at most one, the dashed line; their scales are square roots.

    Args:
        path: the PNG or SVG.
        report: what was measured.

    Returns:
        The path.
    """
    gates = list(dict.fromkeys(found.gate for found in report.saturation))
    rows = math.ceil(len(gates) / DRAWN)
    heights = [2.9] + [0.7 + 2.5 * rows] * bool(rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, sum(heights)), dpi=150, layout="constrained")
        above, *below = figure.subfigures(len(heights), height_ratios=heights, squeeze=False).flat
        _draw_states(above, report)
        for part in below:
            _draw_saturation(part, report, gates)
        return save_figure(figure, path)


def _draw_states(part: SubFigure, report: "UnitsReport") -> None:
    units = report.units[:DRAWN]
    colours = _label_colours(list(report.texts))
    panels = part.subplots(1, DRAWN, squeeze=False)[0]
    for axes, unit in zip(panels, units, strict=False):
        for label, counts in unit.counts.items():
            shares = np.array(counts) / max(1, sum(counts))
            if len(colours) == 2:  # areas of more hide each other
                axes.stairs(shares, unit.edges, fill=True, color=colours[label], alpha=0.25)
            axes.stairs(shares, unit.edges, color=colours[label], label=_drawable(label), lw=1.5)
        low, high = unit.interval
        told = f", {_drawable(unit.label)}" if len(report.texts) > 2 else ""
        axes.set_title(
            f"unit {unit.number} {unit.direction}, {unit.feature}\n"
            f"AUC {unit.auc:.2f} ({low:.2f} to {high:.2f}){told}",
            fontsize=9,
            parse_math=False,
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("state")
    for axes in panels[len(units) :]:
        axes.remove()
    panels[0].set_ylabel("share of the label’s texts")
    part.suptitle(
        "States of the units that best tell labels apart, on "
        f"{report.measured_on:,} texts that did not choose them",
        fontsize=10,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    part.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)


def _draw_saturation(part: SubFigure, report: "UnitsReport", gates: Sequence[str]) -> None:
    columns = min(DRAWN, len(gates))
    grid = part.subplots(math.ceil(len(gates) / columns), columns, squeeze=False)
    shares = np.linspace(0, 1, 101)
    ticks = (0.01, 0.1, 0.25, 0.5, 1)
    # Most gates are seldom saturated: the root makes room for small shares.
    scale = {"functions": (lambda x: np.sqrt(np.maximum(x, 0)), np.square)}
    for axes, gate in zip(grid.flat, gates, strict=False):
        axes.set_xscale("function", **scale)
        axes.set_yscale("function", **scale)
        axes.plot(shares, 1 - shares, color=GREY, linestyle="--", linewidth=1)
        for found in report.saturation:
            if found.gate == gate:
                axes.plot(
                    found.open,
                    found.shut,
                    color={"forward": GREEN, "backward": PURPLE}[found.direction],
                    marker="os^D"[found.layer - 1],
                    ls="none",
                    ms=5,
                    mew=0,
                    alpha=0.5,
                    clip_on=False,
                    label=f"{found.direction}, layer {found.layer}",
                )
        axes.set_title(gate.replace("_", " "), fontsize=9)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set(xlabel=f"open, above {OPEN}", ylabel=f"shut, below {SHUT}")
        axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
        axes.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    for axes in list(grid.flat)[len(gates) :]:
        axes.remove()
    part.suptitle(
        f"Share of {report.words:,} words at which gates are open, and shut; each point is a unit",
        fontsize=10,
    )
    handles = {
        label: handle
        for axes in grid.flat[: len(gates)]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    part.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False
    )


def _label_colours(labels: Sequence[str]) -> dict[str, str]:
    """Negative, neutral and positive have a colour of their own, as the ends of other scales."""
    known = {-1.0: VERMILION, 0.0: GREY, 1.0: BLUE}
    others = itertools.cycle((ORANGE, GREEN, PURPLE, PALE))
    values = label_values(labels) or [None] * len(labels)
    return {
        label: known.get(value) or next(others) for label, value in zip(labels, values, strict=True)
    }
