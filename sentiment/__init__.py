"""Sentiment classification with recurrent networks.

    data.py            reviews from files, folders and archives
    preprocessing.py   texts → ids: Tokenizer, pad_sequences, TextEncoder
    cells.py           recurrent cells that Keras lacks
    models.py          build_lstm, build_bilstm, …: ids → probabilities, in Keras
    fitting.py         a built network and encoded texts → a fitted, calibrated network
    onnx_export.py     a fitted network → an ONNX graph
    artifact.py        the folder that is a saved model
    predictor.py       Predictor: that folder → answers, without TensorFlow
    scoring.py         files: every row with its answer
    classifier.py      SentimentClassifier: all of it as a scikit-learn estimator
    equations.py       the recurrent cells in NumPy, gate by gate
    metrics.py         calibration error, Brier score, intervals
    baselines.py       linear models on n-grams, fastText, VADER
    workers.py         processes that work on tasks, one thread each
    comparison.py      networks and baselines under the same conditions
    memory.py          how far back a network remembers
    plots.py           pictures of evaluations and comparisons
    command_line.py    what the commands share

    train.py evaluate.py predict.py compare.py benchmark.py    the commands, as in:
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
