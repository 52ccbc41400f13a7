"""A text read word by word: the running answer of a network that reads forward."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentiment.equations import STEPS, Network, answer, attention
from sentiment.ngrams import RunningScore
from sentiment.preprocessing import OOV_ID, TextEncoder

LONGEST_TAG = 1000  # characters that are held back since they may be part of an HTML tag
_CHUNK = re.compile(r"\S*\s|\S+")  # up to whitespace: no rule of the tokeniser looks across it


@dataclass(frozen=True)
class Reading:
    """What the model says of a text up to one of its words.

    Attributes:
        word: the word, as the network reads it.
        known: whether it is in the model's vocabulary.
        label: the most probable label so far.
        score: between −1 and 1; `None` for labels without an order.
        probabilities: label → probability, in the model's order of labels.
    """

    word: str
    known: bool
    label: str
    score: float | None
    probabilities: dict[str, float]


class Stream:
    """One text that comes piece by piece, and what the model says of it so far.

    The answer after a word is that of `Predictor.predict_proba` to the text up to this word, at the
    same cost for each word.  Two texts differ: of one longer than the encoder's `max_length` that
    method leaves out the middle, while a stream reads all; and a tag is one only if it ends within
    `LONGEST_TAG` characters after the word it starts in.

    Args:
        network: the weights, in float64.
        encoder: turns texts into ids.
        labels: label names in the order of the network's outputs.
        label_values: their places between −1 and 1, or `None` for labels without an order.

    Raises:
        ValueError: the network reads in both directions.
    """

    def __init__(
        self,
        network: Network,
        encoder: TextEncoder,
        labels: Sequence[str],
        label_values: Sequence[float] | None,
    ):
        if any(len(directions) > 1 for directions in network.recurrent):
            raise ValueError(
                "Expected a model that reads forward only. Received one that reads both ways, "
                "whose answer needs the words to come. Train a forward one, for example: "
                "python -m sentiment.train --model lstm"
            )
        self._tokenizer = encoder.tokenizer
        self._labels = labels
        self._label_values = label_values
        self._reader = _Reader(network)
        self._pieces: list[str] = []  # of text whose words are not settled
        # An empty text is read as one unknown word.
        self._answer = self._reading(
            self._tokenizer.oov_token, OOV_ID, _Reader(network).read(OOV_ID)
        )

    @property
    def answer(self) -> Reading:
        """The answer to what has been read; before the first word, that to an empty text."""
        return self._answer

    def feed(self, text: str) -> list[Reading]:
        """Read on.

        Args:
            text: what follows, of any length: it may end inside a word, a tag or an entity.

        Returns:
            One reading for each word that is settled by now, in order.  A word is settled by the
            whitespace after it; one that may still be part of an HTML tag by the tag's end, or when
            `LONGEST_TAG` characters have come without it.

        Raises:
            TypeError: `text` is no string.
        """
        if not isinstance(text, str):
            raise TypeError(f"`text` must be a str. Received: {text!r}")
        readings: list[Reading] = []
        for chunk in _CHUNK.findall(text):
            self._pieces.append(chunk)
            if chunk[-1].isspace() and not self._in_tag():
                readings += self.end()
        return readings

    def end(self) -> list[Reading]:
        """Settle what is held back.  What is fed afterwards is read as if after whitespace.

        Returns:
            One reading for each word, in order.
        """
        text = "".join(self._pieces)
        self._pieces = []
        (ids,) = self._tokenizer.texts_to_sequences([text])
        readings = []
        for word, token_id in zip(self._tokenizer.words(text), ids, strict=True):
            self._answer = self._reading(word, token_id, self._reader.read(token_id))
            readings.append(self._answer)
        return readings

    def _in_tag(self) -> bool:
        """Whether what is held back, up to whitespace, may still become part of an HTML tag."""
        text = "".join(self._pieces)
        self._pieces = [text]
        if len(text) - _CHUNK.match(text).end() > LONGEST_TAG:
            return False
        words = self._tokenizer.words
        return len(words(f"{text}x>")) <= len(words(text))  # the ">" ends a tag that takes the x in

    def _reading(self, word: str, token_id: int, probabilities: np.ndarray) -> Reading:
        values = self._label_values
        return Reading(
            word,
            token_id != OOV_ID,
            self._labels[int(probabilities.argmax())],
            None if values is None else float(probabilities @ np.array(values)),
            dict(zip(self._labels, probabilities.tolist(), strict=True)),
        )


class _Reader:
    """A network in the middle of a text: the states of its cells, and what its pooling needs."""

    def __init__(self, network: Network):
        self._network = network
        _, widths = STEPS[network.cell]
        self._states = [
            tuple(np.zeros((1, width)) for width in widths(weights))
            for (weights,) in network.recurrent
        ]
        self._largest: np.ndarray | float = -np.inf
        self._sum: np.ndarray | float = 0.0  # of the outputs, each times its weight
        self._total = 0.0  # of the weights
        self._peak: np.ndarray | None = None  # the output with the largest weight, which is 1
        self._ngrams = None if network.ngrams is None else RunningScore(network.ngrams)

    def read(self, token_id: int) -> np.ndarray:
        """Read a word; the probabilities (num_classes,) of the text up to it."""
        step, _ = STEPS[self._network.cell]
        output = self._network.word_vectors(np.array([token_id]))  # (1, embedding_dim)
        for layer, (weights,) in enumerate(self._network.recurrent):
            output, self._states[layer], _ = step(output, self._states[layer], weights)
        features = self._pooled(output)
        if self._ngrams is not None:
            score = self._ngrams.read(token_id)
            features = np.concatenate([features, [[score]]], axis=-1)
        return answer(self._network, features)[0]

    def _pooled(self, output: np.ndarray) -> np.ndarray:
        """Features (1, features) of the text up to an output (1, units)."""
        pooling = self._network.pooling
        if pooling == "last":
            return output
        weight = self._weight(output) if pooling == "attention" else 1.0
        self._largest = np.maximum(self._largest, output)
        self._sum = self._sum + weight * output
        self._total += weight
        mean = self._sum / self._total
        parts = {"max": self._largest, "mean": mean, "attention": mean}
        return np.concatenate([parts[name] for name in pooling.split("+")], axis=-1)

    def _weight(self, output: np.ndarray) -> float:
        """How much a word counts against the one that counts most: at most 1, so no overflow."""
        peak = output if self._peak is None else self._peak
        both = np.stack([peak, output], axis=1)  # (1, 2, units)
        ((before, now),) = attention(both, np.ones((1, 2), bool), self._network.context)
        if self._peak is not None and now <= before:
            return float(now / before)
        self._peak = output
        self._sum = self._sum * (before / now)
        self._total *= float(before / now)
        return 1.0
