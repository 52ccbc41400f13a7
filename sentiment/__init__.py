"""Sentiment classification with recurrent networks.

    data.py            reviews from files, folders and archives
    treebank.py        phrases and sentences of the Stanford Sentiment Treebank
    leaks.py           training texts that are test texts
    preprocessing.py   texts → ids: Tokenizer, pad_sequences, TextEncoder
    cells.py           recurrent cells that Keras lacks
    models.py          build_lstm, build_bilstm, …: ids → probabilities, in Keras
    pretraining.py     where a network starts from: unlabelled texts, or a saved model
    fitting.py         a built network and encoded texts → a fitted, calibrated network
    stepwise.py        fitting by updates, not epochs
    windows.py         batches of windows from several sources, learned side by side
    checkpoints.py     a run's whole state in a file
    onnx_export.py     a fitted network → an ONNX graph
    artifact.py        the folder that is a saved model
    predictor.py       Predictor: that folder → answers, without TensorFlow
    streaming.py       Stream: a running answer, word by word
    scoring.py         files: every row with its answer
    classifier.py      SentimentClassifier: all of it as a scikit-learn estimator
    recipe.py          models from a checked-in file: recipes/imdb.toml, recipes/default.toml
    ngrams.py          what one to three words in a row say, beside the network
    equations.py       the recurrent cells in NumPy, gate by gate
    gradients.py       the derivative of those equations
    metrics.py         calibration error, Brier score, intervals
    behaviour.py       tests of negation, contrast, typos, …, and how a model does in them
    baselines.py       linear models on n-grams, fastText, VADER
    workers.py         processes that work on tasks, one thread each
    comparison.py      networks and baselines under the same conditions
    memory.py          how far back a network remembers
    explanation.py     what a network did with a text, word by word
    faithfulness.py    whether word effects are true: words deleted in their order
    units.py           which single units tell labels apart, and how saturated the gates are
    plots.py           pictures of training, evaluations and comparisons
    reading_plots.py   pictures of readings, deleted words and single units
    page.py            an HTML page of a reading
    command_line.py    what the commands share

    train.py evaluate.py predict.py explain.py compare.py benchmark.py    the commands, as in:
        python -m sentiment.train

Importing `sentiment` imports none of this; the names below are resolved when they are used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiment.classifier import SentimentClassifier
    from sentiment.predictor import Predictor, load

__version__ = "0.1.0"
__all__ = ["Predictor", "SentimentClassifier", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Predictor", "load"):
        from sentiment import predictor

        return getattr(predictor, name)
    if name == "SentimentClassifier":
        from sentiment.classifier import SentimentClassifier

        return SentimentClassifier
    raise AttributeError(f"module 'sentiment' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
