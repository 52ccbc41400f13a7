"""What a network did with one text: its running answer, each word's effect, and its gates.

Everything is the model's own doing.  The running answer is what it gives to every prefix of the
text; a word's effect is the difference that the word makes to the answer; the gates are replayed
from the saved weights by `equations.py`, and the replayed answer must equal the network's.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from sentiment.data import Table, bundled
from sentiment.equations import DIRECTIONS, Network, Replay, replay, replay_ids
from sentiment.gradients import value_and_gradient
from sentiment.metrics import POLARITIES, polarities
from sentiment.ngrams import ngram_shares
from sentiment.predictor import Predictor
from sentiment.preprocessing import OOV_ID

TOLERANCE = 1e-5  # between the replay, in float64, and ONNX Runtime, in float32
# Of integrated gradients: a short text can have many points, and needs them where the largest of
# its states changes from one word to another along the path.
FEWEST_POINTS, MOST_POINTS = 32, 128
PATH_WORDS = 4096  # that go through the equations at a time: they keep every step
DISAGREEMENT = 0.5  # correlation of two methods' effects below which they are said to disagree
DECISIVE = 0.25  # share of the largest effect from which a word counts as decisive
LEAST_EFFECT = 0.05  # where no effect is larger, no word decides
MOST_NAMED = 3  # words for, and words against, that the verdict names
ARROWS = dict(zip(DIRECTIONS, "→←", strict=True))
# Which of a cell's states is its memory; else the last, in cells of several layers the top one's.
_MEMORY = {"rnn": 0, "gru": 0, "clockwork_rnn": 0}


class ExplanationError(ValueError):
    """A text or a model that cannot be explained; the message says why."""


@dataclass(frozen=True)
class WordReading:
    """What a word did.

    Attributes:
        word: as the network read it.
        position: in the text, from 1.
        known: whether it is in the vocabulary.
        label: the answer if the text ended here; after a middle that was left out, the answer to
            what was read up to here.
        score: of that answer; `None` for labels without an order.
        probabilities: label → probability, of that answer.
        effects: method → what the word adds to the answer, see `METHODS`.
        gates: name → mean over the units, of every layer and direction.
        memory_change: direction → mean absolute change of the memory's units.
    """

    word: str
    position: int
    known: bool
    label: str
    score: float | None
    probabilities: dict[str, float]
    effects: dict[str, float]
    gates: dict[str, float]
    memory_change: dict[str, float]


@dataclass(frozen=True)
class Trace:
    """What one direction of one recurrent layer did, unit by unit.

    Attributes:
        layer: from 1, the lowest.
        direction: `"forward"` or `"backward"`.
        gates: name → float (words, units).
        memory: float (words, units).
    """

    layer: int
    direction: str
    gates: dict[str, np.ndarray]
    memory: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """What the network did with a text.

    Attributes:
        text: the text.
        label, score, probabilities: the answer.
        target: what effects are differences of: `"score"`, or the label whose probability it is
            where labels have no order.
        words: one reading a word.
        traces: one for each direction of each layer.
        replay_error: largest difference between the replayed and the network's probabilities.
        completeness_error: what the integrated gradients of all words miss of the difference
            between the text and one of unknown words only.
        left_out: number of words in the middle that were left out because the text is too long.
    """

    text: str
    label: str
    score: float | None
    probabilities: dict[str, float]
    target: str
    words: tuple[WordReading, ...]
    traces: tuple[Trace, ...]
    replay_error: float
    completeness_error: float
    left_out: int

    def effects(self, method: str) -> np.ndarray:
        """Each word's effect by one method, float64 (words,)."""
        return np.array([word.effects[method] for word in self.words])


def explain(predictor: Predictor, text: str) -> Explanation:
    """Watch a network read.

    Args:
        predictor: the model.
        text: what it reads.

    Raises:
        ExplanationError: the text holds no word, or the replay differs from the network.
    """
    encoded = predictor.encoder.encode([text])
    if not encoded.words[0]:
        raise ExplanationError(f"Expected a text with at least one word. Received: {text!r}")
    (ids,) = encoded.token_ids
    left_out = encoded.words[0] - len(ids)
    head = predictor.encoder.head_length if left_out else len(ids)
    prefixes = predictor.probabilities([ids[:end] for end in range(1, len(ids) + 1)])
    target = target_of(predictor, prefixes[-1])
    replayed = replay_ids(predictor.network, np.array([ids]))
    replay_error = checked_replay(predictor, replayed.probabilities, prefixes[-1:])
    effects = {method: measure(predictor, ids, target) for method, measure in METHODS.items()}
    value, unknown = target.values(predictor, [ids, [OOV_ID] * len(ids)])
    traces = _traces(predictor.network, replayed)
    columns = {
        "effects": effects,
        "gates": _mean_gates(predictor.network, replayed, traces),
        "memory_change": _memory_changes(traces),
    }
    words = (
        WordReading(
            word,
            t + 1 if t < head else t + 1 + left_out,
            known=token_id != OOV_ID,
            **_answer(predictor, prefixes[t]),
            **{
                kind: {name: float(values[t]) for name, values in group.items()}
                for kind, group in columns.items()
            },
        )
        for t, (word, token_id) in enumerate(
            zip(predictor.encoder.words_read(text), ids, strict=True)
        )
    )
    return Explanation(
        text,
        **_answer(predictor, prefixes[-1]),
        target=target.name,
        words=tuple(words),
        traces=traces,
        replay_error=replay_error,
        completeness_error=abs(float(effects["gradients"].sum() - (value - unknown))),
        left_out=left_out,
    )


def _answer(predictor: Predictor, probabilities: np.ndarray) -> dict[str, Any]:
    values = predictor.manifest.label_values
    return {
        "label": predictor.labels[int(probabilities.argmax())],
        "score": None if values is None else float(probabilities.astype(float) @ values),
        "probabilities": dict(zip(predictor.labels, probabilities.tolist(), strict=True)),
    }


# ------------------------------------------------------------------------------------ word effects


@dataclass(frozen=True)
class Target:
    """The number that effects are differences of: a weighted sum of the probabilities.

    Attributes:
        name: `"score"`, or the label whose probability it is.
        weights: of each probability, float64 (num_classes,).
    """

    name: str
    weights: np.ndarray

    def values(self, predictor: Predictor, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        """The number for texts that are given as ids: float64 (texts,)."""
        return predictor.probabilities(token_ids).astype(float) @ self.weights


def target_of(predictor: Predictor, probabilities: np.ndarray) -> Target:
    """The score, or where labels have no order the probability of the most probable label."""
    values = predictor.manifest.label_values
    if values is not None:
        return Target("score", np.array(values, float))
    best = int(probabilities.argmax())
    return Target(predictor.labels[best], np.eye(len(probabilities))[best])


def effect_of_unknown(predictor: Predictor, ids: list[int], target: Target) -> np.ndarray:
    """What each word adds, by occlusion: the answer minus that with an unknown word in its place.

    Args:
        predictor: the model.
        ids: of the text.
        target: what effects are differences of.

    Returns:
        float64 (words,); an unknown word has no effect.
    """
    changed = ([*ids[:t], OOV_ID, *ids[t + 1 :]] for t in range(len(ids)))
    whole, *others = target.values(predictor, [ids, *changed])
    return whole - np.array(others)


def effect_of_removal(predictor: Predictor, ids: list[int], target: Target) -> np.ndarray:
    """What each word adds, by occlusion: the answer minus that to the text without the word.

    Args, Returns: as `effect_of_unknown`; without its only word a text is one unknown word.
    """
    changed = ([*ids[:t], *ids[t + 1 :]] or [OOV_ID] for t in range(len(ids)))
    whole, *others = target.values(predictor, [ids, *changed])
    return whole - np.array(others)


def integrated_gradients(predictor: Predictor, ids: list[int], target: Target) -> np.ndarray:
    """What each word adds, by integrated gradients, starting from as many unknown words.

    The gradient of the answer with respect to a word's vector is averaged along the straight path
    from the vector of the unknown word to the word's own, and multiplied by their difference.  So
    the effects of all words sum to what the text differs from unknown words by, but for the error
    of the average over the path's points.  N-grams beside the network go along the same path, and
    what each brings in is shared by its words.

    Args, Returns: as `effect_of_unknown`.

    Source: Sundararajan, Taly & Yan, "Axiomatic attribution for deep networks" (2017), equation 1.
    """
    network = predictor.network
    vectors = network.word_vectors(np.array(ids))
    unknown = network.word_vectors(np.array([OOV_ID]))
    points = min(MOST_POINTS, max(FEWEST_POINTS, PATH_WORDS // len(ids)))
    places, weights = np.polynomial.legendre.leggauss(points)  # on −1…1
    shares, weights = 0.5 + 0.5 * places, weights / 2
    path = unknown + shares[:, None, None] * (vectors - unknown)
    scores, words = None, 0.0  # of n-grams: along the path, and how much each word brings in
    if network.ngrams is not None:
        start = ngram_shares([OOV_ID] * len(ids), network.ngrams)
        words = ngram_shares(ids, network.ngrams) - start
        scores = start.sum() + shares * words.sum()
    slope = np.zeros_like(vectors)
    ngram_slope = 0.0
    rows = max(1, PATH_WORDS // len(ids))
    for part in np.split(np.arange(points), range(rows, points, rows)):
        mask = np.ones((len(part), len(ids)), bool)
        along = None if scores is None else scores[part]
        slopes, ngram_slopes = _slopes(path[part], network, mask, along, target)
        slope += np.tensordot(weights[part], slopes, 1)
        ngram_slope += weights[part] @ ngram_slopes
    return (slope * (vectors - unknown)).sum(axis=1) + ngram_slope * words


def _slopes(
    vectors: np.ndarray,
    network: Network,
    mask: np.ndarray,
    scores: np.ndarray | None,
    target: Target,
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the target by word vectors (batch, time, features) and n-grams (batch,)."""
    _, slopes = value_and_gradient(
        lambda x: replay(network, x, mask, scores).probabilities @ target.weights, vectors
    )
    if scores is None:
        return slopes, np.zeros(len(vectors))
    p, row = replay(network, vectors, mask, scores).probabilities, network.output[0][-1]
    return slopes, (p * (row - (p @ row)[:, None])) @ target.weights  # of the softmax


# Name → what each word adds to the answer, float64 (words,).
METHODS: dict[str, Callable[[Predictor, list[int], Target], np.ndarray]] = {
    "unknown": effect_of_unknown,
    "removed": effect_of_removal,
    "gradients": integrated_gradients,
}


def disagreements(explanation: Explanation) -> dict[tuple[str, str], float]:
    """Pairs of methods whose effects agree poorly → the correlation of their effects.

    Of texts of fewer than three words nothing can be said.
    """
    found = {}
    for one, other in combinations(METHODS, 2):
        a, b = explanation.effects(one), explanation.effects(other)
        if len(a) < 3 or not a.std() or not b.std():
            continue
        correlation = float(np.corrcoef(a, b)[0, 1])
        if correlation < DISAGREEMENT:
            found[one, other] = correlation
    return found


# ------------------------------------------------------------------------------ gates and memories


def checked_replay(predictor: Predictor, replayed: np.ndarray, answers: np.ndarray) -> float:
    """Largest difference between replayed probabilities and the network's own.

    Raises:
        ExplanationError: they are more than 1e-5 apart.
    """
    error = float(np.abs(replayed - answers).max())
    if not error <= TOLERANCE:
        raise ExplanationError(
            f"{predictor.folder}: the saved weights give another answer than the network, "
            f"{error:.1e} apart where {TOLERANCE:g} is allowed. Train the model again."
        )
    return error


def _traces(network: Network, replayed: Replay) -> tuple[Trace, ...]:
    memory = _MEMORY.get(network.cell, -1)
    return tuple(
        Trace(
            layer,
            direction,
            {name: values[0] for name, values in run.gates.items()},
            run.states[memory][0],
        )
        for layer, runs in enumerate(replayed.layers, 1)
        for direction, run in zip(DIRECTIONS, runs, strict=False)
    )


def _mean_gates(
    network: Network, replayed: Replay, traces: Sequence[Trace]
) -> dict[str, np.ndarray]:
    """Gates' means over the units, (words,): `forget`, `backward_forget`, `layer_2_forget`, …

    Candidates are left out: they are what a gate lets in, and no gate.  The clocks of a clockwork
    network come by period: `clock_4` is 1 where the units tick that tick every fourth word.
    """
    found = {}
    directions = len(replayed.layers[0])
    for trace in traces:
        prefix = f"layer_{trace.layer}_" if len(replayed.layers) > 1 else ""
        prefix += f"{trace.direction}_" if directions > 1 else ""
        for name, values in trace.gates.items():
            if name == "clock":
                side = DIRECTIONS.index(trace.direction)
                periods = network.recurrent[trace.layer - 1][side][-1]
                for period in np.unique(periods):
                    found[f"{prefix}clock_{period:.0f}"] = values[:, periods == period].mean(axis=1)
            elif "candidate" not in name:
                found[prefix + name] = values.mean(axis=1)
    if replayed.attention is not None:
        found["attention"] = replayed.attention[0]
    return found


def _memory_changes(traces: Sequence[Trace]) -> dict[str, np.ndarray]:
    """Mean absolute change of the top layer's memory at each word, in each direction, (words,)."""
    found = {}
    for trace in traces:
        if trace.layer == traces[-1].layer:
            read = trace.memory if trace.direction == "forward" else trace.memory[::-1]
            change = np.abs(np.diff(read, axis=0, prepend=0)).mean(axis=1)
            found[trace.direction] = change if trace.direction == "forward" else change[::-1]
    return found


# --------------------------------------------------------------------------------------- in a line


def target_name(explanation: Explanation) -> str:
    """What effects are differences of, in words."""
    if explanation.target == "score":
        return "the score"
    return f"the probability of {explanation.target}"


def gate_title(name: str) -> str:
    """`layer_2_backward_forget` → `layer 2 forget ←`, and `backward` → `←`."""
    words = name.split("_")
    arrows = [ARROWS[word] for word in words if word in ARROWS]
    return " ".join([word for word in words if word not in ARROWS] + arrows)


def top_gates(names: Iterable[str]) -> list[str]:
    """The gates of the top layer, whether layers are stacked or one cell holds them all.

    >>> top_gates(["layer_1_forget", "layer_2_forget", "attention"])
    ['layer_2_forget', 'attention']
    >>> top_gates(["time_forget_1", "time_forget_2"])
    ['time_forget_2']
    """

    def layer(name: str) -> int:
        found = re.search(r"^layer_(\d+)_|(?<!clock)_(\d+)$", name)
        return int(found[1] or found[2]) if found else 0

    names = list(names)
    top = max(map(layer, names), default=0)
    return [name for name in names if layer(name) in (0, top)]


def turning_point(explanation: Explanation) -> int | None:
    """Position of the word from which on the running label is that of the whole text.

    `None` where it was so from the first word on.
    """
    labels = [word.label for word in explanation.words]
    others = [t for t, label in enumerate(labels) if label != explanation.label]
    return others[-1] + 1 if others else None


def verdict(explanation: Explanation, method: str) -> str:
    """One plain sentence: which words decided, and where the answer turned.

    Args:
        explanation: of a text.
        method: whose effects to go by.

    Raises:
        ExplanationError: no method has this name.
    """
    check_method(method)
    turn = turning_point(explanation)
    if turn is None:
        turned = "it was so from the first word on"
    else:
        word = explanation.words[turn]
        turned = f"it turned at word {word.position}, “{word.word}”"
    return f"{capitalised(explanation.label)}: {_decided(explanation, method)}; {turned}."


def _decided(explanation: Explanation, method: str) -> str:
    named = _named(explanation, method)
    if named:
        return named
    alone = f"no word alone makes {target_name(explanation)} differ by {LEAST_EFFECT} ({method})"
    shared = "" if method == "gradients" else _named(explanation, "gradients")
    return f"{alone}, but shared out by gradients {shared}" if shared else alone


def _named(explanation: Explanation, method: str) -> str:
    """The decisive words on both sides, or nothing where no word decides."""
    effects = explanation.effects(method)
    largest = np.abs(effects).max()
    if largest < LEAST_EFFECT:
        return ""
    parts = []
    for sign, did in _sides(explanation).items():
        order = np.argsort(-sign * effects, kind="stable")
        strong = [t for t in order if sign * effects[t] >= DECISIVE * largest][:MOST_NAMED]
        words = [f"“{explanation.words[t].word}” ({effects[t]:+.2f})" for t in strong]
        if words:
            parts.append(f"{', '.join(words)} {did}")
    return "; ".join(parts)


def _sides(explanation: Explanation) -> dict[int, str]:
    """What words with effects of either sign did.

    A score is for or against the label at an end of the scale only: words that raise it may speak
    for a label in the middle, or against it.
    """
    labels = list(explanation.probabilities)
    if explanation.target != "score" or explanation.label == labels[-1]:
        return {1: "spoke for it", -1: "spoke against it"}
    if explanation.label == labels[0]:
        return {-1: "spoke for it", 1: "spoke against it"}
    return {1: "raised the score", -1: "lowered the score"}


def capitalised(label: str) -> str:
    """A label at the start of a sentence."""
    return label[:1].upper() + label[1:]


def checks(explanation: Explanation) -> list[str]:
    """Sentences that say how far the explanation can be trusted."""
    found = [
        f"Careful: the effects by {one} and by {other} disagree (correlation {correlation:+.2f})."
        for (one, other), correlation in disagreements(explanation).items()
    ]
    if explanation.left_out:
        found.append(
            f"The text is too long: {explanation.left_out:,} words in its middle were left out."
        )
    return [
        *found,
        "The gates were replayed from the saved weights; the replayed answer is "
        f"{explanation.replay_error:.0e} from the network's.",
        f"Integrated gradients miss {explanation.completeness_error:.0e} of the difference between "
        "the text and as many unknown words.",
    ]


def check_method(method: str) -> None:
    """Raise `ExplanationError` unless a method has this name."""
    if method not in METHODS:
        raise ExplanationError(
            f"`method` must be one of {', '.join(METHODS)}. Received: {method!r}"
        )


# ------------------------------------------------------------------------- what a reader would say


@dataclass(frozen=True)
class Example:
    """A sentence that teaches something, with what a reader would say after each word.

    Attributes:
        text: the sentence.
        words: of it, as the tokenizer reads them.
        expected: for each word those of negative, neutral and positive that a reader could say if
            the text ended there.
    """

    text: str
    words: tuple[str, ...]
    expected: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ExampleReading:
    """How a model read an example.

    Attributes:
        example: the sentence.
        explanation: what the model did.
        polarities: negative, neutral or positive, after each word.
        agrees: per word, whether that is what a reader could say.
    """

    example: Example
    explanation: Explanation
    polarities: tuple[str, ...]
    agrees: tuple[bool, ...]


def load_examples() -> list[Example]:
    """The sentences of `data/examples.csv`, which come with the package."""
    rows: dict[str, list[dict[str, str]]] = {}
    for chunk in Table(bundled("data", "examples.csv")).chunks(1000):
        for row in chunk:
            rows.setdefault(row.values["text"], []).append(row.values)
    return [
        Example(
            text,
            tuple(row["word"] for row in group),
            tuple(tuple(row["expected"].split("|")) for row in group),
        )
        for text, group in rows.items()
    ]


def read_examples(predictor: Predictor) -> list[ExampleReading]:
    """Have a model read the examples.

    Raises:
        ExplanationError: the model's labels have no order, or as `explain`.
    """
    values = predictor.manifest.label_values
    if values is None:
        raise ExplanationError(
            "The examples need a model whose labels have an order, such as negative and positive. "
            f"Received one with: {', '.join(predictor.labels)}."
        )
    by_label = dict(zip(predictor.labels, values, strict=True))
    readings = []
    for example in load_examples():
        explanation = explain(predictor, example.text)
        words = explanation.words
        found = polarities(by_label, [w.label for w in words], [w.score for w in words])
        names = tuple(POLARITIES[n] for n in found.tolist())
        agrees = tuple(n in them for n, them in zip(names, example.expected, strict=True))
        readings.append(ExampleReading(example, explanation, names, agrees))
    return readings
