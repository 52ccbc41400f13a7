"""Whether word effects are true to the network: words are deleted in the order that they claim.

A method says which words speak for the answer.  If that is so, deleting those first must make the
probability of the answer fall fast, faster than deleting words in a random order, and deleting
them last must make it fall late.  The area over the deletion curve is the mean of that fall over
the curve.  It depends on the network and on the texts, so it compares methods on one network, and
no networks with each other.  Words are deleted here as the method `removed` leaves them out, which
may favour that method over the others.

Source: Samek et al., "Evaluating the visualization of what a deep neural network has learned"
(2017), the area over the curve, the random and the reversed order; DeYoung et al., "ERASER: a
benchmark to evaluate rationalized NLP models" (2020), words in place of pixels, the probability of
the predicted label, and shares of the text rather than numbers of words.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentiment.explanation import METHODS, ExplanationError, Target
from sentiment.predictor import Predictor
from sentiment.preprocessing import OOV_ID, checked_texts

STEPS = 20  # of the curve: every 5 % of the words
RANDOM_ORDERS = 5  # of each text
RESAMPLES = 10_000  # of the texts, for intervals
TIE = 1e-6  # areas nearer than this are equal: probabilities are float32


@dataclass(frozen=True)
class Estimate:
    """A mean over texts, or the difference of two on the same texts.

    Attributes:
        value: of these texts.
        interval: its 95 % interval.
    """

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class DeletionCurve:
    """How the answer falls as words are deleted in one kind of order, mean over texts.

    Attributes:
        area: over the curve: mean of `fall`.
        fall: at each share, what the probability of the predicted label lost; below 0 it rose.
        low, high: 95 % interval of `fall` at each share.
    """

    area: Estimate
    fall: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class MethodFaithfulness:
    """How true one method's effects are.

    Attributes:
        curve: of the words that speak most for the answer first.
        reversed: of those that speak most against it first.
        over_random: area of `curve` minus that of random orders.
        over_reversed: area of `curve` minus that of `reversed`.
        beats_random: share of the texts on which the area is above the mean of random orders.
        seconds: the effects of all texts took, without the deletions.
    """

    curve: DeletionCurve
    reversed: DeletionCurve
    over_random: Estimate
    over_reversed: Estimate
    beats_random: float
    seconds: float


@dataclass(frozen=True)
class Faithfulness:
    """How true the methods' effects are.

    Attributes:
        texts: number of texts measured.
        words: of all of them, as read.
        truncated: number of texts of which only head and tail were read, and measured.
        shares: of the words that are deleted, at each point of the curves.
        random: mean of `RANDOM_ORDERS` random orders of each text.
        methods: name → result, the largest area first.
        lead: area of the first method minus that of the second.
    """

    texts: int
    words: int
    truncated: int
    shares: tuple[float, ...]
    random: DeletionCurve
    methods: dict[str, MethodFaithfulness]
    lead: Estimate


def measure_faithfulness(
    predictor: Predictor,
    reviews: Sequence[str],
    *,
    texts: int = 200,
    seed: int = 0,
    progress: bool = False,
) -> Faithfulness:
    """Delete words in the order of every method's effects, and see how the answer falls.

    Effects are those on the probability of the predicted label: true labels are not needed.  Texts
    without words are left out.

    Args:
        predictor: the model.
        reviews: texts to choose from.
        texts: how many at most.
        seed: of the choice of texts, the random orders and the intervals.
        progress: whether to show a bar on standard error.

    Raises:
        TypeError: `reviews` is a single string, or holds something else than strings.
        ExplanationError: `texts` is below 2, or fewer than two texts have words.
    """
    if texts < 2:
        raise ExplanationError(f"`texts` must be a whole number of at least 2. Received: {texts}")
    reviews = list(checked_texts(reviews))
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(len(reviews))[:texts])
    encoded = predictor.encoder.encode([reviews[i] for i in chosen])
    kept = [i for i, words in enumerate(encoded.words) if words]
    if len(kept) < 2:
        raise ExplanationError(f"Expected at least two texts with words. Received: {len(kept)}")
    token_ids = [encoded.token_ids[i] for i in kept]
    seconds, falls = _measure(predictor, token_ids, generator, progress)
    return _summary(
        falls,
        seconds,
        generator,
        words=sum(map(len, token_ids)),
        truncated=sum(encoded.truncated[i] for i in kept),
    )


def _measure(
    predictor: Predictor, token_ids: list[list[int]], generator: np.random.Generator, progress: bool
) -> tuple[dict[str, float], np.ndarray]:
    """Seconds of each method, and falls, float64 (texts, orders, shares).

    Orders are those of the methods, the same reversed, and the mean of random ones.
    """
    from tqdm import tqdm

    seconds = dict.fromkeys(METHODS, 0.0)
    falls = []
    answers = predictor.probabilities(token_ids)
    texts = zip(token_ids, answers.argmax(axis=1), strict=True)
    for ids, label in tqdm(
        texts, total=len(token_ids), disable=not progress, leave=False, unit="text"
    ):
        target = Target(predictor.labels[label], np.eye(len(predictor.labels))[label])
        orders = []
        for name, effects in METHODS.items():
            start = time.perf_counter()
            orders.append(np.argsort(-effects(predictor, ids, target), kind="stable"))
            seconds[name] += time.perf_counter() - start
        orders += [order[::-1] for order in orders]
        orders += [generator.permutation(len(ids)) for _ in range(RANDOM_ORDERS)]
        curves = deletion_falls(predictor, ids, target, orders)
        claimed, random = np.split(curves, [-RANDOM_ORDERS])
        falls.append([*claimed, random.mean(axis=0)])
    return seconds, np.array(falls)


def deletion_falls(
    predictor: Predictor, ids: Sequence[int], target: Target, orders: Sequence[np.ndarray]
) -> np.ndarray:
    """What the target loses as words are deleted one after another.

    Where a share falls between two numbers of words, it is interpolated, so that texts of
    different lengths can be averaged.  A text without words is one unknown word.

    Args:
        predictor: the model.
        ids: of the text.
        target: the number that falls.
        orders: each int (words,), the positions of the words in the order of their deletion.

    Returns:
        float64 (orders, STEPS + 1): at shares from 0 to 1.
    """
    deleted = np.arange(STEPS + 1) * len(ids) / STEPS  # words, at each share
    counts = np.union1d(np.floor(deleted), np.ceil(deleted)).astype(int)  # all that it takes
    words = np.array(ids)
    rests = [
        [tuple(words[np.sort(order[count:])].tolist()) or (OOV_ID,) for count in counts]
        for order in orders
    ]
    distinct = list(dict.fromkeys(rest for row in rests for rest in row))
    values = dict(zip(distinct, target.values(predictor, distinct), strict=True))
    whole = values[tuple(ids)]
    return np.array(
        [np.interp(deleted, counts, [whole - values[rest] for rest in row]) for row in rests]
    )


def _summary(
    falls: np.ndarray,
    seconds: dict[str, float],
    generator: np.random.Generator,
    *,
    words: int,
    truncated: int,
) -> Faithfulness:
    areas = falls.mean(axis=2)  # (texts, orders)
    mean, draws = falls.mean(axis=0), _resampled_means(falls, generator)
    random = len(mean) - 1

    def difference(one: int, other: int) -> Estimate:
        return _estimate(
            mean[one].mean() - mean[other].mean(),
            draws[:, one].mean(axis=1) - draws[:, other].mean(axis=1),
        )

    places = {name: (place, place + len(METHODS)) for place, name in enumerate(METHODS)}
    ranking = sorted(places, key=lambda name: -mean[places[name][0]].mean())
    methods = {}
    for name in ranking:
        claimed, turned = places[name]
        methods[name] = MethodFaithfulness(
            _curve(mean[claimed], draws[:, claimed]),
            _curve(mean[turned], draws[:, turned]),
            over_random=difference(claimed, random),
            over_reversed=difference(claimed, turned),
            beats_random=float((areas[:, claimed] > areas[:, random] + TIE).mean()),
            seconds=seconds[name],
        )
    return Faithfulness(
        texts=len(falls),
        words=words,
        truncated=truncated,
        shares=tuple((np.arange(STEPS + 1) / STEPS).tolist()),
        random=_curve(mean[random], draws[:, random]),
        methods=methods,
        lead=difference(places[ranking[0]][0], places[ranking[1]][0]),
    )


def _resampled_means(falls: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Bootstrap: mean falls of texts drawn with replacement, float64 (RESAMPLES, orders, shares).

    All orders have the same draws, so that differences between them are paired over texts.
    """
    texts = len(falls)
    flat = falls.reshape(texts, -1)
    even = np.full(texts, 1 / texts)
    means = [generator.multinomial(texts, even) @ flat / texts for _ in range(RESAMPLES)]
    return np.array(means).reshape(RESAMPLES, *falls.shape[1:])


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    low, high = np.percentile(draws, (2.5, 97.5))
    return Estimate(float(value), (float(low), float(high)))


def _curve(mean: np.ndarray, draws: np.ndarray) -> DeletionCurve:
    low, high = np.percentile(draws, (2.5, 97.5), axis=0)
    return DeletionCurve(
        _estimate(mean.mean(), draws.mean(axis=1)),
        tuple(mean.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
    )


def verdict(report: Faithfulness) -> str:
    """One plain sentence: which method is most faithful, and whether that could be chance."""
    best, second, *_ = report.methods
    if report.methods[best].over_random.interval[0] <= 0:
        return f"On these {report.texts:,} texts no method is surely better than a random order."
    low, high = report.lead.interval
    sure = "more than chance" if low > 0 else "which may be chance"
    return (
        f"On these {report.texts:,} texts {best} is the most faithful, ahead of {second} by "
        f"{report.lead.value:.3f} (95 % interval {low:.3f} to {high:.3f}), {sure}."
    )
