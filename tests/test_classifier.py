"""`SentimentClassifier` is a scikit-learn estimator."""

import copy
import dataclasses
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

import sentiment
from sentiment.artifact import ArtifactError, load_artifact
from sentiment.classifier import SentimentClassifier
from sentiment.data import Reviews, bundled
from sentiment.fitting import default_epochs, predict_token_ids

GOOD = ("good", "great", "lovely", "superb", "moving")
BAD = ("bad", "awful", "dull", "boring", "dreadful")
THINGS = ("film", "plot", "ending", "cast")
TEXTS = [f"what a {word} {thing}" for thing in THINGS for pair in zip(GOOD, BAD, strict=True)
         for word in pair]  # fmt: skip
IS_GOOD = [1, 0] * (len(TEXTS) // 2)
HELD_OUT = ["a superb story", "a dreadful story", "so lovely", "so dull"]

# The smallest network that learns these texts, in about a second.
SMALL = {
    "model": "gru",
    "units": 4,
    "embedding_dim": 8,
    "pooling": "max",
    "epochs": 12,
    "batch_size": 4,
    "learning_rate": 0.05,
    "ema": None,
    "dropout": 0.0,
    "patience": 12,
}
ONE_EPOCH = SMALL | {"model": "rnn", "units": 2, "embedding_dim": 2, "epochs": 1}


def small(**settings) -> SentimentClassifier:
    return SentimentClassifier(**SMALL | settings)


@pytest.fixture(scope="module")
def fitted() -> SentimentClassifier:
    return small(seed=2).fit(TEXTS, IS_GOOD)


# ------------------------------------------------------------------------------------- scikit-learn


def test_get_params_are_the_arguments():
    params = SentimentClassifier().get_params()
    assert params["model"] == "bilstm"
    assert params["units"] is None
    assert set(params) >= {"pooling", "num_words", "max_length", "epochs", "seed", "class_weight"}
    assert small().get_params() == params | SMALL


def test_set_params():
    classifier = small()
    assert classifier.set_params(units=9, model="lstm") is classifier
    assert classifier.get_params() == SentimentClassifier().get_params() | SMALL | {
        "units": 9,
        "model": "lstm",
    }
    with pytest.raises(ValueError, match="Invalid parameter 'width'"):
        classifier.set_params(width=3)


def test_clone_is_unfitted_and_equal(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(TEXTS)


def test_is_a_classifier(fitted):
    assert is_classifier(fitted)
    assert fitted.score(TEXTS, IS_GOOD) == np.mean(fitted.predict(TEXTS) == IS_GOOD)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_not_fitted(method):
    with pytest.raises(NotFittedError, match="^This SentimentClassifier instance is not fitted"):
        getattr(small(), method)(TEXTS)


def test_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        small().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_cross_val_score():
    scores = cross_val_score(small(), TEXTS, IS_GOOD, cv=2, error_score="raise")
    assert scores.shape == (2,)
    assert scores.mean() > 0.8


@pytest.mark.slow
def test_cross_val_score_of_str_labels_and_probabilities():
    labels = np.array(["negative", "positive"])[IS_GOOD]
    scores = cross_val_score(
        small(), np.array(TEXTS), labels, cv=2, scoring="roc_auc", error_score="raise"
    )
    assert scores.mean() > 0.8


@pytest.mark.slow
def test_grid_search_over_an_array(tmp_path):
    grid = {"units": np.array([8, 12]), "dropout": np.array([0.0, 0.25], "float32")}
    search = GridSearchCV(SentimentClassifier(**ONE_EPOCH), grid, cv=2, error_score="raise")
    search.fit(TEXTS, IS_GOOD)
    search.best_estimator_.save(tmp_path / "best")
    settings = load_artifact(tmp_path / "best").manifest.settings
    assert {name: settings[name] for name in grid} == search.best_params_


@pytest.mark.slow
def test_grid_search():
    grid = [
        {"units": [2, 3], "model": ["rnn"], "pooling": ["last"]},
        {"units": [4], "model": ["gru"], "pooling": ["mean"]},
    ]
    search = GridSearchCV(SentimentClassifier(**ONE_EPOCH), grid, cv=2, error_score="raise")
    search.fit(TEXTS, IS_GOOD)
    assert len(search.cv_results_["params"]) == 3
    best = search.best_estimator_
    assert {name: best.get_params()[name] for name in grid[0]} == search.best_params_
    assert best.model_.name == search.best_params_["model"]
    assert best.model_.get_layer("dropout_output").input.shape[-1] == search.best_params_["units"]
    assert search.predict(HELD_OUT).shape == (4,)


# ---------------------------------------------------------------------------------------- learning


def test_learns(fitted):
    assert fitted.predict(TEXTS).tolist() == IS_GOOD
    assert fitted.predict(HELD_OUT).tolist() == [1, 0, 1, 0]


def test_fit_returns_itself():
    classifier = SentimentClassifier(**ONE_EPOCH)
    assert classifier.fit(TEXTS, IS_GOOD) is classifier


def test_parameters_are_not_changed_by_fitting(fitted):
    assert fitted.get_params() == small(seed=2).get_params()


def test_probabilities(fitted):
    probabilities = fitted.predict_proba(HELD_OUT)
    assert probabilities.shape == (4, 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert fitted.classes_[probabilities.argmax(axis=1)].tolist() == [1, 0, 1, 0]


def test_onnx_answers_are_those_of_keras(fitted):
    ids = fitted.predictor_.encoder.encode(TEXTS).token_ids
    np.testing.assert_allclose(
        fitted.predict_proba(TEXTS), predict_token_ids(fitted.model_, ids), atol=1e-5
    )


def test_same_seed_same_network():
    first, second, other = (
        SentimentClassifier(**ONE_EPOCH, seed=seed).fit(TEXTS, IS_GOOD) for seed in (3, 3, 4)
    )
    for a, b in zip(first.model_.get_weights(), second.model_.get_weights(), strict=True):
        assert (a == b).all()
    assert (first.predict_proba(TEXTS) == second.predict_proba(TEXTS)).all()
    assert (first.predict_proba(TEXTS) != other.predict_proba(TEXTS)).any()


def test_refitting_forgets():
    classifier = SentimentClassifier(**ONE_EPOCH).fit(TEXTS, IS_GOOD)
    classifier.fit(TEXTS, ["up" if good else "down" for good in IS_GOOD])
    fresh = SentimentClassifier(**ONE_EPOCH).fit(TEXTS, ["up" if g else "down" for g in IS_GOOD])
    assert classifier.classes_.tolist() == ["down", "up"]
    assert (classifier.predict_proba(TEXTS) == fresh.predict_proba(TEXTS)).all()


def test_default_epochs_are_used():
    classifier = SentimentClassifier(**ONE_EPOCH | {"epochs": None, "batch_size": 2})
    classifier.set_params(patience=100).fit(TEXTS, IS_GOOD)
    trained = len(TEXTS) - 4  # a tenth is held out
    assert len(classifier.result_.history) == default_epochs(trained, 2) == 20


def test_settings_reach_network_and_encoder():
    classifier = SentimentClassifier(
        **ONE_EPOCH | {"model": "bilstm", "layers": 2, "merge": "sum", "units": 3},
        num_words=10,
        max_length=6,
        head_share=0.5,
    ).fit(TEXTS, IS_GOOD)
    assert classifier.model_.name == "bilstm"
    assert classifier.model_.get_layer("bilstm_2").output.shape == (None, None, 3)
    assert classifier.predictor_.encoder.vocab_size == 10
    assert classifier.predictor_.encoder.max_length == 6
    assert classifier.predictor_.encoder.head_share == 0.5


def test_on_epoch_hears_every_epoch():
    heard = []
    classifier = SentimentClassifier(**ONE_EPOCH | {"epochs": 3, "patience": 3})
    classifier.fit(TEXTS, IS_GOOD, on_epoch=heard.append)
    assert [report.epoch for report in heard] == [1, 2, 3]
    assert tuple(heard) == classifier.result_.history


# ------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("negative", "positive", "kind"),
    [
        (0, 1, np.integer),
        (np.int64(0), np.int64(1), np.integer),
        (np.int8(-1), np.int8(1), np.integer),
        ("negative", "positive", str),
        (1, 5, np.integer),
        (2, 10, np.integer),  # alphabetical would be 10, 2
        (False, True, np.bool_),
        (0.5, 2.5, np.floating),
    ],
)
def test_labels_keep_type_and_order(negative, positive, kind):
    labels = [positive if good else negative for good in IS_GOOD]
    classifier = SentimentClassifier(**ONE_EPOCH).fit(TEXTS, labels)
    assert classifier.classes_.tolist() == [negative, positive]
    predicted = classifier.predict(TEXTS)
    assert predicted.shape == (len(TEXTS),)
    assert all(isinstance(label, kind) for label in predicted)
    assert set(predicted.tolist()) <= {negative, positive}


def test_classes_follow_the_order_of_the_labels():
    labels = [["positive", "neutral", "negative"][i % 3] for i in range(len(TEXTS))]
    classifier = SentimentClassifier(**ONE_EPOCH).fit(TEXTS, labels)
    assert classifier.classes_.tolist() == ["negative", "neutral", "positive"]
    assert classifier.predictor_.labels == ("negative", "neutral", "positive")
    assert classifier.predict_proba(TEXTS).shape == (len(TEXTS), 3)


def test_labels_without_order_are_alphabetical():
    labels = [["hotels", "books", "food"][i % 3] for i in range(len(TEXTS))]
    classifier = SentimentClassifier(**ONE_EPOCH).fit(TEXTS, labels)
    assert classifier.classes_.tolist() == ["books", "food", "hotels"]
    assert classifier.predictor_.answers(TEXTS).scores is None


@pytest.mark.parametrize("index", [range(len(TEXTS)), range(100, 100 + len(TEXTS))])
def test_pandas(index):
    table = pd.DataFrame({"text": TEXTS, "label": IS_GOOD}, index=index)
    from_pandas = SentimentClassifier(**ONE_EPOCH).fit(table["text"], table["label"])
    from_lists = SentimentClassifier(**ONE_EPOCH).fit(TEXTS, IS_GOOD)
    assert (from_pandas.predict_proba(table["text"]) == from_lists.predict_proba(TEXTS)).all()
    assert from_pandas.classes_.tolist() == [0, 1]


# -------------------------------------------------------------------------------------- validation


def test_a_tenth_is_held_out(fitted):
    splits = fitted._artifact.manifest.data["splits"]
    assert splits["train"]["texts"] == 36
    assert splits["train"]["labels"] == {"0": 18, "1": 18}
    assert splits["validation"]["texts"] == 4
    assert splits["validation"]["labels"] == {"0": 2, "1": 2}


def test_validation_given():
    classifier = SentimentClassifier(**ONE_EPOCH)
    classifier.fit(TEXTS, IS_GOOD, validation=(HELD_OUT, [1, 0, 1, 0]))
    splits = classifier._artifact.manifest.data["splits"]
    assert splits["train"]["texts"] == len(TEXTS)
    assert splits["validation"]["texts"] == 4
    assert splits["validation"]["sha256"] == Reviews(HELD_OUT, ["1", "0", "1", "0"]).sha256()


def test_validation_decides_on_the_best_epoch():
    """With all labels of validation wrong, learning makes it worse from the start."""
    settings = {"patience": 2, "learning_rate": 0.02, "warmup": 0.0}
    right = small(**settings).fit(TEXTS, IS_GOOD, validation=(TEXTS, IS_GOOD))
    wrong = small(**settings).fit(TEXTS, IS_GOOD, validation=(TEXTS, [1 - g for g in IS_GOOD]))
    assert right.result_.best_epoch > wrong.result_.best_epoch
    assert wrong.result_.stopped_early
    assert wrong.result_.temperature > right.result_.temperature


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("texts", "labels", "error", "message"),
    [
        ("one", [1], TypeError, "Expected a list of texts. Received: one str; write [text] ins"),
        (["a", None], [0, 1], TypeError, "Expected texts. Received: None at position 1"),
        (["a", b"b"], [0, 1], TypeError, "Expected texts. Received: b'b' at position 1"),
        (["a", "b"], [1], ValueError, "Expected as many labels as texts. Received: 2 texts, 1 la"),
        ([], [], ValueError, "Expected at least one text. Received none."),
        (["a"] * 4, [1] * 4, ValueError, "Expected at least two labels. Received: 1"),
        (["a", "b", "c"], [0, 0, 1], ValueError, "The label '1' has only one text. Expected at l"),
        (["a"] * 4, [0, 1, None, 0], ValueError, "Expected a label for every text. Received: Non"),
        (["a"] * 4, [0, 1, 1, float("nan")], ValueError, "Expected a label for every text. Recei"),
        (["a"] * 4, [0, 1, 1, pd.NA], ValueError, "Expected a label for every text. Received: <NA"),
        (["a"] * 4, [1, "1", 0, 0], ValueError, "Expected labels of one type"),
    ],
)
def test_wrong_texts_and_labels(texts, labels, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        SentimentClassifier(**ONE_EPOCH).fit(texts, labels)


def test_few_texts_of_each_label_are_enough():
    texts, labels = ["good", "great", "bad", "awful"], [1, 1, 0, 0]
    assert SentimentClassifier(**ONE_EPOCH).fit(texts, labels).classes_.tolist() == [0, 1]


def test_validation_label_that_training_lacks():
    message = r"^The validation label '2' does not occur in training\.$"
    with pytest.raises(ValueError, match=message):
        SentimentClassifier(**ONE_EPOCH).fit(TEXTS, IS_GOOD, validation=(["a", "b"], [1, 2]))


def test_one_str_is_refused(fitted):
    with pytest.raises(TypeError, match=r"^Expected a list of texts\. Received: one str"):
        fitted.predict("what a good film")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "transformer"}, "`model` must be one of rnn, lstm, gru, bilstm, bigru, "),
        ({"merge": "sum"}, "Model 'gru' has no setting 'merge'; it has: embedding_dim, units, "),
        ({"units": 0}, "`units` must be a whole number from 1 to 8192. Received: 0"),
        ({"units": 2.5}, "`units` must be a whole number from 1 to 8192. Received: 2.5"),
        ({"layers": 5}, "`layers` must be a whole number from 1 to 4. Received: 5"),
        ({"dropout": 1.5}, "`dropout` must be at least 0 and below 1. Received: 1.5"),
        ({"recurrent_dropout": -0.1}, "`recurrent_dropout` must be at least 0 and below 1. Re"),
        ({"pooling": "min"}, "`pooling` must be one of last, max, mean, max+mean, attention. Rec"),
        ({"num_words": 2}, "`num_words` must be a whole number of at least 3. Received: 2"),
        ({"max_length": 0}, "`max_length` must be a whole number of at least 1. Received: 0"),
        ({"head_share": 1.1}, "`head_share` must be within 0…1. Received: 1.1"),
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1. Received: 0"),
        ({"epochs": -3}, "`epochs` must be a whole number of at least 1. Received: -3"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1. Received: 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a number above 0. Received: 0.0"),
        (
            {"learning_rate": float("nan")},
            "`learning_rate` must be a number above 0. Received: nan",
        ),
        ({"ema": 1.0}, "`ema` must be None or between 0 and 1. Received: 1.0"),
        ({"class_weight": "even"}, '`class_weight` must be None or "balanced". Received: \'even'),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 2³² − 1. Received: -1"),
        ({"seed": 2**32}, "`seed` must be a whole number from 0 to 2³² − 1. Received: 4294967296"),
        ({"units": 10**9}, "`units` must be a whole number from 1 to 8192. Received: 1000000000"),
        ({"embedding_dim": 8193}, "`embedding_dim` must be a whole number from 1 to 8192. Recei"),
        ({"learning_rate": "0.1"}, "`learning_rate` must be a number above 0. Received: '0.1'"),
        ({"head_share": "all"}, "`head_share` must be within 0…1. Received: 'all'"),
        ({"dropout": "0.1"}, "`dropout` must be at least 0 and below 1. Received: '0.1'"),
        ({"warmup": "0.1"}, "`warmup` must be at least 0 and below 1. Received: '0.1'"),
        ({"ema": "0.1"}, "`ema` must be None or between 0 and 1. Received: '0.1'"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        small(**settings).fit(TEXTS, IS_GOOD)


WHOLE = ("units", "layers", "embedding_dim", "num_words", "max_length", "epochs", "batch_size",
         "patience", "seed")  # fmt: skip


@pytest.mark.parametrize("value", [True, np.True_])
@pytest.mark.parametrize("name", WHOLE)
def test_truth_is_no_number(name, value):
    with pytest.raises(ValueError, match=f"^`{name}` must be a whole number .*Received: .*True"):
        small(**{name: value}).fit(TEXTS, IS_GOOD)


def test_numbers_of_numpy_are_numbers(tmp_path):
    """`np.arange` and `np.linspace` make the grids of a search."""
    shares = {"dropout": 0.25, "recurrent_dropout": 0.125, "head_share": 0.5, "warmup": 0.25}
    shares |= {"learning_rate": 0.0625, "clip_norm": 0.5, "ema": 0.75}
    wholes = {"units": 3, "layers": 2, "embedding_dim": 5, "num_words": 12, "max_length": 6}
    wholes |= {"epochs": 2, "batch_size": 8, "patience": 2, "seed": 7}
    numpy = {name: np.float32(value) for name, value in shares.items()}
    numpy |= {name: np.int64(value) for name, value in wholes.items()}
    first = SentimentClassifier("rnn", **shares, **wholes).fit(TEXTS, IS_GOOD)
    second = SentimentClassifier("rnn", **numpy).fit(TEXTS, IS_GOOD)
    assert (first.predict_proba(TEXTS) == second.predict_proba(TEXTS)).all()
    first.save(tmp_path / "first")
    second.save(tmp_path / "second")
    for name in ("settings", "data"):
        manifests = [load_artifact(tmp_path / f).manifest for f in ("first", "second")]
        assert getattr(manifests[0], name) == getattr(manifests[1], name)
    assert SentimentClassifier.load(tmp_path / "second").get_params()["units"] == 3


# ----------------------------------------------------------------------------------------- storing


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_of_a_fitted_one_answer_alike(fitted, tmp_path, duplicate):
    other = duplicate(fitted)
    assert other.get_params() == fitted.get_params()
    assert other.classes_.tolist() == fitted.classes_.tolist()
    assert (other.predict_proba(TEXTS) == fitted.predict_proba(TEXTS)).all()
    other.save(tmp_path / "copy")
    loaded = sentiment.load(tmp_path / "copy")
    assert (loaded.predict_proba(TEXTS) == fitted.predict_proba(TEXTS)).all()


def test_save_and_load(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = SentimentClassifier.load(tmp_path / "model")
    assert (loaded.predict_proba(TEXTS) == fitted.predict_proba(TEXTS)).all()
    assert loaded.classes_.tolist() == ["0", "1"]  # in the folder labels are text
    assert loaded.predict(HELD_OUT).tolist() == ["1", "0", "1", "0"]
    assert loaded.result_ == fitted.result_
    for a, b in zip(loaded.model_.get_weights(), fitted.model_.get_weights(), strict=True):
        assert (a == b).all()
    given = {name: value for name, value in fitted.get_params().items() if value is not None}
    assert given.items() <= loaded.get_params().items()
    assert (sentiment.load(tmp_path / "model").predict_proba(TEXTS)
            == fitted.predict_proba(TEXTS)).all()  # fmt: skip


def test_loaded_model_is_saved_again(fitted, tmp_path):
    fitted.save(tmp_path / "a", source="reviews.csv", notes=["a note"])
    SentimentClassifier.load(tmp_path / "a").save(tmp_path / "b")
    first, second = load_artifact(tmp_path / "a"), load_artifact(tmp_path / "b")
    assert second.onnx == first.onnx
    assert second.manifest == dataclasses.replace(
        first.manifest, data={**first.manifest.data, "source": "texts in memory", "notes": []}
    )


def test_loaded_model_is_fitted_again(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = SentimentClassifier.load(tmp_path / "model")
    again = clone(loaded).fit(TEXTS, IS_GOOD)
    assert (again.predict_proba(TEXTS) == fitted.predict_proba(TEXTS)).all()


def test_save_with_evaluation(fitted, tmp_path):
    test = Reviews(HELD_OUT, ["1", "0", "1", "0"])
    evaluation, _ = fitted.predictor_.evaluate(test.texts, test.labels)
    fitted.save(tmp_path / "m", source="reviews.csv", test=test, evaluation=evaluation)
    manifest = load_artifact(tmp_path / "m").manifest
    assert manifest.metrics["split"] == "test"
    assert manifest.metrics["n"] == 4
    assert manifest.metrics["accuracy"] == 1
    assert manifest.data["splits"]["test"] == {
        "texts": 4,
        "labels": {"0": 2, "1": 2},
        "sha256": test.sha256(),
    }
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "| test | 4 | 0 2, 1 2 |" in card
    assert "| accuracy | 100.00%" in card


def test_existing_folder_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    with pytest.raises(ArtifactError, match="exists already"):
        fitted.save(tmp_path / "model")
    fitted.save(str(tmp_path / "model"), overwrite=True)


def test_the_shipped_model_is_loaded():
    """A recipe made it, so it has no epochs."""
    shipped = SentimentClassifier.load(bundled("saved_models", "default"))
    assert shipped.classes_.tolist() == ["negative", "neutral", "positive"]
    assert (shipped.result_.history, shipped.result_.stopped_early) == ((), False)


def test_load_of_a_missing_folder(tmp_path):
    with pytest.raises(ArtifactError, match="^There is no model folder "):
        SentimentClassifier.load(tmp_path / "nothing")
