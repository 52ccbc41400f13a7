"""Intervals and calibration, against published values, scikit-learn and calculation by hand."""

import math
import re

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from sentiment.metrics import (
    auc_with_interval,
    brier_score,
    evaluate_answers,
    expected_calibration_error,
    negative_log_likelihood,
    polarities,
    reliability,
    wilson_interval,
)


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (500, 3) and labels that follow them about half of the time."""
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([0.7, 1, 2], 500)
    labels = np.where(
        generator.random(500) < 0.5, probabilities.argmax(1), generator.integers(0, 3, 500)
    )
    return probabilities, labels


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [  # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_interval_is_as_published(successes, n, expected):
    assert wilson_interval(successes, n) == pytest.approx(expected, abs=5e-5)
    low, high = expected  # and the mirror image for the failures
    assert wilson_interval(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_interval_solves_its_equation():
    """At each bound p, the share lies 1.96 standard errors √(p(1 − p)/n) away."""
    for bound in wilson_interval(37, 50):
        assert abs(37 / 50 - bound) == pytest.approx(
            1.959964 * math.sqrt(bound * (1 - bound) / 50), rel=1e-9
        )


def test_wilson_interval_stays_within_zero_and_one():
    for n in range(1, 60):
        low, high = wilson_interval(n, n)
        assert 0 < low < high <= 1
        low, high = wilson_interval(0, n)
        assert 0 <= low < high < 1


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_interval_of_nonsense(successes, n):
    message = f"Expected 0 <= successes <= n and n >= 1. Received: {successes} of {n}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        wilson_interval(successes, n)


BY_HAND = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.35, 0.65], [0.45, 0.55], [0.0, 1.0]])
LABELS = np.array([0, 1, 1, 1, 0, 1])  # right, wrong, right, right, wrong, right


def test_reliability_by_hand():
    found = reliability(BY_HAND, LABELS, bins=5)  # 0.4…0.6: one, 0.6…0.8: two, 0.8…1: three
    np.testing.assert_array_equal(found.counts, [1, 2, 3])
    np.testing.assert_allclose(found.confidence, [0.55, 0.675, 0.9], rtol=1e-12)
    np.testing.assert_allclose(found.accuracy, [0, 1, 2 / 3], rtol=1e-12)


def test_calibration_error_by_hand():
    expected = (1 * 0.55 + 2 * 0.325 + 3 * (0.9 - 2 / 3)) / 6
    assert expected_calibration_error(BY_HAND, LABELS, bins=5) == pytest.approx(expected, rel=1e-12)


def test_calibration_error_of_calibrated_answers_is_zero():
    probabilities = np.array([[0.75, 0.25]] * 4 + [[0.0, 1.0]] * 3)
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1, 1, 1, 1])) == 0


def test_brier_score_by_hand():
    expected = 2 * np.mean([0.1**2, 0.8**2, 0.3**2, 0.35**2, 0.55**2, 0])
    assert brier_score(BY_HAND, LABELS) == pytest.approx(expected, rel=1e-12)
    assert brier_score(np.eye(3), np.arange(3)) == 0
    assert brier_score(np.eye(3), np.array([1, 2, 0])) == 2


def test_negative_log_likelihood_by_hand():
    expected = -np.mean(np.log([0.9, 0.2, 0.7, 0.65, 0.45, 1.0]))
    assert negative_log_likelihood(BY_HAND, LABELS) == pytest.approx(expected, rel=1e-12)
    assert math.isfinite(negative_log_likelihood(np.eye(2), np.array([1, 0])))
    assert str(negative_log_likelihood(np.eye(2), np.array([0, 1]))) == "0.0"


def test_negative_log_likelihood_of_what_is_no_number():
    """It is not 0, which would make a network that broke the best one."""
    assert math.isnan(negative_log_likelihood(np.full((2, 2), np.nan), np.array([1, 0])))


def test_as_scikit_learn_has_it(answers):
    probabilities, labels = answers
    assert brier_score(probabilities, labels) == pytest.approx(
        sklearn_metrics.brier_score_loss(labels, probabilities, scale_by_half=False), rel=1e-12
    )
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(
        sklearn_metrics.log_loss(labels, probabilities), rel=1e-9
    )
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    found = reliability(probabilities, labels)
    np.testing.assert_allclose(found.accuracy, accuracy, rtol=1e-12)
    np.testing.assert_allclose(found.confidence, mean, rtol=1e-12)
    assert found.counts.sum() == 500
    assert expected_calibration_error(probabilities, labels) == pytest.approx(
        np.average(np.abs(accuracy - mean), weights=found.counts), rel=1e-12
    )


def test_evaluation_by_hand():
    found = evaluate_answers(
        ["bad", "good"],
        BY_HAND,
        ["bad", "good", "good", "good", "bad", "good"],
        oov_share=0.25,
        truncated_share=0.5,
    )
    assert found.n == 6
    assert found.labels == ("bad", "good")
    assert found.accuracy == 4 / 6
    assert found.accuracy_interval == wilson_interval(4, 6)
    assert found.confusion == ((1, 1), (1, 3))  # rows are the truth
    assert found.per_label == {
        "bad": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "n": 2},
        "good": {"precision": 0.75, "recall": 0.75, "f1": 0.75, "n": 4},
    }
    assert found.macro_f1 == 0.625
    # Of the 2 × 4 pairs, "good" is the more probable for the good text in all but one: 0.2 < 0.55.
    assert found.roc_auc == 7 / 8
    assert found.ece == expected_calibration_error(BY_HAND, LABELS)
    assert found.brier == brier_score(BY_HAND, LABELS)
    assert (found.oov_share, found.truncated_share) == (0.25, 0.5)


def test_evaluation_as_scikit_learn_has_it(answers):
    probabilities, labels = answers
    names = ["a", "b", "c"]
    found = evaluate_answers(
        names, probabilities, [names[i] for i in labels], oov_share=0.0, truncated_share=0.0
    )
    predicted = probabilities.argmax(axis=1)
    assert found.accuracy == sklearn_metrics.accuracy_score(labels, predicted)
    assert found.macro_f1 == pytest.approx(
        sklearn_metrics.f1_score(labels, predicted, average="macro"), rel=1e-12
    )
    assert found.roc_auc is None  # three labels


def test_evaluation_without_some_labels():
    """A label that no text has counts in the macro-F1, as zero, without a warning."""
    options = {"oov_share": 0.0, "truncated_share": 0.0}
    found = evaluate_answers(["bad", "good"], BY_HAND, ["good"] * 6, **options)
    assert found.roc_auc is None
    assert found.per_label["bad"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 0}
    with pytest.raises(ValueError, match="^Expected at least one text to evaluate. Received none"):
        evaluate_answers(["bad", "good"], BY_HAND[:0], [], **options)
    with pytest.raises(ValueError, match="^The label 'fine' was never seen in training; .* good"):
        evaluate_answers(["bad", "good"], BY_HAND[:1], ["fine"], **options)


def test_auc_against_scikit_learn_and_pair_by_pair():
    generator = np.random.default_rng(0)
    positive = generator.integers(0, 12, 40) + 2.0  # with many ties
    negative = generator.integers(0, 12, 25) + 0.0
    truth, values = [1] * 40 + [0] * 25, np.concatenate([positive, negative])
    area, (low, high) = auc_with_interval(positive, negative)
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(truth, values), abs=1e-12)
    won = (positive[:, None] > negative) + (positive[:, None] == negative) / 2  # every pair
    error = math.sqrt(won.mean(1).var(ddof=1) / 40 + won.mean(0).var(ddof=1) / 25)
    assert (low, high) == pytest.approx((area - 1.959964 * error, area + 1.959964 * error))


def test_auc_intervals_cover():
    """Of 95 % intervals about 95 % hold the area that the groups were drawn with, Φ(1/√2)."""
    generator = np.random.default_rng(1)
    truth = 0.5 * (1 + math.erf(0.5))
    intervals = [
        auc_with_interval(generator.normal(1, 1, 50), generator.normal(0, 1, 50))[1]
        for _ in range(400)
    ]
    covered = sum(low <= truth <= high for low, high in intervals)
    assert 0.91 * 400 <= covered <= 0.98 * 400


def test_auc_at_the_ends():
    assert auc_with_interval(np.array([2.0, 3]), np.array([0.0, 1])) == (1.0, (1.0, 1.0))
    assert auc_with_interval(np.array([0.0, 1]), np.array([2.0, 3])) == (0.0, (0.0, 0.0))
    area, (low, high) = auc_with_interval(np.array([1.0, 3]), np.array([0.0, 2]))
    assert (area, high) == (0.75, 1.0)
    assert low == pytest.approx(0.75 - 1.959964 * math.sqrt(1 / 8))
    with pytest.raises(ValueError, match="^`positive` and `negative` .* Received: 2 and 1$"):
        auc_with_interval(np.zeros(2), np.zeros(1))


TWO = {"bad": -1.0, "good": 1.0}
THREE = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
STARS = {"1": -1.0, "2": -0.5, "3": 0.0, "4": 0.5, "5": 1.0}


@pytest.mark.parametrize(
    ("values", "labels", "scores", "expected"),
    [
        (TWO, ["good"] * 5, [-1, -0.34, 0.33, 0.34, 1], [-1, -1, 0, 1, 1]),
        (THREE, ["negative", "neutral", "positive"], [0.9, 0.9, -0.9], [-1, 0, 1]),
        (STARS, ["3"] * 3, [-0.5, 0, 0.5], [-1, 0, 1]),
        (TWO, [], [], []),
    ],
)
def test_polarities(values, labels, scores, expected):
    found = polarities(values, labels, scores)
    assert found.tolist() == expected
    assert found.dtype == int
