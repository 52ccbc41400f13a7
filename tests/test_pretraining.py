"""Going on from a saved model: the same words, the same answers, and then better ones."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.base import clone

from sentiment import train
from sentiment.artifact import KERAS_FILE, load_artifact, start_folder
from sentiment.classifier import SentimentClassifier
from sentiment.data import bundled
from sentiment.models import build_model
from sentiment.predictor import Predictor
from sentiment.preprocessing import OOV_ID, TextEncoder, Tokenizer
from sentiment.pretraining import start_from

# word0 … word49 are known to the saved model; "fresh" and "stale" occur twice, "once" does not
TEXTS = ["word1 fresh word2", "word3 stale stale", "fresh word4 once", "word5 word6"] * 1
LABELS = ["positive", "negative", "positive", "negative"]


# ------------------------------------------------------------------------------------------- words


def fitted() -> Tokenizer:
    tokenizer = Tokenizer(6, oov_token="<OOV>", analyzer="reviews")
    tokenizer.fit_on_texts(["a a a a b b b c c d", "e"])  # ids of a, b, c, d are 2 to 5; e has none
    return tokenizer


def test_new_words_get_the_ids_after_the_old_ones():
    tokenizer = fitted()
    before = tokenizer.to_json()
    extended = tokenizer.extended(["x y y e e e a", "x x f"], most=10)
    assert extended.texts_to_sequences(["a b c d e x y f g"]) == [[2, 3, 4, 5, 7, 6, 8, 1, 1]]
    assert extended.vocab_size == 9
    assert extended.word_counts["e"] == 3
    assert extended.word_docs == tokenizer.cut().word_docs | {"e": 1, "x": 2, "y": 1}
    assert tokenizer.to_json() == before


def test_the_most_frequent_new_words_come_first_and_no_more_than_wanted():
    extended = fitted().extended(["z y x x y y", "z z z"], most=2)
    assert extended.texts_to_sequences(["z y x"]) == [[6, 7, 1]]


def test_without_new_words_nothing_changes():
    tokenizer = fitted().cut()
    extended = tokenizer.extended(["a b c new"], most=10)
    assert extended.to_json() == tokenizer.to_json()


def test_encoder_keeps_ids_and_takes_new_lengths():
    encoder = TextEncoder(fitted(), max_length=3)
    extended = encoder.extended(["x x"], most=5, max_length=4, head_share=0.5)
    assert extended.encode(["a x a b c d"]).token_ids == [[2, 6, 4, 5]]
    assert extended.vocab_size == encoder.vocab_size + 1


# ----------------------------------------------------------------------------------------- weights


@pytest.fixture
def saved(model_folder):
    return keras.saving.load_model(model_folder / KERAS_FILE, compile=False)


def started(model_folder, saved, *, labels=("negative", "positive"), more_words=3, **options):
    artifact = load_artifact(model_folder)
    model = build_model(
        "bilstm", saved.get_layer("embedding").input_dim + more_words, len(labels), seed=9,
        **artifact.manifest.settings,
    )  # fmt: skip
    start_from(model, saved, **options)
    return model


SAME = {"values": (-1.0, 1.0), "saved_values": (-1.0, 1.0), "same_labels": True}


def test_at_first_it_answers_as_the_saved_one(model_folder, saved):
    """New words too: they start as the unknown word."""
    model = started(model_folder, saved, **SAME)
    rows = saved.get_layer("embedding").input_dim
    ids = np.array([[2, 5, rows, 9, rows + 2], [rows + 1, 3, 4, 0, 0]], "int32")
    unknown = np.where(ids >= rows, OOV_ID, ids)
    np.testing.assert_array_equal(model.predict_on_batch(ids), saved.predict_on_batch(unknown))


def test_labels_between_others_start_between_them(model_folder, saved):
    stars = ("1", "2", "3", "4", "5")
    values = (-1.0, -0.5, 0.0, 0.5, 1.0)
    options = {"values": values, "saved_values": (-1.0, 1.0), "same_labels": False}
    model = started(model_folder, saved, labels=stars, **options)
    kernel, bias = model.get_layer("probabilities").get_weights()
    (negative, positive), (low, high) = saved.get_layer("probabilities").get_weights()[0].T, (
        saved.get_layer("probabilities").get_weights()[1]
    )  # fmt: skip
    for column, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        expected = (1 - share) * negative + share * positive
        np.testing.assert_allclose(kernel[:, column], expected, rtol=1e-6)
        assert bias[column] == pytest.approx((1 - share) * low + share * high, rel=1e-6)


def test_other_labels_start_anew(model_folder, saved):
    fresh = started(model_folder, saved, labels=("a", "b", "c"), values=None,
                    saved_values=(-1.0, 1.0), same_labels=False)  # fmt: skip
    again = build_model("bilstm", 55, 3, seed=9, **load_artifact(model_folder).manifest.settings)
    for found, expected in zip(
        fresh.get_layer("probabilities").get_weights(),
        again.get_layer("probabilities").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        fresh.get_layer("bilstm_1").get_weights()[0], saved.get_layer("bilstm_1").get_weights()[0]
    )


def test_another_network_is_refused(saved):
    other = build_model("gru", 60, 2, seed=1, units=6, embedding_dim=5)
    with pytest.raises(ValueError, match=r"^The saved network has no layer 'gru_1'\.$"):
        start_from(other, saved, **SAME)


# -------------------------------------------------------------------------------------- classifier


def test_classifier_goes_on_from_a_folder(model_folder, tmp_path):
    classifier = SentimentClassifier(
        start_from=model_folder, epochs=1, learning_rate=1e-9, max_length=20, ema=None, seed=3
    )
    classifier.fit(TEXTS, LABELS, validation=(["word1 word2", "word3"], ["positive", "negative"]))
    before = Predictor.load(model_folder)
    texts = ["word7 word1 unheard", "fresh stale", "word3"]
    temperature = classifier.result_.temperature
    answers = (classifier.predict_proba(texts), before.predict_proba(texts))
    odds = [np.log(p[:, 1] / p[:, 0]) for p in answers]
    np.testing.assert_allclose(odds[0] * temperature, odds[1], rtol=2e-3)
    index = classifier.predictor_.encoder.tokenizer.word_index
    old = before.encoder.tokenizer.word_index
    assert index == old | {"fresh": len(old) + 1, "stale": len(old) + 2}
    classifier.save(tmp_path / "model")
    manifest = load_artifact(tmp_path / "model").manifest
    assert manifest.fitting["start"] == model_folder.name
    assert manifest.settings == before.manifest.settings
    again = SentimentClassifier.load(tmp_path / "model")
    np.testing.assert_allclose(
        again.predict_proba(texts), classifier.predict_proba(texts), atol=1e-6
    )


def test_it_learns(model_folder):
    settings = {"epochs": 40, "batch_size": 4, "learning_rate": 0.02, "patience": 40}
    classifier = SentimentClassifier(
        start_from=model_folder, word_dropout=0, dropout=0, max_length=20, **settings
    )
    texts, labels = TEXTS * 5, LABELS * 5
    classifier.fit(texts, labels, validation=(TEXTS, LABELS))
    assert classifier.score(TEXTS, LABELS) == 1


def test_clone_keeps_the_start(model_folder):
    assert clone(SentimentClassifier(start_from=model_folder)).start_from == model_folder


def test_dropout_may_differ_and_width_may_not(model_folder):
    classifier = SentimentClassifier(start_from=model_folder, dropout=0.1)
    assert classifier.builder_settings()["dropout"] == 0.1
    assert classifier.builder_settings()["units"] == 6
    message = f"`units` must be 6, as in {model_folder}, from which the network starts. Received: 7"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SentimentClassifier(start_from=model_folder, units=7).check_settings()
    message = (
        f"`model` must be 'bilstm', as in {model_folder}, from which the network starts. "
        "Received: 'gru'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SentimentClassifier("gru", start_from=model_folder).check_settings()


# ----------------------------------------------------------------------------------------- command


def test_command(model_folder, tmp_path, capsys):
    table = tmp_path / "reviews.csv"
    rows = [f"{text},{label}" for text, label in zip(TEXTS * 6, LABELS * 6, strict=True)]
    unique = [row.replace(",", f" word{i},") for i, row in enumerate(rows)]
    table.write_text("text,label\n" + "\n".join(unique) + "\n")
    out = tmp_path / "out"
    status = train.main(
        ["--from", str(model_folder), "--data", str(table), "--out", str(out), "--epochs", "2"]
    )
    assert status == 0, capsys.readouterr().err
    manifest = load_artifact(out).manifest
    assert (manifest.model, manifest.settings["units"]) == ("bilstm", 6)
    assert manifest.fitting["start"] == model_folder.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "nowhere"], "There is no model folder nowhere."),
        (["--from", "{}", "--model", "lstm"], "`model` must be 'bilstm', as in {}, from which"),
        (["--from", "{}", "--units", "32"], "`units` must be 6, as in {}, from which the network"),
    ],
)
def test_command_refuses(arguments, message, model_folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.replace("{}", str(model_folder)) for argument in arguments]
    assert train.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"python -m sentiment.train: error: {message.replace('{}', str(model_folder))}"
    )
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_default_is_the_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()
    assert start_folder("default") == bundled("saved_models", "default")
    assert start_folder("./default") == Path("./default")
    assert SentimentClassifier(start_from="default").builder_settings()["units"] == 64
