"""N-grams beside a network: the one to three words in a row that a text holds, each with a weight.

What a linear model on n-grams knows of a text is one number, the sum of the weights of the n-grams
that the text holds.  A table keeps the weights, and integer arithmetic on the words' ids finds them
there, so that the sum can be taken inside a network: by the layer `models.NgramScore` in Keras, in
ONNX by the same operations, and by `ngram_scores` in NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LONGEST = 3  # words of an n-gram
ID_BITS = 20  # an n-gram's key holds three ids of so many bits each
# An n-gram's ids give its place in the table and its tag, by sums modulo a prime in which no step
# overflows 64 bits.
PRIME = 2**31 - 1
PLACE = (1_640_531_527, 1_013_904_223, 1_181_783_497)
TAG = (1_103_515_245, 747_796_405, 1_566_083_941)
TAGS = 255  # tag 0 is an empty place's
PLACES_PER_NGRAM = 3  # so that few n-grams find their place taken


@dataclass(frozen=True)
class NgramTable:
    """Weights of n-grams by place.

    Attributes:
        values: float32 (places,), 0 where no n-gram is; exact in float16.
        tags: uint8 (places,), 0 where no n-gram is.
    """

    values: np.ndarray
    tags: np.ndarray


def table_places(ngrams: int) -> int:
    """Places of a table for so many n-grams: a power of two, none for none."""
    return 1 << (PLACES_PER_NGRAM * ngrams - 1).bit_length() if ngrams else 0


def place_of(words: Sequence[Any], places: int) -> Any:
    """Place of n-grams, from int64 arrays or tensors of their first, second and third ids."""
    return _hash(words, PLACE) % places


def tag_of(words: Sequence[Any]) -> Any:
    """Tag of n-grams, from 1 to 255, as `place_of`."""
    return _hash(words, TAG) % TAGS + 1


def _hash(words: Sequence[Any], multipliers: Sequence[int]) -> Any:
    first, *others = (word * m for word, m in zip(words, multipliers, strict=True))
    total = first % PRIME
    for other in others:
        total = (total + other) % PRIME
    return total


def ngram_scores(token_ids: np.ndarray, table: NgramTable) -> np.ndarray:
    """Sum of the weights of the n-grams that each text holds, however often: float64 (batch,).

    An n-gram that is not in the table counts as 0, but for one in 255 of those whose place is
    another's.

    Args:
        token_ids: int (batch, time), 0 = padding, on the right.
        table: the weights.
    """
    scores = []
    for row in token_ids:
        ids = row[row != 0].astype(np.int64)
        keys = _keys(ids)
        words = _words(np.unique(keys))
        place = place_of(words, len(table.values))
        # As in the network: n-grams of one place and tag are one.
        known = np.unique(place[table.tags[place] == tag_of(words)])
        scores.append(table.values[known].astype(np.float64).sum())
    return np.array(scores)


class RunningScore:
    """The score of a text that is read word by word.

    Args:
        table: the weights.
    """

    def __init__(self, table: NgramTable):
        self._table = table
        self._last: list[int] = []  # ids of the words before
        self._held: set[int] = set()  # places of the n-grams that the text holds
        self._score = 0.0

    def read(self, token_id: int) -> float:
        """Read a word; the score of the text up to it."""
        self._last = [*self._last[1 - LONGEST :], token_id]
        for start in range(len(self._last)):
            for place in _found(self._last[start:], self._table):
                if place not in self._held:
                    self._held.add(place)
                    self._score += float(self._table.values[place])
        return self._score


def _found(ids: Sequence[int], table: NgramTable) -> list[int]:
    """Place of the n-gram of these ids, if the table has it."""
    words = [*map(int, ids), *[0] * (LONGEST - len(ids))]
    place = place_of(words, len(table.values))
    return [place] if table.tags[place] == tag_of(words) else []


def ngram_shares(ids: Sequence[int], table: NgramTable) -> np.ndarray:
    """Each word's part in the score of one text, float64 (words,); they sum to the score.

    An n-gram's weight is shared by its words, and by all the places at which the text holds it.
    """
    found: dict[int, list[np.ndarray]] = {}  # place → positions of the words of its n-grams
    for length in range(1, LONGEST + 1):
        for start in range(len(ids) - length + 1):
            for place in _found(ids[start : start + length], table):
                found.setdefault(place, []).append(np.arange(start, start + length))
    shares = np.zeros(len(ids))
    for place, positions in found.items():
        for words in positions:
            shares[words] += table.values[place] / len(positions) / len(words)
    return shares


def _keys(ids: np.ndarray) -> np.ndarray:
    """Keys of all n-grams of a text: first id | second << 20 | third << 40, 0 for none."""
    keys, key = [ids], ids
    for more in range(1, LONGEST):
        key = key[: len(key) - 1] | ids[more:] << (ID_BITS * more)
        keys.append(key)
    return np.concatenate(keys)


def _words(keys: np.ndarray) -> list[np.ndarray]:
    return [keys >> (ID_BITS * i) & ((1 << ID_BITS) - 1) for i in range(LONGEST)]


def fit_table(
    token_ids: Sequence[Sequence[int]],
    positive: np.ndarray,
    *,
    ngrams: int,
    strength: float = 1.0,
    iterations: int = 60,
) -> NgramTable:
    """Learn the weights of the most important n-grams: naive Bayes ratios × logistic regression.

    Features are 1 for the n-grams that a text holds, multiplied with their log-count ratios;
    n-grams of a single text are left out.  Of the rest, those with the largest |weight| · √texts
    enter the table, the most important first; one that finds its place taken is left out.

    Args:
        token_ids: ids of each text, of any length.
        positive: float (texts,), how far each text is on the way from the lowest label, 0, to the
            highest, 1: the regression's target, which may be soft.
        ngrams: how many enter the table at most.
        strength: C of the regression.
        iterations: of L-BFGS.

    Source: Wang & Manning, "Baselines and bigrams" (2012); Mesnil et al. (2015).
    """
    from scipy import sparse
    from scipy.optimize import minimize
    from scipy.special import expit

    features, keys = _matrix(token_ids)
    texts = np.asarray(features.sum(axis=0)).ravel()
    positive = np.asarray(positive, float)
    ratio = np.zeros(len(keys), np.float32)
    if len(keys):
        for_it, against = 1 + features.T @ positive, 1 + features.T @ (1 - positive)
        ratio = np.log(for_it / for_it.sum() / (against / against.sum())).astype(np.float32)
    weighted = (features @ sparse.diags(ratio)).tocsr()
    transposed = weighted.T.tocsr()

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        logits = weighted @ values[:-1].astype(np.float32) + values[-1]
        value = (np.logaddexp(0, logits) - positive * logits).sum()
        value += 0.5 / strength * (values[:-1] @ values[:-1])
        slope = (expit(logits) - positive).astype(np.float32)
        gradient = transposed @ slope + values[:-1] / strength
        return float(value), np.append(gradient, slope.sum()).astype(np.float64)

    options = {"maxiter": iterations, "maxcor": 6}
    found = minimize(loss, np.zeros(len(keys) + 1), jac=True, method="L-BFGS-B", options=options).x
    weights = ratio * found[:-1]
    best = np.argsort(-np.abs(weights) * np.sqrt(texts), kind="stable")[:ngrams]
    return _filled(keys[best], weights[best], table_places(ngrams))


def _matrix(token_ids: Sequence[Sequence[int]]) -> tuple[Any, np.ndarray]:
    """Which n-grams of at least two texts each text holds: sparse float32 (texts, ngrams); keys."""
    from scipy import sparse

    rows = [np.unique(_keys(np.asarray(ids, np.int64))) for ids in token_ids]
    known, columns, counts = np.unique(
        np.concatenate([np.zeros(0, np.int64), *rows]), return_inverse=True, return_counts=True
    )
    ends = np.cumsum([0, *map(len, rows)])
    ones = np.ones(len(columns), np.float32)
    matrix = sparse.csr_matrix((ones, columns, ends), (len(rows), len(known)))
    often = np.flatnonzero(counts > 1)
    return matrix[:, often], known[often]


def _filled(keys: np.ndarray, weights: np.ndarray, places: int) -> NgramTable:
    words = _words(keys)
    place, tag = place_of(words, places), tag_of(words)
    taken, first = np.unique(place, return_index=True)  # the most important n-gram of each place
    values, tags = np.zeros(places, np.float32), np.zeros(places, np.uint8)
    values[taken] = weights[first].astype(np.float16)
    tags[taken] = tag[first]
    return NgramTable(values, tags)
