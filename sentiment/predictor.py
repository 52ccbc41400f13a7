"""Answers from a saved model, with ONNX Runtime: no TensorFlow, Keras, scikit-learn or pandas."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sentiment.artifact import (
    BATCH_IDS_KEY,
    Artifact,
    ArtifactError,
    load_artifact,
    quiet_onnxruntime,
)
from sentiment.data import bundled
from sentiment.equations import Network
from sentiment.preprocessing import Encoded, checked_texts, pad_sequences
from sentiment.streaming import Stream

if TYPE_CHECKING:
    from sentiment.metrics import Evaluation

NEUTRAL = "neutral"
# Texts of similar length go through the network together: at most this many ids, padding included,
# and texts.  Each core reads a batch of its own; small ones stay in its cache.  On two cores this
# was 1.3 times as fast as larger batches that the cores share.  A graph may ask for another number.
BATCH_IDS = 3072
BATCH_TEXTS = 256
WINDOW = 4096  # texts that are sorted by length, and tokenised while the window before is read

Batch = tuple[list[int], "Future[np.ndarray]"]  # positions of the texts, their probabilities


@dataclass(frozen=True)
class Prediction:
    """What the model says of one text.

    Attributes:
        text: the text.
        label: the most probable label, or `"neutral"` inside a neutral band.
        score: between −1 and 1; `None` for labels without an order.
        probabilities: label → probability, in the model's order of labels.
        truncated: whether the middle of the text was left out because it is too long.
        oov: number of the text's words that the model does not know.
    """

    text: str
    label: str
    score: float | None
    probabilities: dict[str, float]
    truncated: bool
    oov: int


@dataclass(frozen=True)
class Answers:
    """What the model says of many texts, as columns.

    Attributes:
        labels: one label a text.
        scores: float64 (texts,), or `None` for labels without an order.
        probabilities: float32 (texts, num_classes).
        truncated: per text, whether it was cut.
        words: per text, the number of words.
        oov: per text, the number of unknown words.
    """

    labels: list[str]
    scores: np.ndarray | None
    probabilities: np.ndarray
    truncated: list[bool]
    words: list[int]
    oov: list[int]

    @property
    def oov_share(self) -> float:
        """Share of all words that are unknown."""
        return sum(self.oov) / max(1, sum(self.words))

    @property
    def truncated_share(self) -> float:
        """Share of the texts that were cut."""
        return sum(self.truncated) / max(1, len(self.truncated))


class Predictor:
    """A saved model, ready to answer.

    Args:
        artifact: a model folder that was read; see `Predictor.load`.
        threads: processor cores to use; `None` for all.

    Attributes:
        folder: the model folder.
        labels: label names in the order of the columns of `predict_proba`.
        manifest: what the model says of itself.
        encoder: turns texts into ids.

    Raises:
        ArtifactError: the graph cannot be loaded, or its outputs are not as many as the labels.
    """

    def __init__(self, artifact: Artifact, *, threads: int | None = None):
        onnxruntime = quiet_onnxruntime()
        self._artifact = artifact
        self.folder = artifact.folder
        self.manifest = artifact.manifest
        self.encoder = artifact.encoder
        self.labels = artifact.manifest.labels
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._threads = threads or available_cores()
        options.enable_cpu_mem_arena = False  # batches differ in shape; an arena keeps them all
        try:
            self._session = onnxruntime.InferenceSession(
                artifact.onnx, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own, all of them Exception
            reason = str(error).splitlines()[0]
            raise ArtifactError(
                f"{artifact.folder}: the network cannot be loaded: {reason}"
            ) from error
        self._batch_ids = batch_ids(self._session)
        outputs = self._session.get_outputs()[0].shape[1]
        values = self.manifest.label_values
        if outputs != len(self.labels) or (values is not None and len(values) != outputs):
            raise ArtifactError(
                f"{artifact.folder}: the network has {outputs} outputs, but the manifest names "
                f"{len(self.labels)} labels: {', '.join(self.labels)}."
            )

    @cached_property
    def network(self) -> Network:
        """The weights, in float64, for `equations.py`."""
        return self._artifact.network()

    def stream(self) -> Stream:
        """A text to come, whose words are answered one by one as it is fed: see `Stream`.

        Raises:
            ValueError: the model reads in both directions.
        """
        return Stream(self.network, self.encoder, self.labels, self.manifest.label_values)

    @property
    def graph_bytes(self) -> int:
        """Size of the network as it is saved for prediction."""
        return len(self._artifact.onnx)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without the session, which is made anew."""
        return _rebuilt, (self._artifact, self._threads)

    @classmethod
    def load(cls, folder: str | Path | None = None, *, threads: int | None = None) -> "Predictor":
        """Load a model folder.

        Args:
            folder: its path, or `None` for the model that ships with the package.
            threads: processor cores to use; `None` for all.

        Raises:
            ArtifactError: the folder is missing, not whole, changed or of another format.
        """
        if folder is None:
            folder = bundled("saved_models", "default")
        return cls(load_artifact(folder), threads=threads)

    def predict(
        self, texts: Sequence[str], *, neutral_band: tuple[float, float] | None = None
    ) -> np.ndarray:
        """The label of each text, as an array of str (texts,).

        Args:
            texts: the texts.
            neutral_band: (low, high): of two labels, `"neutral"` where the probability of the
                positive one lies between.

        Raises:
            TypeError: `texts` is a single string, or holds something else than strings.
            ValueError: the band is not 0 ≤ low < high ≤ 1, or the labels are not two.
        """
        return np.array(self.answers(texts, neutral_band=neutral_band).labels, dtype=str)

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities, float32 (texts, num_classes), columns in the order of `labels`.

        Raises:
            TypeError: `texts` is a single string, or holds something else than strings.
        """
        return self.answers(texts).probabilities

    def details(
        self, texts: Sequence[str], *, neutral_band: tuple[float, float] | None = None
    ) -> list[Prediction]:
        """Everything about each text: see `Prediction`.  Args, Raises: as `predict`."""
        texts = texts if isinstance(texts, str) else list(texts)
        answers = self.answers(texts, neutral_band=neutral_band)
        return [
            Prediction(
                text,
                answers.labels[i],
                None if answers.scores is None else float(answers.scores[i]),
                dict(zip(self.labels, answers.probabilities[i].tolist(), strict=True)),
                answers.truncated[i],
                answers.oov[i],
            )
            for i, text in enumerate(texts)
        ]

    def evaluate(
        self, texts: Sequence[str], labels: Sequence[str], *, ignore: Sequence[str] = ()
    ) -> "tuple[Evaluation, Answers]":
        """Measure the model on labelled texts.  Needs scikit-learn.

        Args:
            texts: the texts.
            labels: the true label of each.
            ignore: labels of the model that the texts cannot have; its answers are then by the
                probabilities of the others, which sum to one.

        Returns:
            How good the answers are, and the answers.

        Raises:
            TypeError: as `predict`.
            ValueError: there are no texts, a label was never seen in training, or `ignore` names a
                label that the model has not, or leaves fewer than two.
        """
        from sentiment.metrics import evaluate_answers

        unknown = sorted(set(ignore) - set(self.labels))
        kept = [i for i, name in enumerate(self.labels) if name not in ignore]
        if unknown or len(kept) < 2:
            raise ValueError(
                f"`ignore` must leave two of the labels {', '.join(self.labels)}. "
                f"Received: {', '.join(ignore)}"
            )
        answers = self.answers(texts)
        if ignore:
            probabilities = np.zeros_like(answers.probabilities)
            probabilities[:, kept] = answers.probabilities[:, kept]
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            answers = self._named(answers, probabilities)
        evaluation = evaluate_answers(
            [self.labels[i] for i in kept],
            answers.probabilities[:, kept],
            labels,
            oov_share=answers.oov_share,
            truncated_share=answers.truncated_share,
        )
        return evaluation, answers

    def answers(
        self, texts: Sequence[str], *, neutral_band: tuple[float, float] | None = None
    ) -> Answers:
        """Everything about many texts, as columns.  Args, Raises: as `predict`."""
        texts = list(checked_texts(texts))
        windows = [texts[i : i + WINDOW] for i in range(0, len(texts), WINDOW)]
        parts = list(self.answer_windows(windows, neutral_band=neutral_band))
        if len(parts) == 1:
            return parts[0]
        scored = self.manifest.label_values is not None
        empty = np.zeros((0, len(self.labels)), "float32")
        return Answers(
            [label for part in parts for label in part.labels],
            np.concatenate([np.zeros(0), *(part.scores for part in parts)]) if scored else None,
            np.concatenate([empty, *(part.probabilities for part in parts)]),
            [cut for part in parts for cut in part.truncated],
            [words for part in parts for words in part.words],
            [oov for part in parts for oov in part.oov],
        )

    def probabilities(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Probabilities of texts that are given as ids, float32 (texts, num_classes).

        Args:
            token_ids: ids of each text, at least one; nothing is cut.
        """
        workers = ThreadPoolExecutor(self._threads)
        try:
            return self._gathered(len(token_ids), self._start(token_ids, workers))
        finally:
            workers.shutdown(cancel_futures=True)

    def attention(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """How much each word counts for the answer, in a model with attention pooling.

        Args:
            texts: the texts.

        Returns:
            For each text its words, as the network read them, and their weights, which sum to one.

        Raises:
            TypeError: as `predict`.
            ValueError: the model has no attention.
        """
        if len(self._session.get_outputs()) == 1:
            raise ValueError(
                f"Expected a model with attention pooling, such as attention_bilstm. Received: "
                f"{self.manifest.model} with {self.manifest.settings.get('pooling')} pooling."
            )
        texts = list(checked_texts(texts))
        found = []
        for text, ids in zip(texts, self.encoder.encode(texts).token_ids, strict=True):
            token_ids = np.array([ids], "int32")
            (weights,) = self._session.run(["attention"], {"token_ids": token_ids})
            found.append(list(zip(self.encoder.words_read(text), weights[0].tolist(), strict=True)))
        return found

    def answer_windows(
        self,
        windows: Iterable[Sequence[str]],
        *,
        neutral_band: tuple[float, float] | None = None,
    ) -> Iterator[Answers]:
        """Answer window after window, tokenising the next while the network reads the last.

        Args:
            windows: groups of texts, each small enough to be held in memory; may be endless.
            neutral_band: as `predict`.

        Yields:
            The answers to each window, in order.

        Raises:
            TypeError, ValueError: as `predict`.
        """
        if neutral_band is not None:
            self._check_band(neutral_band)
        workers = ThreadPoolExecutor(self._threads)
        try:
            pending: tuple[Encoded, list[Batch]] | None = None
            for texts in windows:
                encoded = self.encoder.encode(texts)
                following = self._start(encoded.token_ids, workers)
                if pending is not None:
                    yield self._answers(*pending, neutral_band)
                pending = encoded, following
            if pending is not None:
                yield self._answers(*pending, neutral_band)
        finally:
            workers.shutdown(cancel_futures=True)  # after Ctrl-C nothing is waited for

    def _start(
        self, token_ids: Sequence[Sequence[int]], workers: ThreadPoolExecutor
    ) -> list[Batch]:
        """Have the network read texts of any lengths, the longest first."""
        order = sorted(range(len(token_ids)), key=lambda i: -len(token_ids[i]))
        batches = []
        start = 0
        while start < len(order):
            longest = len(token_ids[order[start]])
            positions = order[start : start + max(1, min(BATCH_TEXTS, self._batch_ids // longest))]
            ids = pad_sequences([token_ids[i] for i in positions], padding="post")
            batches.append((positions, workers.submit(self._run, ids)))
            start += len(positions)
        return batches

    def _run(self, token_ids: np.ndarray) -> np.ndarray:
        return self._session.run(["probabilities"], {"token_ids": token_ids})[0]

    def _gathered(self, texts: int, batches: list[Batch]) -> np.ndarray:
        probabilities = np.zeros((texts, len(self.labels)), "float32")
        for positions, batch in batches:
            probabilities[positions] = batch.result()
        return probabilities

    def _answers(
        self,
        encoded: Encoded,
        batches: list[Batch],
        neutral_band: tuple[float, float] | None,
    ) -> Answers:
        return self._named(encoded, self._gathered(len(encoded.token_ids), batches), neutral_band)

    def _named(
        self,
        counted: "Encoded | Answers",
        probabilities: np.ndarray,
        neutral_band: tuple[float, float] | None = None,
    ) -> Answers:
        """The answers that these probabilities come to."""
        names: list[Any] = [self.labels[i] for i in probabilities.argmax(axis=1)]
        values = self.manifest.label_values
        if neutral_band is not None:
            low, high = neutral_band
            positive = probabilities[:, int(np.argmax(values))]
            between = (low < positive) & (positive < high)
            names = [NEUTRAL if b else name for b, name in zip(between, names, strict=True)]
        return Answers(
            names,
            None if values is None else probabilities.astype("float64") @ np.array(values),
            probabilities,
            counted.truncated,
            counted.words,
            counted.oov,
        )

    def _check_band(self, band: tuple[float, float]) -> None:
        low, high = band
        if not 0 <= low < high <= 1:
            raise ValueError(
                f"Expected a neutral band with 0 <= LOW < HIGH <= 1. Received: {low:g},{high:g}"
            )
        if len(self.labels) != 2 or self.manifest.label_values is None:
            raise ValueError(
                "A neutral band needs a model with a positive and a negative label. "
                f"Received one with: {', '.join(self.labels)}."
            )


def batch_ids(session: Any) -> int:
    """The most ids, padding included, that a batch for this ONNX Runtime session should have."""
    return int(session.get_modelmeta().custom_metadata_map.get(BATCH_IDS_KEY, BATCH_IDS))


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _rebuilt(artifact: Artifact, threads: int) -> Predictor:
    return Predictor(artifact, threads=threads)


def load(folder: str | Path | None = None, *, threads: int | None = None) -> Predictor:
    """Load a saved model: `Predictor.load`."""
    return Predictor.load(folder, threads=threads)
