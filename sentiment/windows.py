"""Learning from windows: a run of words of a long text, learned with the whole text's label.

Windows cost a network a fraction of whole texts and teach it nearly as much, so that in the same
time it sees many more.  Several sources with different labels are learned side by side.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np
from keras import ops

from sentiment.stepwise import Batch

LONGEST = 10**6  # words of a text; more than any has, so that windows can come from anywhere
TAIL = 0.3  # of the windows; reviews say their verdict at the end
GROUP = 20  # batches that are drawn together and sorted by length, so that little is padding


@dataclass(frozen=True)
class Corpus:
    """Encoded texts in two arrays, for millions of words.

    Attributes:
        token_ids: int32 (words,), the ids of all texts, one after the other.
        offsets: int64 (texts + 1,), where each text starts and the last one ends.
    """

    token_ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, token_ids: Sequence[Sequence[int]]) -> "Corpus":
        """The corpus of texts' ids."""
        lengths = [len(ids) for ids in token_ids]
        flat = np.fromiter((i for ids in token_ids for i in ids), np.int32, sum(lengths))
        return cls(flat, np.cumsum([0, *lengths], dtype=np.int64))

    @classmethod
    def joined(cls, corpora: Sequence["Corpus"]) -> "Corpus":
        """All texts of several."""
        lengths = np.concatenate([np.diff(corpus.offsets) for corpus in corpora])
        return cls(
            np.concatenate([corpus.token_ids for corpus in corpora]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sha256(self) -> str:
        """Hash of all ids."""
        return hashlib.sha256(self.token_ids.tobytes() + self.offsets.tobytes()).hexdigest()


@dataclass(frozen=True)
class Source:
    """Texts with targets that a network learns from, beside other sources.

    Attributes:
        corpus: the texts.
        targets: float32 (texts, num_classes), probabilities.
        asked: bool (num_classes,), the labels that this source tells apart.
        share: of the updates.
        batch_size: texts per update.
        window: the most words of a text that are read at once.
        often: float (texts,), how often each text is drawn, beside the others.
    """

    corpus: Corpus
    targets: np.ndarray
    asked: np.ndarray
    share: float
    batch_size: int
    window: int
    often: np.ndarray


def windows_at(
    corpus: Corpus, texts: np.ndarray, window: int, generator: np.random.Generator
) -> np.ndarray:
    """A window of each text: int32 (batch, time), padded on the right with 0.

    Of a text that is longer than `window`, now and then its end is read, else any part.
    """
    lengths = corpus.offsets[texts + 1] - corpus.offsets[texts]
    read = np.minimum(lengths, window)
    room = lengths - read
    at_end = generator.random(len(texts)) < TAIL
    starts = corpus.offsets[texts] + np.where(at_end, room, generator.integers(0, room + 1))
    places = np.arange(max(1, read.max()))
    inside = places < read[:, None]
    ids = corpus.token_ids[np.where(inside, starts[:, None] + places, 0)]
    return np.where(inside, ids, 0).astype(np.int32)


def batches_of(sources: Sequence[Source], seed: int) -> Callable[[int], Batch]:
    """The function that gives the batch of each step: of one source, drawn by share.

    Targets of a source that does not ask for a label are below 0 there, for
    `PartialCrossentropy`.
    """
    shares = np.array([source.share for source in sources])
    order = np.zeros(0, int)

    @lru_cache(maxsize=2 * len(sources))
    def group(number: int, which: int) -> list[np.ndarray]:
        """Texts of `GROUP` batches of a source, each of similar length."""
        source = sources[which]
        generator = np.random.default_rng([seed, which, number])
        chances = source.often / source.often.sum()
        size = GROUP * source.batch_size
        texts = generator.choice(len(source.corpus), size, p=chances)
        read = np.minimum(np.diff(source.corpus.offsets)[texts], source.window)
        texts = texts[np.argsort(read, kind="stable")].reshape(GROUP, -1)
        return list(generator.permutation(texts))

    def batch_at(step: int) -> Batch:
        nonlocal order
        while len(order) <= step:  # which source each step reads
            block = np.random.default_rng([seed, len(order)])
            order = np.r_[order, block.choice(len(sources), 1000, p=shares / shares.sum())]
        which = order[step]
        source = sources[which]
        number = int((order[:step] == which).sum())
        texts = group(number // GROUP, int(which))[number % GROUP]
        generator = np.random.default_rng([seed, step])
        targets = np.where(source.asked, source.targets[texts], -1).astype(np.float32)
        return windows_at(source.corpus, texts, source.window, generator), targets

    return batch_at


@keras.saving.register_keras_serializable(package="sentiment")
class PartialCrossentropy(keras.losses.Loss):
    """Cross-entropy over the labels that a target asks for, those of at least 0.

    Args:
        rest: share of the loss that is cross-entropy over all labels, the others being 0: it keeps
            a label rare in a source that never has it.
    """

    def __init__(self, rest: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.rest = rest

    def call(self, targets: Any, probabilities: Any) -> Any:
        """The loss of each text."""
        asked = ops.cast(ops.greater_equal(targets, 0), probabilities.dtype)
        probabilities = ops.clip(probabilities, 1e-7, 1.0)
        everything = -ops.sum(ops.maximum(targets, 0) * ops.log(probabilities), axis=-1)
        # Rows of asked targets sum to 1, so this makes it the cross-entropy among the asked.
        return everything + (1 - self.rest) * ops.log(ops.sum(probabilities * asked, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Settings, for saving."""
        return {**super().get_config(), "rest": self.rest}
