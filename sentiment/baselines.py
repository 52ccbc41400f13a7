"""Classifiers that one tries before a recurrent network, as scikit-learn estimators.

`BASELINES` makes them by name.  Each has `fit(texts, labels)`, `predict(texts)`,
`predict_proba(texts)` and `classes_`: the labels in sorted order, which is that of the columns.
Where an estimator has an attribute `calibrated` that is `False`, its probabilities are 0 and 1 and
only name its choice: they say nothing about how sure it is.

A text without any known word gets the labels' shares of the training texts, since what a
classifier makes of nothing (an intercept, fastText's vector of a line's end) may be far from them.
From VADER, which only names one label, it gets neutral, or else the most frequent.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sentiment.preprocessing import checked_texts, review_words

# The networks' own words.  Measured on 5,000 held-out training reviews of IMDB, `nb_ngrams` is
# right about 92.0 % of them with these, and about 91.2 % with scikit-learn's pattern.  The other
# settings come from the same reviews.
_WORDS = {"tokenizer": review_words, "token_pattern": None, "lowercase": False}
_SMOOTHING = 1.0  # added to every count, so that no ratio is infinite; as in the paper
_LABEL_PREFIX = "#"  # begins no word of `review_words`, so a text cannot bring a label of its own
_LINE_END = "</s>"  # which fastText counts as a word of every text
_FASTTEXT_SETTINGS = {
    "dim": 10,
    "lr": 0.5,
    "epoch": 5,
    "wordNgrams": 2,
    "bucket": 2_000_000,
    "thread": 1,  # with more, they write to the same weights in an order that no seed fixes
    "verbose": 0,
}
_VADER_LABELS = (["negative", "positive"], ["negative", "neutral", "positive"])
_NEUTRAL_SCORE = 0.05  # VADER's authors call a compound score neutral below this size


def tfidf_lr() -> Pipeline:
    """TF-IDF of words and pairs of words → logistic regression."""
    ngrams = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, **_WORDS)
    regression = LogisticRegression(C=30, max_iter=1000)
    return Pipeline([("ngrams", ngrams), ("classifier", SharesWithoutWords(regression))])


def nb_ngrams() -> Pipeline:
    """Which one to three words in a row a text holds → log-count ratios → logistic regression.

    Every label has ratios and a regression of its own against all others, whose probabilities are
    brought to a sum of one; of two labels, only the second.

    Source: Wang and Manning, "Baselines and bigrams: simple, good sentiment and topic
    classification" (2012); with logistic regression and three words: Mesnil et al., "Ensemble of
    generative and discriminative techniques for sentiment analysis of movie reviews" (2015).
    Differences: n-grams of a single text are left out, and counts are of texts as in the former.
    """
    ngrams = CountVectorizer(ngram_range=(1, 3), min_df=2, binary=True, dtype=np.float64, **_WORDS)
    regression = LogisticRegression(solver="liblinear", max_iter=1000)
    one_label = Pipeline([("ratio", LogCountRatio()), ("regression", regression)])
    classifier = SharesWithoutWords(OneVsRestClassifier(one_label))
    return Pipeline([("ngrams", ngrams), ("classifier", classifier)])


class LogCountRatio(TransformerMixin, BaseEstimator):
    """Multiplies each n-gram with its naive Bayes log-count ratio.

    ratio_i = log( (p_i / Σ_j p_j) / (q_i / Σ_j q_j) ), where p_i is one plus the number of texts
    with the label that hold n-gram i, and q_i one plus the number of the other texts that do.

    Attributes:
        ratio_: float (num_ngrams,); above 0 for n-grams that speak for the label.

    Source: Wang and Manning (2012), with α = 1.
    """

    def fit(self, features: Any, is_label: Sequence[int]) -> "LogCountRatio":
        """Count.

        Args:
            features: sparse matrix (n, num_ngrams) of 0 and 1.
            is_label: for each text 1 if it has the label, else 0.
        """
        is_label = np.asarray(is_label, bool)
        shares = []
        for rows in (features[is_label], features[~is_label]):
            counts = _SMOOTHING + np.asarray(rows.sum(axis=0), np.float64).ravel()
            shares.append(counts / counts.sum())
        self.ratio_ = np.log(shares[0]) - np.log(shares[1])
        return self

    def transform(self, features: Any) -> Any:
        """The matrix with every column multiplied by its ratio."""
        check_is_fitted(self)
        return features.multiply(self.ratio_).tocsr()


class _Classifier(ClassifierMixin, BaseEstimator):
    def _fit_labels(self, labels: Sequence[Any], texts: Any) -> np.ndarray:
        """Note the labels and their shares; the index of each text's label."""
        check_consistent_length(texts, labels)
        self.classes_, indices, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(self.classes_) < 2:
            raise ValueError(f"Expected at least two labels. Received: {self.classes_.tolist()}")
        self.shares_ = counts / counts.sum()
        return indices

    def predict(self, texts: Any) -> np.ndarray:
        """The label of each text.

        Raises: as `predict_proba`.
        """
        best = self.predict_proba(texts).argmax(axis=1)
        return self.classes_[best]


class SharesWithoutWords(_Classifier):
    """A classifier of n-grams that answers with the labels' shares where a text has none.

    Args:
        classifier: the scikit-learn classifier for all other texts.

    Attributes:
        classes_: the labels, sorted.
        shares_: float (num_classes,), share of each label of the training texts.
        classifier_: the fitted classifier.
    """

    def __init__(self, classifier: Any):
        self.classifier = classifier

    def fit(self, features: Any, labels: Sequence[Any]) -> "SharesWithoutWords":
        """Learn from the sparse matrix of n-grams (n, num_ngrams).

        Raises:
            ValueError: texts and labels differ in number, or there are fewer than two labels.
        """
        self._fit_labels(labels, features)
        self.classifier_ = clone(self.classifier).fit(features, labels)
        return self

    def predict_proba(self, features: Any) -> np.ndarray:
        """Probabilities, float64 (n, num_classes).

        Raises:
            sklearn.exceptions.NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        probabilities = self.classifier_.predict_proba(features)
        probabilities[np.diff(features.indptr) == 0] = self.shares_
        return probabilities


class FastTextClassifier(_Classifier):
    """The mean of the vectors of a text's words and pairs of words → softmax.

    Needs the package `fasttext`.  Same seed, same weights, since it uses one thread.

    Args:
        seed: of the first weights and of the order of the texts.

    Attributes:
        classes_: the labels, sorted.
        shares_: float (num_classes,), share of each label of the training texts.
        words_: the words of the training texts.
        model_: the model of the package `fasttext`.

    Source: Joulin et al., "Bag of tricks for efficient text classification" (2017).
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, texts: Sequence[str], labels: Sequence[Any]) -> "FastTextClassifier":
        """Learn from labelled texts, through a temporary file, which is all that fastText reads.

        Raises:
            ModuleNotFoundError: `fasttext` is not installed.
            TypeError: `texts` is a single string or holds something else than strings.
            ValueError: texts and labels differ in number, or there are fewer than two labels.
        """
        lines = [" ".join(review_words(text)) for text in checked_texts(texts)]
        indices = self._fit_labels(labels, lines)

        import fasttext

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "train.txt")
            with path.open("w", encoding="utf-8") as file:
                # fastText reads in the order of the file, and reviews often come sorted by label.
                for i in np.random.default_rng(self.seed).permutation(len(lines)):
                    file.write(f"{_LABEL_PREFIX}{indices[i]} {lines[i]}\n")
            self.model_ = fasttext.train_supervised(
                str(path),
                label=_LABEL_PREFIX,
                seed=self.seed,
                **_FASTTEXT_SETTINGS,
            )
        self.words_ = frozenset(self.model_.get_words()) - {_LINE_END}
        return self

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities, float64 (n, num_classes).

        Raises:
            sklearn.exceptions.NotFittedError: `fit` was not called.
            TypeError: `texts` is a single string or holds something else than strings.
        """
        check_is_fitted(self)
        # Not `model_.predict`: fastText 0.9.2 gives all labels of a text the same probability when
        # it gets a list, and fails with NumPy 2 when it gets a single text.
        words = [review_words(text) for text in checked_texts(texts)]
        means = np.zeros((len(words), self.model_.get_dimension()))
        for row, text_words in zip(means, words, strict=True):
            row[:] = self.model_.get_sentence_vector(" ".join(text_words))
        order = [self.model_.labels.index(f"{_LABEL_PREFIX}{i}") for i in range(len(self.classes_))]
        probabilities = softmax(means @ self.model_.get_output_matrix()[order].T, axis=1)
        probabilities[[self.words_.isdisjoint(text_words) for text_words in words]] = self.shares_
        return probabilities


class VaderClassifier(_Classifier):
    """The sign of VADER's compound score, made of a lexicon and rules; nothing is learned.

    Needs the package `vaderSentiment`.  Of three labels, scores between −0.05 and 0.05 are neutral,
    as VADER's authors have it.  Of two, a score of exactly 0 is the more frequent training label.

    Attributes:
        calibrated: `False`: the probabilities are 0 and 1.
        classes_: the labels, sorted.
        shares_: float (num_classes,), share of each label of the training texts.

    Source: Hutto and Gilbert, "VADER: a parsimonious rule-based model for sentiment analysis of
    social media text" (2014).
    """

    calibrated = False

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> "VaderClassifier":
        """Check the labels, and note which is the most frequent.

        Raises:
            ModuleNotFoundError: `vaderSentiment` is not installed.
            TypeError: `texts` is a single string or holds something else than strings.
            ValueError: texts and labels differ in number, or the labels are not negative and
                positive, with or without neutral.
        """
        self._fit_labels(labels, list(checked_texts(texts)))
        if self.classes_.tolist() not in _VADER_LABELS:
            raise ValueError(
                "`labels` must be negative and positive, with or without neutral, for VADER. "
                f"Received: {self.classes_.tolist()}"
            )

        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        self.analyzer_ = SentimentIntensityAnalyzer()
        return self

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """1 for the chosen label, 0 for the others, float64 (n, num_classes).

        Raises:
            sklearn.exceptions.NotFittedError: `fit` was not called.
            TypeError: `texts` is a single string or holds something else than strings.
        """
        check_is_fitted(self)
        scores = np.array(
            [self.analyzer_.polarity_scores(text)["compound"] for text in checked_texts(texts)]
        )
        last = len(self.classes_) - 1
        if last == 2:
            chosen = 1 + (scores >= _NEUTRAL_SCORE) - (scores <= -_NEUTRAL_SCORE).astype(int)
        else:
            chosen = np.where(scores == 0, self.shares_.argmax(), scores > 0)
        return np.eye(len(self.classes_))[chosen]


def fits_labels(name: str, labels: Iterable[str]) -> bool:
    """Whether a baseline can answer with these labels: VADER knows only its own."""
    return name != "vader" or sorted(set(labels)) in _VADER_LABELS


# Name → what makes an unfitted estimator from a seed; only fastText draws random numbers.
BASELINES: dict[str, Callable[[int], Any]] = {
    "tfidf_lr": lambda _: tfidf_lr(),
    "nb_ngrams": lambda _: nb_ngrams(),
    "fasttext": FastTextClassifier,
    "vader": lambda _: VaderClassifier(),
}
_PACKAGES = {"fasttext": "fasttext", "vader": "vaderSentiment"}  # those that may be missing


def installed_baselines() -> list[str]:
    """Names of the baselines whose packages are installed, in the order of `BASELINES`.

    Looks for the packages without importing them.
    """
    return [
        name
        for name in BASELINES
        if name not in _PACKAGES or importlib.util.find_spec(_PACKAGES[name]) is not None
    ]


def baseline_parameters(estimator: Any) -> int:
    """Number of values that a fitted baseline learned from the training texts.

    Weights and biases, and the n-grams' inverse document frequencies and log-count ratios; of
    fastText the vectors of all words and of all buckets for pairs of words; of VADER none.

    Raises:
        sklearn.exceptions.NotFittedError: the estimator is not fitted.
    """
    return sum(array.size for array in _learned(estimator)[0])


def baseline_bytes(estimator: Any) -> int:
    """Bytes of what a fitted baseline needs to label texts.

    The learned values as they lie in memory, and the known words or n-grams as lines of UTF-8; of
    VADER its lexicon's files.  What a pickle adds to that is not counted.

    Raises: as `baseline_parameters`.
    """
    arrays, words = _learned(estimator)
    if isinstance(estimator, VaderClassifier):
        folder = Path(importlib.util.find_spec(_PACKAGES["vader"]).origin).parent
        return sum(path.stat().st_size for path in folder.glob("*_lexicon.txt"))
    return sum(array.nbytes for array in arrays) + sum(len(word.encode()) + 1 for word in words)


def _learned(estimator: Any) -> tuple[list[np.ndarray], Iterable[str]]:
    """Learned values of a baseline, and the words or n-grams that it knows."""
    check_is_fitted(estimator)
    if isinstance(estimator, VaderClassifier):
        return [], []
    if isinstance(estimator, FastTextClassifier):
        model = estimator.model_
        return [model.get_input_matrix(), model.get_output_matrix()], model.get_words()
    ngrams, classifier = estimator["ngrams"], estimator["classifier"].classifier_
    if isinstance(ngrams, TfidfVectorizer):
        arrays = [ngrams.idf_, classifier.coef_, classifier.intercept_]
    else:
        arrays = []
        for one_label in classifier.estimators_:
            ratio, regression = one_label["ratio"], one_label["regression"]
            arrays += [ratio.ratio_, regression.coef_, regression.intercept_]
    return arrays, ngrams.vocabulary_
