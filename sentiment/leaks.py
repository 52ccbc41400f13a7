"""Training texts that are test texts: equal ones, and those copied in large part.

`data.separate` takes out training texts that equal a test text but for spaces and case.  What is
learned from beside the labelled reviews, such as unlabelled ones, should be as far from the test
split; and a copy need not be letter for letter: a name is changed, a paragraph added.

Why n-grams of eight words, and a share of one half?  Of IMDB's 75,000 training reviews, labelled
or not, 393 equal a test review.  12,738 others share some eight words in a row with one: that alone
says nothing.  16 of them share half of their n-grams or more, and all read as one writer's text put
to use again, with another film's name, beginning or end.  Below, down to 0.25, most are still one
writer's sentences about several films; the most that looks like chance is 0.44, in a review of 16
words.

A text of 8 words has one n-gram, one of 9 has two, so a common phrase in them is a leak: 25 of
178,057 phrases of the Stanford Sentiment Treebank, of 8, 9 and 13 words, were found in IMDB test
reviews by chance.  To leave out those too costs little; to keep a true copy would cost the
measurement.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sentiment.data import DataError

NGRAM = 8  # words in a row that are looked for
MOST = 0.5  # share of a text's n-grams from which on it is a copy
EXCERPT = 60  # characters of a text that a message shows

_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
_WORD = re.compile(r"[^\W_]+")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd and large, of the polynomial that hashes an n-gram


@dataclass(frozen=True)
class Leak:
    """A training text that is, in whole or in large part, in the test split.

    Attributes:
        position: of the training text, from 0.
        test_position: of the test text that it shares most with, the first of several.
        overlap: 1.0 where the two are equal; else the n-grams that both hold, as a share of the
            distinct n-grams of the text that has fewer.
    """

    position: int
    test_position: int
    overlap: float


def find_leaks(
    train: Sequence[str], test: Sequence[str], *, ngram: int = NGRAM, most: float = MOST
) -> list[Leak]:
    """Training texts that are, in whole or in large part, test texts.

    Texts are compared as lists of words, which are letters and digits in a row; HTML tags are left
    out, compatibility forms (NFKC) and case do not count.  Equal lists are a leak, be they as short
    as "very good".  So are two texts where at least `most` of the distinct n-grams of the one that
    has fewer are in the other: copies with changes, and excerpts.  A text of fewer than `ngram`
    words has no n-gram and is a leak only if it is equal, since a few words in common are no copy.
    A text without a word is never a leak.

    253,057 texts of 19 million words against 25,000 of 6 million took 37 s of one core's time, and
    304 MB beside the texts.

    Args:
        train: the texts to learn from, labelled or not.
        test: the texts to measure on.
        ngram: words of an n-gram, at least 1.
        most: share from which on two texts are a leak, above 0 and at most 1.

    Returns:
        At most one leak for each training text, in their order.

    Raises:
        TypeError: `train` or `test` is a single string, or holds something else than strings.
        ValueError: `ngram` or `most` is out of its range.
    """
    _check_settings(ngram, most)
    train, test = _checked("train", train), _checked("test", test)
    equal: dict[str, int] = {}
    hashes = []
    for position, text in enumerate(test):
        words = _words(text)
        equal.setdefault(" ".join(words), position)
        hashes.append(_hashes(words, ngram))
    index = _Index.of(hashes)
    leaks = []
    for position, text in enumerate(train):
        words = _words(text)
        if not words:
            continue
        test_position = equal.get(" ".join(words))
        if test_position is not None:
            leaks.append(Leak(position, test_position, 1.0))
            continue
        test_position, overlap = index.best(_hashes(words, ngram))
        if overlap >= most:
            leaks.append(Leak(position, test_position, overlap))
    return leaks


def check_no_leaks(
    train: Sequence[str], test: Sequence[str], *, ngram: int = NGRAM, most: float = MOST
) -> None:
    """Refuse to learn from test texts.  Args: as `find_leaks`.

    Raises:
        DataError: there are leaks; the message shows the first.
        TypeError, ValueError: as `find_leaks`.
    """
    train, test = _checked("train", train), _checked("test", test)
    leaks = find_leaks(train, test, ngram=ngram, most=most)
    if leaks:
        first = leaks[0]
        raise DataError(
            "`train` must hold no text that is in `test`, in whole or in large part. Received: "
            f"{len(leaks)} of {len(train)}; the first, at position {first.position}, shares "
            f"{first.overlap:.0%} with the test text at position {first.test_position}: "
            f"{_excerpt(train[first.position])} and {_excerpt(test[first.test_position])}. "
            "Leave out of `train` what `find_leaks` lists."
        )


@dataclass(frozen=True)
class _Index:
    """Which test texts hold an n-gram.

    Attributes:
        hashes: uint64 (entries,), sorted: each text's distinct n-grams.
        positions: int64 (entries,), of the text that holds it.
        sizes: int64 (texts,), distinct n-grams of each; 1 where there are none, to divide by.
    """

    hashes: np.ndarray
    positions: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, texts: list[np.ndarray]) -> "_Index":
        sizes = np.array([len(text) for text in texts], np.int64)
        hashes = np.concatenate([np.zeros(0, np.uint64), *texts])
        order = np.argsort(hashes)
        positions = np.repeat(np.arange(len(texts)), sizes)
        return cls(hashes[order], positions[order], np.maximum(sizes, 1))

    def best(self, hashes: np.ndarray) -> tuple[int, float]:
        """The text with the largest overlap, and that overlap; 0.0 where nothing is shared."""
        start, end = (np.searchsorted(self.hashes, hashes, side) for side in ("left", "right"))
        counts = end - start
        if not counts.any():
            return 0, 0.0
        # The ranges start…end, one behind the other.
        ranges = np.arange(counts.sum()) + np.repeat(end - counts.cumsum(), counts)
        shared = np.bincount(self.positions[ranges], minlength=len(self.sizes))
        overlaps = shared / np.minimum(len(hashes), self.sizes)
        best = int(overlaps.argmax())
        return best, float(overlaps[best])


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", _TAG.sub(" ", text)).casefold())


def _hashes(words: list[str], ngram: int) -> np.ndarray:
    """The distinct n-grams, as uint64: of 10¹⁴ pairs of different ones hardly any are the same."""
    if len(words) < ngram:
        return np.zeros(0, np.uint64)
    # Python's own hashes are other ones in each process; nothing but equality is asked of them.
    values = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    factors = _BASE ** np.arange(ngram, dtype=np.uint64)  # modulo 2⁶⁴, as the sum
    return np.unique(np.lib.stride_tricks.sliding_window_view(values, ngram) @ factors)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…")


def _check_settings(ngram: int, most: float) -> None:
    if isinstance(ngram, bool) or not isinstance(ngram, int) or ngram < 1:
        raise ValueError(f"`ngram` must be a whole number of at least 1. Received: {ngram!r}")
    if not 0 < most <= 1:
        raise ValueError(f"`most` must be above 0 and at most 1. Received: {most!r}")


def _checked(name: str, texts: Any) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(
            f"`{name}` must be a list of texts. Received: one str; write [text] instead."
        )
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"`{name}` must hold texts. Received: {text!r} at position {position}")
    return texts
