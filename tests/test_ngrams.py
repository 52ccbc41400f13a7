"""N-grams beside a network: NumPy, Keras and ONNX count the same, each n-gram once."""

import dataclasses

import keras
import numpy as np
import pytest

from sentiment.artifact import pack_network, unpack_network
from sentiment.classifier import SentimentClassifier
from sentiment.data import Reviews
from sentiment.equations import network_of, network_probabilities
from sentiment.explanation import explain
from sentiment.fitting import join_ngrams
from sentiment.models import BUILDERS, NgramScore, build_model, model_settings
from sentiment.ngrams import (
    NgramTable,
    RunningScore,
    fit_table,
    ngram_scores,
    ngram_shares,
    place_of,
    table_places,
    tag_of,
)
from sentiment.onnx_export import export_onnx
from sentiment.predictor import Predictor
from sentiment.preprocessing import pad_sequences
from sentiment.units import measure_units

VOCAB_SIZE = 12


def grams(ids) -> set[tuple[int, ...]]:
    return {tuple(ids[i : i + n]) for n in (1, 2, 3) for i in range(len(ids) - n + 1)}


def where(gram: tuple[int, ...], places: int) -> tuple[int, int]:
    words = [*gram, *[0] * (3 - len(gram))]
    return int(place_of(words, places)), int(tag_of(words))


def table_of(weights: dict[tuple[int, ...], float], places: int = 4096) -> NgramTable:
    """A table of these n-grams, which must not meet."""
    values, tags = np.zeros(places, "float32"), np.zeros(places, "uint8")
    for gram, weight in weights.items():
        place, tag = where(gram, places)
        assert not tags[place]
        values[place], tags[place] = weight, tag
    return NgramTable(values, tags)


@pytest.fixture(scope="module")
def weights() -> dict[tuple[int, ...], float]:
    """Half of the n-grams of some random texts, each with a weight of its own."""
    generator = np.random.default_rng(3)
    seen = sorted(grams(generator.integers(1, VOCAB_SIZE, 60).tolist()))
    free, taken = {}, set()
    for gram in seen[::2]:
        place, _ = where(gram, 4096)
        if place not in taken:
            taken.add(place)
            free[gram] = float(np.float16(generator.normal()))
    return free


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    """Of lengths 1 to 30, with many n-grams that come again."""
    generator = np.random.default_rng(4)
    rows = [generator.integers(1, VOCAB_SIZE, n).tolist() for n in (1, 2, 3, 30, 17, 8)]
    return [*rows, [5, 5, 5, 5], [3, 4, 3, 4, 3, 4]]


def expected(ids, weights) -> float:
    return sum(weights.get(gram, 0) for gram in grams(ids))


# ------------------------------------------------------------------------------------------- score


def test_every_ngram_counts_once(weights, texts):
    found = ngram_scores(pad_sequences(texts, padding="post"), table_of(weights))
    np.testing.assert_allclose(found, [expected(ids, weights) for ids in texts], rtol=1e-12)
    assert len({round(score, 6) for score in found}) > 5


def test_an_ngram_at_anothers_place_does_not_count():
    (place, tag), places = where((2, 3), 64), 64
    other = next(
        (a, b) for a in range(4, 99) for b in range(99)
        if where((a, b), places)[0] == place and where((a, b), places)[1] != tag
    )  # fmt: skip
    table = table_of({(2, 3): 1.5}, places)
    assert ngram_scores(np.array([[2, 3], list(other)]), table).tolist() == [1.5, 0]


def test_keras_counts_the_same(weights, texts):
    layer = NgramScore(4096)
    ids = pad_sequences(texts, padding="post")
    layer.build(ids.shape)
    assert np.asarray(layer(ids)).tolist() == [[0]] * len(texts)  # an empty table
    layer.set_table(table_of(weights))
    found = np.asarray(layer(ids))[:, 0]
    np.testing.assert_allclose(found, ngram_scores(ids, table_of(weights)), atol=1e-5)
    longer = np.pad(ids, ((0, 0), (0, 9)))
    np.testing.assert_array_equal(np.asarray(layer(longer))[:, 0], found)
    for row, ids in zip(found, texts, strict=True):
        assert np.asarray(layer(np.array([ids])))[0, 0] == pytest.approx(row, abs=1e-6)


def with_table(name: str, table: NgramTable, **settings) -> keras.Model:
    tiny = {"embedding_dim": 4, "units": 5, "groups": 3, "ngrams": 1300}
    tiny = {key: value for key, value in tiny.items() if key in model_settings(name)}
    model = build_model(name, VOCAB_SIZE, 3, seed=1, **tiny | settings)
    generator = np.random.default_rng(5)
    weights = [
        w if w.dtype == "uint8" else generator.normal(0, 0.7, w.shape) for w in model.get_weights()
    ]
    model.set_weights(weights)
    model.get_layer("ngrams").set_table(table)
    return model


@pytest.mark.parametrize("name", BUILDERS)
def test_keras_onnx_and_numpy_agree(name, weights, texts):
    import onnxruntime

    model = with_table(name, table_of(weights))
    ids = pad_sequences(texts, padding="post")
    answers = model.predict_on_batch(ids)
    graph = export_onnx(model)
    session = onnxruntime.InferenceSession(graph)
    (found,) = session.run(["probabilities"], {"token_ids": ids})
    np.testing.assert_allclose(found, answers, rtol=0, atol=2e-6)
    network = unpack_network(pack_network(network_of(model), graph), graph)
    np.testing.assert_allclose(network_probabilities(ids, network), answers, rtol=0, atol=2e-6)
    without = dataclasses.replace(network, ngrams=table_of({}))
    assert np.abs(network_probabilities(ids, without) - answers).max() > 0.01


def test_running_score(weights, texts):
    for ids in texts:
        running = RunningScore(table_of(weights))
        found = [running.read(token_id) for token_id in ids]
        assert found == pytest.approx([expected(ids[: i + 1], weights) for i in range(len(ids))])


def test_shares(weights, texts):
    for ids in texts:
        shares = ngram_shares(ids, table_of(weights))
        assert shares.shape == (len(ids),)
        assert shares.sum() == pytest.approx(expected(ids, weights))
    table = table_of({(2,): 1.0, (2, 3): 4.0, (3, 4, 5): 0.75})
    assert ngram_shares([2, 3, 4, 5], table).tolist() == [3, 2.25, 0.25, 0.25]
    assert ngram_shares([2, 3, 2, 3], table).tolist() == [1.5, 1, 1.5, 1]


def test_places():
    assert [table_places(n) for n in (0, 1, 100, 1365, 1366)] == [0, 4, 512, 4096, 8192]


# --------------------------------------------------------------------------------------------- fit


# 2 = a, 3 = film, 4 = not, 5 = good, 6 = bad, 7 = very
LEARNED = [[2, 5, 3], [2, 7, 5, 3], [4, 6], [3, 4, 6], [2, 6, 3], [7, 6, 3], [4, 5], [3, 4, 5]]
POSITIVE = np.array([1, 1, 1, 1, 0, 0, 0, 0])


def test_pairs_of_words_are_learned():
    """No single word decides: "good" and "bad" are as often in either."""
    table = fit_table(LEARNED, POSITIVE, ngrams=500)
    good, bad, not_good, not_bad = ngram_scores(
        pad_sequences([[2, 5, 3], [2, 6, 3], [4, 5], [4, 6]], padding="post"), table
    )
    assert good > 0 > bad
    assert not_bad > 0 > not_good


def test_soft_targets_lie_between():
    texts = [[2], [2], [3], [3], [4], [4]]
    table = fit_table(texts, np.array([1, 1, 0.5, 0.5, 0, 0]), ngrams=50)
    high, middle, low = ngram_scores(np.array([[2], [3], [4]]), table)
    assert high > middle > low
    assert abs(middle) < 0.1 * high


def test_the_most_important_are_kept():
    everything = fit_table(LEARNED, POSITIVE, ngrams=500)
    few = fit_table(LEARNED, POSITIVE, ngrams=3)
    assert len(few.values) == table_places(3)
    assert (few.tags > 0).sum() <= 3
    assert np.abs(few.values).max() == np.abs(everything.values).max()


def test_ngrams_of_one_text_are_left_out():
    table = fit_table([[2, 3], [2, 4]], np.array([1, 0]), ngrams=50)
    place, tag = where((2,), len(table.tags))
    assert table.tags[place] == tag
    assert (table.tags > 0).sum() == 1
    nothing = fit_table([[2], [3]], np.array([1, 0]), ngrams=50)
    assert not nothing.tags.any()


def test_values_are_exact_in_float16():
    values = fit_table(LEARNED, POSITIVE, ngrams=500).values
    np.testing.assert_array_equal(values, values.astype("float16"))


def test_the_score_is_weighed_by_validation(weights):
    """Labels that follow the score alone: the network's own answer is worth nothing."""
    table = table_of(weights)
    generator = np.random.default_rng(6)
    ids = [generator.integers(1, VOCAB_SIZE, n).tolist() for n in generator.integers(5, 30, 300)]
    scores = ngram_scores(pad_sequences(ids, padding="post"), table)
    labels = np.digitize(scores, np.quantile(scores, [1 / 3, 2 / 3]))
    model = with_table("lstm", table_of({}))
    join_ngrams(model, table, ids, labels)
    found = model.predict_on_batch(pad_sequences(ids, padding="post")).argmax(axis=1)
    assert (found == labels).mean() > 0.55
    row = model.get_layer("probabilities").get_weights()[0][-1]
    assert row[2] > row[1] > row[0]
    model = with_table("lstm", table_of({}))
    join_ngrams(model, table, ids, generator.integers(0, 3, 300))
    assert np.abs(model.get_layer("probabilities").get_weights()[0][-1]).max() < 0.2


# ------------------------------------------------------------------------------- the whole package


WORDS = ["film", "plot", "cast", "end", "song"]
GOOD = [f"a {w} that is not bad {i}" for i, w in enumerate(WORDS * 4)]
BAD = [f"a {w} that is not good {i}" for i, w in enumerate(WORDS * 4)]


@pytest.fixture(scope="module")
def classifier() -> SentimentClassifier:
    tiny = {"units": 4, "embedding_dim": 4, "epochs": 1, "max_length": 12}
    classifier = SentimentClassifier("lstm", pooling="max+mean", ngrams=300, **tiny)
    labels = ["positive"] * 20 + ["negative"] * 20
    return classifier.fit(GOOD + BAD, labels, validation=(GOOD[:9] + BAD[:9], labels[11:29]))


def test_classifier_learns_from_pairs(classifier):
    assert classifier.predict(["not bad", "not good"]).tolist() == ["positive", "negative"]


def test_saved_and_loaded(classifier, tmp_path):
    classifier.save(tmp_path / "model")
    again = Predictor.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.predict_proba(GOOD + BAD), classifier.predict_proba(GOOD + BAD)
    )
    loaded = SentimentClassifier.load(tmp_path / "model")
    assert loaded.ngrams == 300
    ids = pad_sequences(again.encoder.encode(GOOD).token_ids, padding="post")
    np.testing.assert_allclose(
        loaded.model_.predict_on_batch(ids), again.predict_proba(GOOD), atol=1e-6
    )


def test_stream(classifier):
    stream = classifier.predictor_.stream()
    readings = [*stream.feed(GOOD[0]), *stream.end()]
    words = GOOD[0].split()
    for end, reading in enumerate(readings, 1):
        (expected,) = classifier.predict_proba([" ".join(words[:end])])
        assert list(reading.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_explanation_is_complete(classifier):
    explanation = explain(classifier.predictor_, "a film that is not bad")
    assert explanation.replay_error < 1e-5
    assert explanation.completeness_error < 0.02  # the few texts make it very sure
    effects = dict(
        zip("a film that is not bad".split(), explanation.effects("gradients"), strict=True)
    )
    assert max(effects, key=effects.get) in ("not", "bad")


def test_units_are_those_of_the_network(classifier):
    reviews = Reviews(GOOD + BAD, ["positive"] * 20 + ["negative"] * 20)
    report = measure_units(classifier.predictor_, reviews, texts=40)
    assert report.all_units == 4


def test_labels_without_an_order_are_refused():
    message = r"^`ngrams` must be 0 for labels without an order. Received: 9, with the labels a, b$"
    with pytest.raises(ValueError, match=message):
        SentimentClassifier(ngrams=9).fit(["x y"] * 4, ["a", "b", "a", "b"])
