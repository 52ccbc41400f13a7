"""Pictures of evaluations, training, comparisons, how far back networks remember, and readings."""

import itertools
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import Bbox

from sentiment.data import label_values
from sentiment.explanation import ARROWS, check_method
from sentiment.metrics import expected_calibration_error, reliability
from sentiment.units import DRAWN, OPEN, SHUT

if TYPE_CHECKING:
    from sentiment.explanation import Explanation, WordReading
    from sentiment.faithfulness import DeletionCurve, Faithfulness
    from sentiment.fitting import FitResult
    from sentiment.memory import MemoryReport
    from sentiment.units import UnitsReport

# Okabe and Ito's palette: told apart by colour-blind people, and the same things always have the
# same colour.
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#6E6E6E"
GREEN, VERMILION, PURPLE, PALE = "#009E73", "#D55E00", "#CC79A7", "#C4C4C4"

# Of the picture of a reading.
FONT = "DejaVu Sans"  # comes with matplotlib, so that a picture is the same everywhere
MOST_WORDS = 60  # that can be read at a width of 800 pixels
FEWEST_PLACES = 5  # for words: fewer stand on the left, and are not drawn wider
MOST_ROWS = 128  # of units in one gate, so that each has at least a pixel
WIDEST_WORD = 18  # letters

# A user's own style could choose a font that lacks what `_drawable` counts on.
STYLE = {"font.family": FONT, "font.size": 9, "svg.hashsalt": "sentiment"}


def save_evaluation_plots(
    folder: Path, labels: Sequence[str], probabilities: np.ndarray, true_labels: Sequence[str]
) -> list[Path]:
    """Write the pictures as PNG.

    Args:
        folder: where to; made if it is missing.
        labels: label names, in the order of the columns of `probabilities`.
        probabilities: float (n, num_classes).
        true_labels: the label of each text.

    Returns:
        The files: `confusion_matrix.png`, `reliability.png` and, for two labels that both occur,
        `roc.png`.
    """
    truth = np.array([labels.index(name) for name in true_labels])
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        _plot_confusion(folder / "confusion_matrix.png", labels, probabilities, truth),
        _plot_reliability(folder / "reliability.png", probabilities, truth),
    ]
    if len(labels) == 2 and len(set(truth)) == 2:
        files.append(_plot_roc(folder / "roc.png", labels, probabilities, truth))
    return files


def _figure(width: float = 5.0, height: float = 4.5) -> tuple[Figure, Axes]:
    """Not through pyplot, which would take a notebook's backend and keep the figure."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    return path


def _plot_confusion(
    path: Path, labels: Sequence[str], probabilities: np.ndarray, truth: np.ndarray
) -> Path:
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (truth, probabilities.argmax(axis=1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(4.5, 1.1 * len(labels) + 2)
    figure, axes = _figure(size, size * 0.9)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column,
            row,
            f"{count:,}\n{shares[row, column]:.0%}",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.5 else "black",
        )
    axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 3 else 0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(
        xlabel="predicted label", ylabel="true label", title=f"Confusion, {len(truth):,} texts"
    )
    figure.colorbar(image, label="share of the true label", shrink=0.8)
    return _save(figure, path)


def _plot_reliability(path: Path, probabilities: np.ndarray, truth: np.ndarray) -> Path:
    groups = reliability(probabilities, truth)
    error = expected_calibration_error(probabilities, truth)
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
    axes.plot(groups.confidence, groups.accuracy, color=BLUE, marker="o", label="this model")
    axes.bar(
        groups.confidence,
        groups.counts / groups.counts.sum(),
        width=0.03,
        color=ORANGE,
        alpha=0.6,
        label="share of the texts",
    )
    axes.set(
        xlabel="probability of the predicted label",
        ylabel="share of right answers",
        xlim=(min(0.5, groups.confidence.min() - 0.02), 1.01),
        ylim=(0, 1.01),
        title=f"Reliability, calibration error {error:.2%}",
    )
    axes.legend(loc="upper left")
    return _save(figure, path)


def _plot_roc(
    path: Path, labels: Sequence[str], probabilities: np.ndarray, truth: np.ndarray
) -> Path:
    from sklearn.metrics import roc_auc_score, roc_curve

    false_rate, true_rate, _ = roc_curve(truth, probabilities[:, 1])
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="chance")
    axes.plot(false_rate, true_rate, color=BLUE, label="this model")
    axes.set(
        xlabel=f"share of “{labels[0]}” texts called “{labels[1]}”",
        ylabel=f"share of “{labels[1]}” texts found",
        title=f"ROC, area {roc_auc_score(truth, probabilities[:, 1]):.4f}",
    )
    axes.legend(loc="lower right")
    return _save(figure, path)


def save_comparison_plot(
    file: BinaryIO,
    names: Sequence[str],
    seconds: Sequence[Sequence[float]],
    accuracies: Sequence[Sequence[float]],
    *,
    baselines: Sequence[bool],
    title: str,
) -> None:
    """Draw accuracy against training time as PNG, one point a model.

    Args:
        file: where to, open for writing bytes.
        names: the models.
        seconds: training time of each model's runs.
        accuracies: share of right answers of each model's runs; with more than one a bar shows
            their standard deviation.
        baselines: whether each model is a baseline, which gets another colour and shape.
        title: what was compared.
    """
    figure, axes = _figure(9.0, 6.0)
    x = np.array([np.mean(values) for values in seconds])
    y = np.array([100 * np.mean(values) for values in accuracies])
    spread = np.array([100 * np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in accuracies])
    kinds = np.array(baselines, bool)
    for kind, colour, marker, label in (
        (~kinds, BLUE, "o", "network"),
        (kinds, ORANGE, "s", "baseline"),
    ):
        if kind.any():
            axes.errorbar(
                x[kind],
                y[kind],
                spread[kind],
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=1,
                capsize=3,
                label=label,
            )
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.08)
    axes.grid(color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.set(
        xlabel="training time, seconds of one core",
        ylabel="test accuracy, %"
        + (", bars: standard deviation over seeds" if spread.any() else ""),
        title=title,
    )
    axes.legend(loc="best")
    _place_labels(axes, names, x, y)
    figure.savefig(file, format="png")


def _place_labels(axes: Axes, names: Sequence[str], x: np.ndarray, y: np.ndarray) -> None:
    """Write names so that they cover neither points, nor each other, nor the legend.

    A name stands beside its point where there is room; the others stand in a column on the right,
    in the order of their points' height, with lines to them.
    """
    figure = axes.figure
    paper = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}  # lines pass behind
    texts = [
        figure.text(0, 0, name, fontsize=9, verticalalignment="center", bbox=paper)
        for name in names
    ]
    figure.draw_without_rendering()  # settles the layout, in which places are pixels
    figure.set_layout_engine("none")
    sizes = [text.get_window_extent().size for text in texts]
    gap = 0.1 * figure.dpi
    place = axes.get_position()
    column = (max(size[0] for size in sizes) + 4 * gap) / figure.bbox.width
    axes.set_position([place.x0, place.y0, place.width - column, place.height])
    figure.draw_without_rendering()

    points = axes.transData.transform(np.column_stack([x, y]))
    taken = [Bbox(point + [[-gap / 2, -gap / 2], [gap / 2, gap / 2]]) for point in points]
    taken.append(axes.get_legend().get_window_extent())
    inside = axes.get_window_extent()
    crowded = []
    for position in np.argsort(-points[:, 1]):
        box = _free_place(points[position], *sizes[position], gap, taken, inside)
        if box is None:
            crowded.append(position)
            continue
        taken.append(box)
        texts[position].set_position(figure.transFigure.inverted().transform(_left_middle(box)))
    heights = _apart(
        [points[position][1] for position in crowded],
        1.15 * max(size[1] for size in sizes),
        inside.y0,
        inside.y1,
    )
    for position, height in zip(crowded, heights, strict=True):
        start = figure.transFigure.inverted().transform((inside.x1 + 3 * gap, height))
        texts[position].set_position(start)
        end = figure.transFigure.inverted().transform(points[position])
        left = start[0] - 0.5 * gap / figure.bbox.width
        line = Line2D([left, end[0]], [start[1], end[1]], color=GREY, linewidth=0.6, zorder=1)
        figure.add_artist(line)


def _left_middle(box: Bbox) -> tuple[float, float]:
    return box.x0, (box.y0 + box.y1) / 2


def _free_place(
    point: np.ndarray, width: float, height: float, gap: float, taken: list[Bbox], inside: Bbox
) -> Bbox | None:
    """A box of this size beside a point that covers nothing, in pixels, or `None`."""
    for left, bottom in (
        (point[0] + gap, point[1] - height / 2),
        (point[0] - gap - width, point[1] - height / 2),
    ):
        box = Bbox.from_bounds(left, bottom, width, height)
        whole = inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)
        if whole and not box.padded(gap / 6).count_overlaps(taken):
            return box
    return None


def _apart(heights: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Falling heights, moved as little as needed to be `least` apart and within low…high."""
    moved: list[float] = []
    for height in heights:
        moved.append(min(height, moved[-1] - least if moved else high))
    floor = low
    for i in reversed(range(len(moved))):
        moved[i] = max(moved[i], floor)
        floor = moved[i] + least
    return moved


def save_gradient_plot(path: Path, reports: Sequence["MemoryReport"]) -> Path:
    """Draw the gradients of several networks by distance, one panel for each.

    Args:
        path: the PNG.
        reports: one per builder.

    Returns:
        The path.
    """
    figure, panels = _memory_panels(reports)
    for axes, shown in zip(panels, reports, strict=True):
        colour = _family_colour(shown.model)
        for report in reports:
            if report is not shown:
                envelope = _envelope(report.trained_median)
                axes.plot(report.distances, envelope, color=PALE, linewidth=0.8)
        axes.fill_between(
            shown.distances, shown.trained_low, shown.trained_high, color=colour, alpha=0.2, lw=0
        )
        axes.plot(shown.distances, shown.untrained_median, color="black", lw=1, ls=":")
        axes.plot(shown.distances, shown.trained_median, color=colour, linewidth=1.8)
        # Not "mask": between zeros, as of clockwork units that rest, a lone word would not be seen.
        axes.set_yscale("log", nonpositive="clip")
    curves = [curve for r in reports for curve in (r.untrained_median, r.trained_median)]
    largest = max(map(max, curves))
    smallest = min((value for curve in curves for value in curve if value > 0), default=1e-12)
    panels[0].set_ylim(max(smallest / 3, largest * 1e-12), largest * 5)
    _memory_legend(
        figure,
        "Gradient of the answer with respect to a word, by its distance from the end\n"
        f"median of up to {max(r.texts for r in reports):,} long reviews",
        [
            Line2D([], [], color="black", linestyle=":", label="untrained"),
            Line2D([], [], color=GREY, linewidth=1.8, label="trained, with 10 % to 90 % of texts"),
            Line2D([], [], color=PALE, label="the others, trained (largest of 16)"),
        ],
    )
    _label_bottom(panels, "distance from the end (words)")
    figure.supylabel("gradient norm\n(log-odds per unit of vector)", fontsize=10)
    return _save(figure, path)


def save_recall_plot(path: Path, reports: Sequence["MemoryReport"]) -> Path:
    """Draw how often several networks recall a word by distance, one panel for each.

    Args:
        path: the PNG.
        reports: one per builder.

    Returns:
        The path.
    """
    figure, panels = _memory_panels(reports)
    for axes, shown in zip(panels, reports, strict=True):
        axes.axhline(0.5, color="black", linewidth=1, linestyle=":")
        lines = (
            (shown.recall_mixed, {"color": GREY, "marker": "s", "ls": "--", "lw": 1.4}),
            (shown.recall_alone, {"color": _family_colour(shown.model), "marker": "o", "lw": 1.8}),
        )
        for seeds, style in lines:
            accuracies = np.array(seeds)
            axes.fill_between(
                shown.recall_distances,
                accuracies.min(axis=0),
                accuracies.max(axis=0),
                color=style["color"],
                alpha=0.15,
                lw=0,
            )
            axes.plot(shown.recall_distances, accuracies.mean(axis=0), ms=4, **style)
        axes.set_xscale("log")
        axes.set_xticks(shown.recall_distances, [str(d) for d in shown.recall_distances])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[0].set_ylim(-0.05, 1.05)
    _memory_legend(
        figure,
        "First word recalled, by the number of words after it\n"
        f"mean of {len(reports[0].recall_alone)} seeds, shaded from the lowest to the highest",
        [
            Line2D([], [], color="black", marker="o", ms=4, label="trained at this distance alone"),
            Line2D([], [], color=GREY, marker="s", ms=4, ls="--", label="at all distances, mixed"),
            Line2D([], [], color="black", linestyle=":", label="chance"),
        ],
    )
    _label_bottom(panels, "neutral words after the first")
    figure.supylabel("labelled right", fontsize=10)
    return _save(figure, path)


def _memory_panels(reports: Sequence["MemoryReport"]) -> tuple[Figure, list[Axes]]:
    """A panel per network with its name, all with the same axes."""
    columns = min(4, math.ceil(math.sqrt(len(reports))))
    rows = math.ceil(len(reports) / columns)
    figure = Figure(
        figsize=(max(6.5, 2.4 * columns), 1.9 * rows + 1.4), dpi=150, layout="constrained"
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[len(reports) :]:
        axes.remove()
    labelled_from = (len(reports) - columns) // columns  # first row with no panel below some
    for number, (axes, report) in enumerate(zip(panels, reports, strict=False)):
        axes.set_title(report.model, color=_family_colour(report.model), weight="bold", size=10)
        axes.tick_params(labelsize=8, labelbottom=number // columns >= labelled_from)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels[: len(reports)]


def _family_colour(model: str) -> str:
    """Of a builder: the colour of the cell that its name ends in."""
    families = {"lstm": BLUE, "gru": GREEN, "rnn": VERMILION}
    return next((colour for cell, colour in families.items() if model.endswith(cell)), PURPLE)


def _envelope(norms: Sequence[float], width: int = 16) -> np.ndarray:
    """The largest of so many neighbours at each place: a comb, as clocks make, becomes a line."""
    padded = np.pad(np.array(norms, float), (width // 2, width - width // 2 - 1), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width).max(axis=-1)


def _label_bottom(panels: Sequence[Axes], label: str) -> None:
    """Not the figure's own label, which the legend below would cover."""
    for axes in panels:
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel(label, fontsize=8)


def _memory_legend(figure: Figure, title: str, handles: list[Line2D]) -> None:
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)


def save_history_plot(path: Path, results: Mapping[str, "FitResult"]) -> Path:
    """Draw loss and accuracy by epoch, one column for each fit, all with the same axes.

    Args:
        path: the PNG.
        results: what fitting gave, by the name of the setting.

    Returns:
        The path.

    Raises:
        ValueError: there are no results.
    """
    _check_some("results", results)
    figure = Figure(figsize=(max(5.0, 3.4 * len(results)), 5.4), dpi=150, layout="constrained")
    grid = figure.subplots(2, len(results), sharex=True, sharey="row", squeeze=False)
    for (top, bottom), (name, result) in zip(grid.T, results.items(), strict=True):
        epochs = [report.epoch for report in result.history]
        losses = [report.loss for report in result.history]
        validation = [report.validation_loss for report in result.history]
        accuracies = [report.validation_accuracy for report in result.history]
        top.plot(epochs, losses, color=ORANGE, marker="s", ms=4, ls="--", label="training")
        top.plot(epochs, validation, color=BLUE, marker="o", ms=4, label="validation")
        bottom.plot(epochs, accuracies, color=BLUE, marker="o", ms=4)
        for axes in (top, bottom):
            axes.axvline(result.best_epoch, color=GREY, ls=":", label="best epoch, kept")
        top.set_title(name, fontsize=11)
        bottom.set_xlabel("epoch")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        bottom.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid[0, 0].set_ylabel("cross-entropy (nats)")
    grid[1, 0].set_ylabel("validation accuracy")
    figure.suptitle("Loss and accuracy by epoch")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return _save(figure, path)


def save_calibration_plot(
    path: Path, before: np.ndarray, after: np.ndarray, labels: np.ndarray
) -> Path:
    """Draw the reliability of the same answers before and after calibration.

    Args:
        path: the PNG.
        before: float (n, num_classes), probabilities as the network gave them.
        after: float (n, num_classes), calibrated.
        labels: int (n,), index of the true label.

    Returns:
        The path.
    """
    figure = Figure(figsize=(5.0, 5.4), dpi=150, layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
    styles = (("before", before, ORANGE, "s"), ("after", after, BLUE, "o"))
    for name, probabilities, colour, marker in styles:
        groups = reliability(probabilities, labels, bins=10)
        error = expected_calibration_error(probabilities, labels)
        style = {"color": colour, "marker": marker}
        top.plot(groups.confidence, groups.accuracy, label=f"{name}, error {error:.1%}", **style)
        bottom.plot(groups.confidence, groups.counts / len(labels), **style)
    lowest = max(0.0, 1 / before.shape[1] - 0.05)  # the most probable of k labels has at least 1/k
    top.set(ylabel="share of right answers", xlim=(lowest, 1.02), ylim=(0, 1.02))
    top.set_title(f"Reliability before and after calibration, {len(labels):,} texts", fontsize=11)
    bottom.set(xlabel="probability of the predicted label", ylabel="share of texts")
    bottom.set_ylim(bottom=0)
    for axes in (top, bottom):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    top.legend(loc="upper left", fontsize=9)
    return _save(figure, path)


def save_settings_plot(path: Path, scores: Mapping[str, Sequence[float]], *, title: str) -> Path:
    """Draw the accuracies of several settings, a row for each, the first as the yardstick.

    Args:
        path: the PNG.
        scores: name of a setting → share of right answers of each of its runs.
        title: what was compared, and what a run is.

    Returns:
        The path.

    Raises:
        ValueError: there are no settings.
    """
    _check_some("scores", scores)
    figure, axes = _figure(6.5, 1.6 + 0.4 * len(scores))
    yardstick = np.array(next(iter(scores.values())))
    axes.axvspan(yardstick.min(), yardstick.max(), color=PALE, alpha=0.4, lw=0)
    for row, runs in enumerate(scores.values()):
        rows = np.linspace(row - 0.15, row + 0.15, len(runs))  # so that equal runs are both seen
        axes.plot(runs, rows, color=BLUE, marker="o", ms=5, ls="none")
        axes.plot(np.mean(runs), row, color="black", marker="|", ms=16, mew=2, ls="none")
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.grid(axis="x", color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(PercentFormatter(1))  # as many digits as ticks need
    axes.set_xlabel("accuracy; points: runs, bars: their mean, shaded: range of the first row")
    axes.set_title(title, fontsize=11)
    return _save(figure, path)


def save_size_plot(
    path: Path, sizes: Sequence[int], train_scores: np.ndarray, test_scores: np.ndarray
) -> Path:
    """Draw accuracy against the number of training texts.

    Args:
        path: the PNG.
        sizes: numbers of training texts, as scikit-learn's `learning_curve` returns them.
        train_scores: float (sizes, runs), share of right answers on the texts learned from.
        test_scores: float (sizes, runs), the same on held-out texts.

    Returns:
        The path.
    """
    figure, axes = _figure(5.5, 4.2)
    for scores, label, style in (
        (train_scores, "texts learned from", {"color": ORANGE, "marker": "s", "ls": "--"}),
        (test_scores, "held-out texts", {"color": BLUE, "marker": "o"}),
    ):
        low, high = scores.min(axis=1), scores.max(axis=1)
        axes.fill_between(sizes, low, high, color=style["color"], alpha=0.2, lw=0)
        axes.plot(sizes, scores.mean(axis=1), label=label, **style)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.grid(color="#E5E5E5")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="training texts", ylabel="accuracy")
    runs = test_scores.shape[1]
    axes.set_title(f"Accuracy by training size, mean and range of {runs} runs", fontsize=11)
    axes.legend(loc="best", fontsize=9)
    return _save(figure, path)


def save_deletion_plot(path: Path, report: "Faithfulness") -> Path:
    """Draw how the answer falls as words are deleted in the order of each method's effects.

    Args:
        path: the PNG or SVG.
        report: what was measured.

    Returns:
        The path.
    """
    figure, axes = _figure(6.5, 4.8)
    styles = {"removed": (ORANGE, "o"), "unknown": (GREEN, "s"), "gradients": (PURPLE, "^")}
    shares = np.array(report.shares)

    def draw(curve: "DeletionCurve", **style: Any) -> None:
        axes.fill_between(shares, curve.low, curve.high, color=style["color"], alpha=0.12, lw=0)
        axes.plot(shares, curve.fall, ms=4, **style)

    for number, (name, method) in enumerate(report.methods.items()):
        colour, marker = styles[name]
        style = {"color": colour, "marker": marker, "markevery": (number, len(report.methods))}
        draw(method.curve, label=f"{name}, area {method.curve.area.value:.3f}", **style)
        draw(method.reversed, ls="--", label=f"reversed, {method.reversed.area.value:.3f}", **style)
    label = f"random, area {report.random.area.value:.3f}"
    draw(report.random, color=GREY, ls=":", lw=2, label=label)
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
    columns = len(report.methods) + 1
    figure.legend(
        loc="outside lower center", ncols=columns, fontsize=8, columnspacing=1, frameon=False
    )
    return _save(figure, path)


def save_units_plot(path: Path, report: "UnitsReport") -> Path:
    """Draw how the states of the best units differ by label, and how saturated the gates are.

    Below the histograms there is a panel for every kind of gate, in which a point is one unit: the
    more of the time it is open, the further right it stands, and the more it is shut, the higher.
    Both shares sum to at most one, the dashed line; their scales are square roots.

    Args:
        path: the PNG or SVG; the same report gives the same file.
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
        return _save(figure, path)


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


def save_distance_plot(path: Path, norms: Mapping[str, Sequence[float]], *, title: str) -> Path:
    """Draw gradients by distance in one picture, a line for each network or setting of one.

    Args:
        path: the PNG.
        norms: name → norm at the distances 0, 1, …; a name begins with a builder's, whose colour
            it has, and may go on after a comma: `lstm, forget bias 1`.
        title: what was compared.

    Returns:
        The path.

    Raises:
        ValueError: there are no networks.
    """
    _check_some("norms", norms)
    figure, axes = _figure(6.5, 4.4)
    dashes = ("-", "--", "-.", ":")
    for number, (name, values) in enumerate(norms.items()):
        colour = _family_colour(name.split(",")[0])
        axes.plot(values, color=colour, lw=1.8, ls=dashes[number % len(dashes)], label=name)
    axes.set_yscale("log", nonpositive="clip")
    largest = max(map(max, norms.values()))
    axes.set_ylim(bottom=max(axes.get_ylim()[0], largest * 1e-12))
    axes.grid(color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.set(xlabel="distance from the end (words)")
    axes.set_ylabel("gradient norm (log-odds per unit of vector)")
    axes.set_title(title, fontsize=11)
    axes.legend(loc="lower left", fontsize=9)
    return _save(figure, path)


def _check_some(name: str, values: Mapping[str, Any]) -> None:
    if not values:
        raise ValueError(f"`{name}` must have at least one entry. Received: none")


def save_reading_plot(path: Path, explanation: "Explanation", *, method: str) -> Path:
    """Draw how a network read a text: above its words the running answer, gates, memory, effects.

    Gates are those of the top layer, unit by unit.  Units stand in the order of a hierarchical
    clustering of their gates, so that units that do alike are neighbours; the order is the same in
    all gates of a direction.  Of more than `MOST_ROWS` units, neighbours share a row as their mean.

    Args:
        path: the PNG or SVG; the same explanation gives the same file.
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
        return _save(_reading_figure(explanation, method), path)


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
    title = f"{label[:1].upper()}{label[1:]}, probability {best:.0%}"
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
        gates = _top_gates(trace.gates)
        if gates:
            order = _unit_order(np.concatenate(list(gates.values())))
        for name, values in gates.items():
            parts = np.array_split(values.T[order], min(len(order), MOST_ROWS))
            title = name.replace("_", " ") + f" {ARROWS[trace.direction]}" * (len(top) > 1)
            rows = np.array([part.mean(axis=0) for part in parts])
            maps[f"{title}\n{len(order)} units"] = rows
    return maps


def _top_gates(gates: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without candidates; of a cell that holds several layers those of the last: `forget_2`."""
    gates = {name: values for name, values in gates.items() if "candidate" not in name}
    layers = {name: re.sub(r"\D", "", name) for name in gates}
    return {name: values for name, values in gates.items() if layers[name] == max(layers.values())}


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
        label = f"{ARROWS[way]} {way}"
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
