"""Going on from a saved model: the same words, the same answers, and then better ones."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.base import clone

from sentiment import artifact, train
from sentiment.artifact import KERAS_FILE, ArtifactError, load_artifact, start_folder
from sentiment.classifier import _BUILDER_SETTINGS, SentimentClassifier
from sentiment.data import bundled
from sentiment.models import build_model
from sentiment.predictor import Predictor
from sentiment.preprocessing import OOV_ID, TextEncoder, Tokenizer, pad_sequences
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


# ----------------------------------------------------------------------------------------- n-grams


THINGS = ("film", "plot", "cast", "end", "song") * 4
PRAISE = [f"a {thing} that is not bad {i}" for i, thing in enumerate(THINGS)]
BLAME = [f"a {thing} that is not good {i}" for i, thing in enumerate(THINGS)]


@pytest.fixture(scope="module")
def with_ngrams(tmp_path_factory) -> Path:
    """Folder of a fitted model with a table of n-grams, which know that "not bad" is praise."""
    tiny = {"units": 4, "embedding_dim": 4, "epochs": 1, "max_length": 12, "ngrams": 300}
    labels = ["positive"] * 20 + ["negative"] * 20
    held_out = PRAISE[:9] + BLAME[:9], labels[11:29]
    classifier = SentimentClassifier(**tiny).fit(PRAISE + BLAME, labels, validation=held_out)
    folder = tmp_path_factory.mktemp("models") / "ngrams"
    classifier.save(folder)
    return folder


def test_ngrams_at_first_say_what_they_said(with_ngrams):
    settings = {"epochs": 1, "learning_rate": 1e-9, "max_length": 12, "ema": None}
    classifier = SentimentClassifier(start_from=with_ngrams, **settings)
    classifier.fit(["a fresh film"] * 3 + ["fresh"] * 3, ["negative"] * 3 + ["positive"] * 3)
    before = Predictor.load(with_ngrams)
    answers = (classifier.predict_proba(PRAISE + BLAME), before.predict_proba(PRAISE + BLAME))
    odds = [np.log(p[:, 1] / p[:, 0]) for p in answers]
    np.testing.assert_allclose(odds[0] * classifier.result_.temperature, odds[1], rtol=2e-3)
    assert odds[1][:20].min() > odds[1][20:].max()


def test_ngrams_are_kept_and_their_score_learns(with_ngrams, tmp_path):
    """Texts that say the opposite; a table made from them would, too."""
    texts = PRAISE + BLAME + [f"a fresh {text}" for text in PRAISE]
    labels = ["1"] * 20 + ["5"] * 20 + ["3"] * 20
    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 0.02, "max_length": 12, "ema": None}
    classifier = SentimentClassifier(start_from=with_ngrams, **settings).fit(texts, labels)
    saved = keras.saving.load_model(with_ngrams / KERAS_FILE, compile=False)
    table = saved.get_layer("ngrams").get_weights()
    assert table[1].any()
    for found, expected in zip(classifier.model_.get_layer("ngrams").get_weights(), table,
                               strict=True):  # fmt: skip
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    low, high = saved.get_layer("probabilities").get_weights()[0][-1]
    row = classifier.model_.get_layer("probabilities").get_weights()[0][-1]
    row *= classifier.result_.temperature
    assert high > low  # n-grams of praise spoke for the second label
    assert row[2] - row[0] < high - low - 0.05
    index = Predictor.load(with_ngrams).encoder.tokenizer.word_index
    assert classifier.predictor_.encoder.tokenizer.word_index == index | {"fresh": len(index) + 1}
    classifier.save(tmp_path / "model")
    again = SentimentClassifier.load(tmp_path / "model")
    assert again.ngrams == 300
    ids = pad_sequences(again.predictor_.encoder.encode(texts).token_ids, padding="post")
    np.testing.assert_allclose(
        again.predict_proba(texts), classifier.model_.predict_on_batch(ids), atol=1e-6
    )


def test_ngrams_of_labels_between_start_between(with_ngrams):
    saved = keras.saving.load_model(with_ngrams / KERAS_FILE, compile=False)
    model = build_model("bilstm", saved.get_layer("embedding").input_dim, 3, units=4,
                        embedding_dim=4, ngrams=300)  # fmt: skip
    start_from(model, saved, values=(-1, 0, 1), saved_values=(-1, 1), same_labels=False)
    low, high = saved.get_layer("probabilities").get_weights()[0][-1]
    row = model.get_layer("probabilities").get_weights()[0][-1]
    np.testing.assert_allclose(row, [low, (low + high) / 2, high], rtol=1e-6)


def test_ngrams_serve_labels_without_an_order_too(with_ngrams):
    settings = {"epochs": 1, "max_length": 12}
    classifier = SentimentClassifier(start_from=with_ngrams, **settings)
    classifier.fit(PRAISE + BLAME, ["a"] * 20 + ["b"] * 20)
    assert classifier.model_.get_layer("ngrams").get_weights()[1].any()
    assert classifier.predictor_.labels == ("a", "b")


# ----------------------------------------------------------------------------------------- command


@pytest.fixture
def table(tmp_path) -> Path:
    """A CSV of 24 different reviews."""
    path = tmp_path / "reviews.csv"
    rows = [f"{text},{label}" for text, label in zip(TEXTS * 6, LABELS * 6, strict=True)]
    unique = [row.replace(",", f" word{i},") for i, row in enumerate(rows)]
    path.write_text("text,label\n" + "\n".join(unique) + "\n")
    return path


@pytest.fixture
def shipped(model_folder, monkeypatch) -> Path:
    """A tiny model in the place of the one that ships: a `bilstm` with 6 units."""
    monkeypatch.setattr(artifact, "bundled", lambda *_: model_folder)
    return model_folder


SHIPPED = "the model that ships with the package"


def test_settings_of_the_network_are_those_of_the_classifier():
    names = {name.replace("-", "_") for name, _, _ in train.NETWORK_SETTINGS} | {"bidirectional"}
    assert names == set(_BUILDER_SETTINGS)


@pytest.mark.parametrize(
    ("name", "wanted", "line"),
    [
        (None, {}, f"starting from {SHIPPED}"),
        (None, {"model": "bilstm", "units": 6, "dropout": 0.9}, f"starting from {SHIPPED}"),
        ("default", {}, f"starting from {SHIPPED}"),
        ("scratch", {}, "starting from scratch"),
        (None, {"model": "gru", "units": 7},
         f"starting from scratch: {SHIPPED} has the builder bilstm, not gru"),
        (None, {"embedding_dim": 5, "units": 7},
         f"starting from scratch: {SHIPPED} has units 6, not 7"),
        (None, {"pooling": "mean"}, f"starting from scratch: {SHIPPED} has pooling max, not mean"),
        (None, {"ngrams": 9}, f"starting from scratch: {SHIPPED} has ngrams 0, not 9"),
        (None, {"groups": 3}, f"starting from scratch: {SHIPPED} has no groups"),
    ],
)  # fmt: skip
def test_start(name, wanted, line, shipped):
    start, found = train.choose_start(name, wanted)
    assert found == line
    assert (None if start is None else start.folder) == (None if "scratch" in line else shipped)


def test_start_from_a_folder(model_folder):
    start, line = train.choose_start(str(model_folder), {"units": 7})  # refused later
    assert (start.folder, line) == (model_folder, f"starting from {model_folder}")


def test_start_where_no_model_ships(monkeypatch, tmp_path):
    monkeypatch.setattr(artifact, "bundled", lambda *_: tmp_path / "none")
    line = f"starting from scratch: {SHIPPED} is not installed"
    assert train.choose_start(None, {}) == (None, line)
    with pytest.raises(ArtifactError, match=f"^There is no model folder {tmp_path / 'none'}\\.$"):
        train.choose_start("default", {})


def test_a_damaged_model_is_no_reason_to_start_from_scratch(monkeypatch, tmp_path):
    (tmp_path / "damaged").mkdir()
    monkeypatch.setattr(artifact, "bundled", lambda *_: tmp_path / "damaged")
    with pytest.raises(ArtifactError, match="is not a whole model: manifest.json is missing"):
        train.choose_start(None, {"units": 7})


def test_command_that_asks_for_another_network(shipped, table, tmp_path, capsys):
    command = ["--data", str(table), "--out", str(tmp_path / "out"), "--units", "7"]
    assert train.main([*command, "--from", "default"]) == 2
    assert capsys.readouterr() == ("", (
        f"python -m sentiment.train: error: `units` must be 6, as in {shipped}, from which the "
        "network starts. Received: 7\n"
    ))  # fmt: skip
    assert train.main([*command, "--epochs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index(f"starting from scratch: {SHIPPED} has units 6, not 7")
    assert lines[place + 1].startswith("epoch 1: ")
    manifest = load_artifact(tmp_path / "out").manifest
    assert (manifest.settings["units"], manifest.fitting["start"]) == (7, None)


@pytest.mark.slow
def test_resume_starts_from_the_same(shipped, table, tmp_path, capsys, interrupted_at):
    """As if the run had not been interrupted; another start is refused."""
    command = ["--data", str(table), "--epochs", "3", "--patience", "3", "--out"]
    assert train.main([*command, str(tmp_path / "whole")]) == 0
    with interrupted_at("on_epoch"):
        assert train.main([*command, str(tmp_path / "cut")]) == 130
    capsys.readouterr()
    assert train.main([*command, str(tmp_path / "cut"), "--resume", "--from", "scratch"]) == 2
    assert capsys.readouterr().err == (
        f"python -m sentiment.train: error: The checkpoint {tmp_path / 'cut.checkpoint.npz'} "
        "belongs to other data or settings. Repeat the command that made it, or leave --resume out "
        "to start again.\n"
    )
    assert train.main([*command, str(tmp_path / "cut"), "--resume"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index(f"starting from {SHIPPED}")
    assert lines[place + 1] == f"going on from {tmp_path / 'cut.checkpoint.npz'}"
    assert lines[place + 2].startswith("epoch 2: ")
    first, second = (load_artifact(tmp_path / name) for name in ("whole", "cut"))
    assert first.onnx == second.onnx
    for manifest in (first.manifest, second.manifest):
        assert (manifest.fitting["start"], manifest.settings["units"]) == (shipped.name, 6)


def test_command(model_folder, table, tmp_path, capsys):
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
    shipped = load_artifact(bundled("saved_models", "default")).manifest
    assert SentimentClassifier(start_from="default").builder_settings() == shipped.settings
