"""Pictures of an evaluation: confusion matrix, reliability diagram, ROC curve."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sentiment.metrics import expected_calibration_error, reliability

# Okabe and Ito's palette: told apart by colour-blind people, and the same things always have the
# same colour.
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#6E6E6E"


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
    figure.savefig(path)
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
