"""How good answers are: what scikit-learn has, and the intervals and calibration that it lacks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

POLARITIES = {-1: "negative", 0: "neutral", 1: "positive"}
Z_95 = 1.959964  # two-sided 95 % quantile of the normal distribution


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score method.

    Args:
        successes: number of hits.
        n: number of trials, at least 1.

    Returns:
        Lower and upper bound, within 0…1.

    Raises:
        ValueError: `n` is below 1 or `successes` is not within 0…n.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"Expected 0 <= successes <= n and n >= 1. Received: {successes} of {n}")
    share = successes / n
    scale = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / scale
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def auc_with_interval(
    positive: np.ndarray, negative: np.ndarray
) -> tuple[float, tuple[float, float]]:
    """Area under the ROC curve of a number that should be higher in one group, and its interval.

    Args:
        positive: the number in that group, float (m,).
        negative: the number in the other, float (n,).

    Returns:
        The area, which is the share of pairs in which the positive one is higher, ties counting
        half; and its 95 % interval within 0…1, which has no width where the groups do not overlap.

    Raises:
        ValueError: a group has fewer than two members.

    Source: DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated
    receiver operating characteristic curves: a nonparametric approach" (1988), for one curve.
    """
    if min(len(positive), len(negative)) < 2:
        raise ValueError(
            "`positive` and `negative` must have at least two members each. "
            f"Received: {len(positive)} and {len(negative)}"
        )
    higher = _share_below(positive, negative)  # of each positive one, over all negative ones
    lower = _share_below(negative, positive)
    area = float(higher.mean())
    variance = higher.var(ddof=1) / len(higher) + lower.var(ddof=1) / len(lower)
    half = Z_95 * math.sqrt(variance)
    return area, (max(0.0, area - half), min(1.0, area + half))


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each value the share of the others that are below it; equal ones count half."""
    ranked = np.sort(others)
    below = [np.searchsorted(ranked, values, side) for side in ("left", "right")]
    return (below[0] + below[1]) / (2 * len(others))


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, by bins of equal width that are not empty.

    Attributes:
        confidence: mean probability of the predicted label in each bin.
        accuracy: share of right answers in each bin.
        counts: number of texts in each bin.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> Reliability:
    """Group answers by the probability of the predicted label.

    Args:
        probabilities: float (n, num_classes), rows sum to one.
        labels: int (n,), index of the true label.
        bins: number of equal bins of 0…1.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    kept = counts > 0
    return Reliability(
        np.bincount(which, confidence, bins)[kept] / counts[kept],
        np.bincount(which, right, bins)[kept] / counts[kept],
        counts[kept],
    )


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy over bins, weighed by their size; 0 is best.

    Args: as `reliability`.

    Source: Guo et al., "On calibration of modern neural networks" (2017), equation 3.
    """
    groups = reliability(probabilities, labels, bins)
    gaps = np.abs(groups.confidence - groups.accuracy)
    return float((gaps * groups.counts).sum() / groups.counts.sum())


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance between probabilities and the true label, over all labels; 0…2.

    Args: as `reliability`.

    Source: Brier, "Verification of forecasts expressed in terms of probability" (1950).
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of −log(probability of the true label), in nats.

    Args: as `reliability`.
    """
    true = probabilities[np.arange(len(labels)), labels]
    mean = float(-np.log(np.maximum(true, 1e-12)).mean())
    return max(mean, 0.0) + 0.0  # not −0.0; what is not a number stays so


@dataclass(frozen=True)
class Evaluation:
    """How good some answers are.

    Attributes:
        n: number of texts.
        labels: label names, in the order of every array below.
        accuracy: share of right answers.
        accuracy_interval: its 95 % interval.
        macro_f1: mean of the labels' F1.
        ece: expected calibration error, 15 bins.
        brier: Brier score over all labels, 0…2.
        roc_auc: area under the ROC curve; `None` unless there are two labels and both occur.
        confusion: counts, rows = true label, columns = predicted label.
        per_label: label → precision, recall, f1, n.
        oov_share: share of words that are out of vocabulary.
        truncated_share: share of texts that were cut.
    """

    n: int
    labels: tuple[str, ...]
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    ece: float
    brier: float
    roc_auc: float | None
    confusion: tuple[tuple[int, ...], ...]
    per_label: dict[str, dict[str, float]]
    oov_share: float
    truncated_share: float


def evaluate_answers(
    labels: Sequence[str],
    probabilities: np.ndarray,
    true_labels: Sequence[str],
    *,
    oov_share: float,
    truncated_share: float,
) -> Evaluation:
    """Compare answers with the truth.

    Args:
        labels: label names, in the order of the columns of `probabilities`.
        probabilities: float (n, num_classes).
        true_labels: the label of each text, each one of `labels`.
        oov_share, truncated_share: see `Evaluation`.

    Raises:
        ValueError: there are no texts, or a true label is unknown.
    """
    from sklearn import metrics

    if not len(true_labels):
        raise ValueError("Expected at least one text to evaluate. Received none.")
    unknown = sorted(set(true_labels) - set(labels))
    if unknown:
        raise ValueError(
            f"The label {unknown[0]!r} was never seen in training; the model knows: "
            f"{', '.join(labels)}. Leave such reviews out with --skip-bad-rows."
        )
    truth = np.array([labels.index(name) for name in true_labels])
    predicted = probabilities.argmax(axis=1)
    every = range(len(labels))
    precision, recall, f1, counts = metrics.precision_recall_fscore_support(
        truth, predicted, labels=every, zero_division=0
    )
    right = int((predicted == truth).sum())
    two = len(labels) == 2 and len(set(truth)) == 2
    confusion = metrics.confusion_matrix(truth, predicted, labels=every)
    return Evaluation(
        n=len(truth),
        labels=tuple(labels),
        accuracy=right / len(truth),
        accuracy_interval=wilson_interval(right, len(truth)),
        macro_f1=float(f1.mean()),
        ece=expected_calibration_error(probabilities, truth),
        brier=brier_score(probabilities, truth),
        roc_auc=float(metrics.roc_auc_score(truth, probabilities[:, 1])) if two else None,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        per_label={
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "n": int(counts[i]),
            }
            for i, name in enumerate(labels)
        },
        oov_share=oov_share,
        truncated_share=truncated_share,
    )


def polarities(
    label_values: Mapping[str, float], labels: Sequence[str], scores: Sequence[float]
) -> np.ndarray:
    """Whether answers are negative, neutral or positive: int (n,) of keys of `POLARITIES`.

    Where a model's labels are just these three, the answer's label says it; else its score does, by
    thirds: neutral from −1/3 to 1/3.  Of two labels that is a probability from 1/3 to 2/3.

    Args:
        label_values: label of the model → where it lies between −1 and 1.
        labels: of the answers.
        scores: of the answers.
    """
    if set(label_values.values()) == set(POLARITIES):
        return np.array([label_values[label] for label in labels], int)
    scores = np.asarray(scores, float)
    return np.where(np.abs(scores) > 1 / 3, np.sign(scores), 0).astype(int)
