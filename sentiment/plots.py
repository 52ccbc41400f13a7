"""Pictures of evaluations, training, comparisons, and how far back networks remember."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import Bbox

from sentiment.metrics import expected_calibration_error, reliability

if TYPE_CHECKING:
    from sentiment.fitting import FitResult
    from sentiment.memory import MemoryReport

# Okabe and Ito's palette: told apart by colour-blind people, and the same things always have the
# same colour.
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#6E6E6E"
GREEN, VERMILION, PURPLE, PALE = "#009E73", "#D55E00", "#CC79A7", "#C4C4C4"


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


def make_figure(width: float = 5.0, height: float = 4.5) -> tuple[Figure, Axes]:
    """Not through pyplot, which would take a notebook's backend and keep the figure."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    return figure, figure.subplots()


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure, an SVG without its date."""
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    return path


def _plot_confusion(
    path: Path, labels: Sequence[str], probabilities: np.ndarray, truth: np.ndarray
) -> Path:
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (truth, probabilities.argmax(axis=1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(4.5, 1.1 * len(labels) + 2)
    figure, axes = make_figure(size, size * 0.9)
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
    return save_figure(figure, path)


def _plot_reliability(path: Path, probabilities: np.ndarray, truth: np.ndarray) -> Path:
    groups = reliability(probabilities, truth)
    error = expected_calibration_error(probabilities, truth)
    figure, axes = make_figure()
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
    return save_figure(figure, path)


def _plot_roc(
    path: Path, labels: Sequence[str], probabilities: np.ndarray, truth: np.ndarray
) -> Path:
    from sklearn.metrics import roc_auc_score, roc_curve

    false_rate, true_rate, _ = roc_curve(truth, probabilities[:, 1])
    figure, axes = make_figure()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="chance")
    axes.plot(false_rate, true_rate, color=BLUE, label="this model")
    axes.set(
        xlabel=f"share of “{labels[0]}” texts called “{labels[1]}”",
        ylabel=f"share of “{labels[1]}” texts found",
        title=f"ROC, area {roc_auc_score(truth, probabilities[:, 1]):.4f}",
    )
    axes.legend(loc="lower right")
    return save_figure(figure, path)


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
    figure, axes = make_figure(9.0, 6.0)
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
    return save_figure(figure, path)


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
    return save_figure(figure, path)


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
    return save_figure(figure, path)


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
    return save_figure(figure, path)


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
    figure, axes = make_figure(6.5, 1.6 + 0.4 * len(scores))
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
    return save_figure(figure, path)


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
    figure, axes = make_figure(5.5, 4.2)
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
    return save_figure(figure, path)


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
    figure, axes = make_figure(6.5, 4.4)
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
    return save_figure(figure, path)


def _check_some(name: str, values: Mapping[str, Any]) -> None:
    if not values:
        raise ValueError(f"`{name}` must have at least one entry. Received: none")
