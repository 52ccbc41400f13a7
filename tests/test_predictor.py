"""`Predictor`: the same answer for a text whatever comes with it, and an answer for every text."""

import copy
import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import sentiment
from sentiment import predictor as module
from sentiment.artifact import ArtifactError
from sentiment.predictor import NEUTRAL, Prediction, Predictor

ROOT = Path(sentiment.__file__).parent.parent

# ONNX Runtime picks its matrix kernels by the shape of the batch: sums in another order, float32.
ATOL = 2e-6


def in_memory(model) -> Predictor:
    return Predictor(model.artifact)


@pytest.fixture(scope="module")
def predictor(random_model) -> Predictor:
    """Two labels, texts of at most 20 words."""
    return in_memory(random_model())


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """200 texts of 0 to 30 words, some of them unknown."""
    generator = np.random.default_rng(3)
    lengths = generator.integers(0, 31, 200)
    return [" ".join(f"word{i}" for i in generator.integers(0, 60, n)) for n in lengths]


def one_by_one(predictor: Predictor, texts: list[str]) -> np.ndarray:
    return np.concatenate([predictor.predict_proba([text]) for text in texts])


# ------------------------------------------------------------------------- independence of company


def test_answers_differ_between_texts(predictor, texts):
    """Else the tests below could not fail."""
    probabilities = predictor.predict_proba(texts)
    assert len(set(probabilities[:, 1].round(4))) > 150
    assert set(predictor.predict(texts)) == {"negative", "positive"}


def test_probabilities(predictor, texts):
    probabilities = predictor.predict_proba(texts)
    assert probabilities.shape == (len(texts), 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    best = np.array(predictor.labels)[probabilities.argmax(axis=1)]
    assert predictor.predict(texts).tolist() == best.tolist()


def test_batch_equals_one_by_one(predictor, texts):
    np.testing.assert_allclose(
        predictor.predict_proba(texts), one_by_one(predictor, texts), atol=ATOL
    )


def test_order_does_not_matter(predictor, texts):
    order = np.random.default_rng(4).permutation(len(texts))
    np.testing.assert_allclose(
        predictor.predict_proba([texts[i] for i in order]),
        predictor.predict_proba(texts)[order],
        atol=ATOL,
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_matter(model_folder, predictor, texts, threads):
    np.testing.assert_allclose(
        Predictor.load(model_folder, threads=threads).predict_proba(texts),
        predictor.predict_proba(texts),
        atol=ATOL,
    )


@pytest.mark.parametrize(("batch_texts", "batch_ids"), [(7, 16_384), (256, 40), (256, 1)])
def test_size_of_batches_does_not_matter(predictor, texts, monkeypatch, batch_texts, batch_ids):
    expected = one_by_one(predictor, texts)
    monkeypatch.setattr(module, "BATCH_TEXTS", batch_texts)
    monkeypatch.setattr(module, "BATCH_IDS", batch_ids)
    np.testing.assert_allclose(predictor.predict_proba(texts), expected, atol=ATOL)


@pytest.mark.parametrize("window", [1, 7, 199, 200, 201])
def test_windows(predictor, texts, monkeypatch, window):
    whole = predictor.answers(texts)
    expected = one_by_one(predictor, texts)
    monkeypatch.setattr(module, "WINDOW", window)
    parts = predictor.answers(texts)
    np.testing.assert_allclose(parts.probabilities, expected, atol=ATOL)
    np.testing.assert_allclose(parts.scores, expected[:, 1] - expected[:, 0], atol=2 * ATOL)
    words = [[int(word.removeprefix("word")) for word in text.split()] for text in texts]
    assert whole.words == [len(text) for text in words]
    assert whole.oov == [sum(word >= 50 for word in text) for text in words]
    assert whole.truncated == [len(text) > 20 for text in words]
    assert parts.labels == whole.labels
    assert parts.words == whole.words
    assert parts.oov == whole.oov
    assert parts.truncated == whole.truncated
    assert parts.oov_share == whole.oov_share == sum(whole.oov) / sum(whole.words)
    assert parts.truncated_share == whole.truncated_share == sum(whole.truncated) / 200


def test_windows_of_labels_without_order(random_model, monkeypatch):
    topics = in_memory(random_model(("books", "food", "hotels")))
    monkeypatch.setattr(module, "WINDOW", 2)
    answers = topics.answers(["word1", "word2", "word3"])
    assert answers.scores is None
    assert answers.probabilities.shape == (3, 3)


def test_windows_are_answered_as_they_come(predictor):
    """At most two windows are held: a file of any size is scored in the same memory."""
    drawn = []

    def endless():
        while True:
            drawn.append(len(drawn))
            yield [f"word{len(drawn) % 50} word1"]

    answers = predictor.answer_windows(endless())
    for number in range(1, 6):
        expected = predictor.predict_proba([f"word{number} word1"])
        np.testing.assert_allclose(next(answers).probabilities, expected, atol=ATOL)
        assert len(drawn) <= number + 1
    answers.close()


def test_no_texts(predictor, random_model):
    assert predictor.predict([]).tolist() == []
    assert predictor.predict_proba([]).shape == (0, 2)
    assert predictor.details([]) == []
    assert predictor.answers([]).scores.shape == (0,)
    assert predictor.answers([]).oov_share == 0
    assert predictor.answers([]).truncated_share == 0
    assert in_memory(random_model(("a", "b", "c"))).predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("kind", [tuple, np.array, lambda texts: (t for t in texts)])
def test_any_iterable_of_texts(predictor, texts, kind):
    np.testing.assert_allclose(
        predictor.predict_proba(kind(texts[:5])), predictor.predict_proba(texts[:5]), atol=ATOL
    )


def test_details_of_a_generator(predictor):
    details = predictor.details(text for text in ["word1", "word2"])
    assert [prediction.text for prediction in details] == ["word1", "word2"]


# --------------------------------------------------------------------------------------- long texts


def test_long_texts_are_read_head_and_tail(predictor):
    """20 words are read: the first 5 and the last 15."""
    head = [f"word{i}" for i in range(5)]
    tail = [f"word{i}" for i in range(30, 45)]
    short = " ".join(head + tail)
    answers = predictor.answers(
        [
            short,
            " ".join([*head, *["word49"] * 1000, *tail]),
            " ".join([*head, "word7", *tail]),
            " ".join([*head[:-1], "word49", "word7", *tail]),
            " ".join([*head, "word7", "word49", *tail[1:]]),
        ]
    )
    same = answers.probabilities[[0, 0]]
    np.testing.assert_allclose(answers.probabilities[1:3], same, atol=ATOL)
    assert (np.abs(answers.probabilities[3:] - same) > 1e-4).all()
    assert answers.truncated == [False, True, True, True, True]
    assert answers.words == [20, 1020, 21, 21, 21]


def test_words_that_are_left_out_still_count_as_unknown(predictor):
    details = predictor.details(["word1 " * 10 + "never seen " * 50 + "word2 " * 20])
    assert details[0].oov == 100
    assert details[0].truncated


# ------------------------------------------------------------------------------------- any text

HOSTILE = {
    "empty": "",
    "spaces": "   \t \n\r\n ",
    "no-break spaces": "\u00a0\u2003\u200b\ufeff",
    "NUL": "word1 \x00 word2\x00",
    "only NUL": "\x00",
    "lone high surrogate": "word1 \ud83d word2",
    "lone low surrogate": "\udc00",
    "emoji": "🎬🍿👩‍👩‍👧‍👦🏳️‍🌈",
    "right to left": "فيلم رائع \u202e סרט",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x9b",
    "combining marks": "e" + "\u0301" * 500,
    "markup": "<br /><script>&nbsp;&#0;&#x110000;&bogus;<" * 3,
    "one long word": "a" * 1_000_000,
    "a million characters": "word1 never " * 83_334,
    "a million signs": "!" * 1_000_000,
    "half-open tags": "<" * 200_000,
    "ampersands": "&" * 200_000,
    "noncharacters": "\uffff\U0010ffff",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text(predictor, text):
    (prediction,) = predictor.details([text])
    assert prediction.text == text
    assert prediction.label in predictor.labels
    probabilities = np.array(list(prediction.probabilities.values()))
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)
    json.dumps(prediction.probabilities, allow_nan=False)


def test_hostile_texts_do_not_change_their_neighbours(predictor):
    texts = [text for hostile in HOSTILE.values() for text in (hostile, "word1 word2 word3")]
    probabilities = predictor.predict_proba(texts)
    expected = predictor.predict_proba(["word1 word2 word3"])
    np.testing.assert_allclose(
        probabilities[1::2], np.repeat(expected, len(HOSTILE), axis=0), atol=ATOL
    )


def test_text_without_words_is_one_unknown_word(predictor):
    np.testing.assert_allclose(
        predictor.predict_proba(["", "  ", "\n"]),
        np.repeat(predictor.predict_proba(["nonesuch"]), 3, axis=0),
        atol=ATOL,
    )
    details = predictor.details(["", "nonesuch"])
    assert [prediction.oov for prediction in details] == [0, 1]


@pytest.mark.parametrize("method", ["predict", "predict_proba", "details", "answers"])
def test_one_str_is_refused(predictor, method):
    message = r"^Expected a list of texts\. Received: one str; write \[text\] instead\.$"
    with pytest.raises(TypeError, match=message):
        getattr(predictor, method)("This film was okay")


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", 1.5])
def test_what_is_no_text_is_refused(predictor, wrong):
    with pytest.raises(TypeError, match=r"^Expected texts\. Received: .* at position 1$"):
        predictor.predict(["fine", wrong])


@pytest.mark.parametrize("method", ["predict", "predict_proba", "details", "answers"])
def test_lists_of_words_are_refused(predictor, method):
    message = r"^Expected texts\. Received: \['word3', 'word4'\] at position 1$"
    with pytest.raises(TypeError, match=message):
        getattr(predictor, method)(["word1", ["word3", "word4"]])


# ---------------------------------------------------------------------------------------- the score


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (("negative", "positive"), [-1, 1]),
        (("neg", "pos"), [-1, 1]),
        (("negative", "neutral", "positive"), [-1, 0, 1]),
        (("1", "2", "3", "4", "5"), [-1, -0.5, 0, 0.5, 1]),
        (("1 star", "2 stars", "4 stars"), [-1, -1 / 3, 1]),
        (("0", "1"), [-1, 1]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_score(random_model, texts, labels, values):
    """p(positive) − p(negative), and for stars the expected label scaled to −1…1."""
    answers = in_memory(random_model(labels)).answers(texts)
    expected = answers.probabilities.astype("float64") @ np.array(values, float)
    np.testing.assert_allclose(answers.scores, expected, atol=1e-12)
    assert np.abs(answers.scores).max() <= 1
    assert np.ptp(answers.scores) > 0.1


def test_labels_without_order_have_no_score(random_model):
    topics = in_memory(random_model(("books", "food", "hotels")))
    assert topics.answers(["word1"]).scores is None
    (prediction,) = topics.details(["word1"])
    assert prediction.score is None
    assert list(prediction.probabilities) == ["books", "food", "hotels"]


def test_details(predictor):
    text = "word1 nonesuch word2"
    (prediction,) = predictor.details([text])
    answers = predictor.answers([text])
    assert prediction == Prediction(
        text,
        answers.labels[0],
        float(answers.scores[0]),
        {
            "negative": float(answers.probabilities[0, 0]),
            "positive": float(answers.probabilities[0, 1]),
        },
        False,
        1,
    )


# ----------------------------------------------------------------------------------- neutral band


def test_neutral_band(predictor, texts):
    probabilities = predictor.predict_proba(texts)
    low, high = np.quantile(probabilities[:, 1], [0.3, 0.6])
    expected = [
        NEUTRAL if low < p < high else ("positive" if p > 0.5 else "negative")
        for p in probabilities[:, 1]
    ]
    band = (float(low), float(high))
    assert predictor.predict(texts, neutral_band=band).tolist() == expected
    assert expected.count(NEUTRAL) > 30
    assert [p.label for p in predictor.details(texts, neutral_band=band)] == expected
    without = predictor.details(texts)
    assert [p.score for p in predictor.details(texts, neutral_band=band)] == [
        p.score for p in without
    ]
    assert NEUTRAL not in {p.label for p in without}


def test_neutral_band_of_positive_named_first(random_model, texts):
    """The band is about the positive label wherever its column is."""
    swapped = in_memory(random_model(("positive", "negative")))
    positive = swapped.predict_proba(texts)[:, 0]
    band = (0.0, float(np.median(positive)))
    labels = swapped.predict(texts, neutral_band=band)
    assert [label == NEUTRAL for label in labels] == [0 < p < band[1] for p in positive]


@pytest.mark.parametrize(
    "band", [(0.6, 0.4), (0.5, 0.5), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)]
)
def test_impossible_band(predictor, band):
    message = r"^Expected a neutral band with 0 <= LOW < HIGH <= 1\. Received: "
    with pytest.raises(ValueError, match=message):
        predictor.predict(["word1"], neutral_band=band)


@pytest.mark.parametrize("texts", [[], ["word1"]])
@pytest.mark.parametrize("labels", [("negative", "neutral", "positive"), ("books", "food")])
def test_band_needs_two_ordered_labels(random_model, labels, texts):
    message = (
        r"^A neutral band needs a model with a positive and a negative label\. "
        rf"Received one with: {', '.join(labels)}\.$"
    )
    with pytest.raises(ValueError, match=message):
        in_memory(random_model(labels)).predict(texts, neutral_band=(0.4, 0.6))


# ------------------------------------------------------------------------------------- evaluation


def test_evaluate(predictor, texts):
    truth = ["negative"] * 120 + ["positive"] * 80
    evaluation, answers = predictor.evaluate(texts, truth)
    assert evaluation.n == 200
    right = sum(a == b for a, b in zip(answers.labels, truth, strict=True))
    assert evaluation.accuracy == right / 200
    assert evaluation.oov_share == answers.oov_share > 0
    assert evaluation.truncated_share == answers.truncated_share > 0


def test_evaluate_refuses_unseen_labels(predictor):
    message = "^The label 'mixed' was never seen in training; the model knows: negative, positive"
    with pytest.raises(ValueError, match=message):
        predictor.evaluate(["word1"], ["mixed"])


# ------------------------------------------------------------------------------------------ loading


def test_load(model_folder, predictor, texts):
    for loaded in (Predictor.load(model_folder), sentiment.load(str(model_folder))):
        assert loaded.labels == ("negative", "positive")
        assert loaded.folder == Path(model_folder)
        assert (loaded.predict_proba(texts) == predictor.predict_proba(texts)).all()


def test_no_folder_is_the_bundled_model(model_folder, tmp_path, monkeypatch):
    """A folder of any name in the current one changes nothing, and no name is magic."""
    asked = []
    monkeypatch.setattr(module, "bundled", lambda *path: asked.append(path) or model_folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=r"^There is no model folder default\.$"):
        Predictor.load("default")
    (tmp_path / "default").mkdir()
    for load in (Predictor.load, sentiment.load):
        assert load().folder == load(None).folder == model_folder
    assert asked == [("saved_models", "default")] * 4


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_answer_alike(model_folder, texts, duplicate):
    first = Predictor.load(model_folder, threads=1)
    second = duplicate(first)
    assert second.folder == first.folder
    assert second.manifest == first.manifest
    assert (second.predict_proba(texts) == first.predict_proba(texts)).all()


def test_manifest_whose_values_do_not_fit(random_model):
    import dataclasses

    model = random_model()
    manifest = dataclasses.replace(model.manifest, label_values=(-1.0, 0.0, 1.0))
    with pytest.raises(ArtifactError, match="^in memory: "):
        in_memory(dataclasses.replace(model, manifest=manifest))


HEAVY = ("tensorflow", "keras", "sklearn", "pandas", "onnx", "matplotlib", "scipy", "pyarrow")


def run(code: str, *arguments: str) -> list[str]:
    """Lines that a new Python process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert not done.stderr
    return done.stdout.splitlines()


def test_prediction_imports_nothing_heavy(model_folder):
    (found,) = run(
        "import sys, json; from sentiment import predictor\n"
        "model = predictor.load(sys.argv[1])\n"
        "model.predict(['word1']), model.predict_proba(['word1']), model.details(['word1'])\n"
        "print(json.dumps(sorted(sys.modules)))",
        model_folder,
    )
    imported = set(json.loads(found))
    assert {"numpy", "onnxruntime"} <= imported
    assert imported.isdisjoint(HEAVY)


def test_prediction_leaves_nothing_in_the_home(model_folder, tmp_path):
    """ONNX Runtime's telemetry would put an identity there, and complain where it cannot."""
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    cache.mkdir()
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(cache)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-m", "sentiment.predict", "--model-dir", model_folder, "word1"],
        capture_output=True,
        cwd=ROOT,
        env=environment,
        check=True,
    )
    assert done.stdout.endswith(b"word1\n")
    assert done.stderr == b""
    assert [path for folder in (home, cache) for path in folder.rglob("*")] == []


def test_telemetry_is_off_before_onnxruntime_is_imported(model_folder):
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime':\n"
        "            print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import sentiment\n"
        "sentiment.load(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, model_folder],
        capture_output=True,
        cwd=ROOT,
        env=environment,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"1\n", b"")


def test_importing_the_package_imports_nothing():
    (found,) = run("import sys, json, sentiment; print(json.dumps(sorted(sys.modules)))")
    imported = set(json.loads(found))
    assert imported.isdisjoint({"numpy", "onnxruntime", "tqdm", *HEAVY})
    assert {name for name in imported if name.startswith("sentiment.")} == set()


def test_public_names():
    assert dir(sentiment) == ["Predictor", "SentimentClassifier", "__version__", "load"]
    assert sentiment.Predictor is Predictor
    assert sentiment.load is module.load
    with pytest.raises(AttributeError, match="^module 'sentiment' has no attribute 'nothing'$"):
        sentiment.nothing  # noqa: B018


def test_default_model():
    model = sentiment.load()
    texts = ["A wonderful, moving film. I loved it.", "Dreadful. A waste of two hours."]
    assert model.predict(texts).tolist() == ["positive", "negative"]
    assert all(prediction.score for prediction in model.details(texts))


# --- attention ---


@pytest.fixture(scope="module")
def attentive(random_model):
    """A predictor with attention pooling and random weights."""
    from sentiment.models import build_model
    from sentiment.onnx_export import export_onnx

    other = random_model()
    settings = {"units": 6, "embedding_dim": 5}
    network = build_model("attention_gru", other.encoder.vocab_size, 2, seed=1, **settings)
    generator = np.random.default_rng(3)
    network.set_weights([generator.normal(size=w.shape) for w in network.get_weights()])
    manifest = dataclasses.replace(other.manifest, model="attention_gru", settings=settings)
    own = {"model": network, "manifest": manifest, "onnx": export_onnx(network)}
    return Predictor(dataclasses.replace(other, **own).artifact), network


def test_attention_has_a_weight_for_each_word_read(attentive):
    predictor, network = attentive
    long = " ".join(f"word{i}" for i in range(30))  # 20 are read: 5 of the head, 15 of the tail
    short, cut, empty = predictor.attention(["word3 wonderful, word5!", long, ""])
    assert [word for word, _ in short] == ["word3", "wonderful", "word5", "!"]
    assert [word for word, _ in cut] == [f"word{i}" for i in (*range(5), *range(15, 30))]
    assert empty == [("<OOV>", 1.0)]
    ids = np.array(predictor.encoder.encode([long]).token_ids, "int32")
    states = network.get_layer("gru_1")(network.get_layer("embedding")(ids))
    expected = network.get_layer("pooling").weights_of_words(states, ids != 0)
    np.testing.assert_allclose([weight for _, weight in cut], np.asarray(expected)[0], atol=1e-6)
    assert np.ptp(np.asarray(expected)) > 0.01  # words are told apart
    assert predictor.attention([]) == []


def test_attention_needs_attention(model_folder, attentive):
    message = (
        "Expected a model with attention pooling, such as attention_bilstm. "
        "Received: bilstm with max pooling."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Predictor.load(model_folder).attention(["word1"])
    with pytest.raises(TypeError, match="^Expected a list of texts"):
        attentive[0].attention("word1")


# --- labels that texts cannot have ---


@pytest.fixture(scope="module")
def three(random_model) -> Predictor:
    return in_memory(random_model(("negative", "neutral", "positive")))


def test_ignored_labels_leave_their_probability_to_the_others(three, texts):
    truth = ["negative", "positive"] * 100
    evaluation, answers = three.evaluate(texts, truth, ignore=["neutral"])
    whole = three.answers(texts)
    kept = whole.probabilities[:, [0, 2]].astype("float64")
    kept /= kept.sum(axis=1, keepdims=True)
    assert "neutral" in whole.labels
    expected = np.where(kept[:, 1] > kept[:, 0], "positive", "negative").tolist()
    assert answers.labels == expected
    np.testing.assert_allclose(answers.probabilities[:, [0, 2]], kept, atol=1e-6)
    assert not answers.probabilities[:, 1].any()
    np.testing.assert_allclose(answers.scores, kept[:, 1] - kept[:, 0], atol=1e-6)
    assert (answers.words, answers.oov) == (whole.words, whole.oov)
    assert evaluation.labels == ("negative", "positive")
    assert evaluation.accuracy == np.mean([a == b for a, b in zip(expected, truth, strict=True)])
    positive = np.array(truth) == "positive"
    assert evaluation.brier == pytest.approx(2 * np.mean((kept[:, 1] - positive) ** 2), rel=1e-4)
    assert evaluation.roc_auc == pytest.approx(roc_auc_score(positive, kept[:, 1]))
    assert (evaluation.oov_share, evaluation.truncated_share) == (
        whole.oov_share,
        whole.truncated_share,
    )


def test_without_ignored_labels_nothing_changes(three, texts):
    truth = ["negative", "positive"] * 100
    evaluation, answers = three.evaluate(texts, truth)
    assert evaluation.labels == three.labels
    np.testing.assert_array_equal(answers.probabilities, three.predict_proba(texts))


@pytest.mark.parametrize("ignore", [["mixed"], ["mixed", "neutral"], ["negative", "neutral"]])
def test_labels_that_cannot_be_ignored(three, ignore):
    message = (
        "`ignore` must leave two of the labels negative, neutral, positive. "
        f"Received: {', '.join(ignore)}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        three.evaluate(["word1"], ["positive"], ignore=ignore)
