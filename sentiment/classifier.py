"""`SentimentClassifier`: texts and labels in, a calibrated scikit-learn classifier out."""

import dataclasses
import inspect
import numbers
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted

from sentiment.artifact import (
    IN_MEMORY,
    KERAS_FILE,
    Artifact,
    Manifest,
    installed_versions,
    load_artifact,
    misfit,
    pack_network,
    save_artifact,
    start_folder,
)
from sentiment.checkpoints import pretrained_path, remove_files_of_run
from sentiment.data import Reviews, label_values, order_labels
from sentiment.equations import network_of
from sentiment.fitting import (
    EpochReport,
    FitResult,
    check_fit_settings,
    default_epochs,
    fit_model,
)
from sentiment.metrics import Evaluation
from sentiment.models import build_model, is_whole, model_settings
from sentiment.ngrams import fit_table
from sentiment.onnx_export import export_onnx
from sentiment.predictor import Predictor
from sentiment.preprocessing import TextEncoder, checked_texts
from sentiment.pretraining import start_from, start_from_texts
from sentiment.stepwise import StepReport
from sentiment.windows import LONGEST, Corpus

VALIDATION_SHARE = 0.1


class SentimentClassifier(ClassifierMixin, BaseEstimator):
    """A recurrent network that labels texts, with scikit-learn's interface.

    Args:
        model: name of a builder, see `sentiment.models.list_models`.
        units, layers, groups, embedding_dim, word_dropout, dropout, recurrent_dropout,
            bidirectional, merge, pooling, ngrams:
            settings of the builder; `None` takes the builder's default.
        start_from: folder of a saved model to go on from, or `"default"` for the one that ships
            with the package; `model` and the settings of its network must then be the saved ones,
            and are if left out.  Its table of n-grams is kept as it is.  `None` starts from
            nothing, where `python -m sentiment.train` starts from the one that ships.
        num_words: size of the vocabulary, padding and out-of-vocabulary ids included; of a saved
            model, the most words that are added to its vocabulary.
        max_length: the most words read of a text; longer ones keep head and tail.
        head_share: share of `max_length` that the head gets.
        correct_spelling: whether unknown words are read as known ones that differ in a letter, see
            `preprocessing.Tokenizer`; a saved model that does so goes on doing so.
        epochs: the most passes over the training texts; `None` for about 1,000 updates.
        batch_size: texts per update.
        learning_rate: Adam's peak learning rate.
        warmup: share of the updates over which the learning rate rises.
        clip_norm: largest norm of a gradient.
        ema: decay of the running average of weights, or `None` for no average.
        class_weight: `"balanced"` for labels of very different frequency, or `None`.
        patience: epochs without improvement after which fitting stops.
        seed: of the first weights, dropout, the order of batches and the split for validation.

    Attributes:
        classes_: the labels, in the order of the columns of `predict_proba`: negative, neutral,
            positive; numbers by value; others alphabetically.
        model_: the fitted Keras model.
        result_: history, best epoch and temperature.
        predictor_: answers through ONNX Runtime.

    Source of the interface: scikit-learn's developer guide.
    """

    def __init__(
        self,
        model: str = "bilstm",
        *,
        units: int | None = None,
        layers: int | None = None,
        groups: int | None = None,
        embedding_dim: int | None = None,
        word_dropout: float | None = None,
        dropout: float | None = None,
        recurrent_dropout: float | None = None,
        bidirectional: bool | None = None,
        merge: str | None = None,
        pooling: str | None = None,
        ngrams: int | None = None,
        start_from: str | Path | None = None,
        num_words: int = 20_000,
        max_length: int = 400,
        head_share: float = 0.25,
        correct_spelling: bool = False,
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        warmup: float = 0.1,
        clip_norm: float = 1.0,
        ema: float | None = 0.99,
        class_weight: str | None = None,
        patience: int = 3,
        seed: int = 0,
    ):
        self.model = model
        self.units = units
        self.layers = layers
        self.groups = groups
        self.embedding_dim = embedding_dim
        self.word_dropout = word_dropout
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.bidirectional = bidirectional
        self.merge = merge
        self.pooling = pooling
        self.ngrams = ngrams
        self.start_from = start_from
        self.num_words = num_words
        self.max_length = max_length
        self.head_share = head_share
        self.correct_spelling = correct_spelling
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.clip_norm = clip_norm
        self.ema = ema
        self.class_weight = class_weight
        self.patience = patience
        self.seed = seed

    def builder_settings(self) -> dict[str, Any]:
        """The builder's settings, its defaults where none is given.

        Raises:
            ValueError: the builder is unknown or has no such setting.
        """
        return self._builder_settings(self._start())

    def _builder_settings(self, start: Artifact | None) -> dict[str, Any]:
        settings = model_settings(self.model) if start is None else start.manifest.settings
        given = {name: getattr(self, name) for name in _BUILDER_SETTINGS}
        given = {name: value for name, value in given.items() if value is not None}
        for name in given:
            if name not in settings:
                raise ValueError(
                    f"Model {self.model!r} has no setting {name!r}; it has: {', '.join(settings)}"
                )
        other = None if start is None else misfit(start.manifest, given)
        if other is not None:
            raise ValueError(
                f"`{other}` must be {settings[other]!r}, as in {start.folder}, from which the "
                f"network starts. Received: {given[other]!r}"
            )
        return settings | given

    def _start(self) -> Artifact | None:
        """The saved model to go on from."""
        if self.start_from is None:
            return None
        model_settings(self.model)  # refuses an unknown builder, whatever the start
        start = load_artifact(start_folder(self.start_from))
        if start.manifest.model != self.model:
            raise ValueError(
                f"`model` must be {start.manifest.model!r}, as in {start.folder}, from which the "
                f"network starts. Received: {self.model!r}"
            )
        return start

    def check_settings(self) -> None:
        """Find out before reading any data whether all settings make sense.

        Raises:
            ValueError: one is unknown or out of range.
        """
        for name, least in (("num_words", 3), ("max_length", 1)):
            value = getattr(self, name)
            if not is_whole(value) or value < least:
                raise ValueError(
                    f"`{name}` must be a whole number of at least {least}. Received: {value!r}"
                )
        if not isinstance(self.head_share, numbers.Real) or not 0 <= self.head_share <= 1:
            raise ValueError(f"`head_share` must be within 0…1. Received: {self.head_share!r}")
        check_fit_settings(**self._fit_settings())
        # Building a tiny vocabulary's network checks the rest where the checks are.
        build_model(self.model, 3, 2, seed=0, **self.builder_settings())

    def _fit_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIT_SETTINGS}

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[Any],
        *,
        validation: tuple[Sequence[str], Sequence[Any]] | None = None,
        unlabelled: Sequence[str] = (),
        checkpoint: Path | None = None,
        resume: bool = False,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        on_step: Callable[[StepReport], None] | None = None,
        on_epoch: Callable[[EpochReport], None] | None = None,
        progress: bool = False,
    ) -> "SentimentClassifier":
        """Learn from labelled texts.

        Args:
            texts: the training texts.
            labels: the label of each: strings or numbers.
            validation: texts and labels that decide on the best epoch and on calibration; `None`
                takes a tenth of the training texts, each label in its share.
            unlabelled: texts of the same kind; they and the training texts give the vocabulary, and
                word vectors and a language model to start from.
            on_step: called now and then while the language model is fitted.
            checkpoint, resume, callbacks, on_epoch, progress: as `fitting.fit_model`; the weights
                to start from are kept beside the checkpoint.  What another run left there is
                removed, unless `resume`.

        Returns:
            The classifier itself.

        Raises:
            TypeError: `texts` is a single string or holds something else than strings.
            ValueError: texts and labels differ in number, there are fewer than two labels, a label
                of validation does not occur in training, a setting is out of range, or there are
                both a saved model and unlabelled texts to start from.
        """
        self.check_settings()
        unlabelled = list(checked_texts(unlabelled))
        if unlabelled and self.start_from is not None:
            raise ValueError(
                "Expected either a saved model to start from or unlabelled texts. "
                f"Received both: {self.start_from} and {len(unlabelled):,} texts"
            )
        texts, labels = _checked_texts(texts, labels)
        if validation is None:
            train, held_out = self._hold_out(labels)
            texts, labels, validation_texts, validation_labels = (
                [texts[i] for i in train],
                [labels[i] for i in train],
                [texts[i] for i in held_out],
                [labels[i] for i in held_out],
            )
        else:
            validation_texts, validation_labels = _checked_texts(*validation)
        by_name = {str(label): label for label in labels}
        names = order_labels(by_name)
        if len(names) < 2:
            raise ValueError(f"Expected at least two labels. Received: {', '.join(names)}")
        unseen = sorted({str(label) for label in validation_labels} - set(names))
        if unseen:
            raise ValueError(f"The validation label {unseen[0]!r} does not occur in training.")

        start = self._start()
        settings = self._builder_settings(start)
        ngrams = settings.get("ngrams") if start is None else 0  # a saved model brings its table
        values = label_values(names)
        if ngrams and values is None:
            raise ValueError(
                "`ngrams` must be 0 for labels without an order. "
                f"Received: {ngrams}, with the labels {', '.join(names)}"
            )

        started = time.perf_counter()
        if checkpoint is not None and not resume:
            remove_files_of_run(checkpoint)
        index = {name: i for i, name in enumerate(names)}
        encoder = self.encoder([*texts, *unlabelled], start)
        model = build_model(self.model, encoder.vocab_size, len(names), seed=self.seed, **settings)
        if start is not None:
            start_from(
                model,
                keras.saving.load_model(start.folder / KERAS_FILE, compile=False),
                values=values,
                saved_values=start.manifest.label_values,
                same_labels=start.manifest.labels == names,
            )
        if unlabelled:
            whole = TextEncoder(encoder.tokenizer, max_length=LONGEST)
            start_from_texts(
                model,
                Corpus.of(whole.encode([*texts, *unlabelled]).token_ids),
                seed=self.seed,
                kept=checkpoint and pretrained_path(checkpoint),
                on_report=on_step,
            )
        epochs = self.epochs or default_epochs(len(texts), self.batch_size)
        train_ids = encoder.encode(texts).token_ids
        train_labels = np.array([index[str(label)] for label in labels])
        table = None
        if ngrams:
            positive = (np.array(values)[train_labels] + 1) / 2
            table = fit_table(train_ids, positive, ngrams=ngrams)
        result = fit_model(
            model,
            train_ids,
            train_labels,
            encoder.encode(validation_texts).token_ids,
            np.array([index[str(label)] for label in validation_labels]),
            **self._fit_settings() | {"epochs": epochs},
            ngrams=table,
            checkpoint=checkpoint,
            resume=resume,
            callbacks=callbacks,
            on_epoch=on_epoch,
            progress=progress,
        )
        self.keep(
            model,
            encoder,
            result,
            labels=np.array([by_name[name] for name in names]),
            splits={
                "train": Reviews(texts, [str(label) for label in labels]),
                "validation": Reviews(
                    validation_texts, [str(label) for label in validation_labels]
                ),
            },
            fitting={
                **self._fit_settings(),
                "start": None if start is None else start.folder.name,
                "epochs": epochs,
                "seconds": round(time.perf_counter() - started, 1),
                "best_epoch": result.best_epoch,
                "history": [dataclasses.asdict(report) for report in result.history],
            },
            settings=settings,
        )
        return self

    def keep(
        self,
        model: keras.Model,
        encoder: TextEncoder,
        result: FitResult,
        *,
        labels: np.ndarray,
        splits: dict[str, Reviews],
        fitting: dict[str, Any],
        settings: dict[str, Any],
    ) -> None:
        """Take a fitted network as this classifier's own.

        Args:
            model: the network, calibrated.
            encoder: what its ids come from.
            result: of fitting it.
            labels: in the order of its outputs; strings or numbers.
            splits: what it was fitted on, by name.
            fitting: what the manifest says of fitting, beside how texts are read.
            settings: the builder's.
        """
        names = tuple(str(label) for label in labels)
        manifest = Manifest(
            model=self.model,
            settings=settings,
            labels=names,
            label_values=label_values(names),
            fitting={
                **{name: getattr(self, name) for name in _TEXT_SETTINGS},
                **fitting,
                "temperature": result.temperature,
                "parameters": model.count_params(),
            },
            data={
                "source": IN_MEMORY,
                "own_test_split": False,
                "splits": {name: _described(part) for name, part in splits.items()},
                "notes": [],
            },
            metrics={},
            versions=installed_versions("keras", "tensorflow", "onnxruntime", "numpy"),
        )
        onnx = export_onnx(model)
        weights = pack_network(network_of(model), onnx)
        artifact = Artifact(Path("in memory"), manifest, encoder, onnx, weights)
        self._set_fitted(artifact, model, result, labels)

    def encoder(self, texts: list[str], start: Artifact | None) -> TextEncoder:
        """The encoder of these texts, or a saved model's with their words added."""
        options = {
            "max_length": int(self.max_length),
            "head_share": float(self.head_share),
            "correct_spelling": bool(self.correct_spelling),
        }
        if start is not None:
            return start.encoder.extended(texts, most=int(self.num_words), **options)
        return TextEncoder.fit(texts, num_words=int(self.num_words), **options)

    def _set_fitted(
        self, artifact: Artifact, model: keras.Model, result: FitResult, classes: np.ndarray
    ) -> None:
        self._artifact = artifact
        self.model_ = model
        self.result_ = result
        self.classes_ = classes
        self.predictor_ = Predictor(artifact)

    def _hold_out(self, labels: list[Any]) -> tuple[list[int], list[int]]:
        counts = Counter(map(str, labels))
        rare = min(counts, key=counts.__getitem__)
        if counts[rare] < 2:
            raise ValueError(
                f"The label {rare!r} has only one text. Expected at least two, one of them for "
                "validation."
            )
        size = max(len(counts), round(VALIDATION_SHARE * len(labels)))
        train, held_out = train_test_split(
            range(len(labels)),
            test_size=size,
            random_state=self.seed,
            stratify=[str(label) for label in labels],
        )
        return sorted(train), sorted(held_out)

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """The label of each text, of the type of the labels given to `fit`.

        Raises:
            sklearn.exceptions.NotFittedError: `fit` was not called.
            TypeError: `texts` is a single string or holds something else than strings.
        """
        best = self.predict_proba(texts).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities, float32 (texts, num_classes), columns as in `classes_`.

        Raises: as `predict`.
        """
        check_is_fitted(self, "predictor_")
        return self.predictor_.predict_proba(texts)

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        source: str = IN_MEMORY,
        own_test_split: bool = False,
        notes: Sequence[str] = (),
        test: Reviews | None = None,
        evaluation: Evaluation | None = None,
        evaluated_split: str = "test",
        metrics: dict[str, Any] | None = None,
    ) -> None:
        """Write the model folder, for `sentiment.load` and `python -m sentiment.predict`.

        Args:
            folder: where to.
            overwrite: whether a model folder may be replaced.
            source: where the reviews came from, for the model card.
            own_test_split: whether that source has a test split of its own, so that
                `python -m sentiment.evaluate` measures on the same texts again.
            notes: remarks on the data, for the model card.
            test: the reviews kept for the test, for the model card.
            evaluation: how good the model is on them, for the model card.
            metrics: more figures for the card, as the manifest holds them.
            evaluated_split: `"test"`, or `"validation"` where there was no test split.

        Raises:
            sklearn.exceptions.NotFittedError: `fit` was not called.
            sentiment.artifact.ArtifactError: the folder exists or cannot be written.
        """
        check_is_fitted(self, "predictor_")
        manifest = self._artifact.manifest
        splits = manifest.data["splits"]
        if test is not None and len(test):
            splits = splits | {"test": _described(test)}
        metrics = dict(metrics or {})
        if evaluation is not None:
            metrics |= {"split": evaluated_split, **dataclasses.asdict(evaluation)}
        manifest = dataclasses.replace(
            manifest,
            data={
                "source": source,
                "own_test_split": own_test_split,
                "splits": splits,
                "notes": list(notes),
            },
            metrics=metrics,
        )
        save_artifact(
            Path(folder),
            dataclasses.replace(self._artifact, manifest=manifest),
            self._save_keras,
            overwrite=overwrite,
        )

    def _save_keras(self, path: Path) -> None:
        """Save the network alone: a fitted one brings its optimiser, of three times its size."""
        network = keras.models.clone_model(self.model_)
        network.set_weights(self.model_.get_weights())
        network.save(path)

    @classmethod
    def load(cls, folder: str | Path) -> "SentimentClassifier":
        """Read a model folder.  Labels come back as strings.

        Raises:
            sentiment.artifact.ArtifactError: the folder is missing, not whole or changed.
        """
        artifact = load_artifact(folder)
        manifest = artifact.manifest
        fitting = manifest.fitting
        names = (*_TEXT_SETTINGS, *_FIT_SETTINGS)
        # A recipe has phases instead of epochs, and older models fewer settings.
        own = {name: fitting[name] for name in names if name in fitting}
        classifier = cls(manifest.model, **manifest.settings, **own)
        model = keras.saving.load_model(artifact.folder / KERAS_FILE, compile=False)
        history = tuple(EpochReport(**report) for report in fitting.get("history", ()))
        stopped_early = len(history) < (fitting.get("epochs") or 0)
        best_epoch = fitting.get("best_epoch", 0)
        result = FitResult(history, best_epoch, fitting["temperature"], stopped_early)
        classifier._set_fitted(artifact, model, result, np.array(manifest.labels))
        return classifier


_TEXT_SETTINGS = ("num_words", "max_length", "head_share", "correct_spelling")
_FIT_SETTINGS = tuple(inspect.signature(check_fit_settings).parameters)
_BUILDER_SETTINGS = tuple(
    name
    for name in inspect.signature(SentimentClassifier).parameters
    if name not in ("model", "start_from", *_TEXT_SETTINGS, *_FIT_SETTINGS)
)


def _checked_texts(texts: Sequence[str], labels: Sequence[Any]) -> tuple[list[str], list[Any]]:
    texts, labels = list(checked_texts(texts)), list(labels)
    if len(texts) != len(labels):
        raise ValueError(
            f"Expected as many labels as texts. Received: {len(texts)} texts, {len(labels)} labels"
        )
    if not texts:
        raise ValueError("Expected at least one text. Received none.")
    for position, label in enumerate(labels):
        if _is_missing(label):
            raise ValueError(
                f"Expected a label for every text. Received: {label!r} at position {position}"
            )
    if len({isinstance(label, str) for label in labels}) > 1:
        raise ValueError("Expected labels of one type. Received: strings and others.")
    return texts, labels


def _is_missing(label: Any) -> bool:
    """Whether it is what a table has where there is no value: None, NaN or pandas' NA."""
    try:
        return label is None or bool(label != label)
    except TypeError:  # NA has no truth value
        return True


def _described(reviews: Reviews) -> dict[str, Any]:
    """What the manifest says of a split."""
    counts = Counter(reviews.labels)
    return {
        "texts": len(reviews),
        "labels": {name: counts[name] for name in order_labels(counts)},
        "sha256": reviews.sha256(),
    }
