"""Which single units of a network tell the labels apart, and how saturated its gates are.

A unit is watched through what the pooling reads of it, one number a text: its state after the last
word, its maximum or its mean over the words, or its mean weighted by attention.  The area under the
ROC curve (AUC) says how well such a number tells labels apart.

The best of many units look better on the texts that they were chosen by than they are.  So one half
of the texts chooses, and all that is said of a unit comes from the other half.

A gate is saturated where it is shut, below 0.1, or open, above 0.9.

Source: Karpathy, Johnson & Li, "Visualizing and understanding recurrent networks" (2015), sections
4.2 and 4.3: interpretable cells, and the share of time that gates are left- or right-saturated.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sentiment.data import Reviews, order_labels
from sentiment.equations import DIRECTIONS, Network, Replay, merge_directions, pool, replay_ids
from sentiment.explanation import ExplanationError, capitalised, checked_replay
from sentiment.metrics import auc_with_interval
from sentiment.predictor import Predictor
from sentiment.preprocessing import pad_sequences

SHUT, OPEN = 0.1, 0.9  # a gate is saturated below and above, as in Karpathy et al.
LEAST = 4  # texts of each label: two in each half, or there is no interval
BATCH_WORDS = 4096  # that go through the equations at a time: they keep every step
SHOWN = 10  # units
DRAWN = 3  # of them, with their texts or histograms
EXTREMES = 5  # texts at each end that a unit shows
AROUND = 8  # words before and after the one that an excerpt is about
BINS = 15  # of a histogram
# Cells whose gates cannot be saturated, and why.
WITHOUT_GATES = {
    "rnn": "rnn has no gates",
    "clockwork_rnn": "the gates of clockwork_rnn are clocks: always 0 or 1, whatever the words",
}

_FEATURES = {
    "last": "its last state",
    "max": "its maximum",
    "mean": "its mean",
    "attention": "its mean by attention",
}


@dataclass(frozen=True)
class DrivenText:
    """A text that drives a unit far up or down.

    Attributes:
        label: its true label.
        state: of the unit.
        word: that pushed it there: where the maximum stands; of a mean the word that adds the most
            (to high states) or the least (to low ones); for the last state, the word last read.
        excerpt: this word and those around it, as the network read them.
    """

    label: str
    state: float
    word: str
    excerpt: str


@dataclass(frozen=True)
class Unit:
    """How well one unit tells a label from the others.

    Everything but `chosen_auc` is of the texts that had no part in choosing.

    Attributes:
        layer: from 1, the lowest; units are of the top layer, which the pooling reads.
        direction: `"forward"`, `"backward"`, or `"both"` where the two are added or averaged.
        number: from 1, in the order of the weights.
        feature: what the pooling reads: `"last"`, `"max"`, `"mean"` or `"attention"`.
        label: what it tells from all other labels; of two labels the second.
        sign: 1 where high states say `label`, −1 where low ones do.
        auc: probability that the state of a text of this label lies further in the direction of
            `sign` than that of another text; 0.5 by chance.
        interval: its 95 % interval.
        chosen_auc: the same on the texts by which the unit was chosen, and so flattering.
        highest, lowest: the texts with the most extreme states, these first.
        edges: of the histogram's bins.
        counts: label → number of its texts in each bin.
    """

    layer: int
    direction: str
    number: int
    feature: str
    label: str
    sign: int
    auc: float
    interval: tuple[float, float]
    chosen_auc: float
    highest: tuple[DrivenText, ...]
    lowest: tuple[DrivenText, ...]
    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class GateSaturation:
    """How much of the time one gate is saturated, unit by unit.

    Attributes:
        layer: from 1, the lowest.
        direction: `"forward"` or `"backward"`.
        gate: its name, as in `equations.py`.
        shut: of each unit, the share of words at which the gate is below `SHUT`.
        open: of each unit, the share of words at which the gate is above `OPEN`.
    """

    layer: int
    direction: str
    gate: str
    shut: tuple[float, ...]
    open: tuple[float, ...]


@dataclass(frozen=True)
class UnitsReport:
    """What `measure_units` found.

    Attributes:
        cell: of the network.
        texts: label → number of its texts that were read.
        chosen_on, measured_on: number of texts in either half.
        left_out: texts whose label the model does not know.
        words: that were read.
        all_units: how many units there are to choose from.
        units: the best of them, the best in choosing first.
        network: label → AUC of the network's probability of it, on the texts measured on.
        saturation: of every layer, direction and gate; empty for cells in `WITHOUT_GATES`.
        replay_error: largest difference between the replayed and the network's probabilities.
    """

    cell: str
    texts: dict[str, int]
    chosen_on: int
    measured_on: int
    left_out: int
    words: int
    all_units: int
    units: tuple[Unit, ...]
    network: dict[str, float]
    saturation: tuple[GateSaturation, ...]
    replay_error: float


def measure_units(
    predictor: Predictor,
    reviews: Reviews,
    *,
    texts: int = 500,
    seed: int = 0,
    progress: bool = False,
) -> UnitsReport:
    """Find the units that tell labels apart, and count how often gates are saturated.

    Args:
        predictor: the model.
        reviews: labelled texts.  Those whose label the model does not know are left out.
        texts: how many to read at most, the same number of each label where there are enough.
        seed: of the choice of texts, and of the half of them that chooses units.
        progress: whether to show a bar on standard error.

    Raises:
        ExplanationError: fewer than two of the labels are known, there are fewer than four texts of
            one, `texts` is too small for four of each, or the replay differs from the network.
    """
    labels = _known_labels(predictor, reviews)
    choosing, measuring = (
        _read(predictor, half, progress) for half in _halves(reviews, labels, texts, seed)
    )
    told = labels[1:] if len(labels) == 2 else labels  # of two, one says it all
    saturation = _saturation(choosing, measuring)
    layer = max((gate.layer for gate in saturation), default=len(predictor.network.recurrent))
    return UnitsReport(
        cell=predictor.network.cell,
        texts=dict(Counter(choosing.reviews.labels) + Counter(measuring.reviews.labels)),
        chosen_on=len(choosing.reviews),
        measured_on=len(measuring.reviews),
        left_out=sum(label not in predictor.labels for label in reviews.labels),
        words=choosing.words + measuring.words,
        all_units=len({column[:2] for column in _columns(predictor.network)}),
        units=tuple(
            _measured(predictor, measuring, choice, labels, layer)
            for choice in _best(predictor.network, choosing, told)
        ),
        network={label: _network_auc(predictor, measuring, labels, label) for label in told},
        saturation=saturation,
        replay_error=max(choosing.replay_error, measuring.replay_error),
    )


def _known_labels(predictor: Predictor, reviews: Reviews) -> list[str]:
    """Labels of the reviews that the model knows, in their natural order."""
    counts = Counter(label for label in reviews.labels if label in predictor.labels)
    labels = list(order_labels(counts))
    if len(labels) < 2:
        received = ", ".join(order_labels(reviews.labels)) or "none"
        raise ExplanationError(
            f"Expected reviews with at least two of the labels that the model knows: "
            f"{', '.join(predictor.labels)}. Received: {received}"
        )
    rare = min(labels, key=counts.__getitem__)
    if counts[rare] < LEAST:
        raise ExplanationError(
            f"Expected at least {LEAST} reviews of each label, half of them to choose units and "
            f"half to measure them. Received: {counts[rare]} of {rare!r}"
        )
    return labels


def _halves(
    reviews: Reviews, labels: Sequence[str], texts: int, seed: int
) -> tuple[Reviews, Reviews]:
    """The reviews that choose units, and those that measure them, with all labels in each."""
    most = texts // len(labels)
    if most < LEAST:
        raise ExplanationError(
            f"`texts` must be at least {LEAST * len(labels)}, {LEAST} of each label. "
            f"Received: {texts}"
        )
    generator = np.random.default_rng(seed)
    choosing, measuring = [], []
    for name in labels:
        positions = [i for i, label in enumerate(reviews.labels) if label == name]
        taken = generator.permutation(positions)[:most].tolist()
        choosing += taken[: len(taken) // 2]
        measuring += taken[len(taken) // 2 :]
    return tuple(
        Reviews([reviews.texts[i] for i in part], [reviews.labels[i] for i in part])
        for part in (choosing, measuring)
    )


# ----------------------------------------------------------------------------------------- reading


GateKey = tuple[int, str, str]  # layer, direction, name


@dataclass(frozen=True)
class _Reading:
    """What is kept of reading some reviews.

    Attributes:
        reviews: what was read.
        words: how many in all.
        probabilities: float64 (texts, num_classes).
        features: float64 (texts, features), what the pooling read, as `_columns` names it.
        up, down: int (texts, features), positions of the words that push each up and down.
        saturated: gate → int (2, units), at how many words it was shut, and open.
        replay_error: see `UnitsReport`.
    """

    reviews: Reviews
    words: int
    probabilities: np.ndarray
    features: np.ndarray
    up: np.ndarray
    down: np.ndarray
    saturated: dict[GateKey, np.ndarray]
    replay_error: float


def _read(predictor: Predictor, reviews: Reviews, progress: bool) -> _Reading:
    from tqdm import tqdm

    network = predictor.network
    token_ids = predictor.encoder.encode(reviews.texts).token_ids
    order, parts, saturated = [], [], {}
    with tqdm(total=len(reviews), disable=not progress, leave=False, unit="text") as bar:
        for positions in _batches(token_ids):
            ids = pad_sequences([token_ids[i] for i in positions], padding="post")
            mask = ids != 0
            replayed = replay_ids(network, ids)
            order += positions
            parts.append((replayed.probabilities, *_features(network, replayed, mask)))
            for key, gate in _gates(network, replayed).items():
                read = gate[mask]  # (words, units)
                counts = np.stack([(read < SHUT).sum(axis=0), (read > OPEN).sum(axis=0)])
                saturated[key] = saturated.get(key, 0) + counts
            bar.update(len(positions))
    back = np.argsort(order)
    probabilities, *features = (np.concatenate(arrays)[back] for arrays in zip(*parts, strict=True))
    error = checked_replay(predictor, probabilities, predictor.probabilities(token_ids))
    words = sum(map(len, token_ids))
    return _Reading(reviews, words, probabilities, *features, saturated, error)


def _batches(token_ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Positions of texts of similar length, the longest first."""
    order = sorted(range(len(token_ids)), key=lambda i: -len(token_ids[i]))
    start = 0
    while start < len(order):
        size = max(1, BATCH_WORDS // len(token_ids[order[start]]))
        yield order[start : start + size]
        start += size


def _features(
    network: Network, replayed: Replay, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the pooling reads, and the positions of the words that push it up and down.

    Each is (batch, features).  A maximum is pushed by the word at which it stands, a mean by those
    that add the most and the least, a last state by the last word.
    """
    read = [run.outputs for run in replayed.layers[-1]]
    if network.pooling == "last":
        features = _merged(network, [o[:, 0 if side else -1] for side, o in enumerate(read)])
        ends = mask.sum(axis=1, keepdims=True) - 1
        backward = [direction == "backward" for direction, *_ in _columns(network)]
        places = np.where(backward, 0, ends)
        return features, places, places
    terms = _merged(network, read)
    if network.pooling == "attention":
        terms = replayed.attention[..., None] * terms
        features = terms.sum(axis=1)
    else:
        features = pool(terms, mask, network.pooling)
    up = np.where(mask[..., None], terms, -np.inf).argmax(axis=1)
    down = np.where(mask[..., None], terms, np.inf).argmin(axis=1)
    pooled = network.pooling.split("+")
    return (
        features,
        np.concatenate([up for _ in pooled], axis=-1),
        np.concatenate([up if feature == "max" else down for feature in pooled], axis=-1),
    )


def _merged(network: Network, read: Sequence[np.ndarray]) -> np.ndarray:
    return read[0] if len(read) == 1 else merge_directions(*read, network.merge)


def _columns(network: Network) -> list[tuple[str, int, str]]:
    """Direction, number and feature of every column that the last layer reads."""
    directions = list(DIRECTIONS[: len(network.recurrent[-1])])
    if len(directions) > 1 and network.merge != "concatenate":
        directions = ["both"]
    features = network.pooling.split("+")
    read = len(network.output[0]) - (network.ngrams is not None)  # the n-grams' score is no unit's
    units = read // (len(directions) * len(features))
    return [
        (direction, number, feature)
        for feature in features
        for direction in directions
        for number in range(1, units + 1)
    ]


def _gates(network: Network, replayed: Replay) -> dict[GateKey, np.ndarray]:
    """Every gate, (batch, time, units).  Candidates are no gates."""
    found: dict[GateKey, np.ndarray] = {}
    if network.cell in WITHOUT_GATES:
        return found
    for layer, runs in enumerate(replayed.layers, 1):
        for direction, run in zip(DIRECTIONS, runs, strict=False):
            for name, values in run.gates.items():
                inner = re.fullmatch(r"(.+)_(\d+)", name)  # of cells that hold all layers
                key = (int(inner[2]), direction, inner[1]) if inner else (layer, direction, name)
                if "candidate" not in name:
                    found[key] = values
    return found


def _saturation(*readings: _Reading) -> tuple[GateSaturation, ...]:
    words = sum(reading.words for reading in readings)
    found = []
    for key in readings[0].saturated:
        shut, opened = sum(reading.saturated[key] for reading in readings) / words
        found.append(GateSaturation(*key, tuple(shut.tolist()), tuple(opened.tolist())))
    return tuple(found)


# ------------------------------------------------------------------------- choosing and measuring


@dataclass(frozen=True)
class _Choice:
    """A unit as it was chosen; see `Unit`."""

    column: int
    direction: str
    number: int
    feature: str
    label: str
    sign: int
    auc: float


def _best(network: Network, choosing: _Reading, labels: Sequence[str]) -> list[_Choice]:
    """The units furthest from chance, each by its best feature and label, the best first."""
    truth = np.array(choosing.reviews.labels)
    choices = []
    for column, named in enumerate(_columns(network)):
        states = choosing.features[:, column]
        areas = np.array([_auc(states, truth == label)[0] for label in labels])
        best = int(np.abs(areas - 0.5).argmax())
        sign = 1 if areas[best] >= 0.5 else -1
        auc = float(0.5 + np.abs(areas[best] - 0.5))
        choices.append(_Choice(column, *named, labels[best], sign, auc))
    choices.sort(key=lambda choice: -choice.auc)
    by_unit = {}
    for choice in choices:
        by_unit.setdefault((choice.direction, choice.number), choice)
    return list(by_unit.values())[:SHOWN]


def _measured(
    predictor: Predictor,
    measuring: _Reading,
    choice: _Choice,
    labels: Sequence[str],
    layer: int,
) -> Unit:
    states = measuring.features[:, choice.column]
    truth = np.array(measuring.reviews.labels)
    auc, interval = _auc(choice.sign * states, truth == choice.label)
    order = np.argsort(states, kind="stable")
    edges = np.histogram_bin_edges(states, BINS)
    most = min(EXTREMES, len(states) // 2)  # none at both ends
    highest, lowest = (
        tuple(_driven(predictor, measuring, choice, i, int(pushed[i])) for i in end[:most])
        for end, pushed in (
            (order[::-1], measuring.up[:, choice.column]),
            (order, measuring.down[:, choice.column]),
        )
    )
    counts = {label: np.histogram(states[truth == label], edges)[0] for label in labels}
    return Unit(
        layer,
        choice.direction,
        choice.number,
        choice.feature,
        choice.label,
        choice.sign,
        auc,
        interval,
        choice.auc,
        highest,
        lowest,
        tuple(edges.tolist()),
        {label: tuple(bins.tolist()) for label, bins in counts.items()},
    )


def _driven(
    predictor: Predictor, measuring: _Reading, choice: _Choice, text: int, place: int
) -> DrivenText:
    words = predictor.encoder.words_read(measuring.reviews.texts[text])
    start, end = max(0, place - AROUND), place + AROUND + 1
    return DrivenText(
        measuring.reviews.labels[text],
        float(measuring.features[text, choice.column]),
        words[place],
        "… " * (start > 0) + " ".join(words[start:end]) + " …" * (end < len(words)),
    )


def _network_auc(
    predictor: Predictor, measuring: _Reading, labels: Sequence[str], label: str
) -> float:
    """By the probability of the label among those labels."""
    columns = [predictor.labels.index(name) for name in labels]
    known = measuring.probabilities[:, columns]
    share = known[:, labels.index(label)] / known.sum(axis=1)
    return _auc(share, np.array(measuring.reviews.labels) == label)[0]


def _auc(values: np.ndarray, positive: np.ndarray) -> tuple[float, tuple[float, float]]:
    return auc_with_interval(values[positive], values[~positive])


# --------------------------------------------------------------------------------------- in a line


def sentence(report: UnitsReport) -> str:
    """How far the best unit alone comes, beside the whole network."""
    best = report.units[0]
    low, high = best.interval
    told = ""
    if len(report.texts) > 2:
        told = f", {'low' if best.sign < 0 else 'high'} for {best.label} against the rest"
    return (
        f"{capitalised(name_of(best))}{told}: AUC {best.auc:.3f} ({low:.3f} to {high:.3f}) on the "
        f"other half; the whole network {report.network[best.label]:.3f}."
    )


def name_of(unit: Unit) -> str:
    """Such as `unit 17 forward, its maximum`."""
    return f"unit {unit.number} {unit.direction}, {_FEATURES[unit.feature]}"


def high_says(unit: Unit) -> str:
    """The label that high states of a unit speak for; where they speak against it, `not …`."""
    if unit.sign > 0:
        return unit.label
    others = [label for label in unit.counts if label != unit.label]
    return others[0] if len(others) == 1 else f"not {unit.label}"
