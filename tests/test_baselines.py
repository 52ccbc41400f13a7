"""Baselines: the log-count ratio by hand and by loops, probabilities, and what is refused."""

import importlib.util
import math
import re
import sys
import tempfile
import types
from collections import Counter

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sentiment.baselines import (
    BASELINES,
    FastTextClassifier,
    LogCountRatio,
    SharesWithoutWords,
    VaderClassifier,
    baseline_bytes,
    baseline_parameters,
    installed_baselines,
    nb_ngrams,
    tfidf_lr,
)
from sentiment.data import Reviews, load_splits
from sentiment.preprocessing import review_words

PACKAGES = {"fasttext": "fasttext", "vader": "vaderSentiment"}


def baseline_params(*names: str) -> list:
    """The names as parameters; those whose package is missing are skipped, with the reason."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None,
                reason=f"the package {PACKAGES.get(name)} is not installed",
            ),
        )
        for name in names
    ]


ALL = baseline_params(*BASELINES)
LEARNED = baseline_params("tfidf_lr", "nb_ngrams", "fasttext")
LINEAR = ("tfidf_lr", "nb_ngrams")
GOOD = ["a good film", "good and not bad", "really good fun", "good , very good", "what a joy"]
BAD = ["a bad film", "bad and not good", "really bad mess", "bad , very bad", "what a bore"]


@pytest.fixture(scope="module")
def sample():
    return load_splits("sample")


@pytest.fixture(scope="module")
def small(sample) -> Reviews:
    """300 reviews of three labels, in unequal shares."""
    texts, labels, wanted = [], [], Counter(negative=150, neutral=50, positive=100)
    for text, label in zip(sample.train.texts, sample.train.labels, strict=True):
        if wanted[label]:
            wanted[label] -= 1
            texts.append(text)
            labels.append(label)
    return Reviews(texts, labels)


@pytest.fixture(scope="module")
def two(small) -> Reviews:
    """Those of `small` that are not neutral."""
    kept = [i for i, label in enumerate(small.labels) if label != "neutral"]
    return Reviews([small.texts[i] for i in kept], [small.labels[i] for i in kept])


# ------------------------------------------------------------------------------- log-count ratio


def test_ratio_by_hand():
    features = sparse.csr_matrix([[0.0, 1, 1], [0, 0, 1], [1, 1, 0]])  # bad, film, good
    found = LogCountRatio().fit(features, [1, 1, 0])
    # p = 1 + (0, 1, 2), of 6 in all; q = 1 + (1, 1, 0), of 5 in all
    expected = [math.log(5 / 12), math.log(5 / 6), math.log(5 / 2)]
    np.testing.assert_allclose(found.ratio_, expected, rtol=1e-12)
    np.testing.assert_allclose(
        found.transform(features).toarray(),
        [[0, expected[1], expected[2]], [0, 0, expected[2]], [expected[0], expected[1], 0]],
        rtol=1e-12,
    )


def ngram_sets(texts) -> list[set[str]]:
    """The different one to three words in a row of each text."""
    found = []
    for text in texts:
        words = review_words(text)
        found.append(
            {
                " ".join(words[start : start + length])
                for length in (1, 2, 3)
                for start in range(len(words) - length + 1)
            }
        )
    return found


def looped_ratios(texts, labels, label) -> dict[str, float]:
    """Every n-gram of two texts or more → its log-count ratio."""
    sets = ngram_sets(texts)
    known = {ngram for ngram, n in Counter(g for held in sets for g in held).items() if n >= 2}
    with_label, others = dict.fromkeys(known, 1.0), dict.fromkeys(known, 1.0)
    for held, its_label in zip(sets, labels, strict=True):
        for ngram in held & known:
            (with_label if its_label == label else others)[ngram] += 1
    p, q = sum(with_label.values()), sum(others.values())
    return {ngram: math.log((with_label[ngram] / p) / (others[ngram] / q)) for ngram in known}


def fitted_parts(pipeline) -> list:
    """Of each label: its ratios and its regression."""
    return [
        (one_label["ratio"], one_label["regression"])
        for one_label in pipeline["classifier"].classifier_.estimators_
    ]


def check_ratios(pipeline, reviews: Reviews, labels: list[str]) -> None:
    vocabulary = pipeline["ngrams"].vocabulary_
    parts = fitted_parts(pipeline)
    assert len(parts) == len(labels)
    for (ratio, _), label in zip(parts, labels, strict=True):
        expected = looped_ratios(reviews.texts, reviews.labels, label)
        assert set(expected) == set(vocabulary)
        ordered = [expected[ngram] for ngram in sorted(vocabulary, key=vocabulary.get)]
        np.testing.assert_allclose(ratio.ratio_, ordered, rtol=1e-12, atol=1e-14)


def test_each_of_three_labels_has_its_own_ratios(small):
    check_ratios(
        nb_ngrams().fit(small.texts, small.labels), small, ["negative", "neutral", "positive"]
    )


def test_two_labels_share_ratios(two):
    check_ratios(nb_ngrams().fit(two.texts, two.labels), two, ["positive"])


def looped_probabilities(pipeline, texts, shares) -> np.ndarray:
    """Σ ratio × weight + bias of the known n-grams, sigmoid, brought to a sum of one."""
    vocabulary = pipeline["ngrams"].vocabulary_
    rows = []
    for held in ngram_sets(texts):
        if held.isdisjoint(vocabulary):
            rows.append(shares)
            continue
        row = []
        for ratio, regression in fitted_parts(pipeline):
            logit = regression.intercept_[0]
            for i in (vocabulary[ngram] for ngram in held if ngram in vocabulary):
                logit += ratio.ratio_[i] * regression.coef_[0, i]
            row.append(1 / (1 + math.exp(-logit)))
        rows.append([1 - row[0], row[0]] if len(row) == 1 else np.array(row) / sum(row))
    return np.array(rows)


@pytest.mark.parametrize(
    ("reviews", "shares"), [("small", [1 / 2, 1 / 6, 1 / 3]), ("two", [3 / 5, 2 / 5])]
)
def test_probabilities_are_those_of_the_formula(reviews, shares, request, sample):
    reviews = request.getfixturevalue(reviews)
    pipeline = nb_ngrams().fit(reviews.texts, reviews.labels)
    texts = sample.test.texts[:100]
    np.testing.assert_allclose(
        pipeline.predict_proba(texts), looped_probabilities(pipeline, texts, shares), rtol=1e-9
    )


def test_how_often_a_text_says_it_does_not_matter():
    """Features are 0 or 1, and n-grams that only the repetition makes are not known."""
    pipeline = nb_ngrams().fit(GOOD + BAD, ["positive"] * 5 + ["negative"] * 5)
    once, often = pipeline.predict_proba(["good", "good ! good ! good"])
    np.testing.assert_array_equal(once, often)


# ----------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", ALL)
def test_columns_follow_the_labels(name, small):
    estimator = BASELINES[name](0).fit(small.texts * 4, small.labels * 4)
    probabilities = estimator.predict_proba(small.texts)
    assert estimator.classes_.tolist() == ["negative", "neutral", "positive"]
    assert probabilities.shape == (300, 3)
    assert probabilities.dtype == np.float64
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    predicted = estimator.predict(small.texts)
    assert predicted.tolist() == estimator.classes_[probabilities.argmax(axis=1)].tolist()
    if name != "vader":  # those that learn know most training texts
        assert (predicted == small.labels).mean() > 0.8


@pytest.mark.parametrize("name", LEARNED)
def test_labels_need_not_come_sorted(name):
    """Neither their order of appearance nor their alphabet may move a column."""
    texts = (GOOD + BAD) * 4
    labels = (["best"] * 5 + ["awful"] * 5) * 4
    swapped = (["awful"] * 5 + ["best"] * 5) * 4
    asked = ["good film", "bad film"]
    first = BASELINES[name](0).fit(texts, labels)
    second = BASELINES[name](0).fit(texts, swapped)
    assert first.predict(asked).tolist() == ["best", "awful"]
    assert second.predict(asked).tolist() == ["awful", "best"]
    assert all(type(label) is np.str_ for label in first.predict(asked))


@pytest.mark.parametrize("name", LEARNED)
def test_labels_may_be_numbers(name):
    estimator = BASELINES[name](0).fit((GOOD + BAD) * 4, ([5] * 5 + [1] * 5) * 4)
    assert estimator.classes_.tolist() == [1, 5]
    assert estimator.predict(["good film", "bad film"]).tolist() == [5, 1]


@pytest.mark.parametrize("name", LEARNED)
def test_the_order_of_words_matters(name):
    """Both labels have the same words, equally often."""
    texts = ["not good , bad", "not bad , good", "so not good , bad", "so not bad , good"]
    labels = ["negative", "positive"] * 2
    estimator = BASELINES[name](0).fit(texts * 100, labels * 100)
    assert estimator.predict(texts).tolist() == labels


@pytest.mark.parametrize("name", LEARNED)
def test_not_good_is_not_good(name):
    texts = ["good film", "film , good", "not good film", "film , not good"] * 10
    labels = ["positive", "positive", "negative", "negative"] * 10
    estimator = BASELINES[name](0).fit(texts, labels)
    assert estimator.predict(["good", "not good"]).tolist() == ["positive", "negative"]


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_answers(name, small, sample):
    asked = sample.test.texts[:50]
    first, second = (
        BASELINES[name](7).fit(small.texts, small.labels).predict_proba(asked) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ALL)
def test_only_fasttext_has_a_seed(name, small, sample):
    """A comparison need not run the others more than once; settings tell which."""
    asked = sample.test.texts[:50]
    estimators = [BASELINES[name](seed).fit(small.texts, small.labels) for seed in (0, 1)]
    first, second = (estimator.predict_proba(asked) for estimator in estimators)
    assert np.array_equal(first, second) == (name != "fasttext")
    first, second = (repr(estimator.get_params()) for estimator in estimators)
    assert (first == second) == (name != "fasttext")


@pytest.mark.parametrize("name", LEARNED)
def test_texts_without_known_words_get_the_shares_of_the_labels(name, small):
    estimator = BASELINES[name](0).fit(small.texts, small.labels)
    unknown = ["", " \n ", "...", "zzyzx qwxz", "\ud800", "</s>"]
    found = estimator.predict_proba([small.texts[0], *unknown, small.texts[-1]])
    np.testing.assert_allclose(found[1:-1], [[1 / 2, 1 / 6, 1 / 3]] * len(unknown), rtol=1e-12)
    assert np.abs(found[[0, -1]] - [1 / 2, 1 / 6, 1 / 3]).max(axis=1).min() > 0.01


@pytest.mark.parametrize("name", LEARNED)
def test_a_single_known_word_is_read(name, small):
    estimator = BASELINES[name](0).fit(small.texts, small.labels)
    (known,) = estimator.predict_proba(["zzyzx good"])
    assert np.abs(known - [1 / 2, 1 / 6, 1 / 3]).max() > 0.01


@pytest.mark.parametrize("name", baseline_params("fasttext", "vader"))
def test_no_texts_give_no_rows(name, small):
    estimator = BASELINES[name](0).fit(small.texts, small.labels)
    assert estimator.predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("name", ALL)
def test_a_single_string_is_refused(name, small):
    if name in LINEAR:
        error, message = ValueError, "Iterable over raw text documents expected, string object"
    else:
        error, message = TypeError, "Expected a list of texts. Received: one str; write [text]"
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        BASELINES[name](0).fit("good film", ["positive"] * 9)
    fitted = BASELINES[name](0).fit(small.texts, small.labels)
    for method in (fitted.predict_proba, fitted.predict):
        with pytest.raises(error, match=f"^{re.escape(message)}"):
            method("good film")


@pytest.mark.parametrize("name", BASELINES)
def test_one_label_is_refused(name):
    with pytest.raises(
        ValueError, match=r"^Expected at least two labels\. Received: \['positive'\]$"
    ):
        BASELINES[name](0).fit(GOOD, ["positive"] * 5)


@pytest.mark.parametrize("name", BASELINES)
def test_texts_and_labels_must_be_equally_many(name):
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[5, 4\]$"):
        BASELINES[name](0).fit(GOOD, ["positive", "negative"] * 2)


@pytest.mark.parametrize("name", BASELINES)
def test_unfitted_is_refused(name):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        BASELINES[name](0).predict_proba(GOOD)
    for measure in (baseline_parameters, baseline_bytes):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            measure(BASELINES[name](0))


@pytest.mark.parametrize("name", BASELINES)
def test_clones_are_unfitted_and_the_same(name):
    estimator = BASELINES[name](3)
    assert repr(clone(estimator)) == repr(estimator)


@pytest.mark.parametrize(
    ("name", "least"),
    [  # some six points below what each reaches, and far above the third that chance does
        pytest.param(*param.values, least, marks=param.marks)
        for param, least in zip(ALL, (0.62, 0.64, 0.58, 0.42), strict=True)
    ],
)
def test_accuracy_on_the_sample(name, least, sample):
    estimator = BASELINES[name](0).fit(sample.train.texts, sample.train.labels)
    assert (estimator.predict(sample.test.texts) == sample.test.labels).mean() > least


def test_shares_without_words_leaves_the_given_classifier_alone():
    given = tfidf_lr()["classifier"].classifier
    wrapped = SharesWithoutWords(given).fit(sparse.csr_matrix(np.eye(4)), list("abab"))
    assert wrapped.classifier is given
    assert not hasattr(given, "coef_")


# -------------------------------------------------------------------------------------- fastText


def test_a_text_brings_no_label_of_its_own(monkeypatch, tmp_path):
    """Words that look like labels are not taken for some, and nothing stays in the temp folder."""
    pytest.importorskip("fasttext", reason="the package fasttext is not installed")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    texts = ["#0 good __label__0", "#1 bad\n#7 bad", "good #1", "bad"] * 5
    estimator = FastTextClassifier().fit(texts, ["a", "b", "a", "b"] * 5)
    assert sorted(estimator.model_.labels) == ["#0", "#1"]
    assert estimator.words_ == {"0", "1", "7", "good", "bad", "__label__0"}
    assert list(tmp_path.iterdir()) == []


def test_fasttext_learns_from_sorted_texts(sample):
    """It reads them in the given order: of texts sorted by label it would know the last best."""
    pytest.importorskip("fasttext", reason="the package fasttext is not installed")
    order = np.argsort(sample.train.labels, kind="stable")
    texts, labels = ([part[i] for i in order] for part in (sample.train.texts, sample.train.labels))
    estimator = FastTextClassifier().fit(texts, labels)
    predicted = Counter(estimator.predict(sample.test.texts).tolist())
    assert min(predicted.values()) > 555 / 6


def test_fasttext_probabilities_are_its_own(small, sample):
    """One text at a time fastText itself answers correctly, to its 1e-5 of smoothing."""
    pytest.importorskip("fasttext", reason="the package fasttext is not installed")
    estimator = FastTextClassifier().fit(small.texts, small.labels)
    texts = sample.test.texts[:50]
    expected = np.zeros((50, 3))
    for row, text in zip(expected, texts, strict=True):
        for probability, label in estimator.model_.f.predict(
            " ".join(review_words(text)) + "\n", 3, 0.0, "strict"
        ):
            row[int(label[1:])] = probability
    np.testing.assert_allclose(estimator.predict_proba(texts), expected, atol=3e-5)


# ----------------------------------------------------------------------------------------- VADER


@pytest.mark.parametrize(
    "labels",
    [["1", "5"], ["neg", "pos"], ["negative", "neutral"], ["mixed", "negative", "positive"]],
)
def test_vader_refuses_other_labels(labels):
    message = (
        "`labels` must be negative and positive, with or without neutral, for VADER. "
        f"Received: {sorted(labels)}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        VaderClassifier().fit(["a film"] * len(labels), labels)


@pytest.fixture
def scripted_vader(monkeypatch):
    """Makes a fitted `VaderClassifier` for which a text is its own score, also without VADER."""

    class Analyzer:
        def polarity_scores(self, text: str) -> dict[str, float]:
            return {"compound": float(text)}

    module = types.ModuleType("vaderSentiment.vaderSentiment")
    module.SentimentIntensityAnalyzer = Analyzer
    monkeypatch.setitem(sys.modules, "vaderSentiment", types.ModuleType("vaderSentiment"))
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", module)
    return lambda labels: VaderClassifier().fit(["a film"] * len(labels), labels)


def test_vader_thresholds_of_three_labels(scripted_vader):
    estimator = scripted_vader(["positive", "neutral", "negative"])
    found = estimator.predict_proba(["-1", "-0.05", "-0.0499", "0", "0.0499", "0.05", "1"])
    np.testing.assert_array_equal(found, np.eye(3)[[0, 0, 1, 1, 1, 2, 2]])


@pytest.mark.parametrize(
    ("labels", "of_zero"),
    [
        (["positive", "negative", "positive"], "positive"),
        (["positive", "negative", "negative"], "negative"),
    ],
)
def test_vader_sign_of_two_labels(labels, of_zero, scripted_vader):
    found = scripted_vader(labels).predict(["-1", "-0.0001", "0", "0.0001", "1"])
    assert found.tolist() == ["negative", "negative", of_zero, "positive", "positive"]


def test_vader_reads():
    pytest.importorskip("vaderSentiment", reason="the package vaderSentiment is not installed")
    estimator = VaderClassifier().fit(GOOD + BAD, ["positive"] * 5 + ["negative"] * 5)
    found = estimator.predict(["A wonderful film!", "A horrible film!", "not a wonderful film"])
    assert found.tolist() == ["positive", "negative", "negative"]


def test_only_vader_is_not_calibrated():
    told = {name: getattr(make(0), "calibrated", True) for name, make in BASELINES.items()}
    assert told == {"tfidf_lr": True, "nb_ngrams": True, "fasttext": True, "vader": False}


# ---------------------------------------------------------------------------------- size and list


def test_size_of_tfidf(small):
    estimator = tfidf_lr().fit(small.texts, small.labels)
    vocabulary = estimator["ngrams"].vocabulary_
    n = len(vocabulary)
    assert baseline_parameters(estimator) == n + 3 * n + 3  # document frequencies, weights, biases
    text = sum(len(f"{ngram}\n".encode()) for ngram in vocabulary)
    assert baseline_bytes(estimator) == 8 * (4 * n + 3) + text


def test_size_of_nb(small, two):
    for reviews, classifiers in ((small, 3), (two, 1)):
        estimator = nb_ngrams().fit(reviews.texts, reviews.labels)
        vocabulary = estimator["ngrams"].vocabulary_
        parameters = classifiers * (2 * len(vocabulary) + 1)  # ratios, weights, bias
        assert baseline_parameters(estimator) == parameters
        text = sum(len(f"{ngram}\n".encode()) for ngram in vocabulary)
        assert baseline_bytes(estimator) == 8 * parameters + text


def test_size_of_fasttext(small, tmp_path):
    pytest.importorskip("fasttext", reason="the package fasttext is not installed")
    estimator = FastTextClassifier().fit(small.texts, small.labels)
    words = {word for text in small.texts for word in review_words(text)} | {"</s>"}
    parameters = 10 * (len(words) + 2_000_000 + 3)
    assert baseline_parameters(estimator) == parameters
    estimator.model_.save_model(str(tmp_path / "model"))
    saved = (tmp_path / "model").stat().st_size  # it keeps counts too
    assert 0.99 * saved < baseline_bytes(estimator) < saved


def test_size_of_vader():
    pytest.importorskip("vaderSentiment", reason="the package vaderSentiment is not installed")
    estimator = VaderClassifier().fit(GOOD + BAD, ["positive"] * 5 + ["negative"] * 5)
    assert baseline_parameters(estimator) == 0
    least = sum(len(word.encode()) for word in estimator.analyzer_.lexicon)
    assert least < baseline_bytes(estimator) < 10_000_000


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ([], ["tfidf_lr", "nb_ngrams", "fasttext", "vader"]),
        (["fasttext"], ["tfidf_lr", "nb_ngrams", "vader"]),
        (["vaderSentiment"], ["tfidf_lr", "nb_ngrams", "fasttext"]),
        (["fasttext", "vaderSentiment"], ["tfidf_lr", "nb_ngrams"]),
    ],
)
def test_installed_baselines(missing, expected, monkeypatch):
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else object()
    )
    assert installed_baselines() == expected
