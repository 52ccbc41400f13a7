"""Starting from unlabelled texts: word vectors, language models of each direction, kept weights."""

import random
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from sentiment import pretraining
from sentiment.classifier import SentimentClassifier
from sentiment.models import build_model
from sentiment.pretraining import (
    MOST_STEPS,
    SAMPLED,
    VECTOR_STD,
    NextWords,
    pretrain,
    start_from_texts,
    word_vectors,
)
from sentiment.windows import Corpus

# ------------------------------------------------------------------------------------ word vectors


def dense_vectors(texts, vocab_size, *, dim, window, smoothing=0.75) -> np.ndarray:
    """PPMI by loops over all pairs of words, and NumPy's SVD."""
    counts = np.zeros((vocab_size, vocab_size))
    for text in texts:
        for i, word in enumerate(text):
            for j, other in enumerate(text):
                if 0 < abs(i - j) <= window:
                    counts[word, other] += (window + 1 - abs(i - j)) / window
    shares = counts.sum(0) ** smoothing / (counts.sum(0) ** smoothing).sum()
    matrix = np.zeros_like(counts)
    for word, row in enumerate(counts):
        for other, count in enumerate(row):
            if count:
                matrix[word, other] = max(0, np.log(count / row.sum() / shares[other]))
    left, values, _ = np.linalg.svd(matrix)
    vectors = left[:, :dim] * np.sqrt(values[:dim])
    vectors -= vectors[2:].mean(axis=0)
    vectors *= VECTOR_STD / vectors[2:].std()
    vectors[0] = 0
    return vectors


def random_texts(words: int, seed: int = 0, texts: int = 40) -> list[list[int]]:
    """Texts of 1 to 14 ids from 1 on, near ones more often near each other."""
    generator = np.random.default_rng(seed)
    steps = [generator.integers(-3, 4, generator.integers(1, 15)) for _ in range(texts)]
    starts = generator.integers(0, words, texts)
    rows = zip(starts, steps, strict=True)
    return [(1 + (start + np.cumsum(s)) % (words - 1)).tolist() for start, s in rows]


@pytest.mark.parametrize(("window", "dim"), [(1, 6), (3, 4), (20, 5)])
def test_word_vectors_are_the_svd_of_ppmi(window, dim):
    """But for a rotation, which no product of two vectors shows; 20 is longer than any text."""
    texts = random_texts(18)
    found = word_vectors(Corpus.of(texts), 18, dim=dim, window=window)
    expected = dense_vectors(texts, 18, dim=dim, window=window)
    assert (found.shape, found.dtype) == ((18, dim), np.float32)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
    assert np.abs(expected @ expected.T).max() > 0.1
    assert not found[0].any()
    assert found[2:].std() == pytest.approx(VECTOR_STD, rel=1e-4)
    np.testing.assert_allclose(found[2:].mean(axis=0), 0, atol=1e-5)


def test_smoothing():
    texts = random_texts(12, seed=1)
    options = {"dim": 3, "window": 2, "smoothing": 0.3}
    found = word_vectors(Corpus.of(texts), 12, **options)
    expected = dense_vectors(texts, 12, **options)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_a_few_passes_find_the_first_vectors_of_many():
    texts = random_texts(80, seed=2, texts=300)
    found = word_vectors(Corpus.of(texts), 80, dim=4, window=3)
    expected = dense_vectors(texts, 80, dim=4, window=3)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.01)


def test_words_of_other_texts_are_no_neighbours():
    """A text of one word has no pair, whatever stands before and after it."""
    together = word_vectors(Corpus.of([[2, 3, 4], [5], [3, 2, 4]]), 6, dim=2, window=2)
    alone = word_vectors(Corpus.of([[2, 3, 4], [3, 2, 4]]), 6, dim=2, window=2)
    np.testing.assert_array_equal(together, alone)


def test_seed_of_word_vectors():
    corpus = Corpus.of(random_texts(60))
    first, again, other = (
        word_vectors(corpus, 60, dim=3, passes=1, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# -------------------------------------------------------------------------------------- next words


@pytest.fixture
def eagerly():
    """No compiling, which takes longer than a few tiny steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def all_words(weights, biases, labels, inputs, num_sampled, num_classes):
    """Softmax over all words in the place of TensorFlow's over a sample of them."""
    assert num_sampled == min(SAMPLED, num_classes - 1)
    logits = tf.matmul(inputs, weights, transpose_b=True) + biases
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(labels, [-1]), logits)


TOKEN_IDS = np.array([[5, 3, 1, 4, 2], [2, 6, 0, 0, 0], [3, 0, 0, 0, 0], [4, 4, 1, 1, 0]], "int32")
# of words that are read, and the known words after and before them
AFTER = [(0, 0, 3), (0, 2, 4), (0, 3, 2), (1, 0, 6), (3, 0, 4)]
BEFORE = [(0, 4, 4), (0, 2, 3), (0, 1, 5), (1, 1, 2), (3, 2, 4), (3, 1, 4)]


@pytest.mark.parametrize("directions", [1, 2])
def test_next_words_are_the_neighbours_on_the_side_that_is_not_read_yet(directions, monkeypatch):
    monkeypatch.setattr(tf.nn, "sampled_softmax_loss", all_words)
    generator = np.random.default_rng(0)
    by_place = [generator.normal(size=(4, 5, 3)).astype("float32") for _ in range(directions)]
    states = [by_place[0], *(s[:, ::-1] for s in by_place[1:])]  # in the order of reading
    layer = NextWords(generator.normal(size=(7, 2)).astype("float32"), name="next_words")
    layer([TOKEN_IDS, *states])
    layer.set_weights([generator.normal(size=w.shape) for w in layer.get_weights()])
    found = layer([TOKEN_IDS, *states])

    *projections, output, bias = layer.get_weights()
    losses = []
    for state, projection, pairs in zip(by_place, projections, (AFTER, BEFORE), strict=False):
        for text, place, truth in pairs:
            logits = output @ (state[text, place] @ projection) + bias
            losses.append(np.log(np.exp(logits).sum()) - logits[truth])
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)
    assert [float(loss) for loss in layer.losses] == [float(found)]


def test_words_are_guessed_by_vectors_that_start_as_the_words_own():
    vectors = np.random.default_rng(0).normal(size=(7, 2)).astype("float32")
    layer = NextWords(vectors, name="next_words")
    layer([TOKEN_IDS, np.zeros((4, 5, 3), "float32")])
    projection, output, bias = layer.get_weights()
    np.testing.assert_array_equal(output, vectors)
    assert (projection.shape, bias.tolist()) == ((3, 2), [0] * 7)


def test_without_a_word_to_guess_there_is_no_loss():
    layer = NextWords(np.ones((7, 2), "float32"), name="next_words")
    assert float(layer([np.array([[3], [1]], "int32"), np.ones((2, 1, 3), "float32")])) == 0


# ------------------------------------------------------------------------------------- pre-training

CORPUS = Corpus.of(random_texts(18))
QUICK = {"steps": 1, "window": 6, "batch_size": 4, "learning_rate": 0.01}


def network(name: str = "rnn", seed: int = 3, **settings) -> keras.Model:
    return build_model(name, 18, 2, seed=seed, embedding_dim=4, units=4, **settings)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rnn", {"layers": 2, "pooling": "last"}),
        ("bilstm", {"layers": 2, "recurrent_dropout": 0.2, "merge": "sum", "ngrams": 5}),
        ("bigru", {"pooling": "last"}),
        ("attention_gru", {"bidirectional": True}),
        ("peephole_lstm", {"layers": 2}),
        ("clockwork_rnn", {"groups": 2, "bidirectional": True}),
        ("depth_gated_lstm", {"bidirectional": True}),
        ("grid_lstm", {}),
    ],
)
def test_only_embedding_and_first_recurrent_layer_learn(name, settings):
    model = network(name, **settings)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    ids = np.array([[2, 3, 4, 0]], "int32")
    answer = np.array(model(ids))
    pretrain(model, CORPUS, **QUICK)
    learn = [layer for layer in before if layer == "embedding" or layer.endswith("_1")]
    assert len(learn) == 2
    for layer, weights in before.items():
        for old, new in zip(weights, model.get_layer(layer).get_weights(), strict=True):
            assert (old != new).any() == (layer in learn), (layer, old.shape)
    assert (np.array(model(ids)) != answer).any()


@pytest.mark.usefixtures("eagerly")
def test_each_direction_takes_over_its_own_weights(monkeypatch):
    """Without an update nothing changes; were the directions swapped, it would."""
    monkeypatch.setattr(pretraining, "fit_steps", lambda *_, **__: None)
    model = network("bilstm")
    before = model.get_weights()
    pretrain(model, CORPUS, **QUICK)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


CHANCE = np.log(16)


def cycles(texts: int = 60, seed: int = 0) -> Corpus:
    """A language of 16 words in which every word has one that comes after it, and one before."""
    order = np.random.default_rng(9).permutation(np.arange(2, 18))
    generator = np.random.default_rng(seed)
    rows = [
        np.roll(np.tile(order, 2), generator.integers(16))[: generator.integers(2, 20)]
        for _ in range(texts)
    ]
    return Corpus.of(rows)


@pytest.mark.parametrize(("name", "settings"), [("rnn", {}), ("bigru", {})])
def test_a_language_without_surprises_is_learnt(name, settings):
    """In both directions: were one of two at chance, the mean would be above half of it."""
    model = build_model(name, 18, 2, seed=1, embedding_dim=8, units=12, **settings)
    reports = []
    pretrain(
        model,
        cycles(),
        steps=100,
        window=8,
        batch_size=16,
        learning_rate=0.03,
        on_report=reports.append,
    )
    assert len(reports) == 20
    assert reports[0].loss > 0.8 * CHANCE
    assert reports[-1].loss < 0.25 * CHANCE


@pytest.mark.parametrize(
    ("words", "steps"), [(5, 1), (2 * 6 * 4, 2), (2 * 6 * 4 + 23, 2), (10**6, MOST_STEPS)]
)
def test_unless_told_it_reads_the_corpus_once(words, steps, monkeypatch):
    asked = []
    monkeypatch.setattr(pretraining, "fit_steps", lambda *_, **options: asked.append(options))
    corpus = Corpus(np.full(words, 3, "int32"), np.array([0, words]))
    pretrain(network(), corpus, window=6, batch_size=4)
    assert asked[0]["steps"] == steps


@pytest.mark.usefixtures("eagerly")
def test_seed_decides_alone():
    """Not what was drawn before in the same process."""

    def weights(seed: int, before: int) -> list[np.ndarray]:
        random.seed(before)
        np.random.seed(before)
        tf.random.set_seed(before)
        model = network()
        pretrain(model, CORPUS, seed=seed, **QUICK | {"steps": 3})
        return model.get_weights()

    first, again, other = weights(1, 5), weights(1, 6), weights(2, 5)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != c).any() for a, c in zip(first, other, strict=True))


# --------------------------------------------------------------------------------------- the start


def never(*_, **__):
    pytest.fail("the weights are kept already")


@pytest.mark.usefixtures("eagerly")
def test_word_vectors_come_first(monkeypatch):
    """And are what the language model starts from, and its guesses too."""
    monkeypatch.setattr(pretraining, "fit_steps", lambda *_, **__: None)
    model = network()
    start_from_texts(model, CORPUS, seed=4)
    expected = word_vectors(CORPUS, 18, dim=4, seed=4)
    np.testing.assert_array_equal(model.get_layer("embedding").get_weights()[0], expected)


@pytest.mark.usefixtures("eagerly")
def test_kept_weights_are_read_again(tmp_path, monkeypatch):
    kept = tmp_path / "run.pretrained.npz"
    reports = []
    model = network()
    start_from_texts(model, CORPUS, kept=kept, on_report=reports.append, **QUICK)
    assert [(report.step, report.steps) for report in reports] == [(1, 1)]
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    monkeypatch.setattr(pretraining, "fit_steps", never)
    monkeypatch.setattr(pretraining, "word_vectors", never)
    other = network()
    start_from_texts(other, CORPUS, kept=kept, on_report=never, **QUICK)
    for found, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)

    message = (
        f"The checkpoint {kept} belongs to other data or settings. Repeat the command that made "
        "it, or leave --resume out to start again."
    )
    for built, corpus, options in (
        (network(), Corpus.of([[2, 3]]), QUICK),
        (network(), CORPUS, QUICK | {"window": 7}),
        (network(), CORPUS, QUICK | {"seed": 1}),
        (network(seed=4), CORPUS, QUICK),
    ):
        before = built.get_weights()
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            start_from_texts(built, corpus, kept=kept, **options)
        for old, new in zip(before, built.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.usefixtures("eagerly")
def test_a_language_model_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("sentiment.stepwise.CHECKPOINT_SECONDS", -1)
    kept, steps = tmp_path / "run.pretrained.npz", []

    def stop(report):
        steps.append(report.step)
        if report.step == 2:
            raise KeyboardInterrupt

    options = QUICK | {"steps": 4, "kept": kept, "on_report": stop}
    with pytest.raises(KeyboardInterrupt):
        start_from_texts(network(), CORPUS, **options)
    assert [path.name for path in tmp_path.iterdir()] == [f"{kept.name}.steps"]
    start_from_texts(network(), CORPUS, **options)
    assert steps == [1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]


@pytest.mark.usefixtures("eagerly")
def test_fewer_words_than_a_vector_is_wide():
    """The width is the network's, whatever the texts."""
    model = build_model("rnn", 6, 2, seed=1, embedding_dim=9, units=3)
    start_from_texts(model, Corpus.of([[2, 3, 4], [3, 5, 2]]), **QUICK)
    (vectors,) = model.get_layer("embedding").get_weights()
    assert vectors.shape == (6, 9)
    assert np.isfinite(vectors).all()


# -------------------------------------------------------------------------------------- classifier

TINY = {"model": "rnn", "units": 3, "embedding_dim": 3, "max_length": 8, "epochs": 2}
TEXTS = [f"a {word} film number{i}" for i in range(6) for word in ("good", "bad")]
LABELS = ["positive", "negative"] * 6
VALIDATION = ["good plot", "bad plot"] * 2, ["positive", "negative"] * 2
MORE = ["unheard words here", "words unheard there", "here and there a film"]


def fitted(**options) -> SentimentClassifier:
    options = {"unlabelled": MORE, **options}
    return SentimentClassifier(**TINY).fit(TEXTS, LABELS, validation=VALIDATION, **options)


@pytest.mark.usefixtures("eagerly")
def test_classifier_learns_words_from_unlabelled_texts():
    reports = []
    classifier = fitted(on_step=reports.append)
    index = classifier.predictor_.encoder.tokenizer.word_index
    assert {"unheard", "words", "here", "there", "good", "number5"} <= set(index)
    assert "plot" not in index  # of the validation texts alone
    assert [(report.step, report.steps) for report in reports] == [(1, 1)]
    assert classifier.predictor_.manifest.data["splits"]["train"]["texts"] == len(TEXTS)


@pytest.mark.usefixtures("eagerly")
def test_classifier_starts_from_what_unlabelled_texts_taught(monkeypatch):
    """Labelled texts are read too, whole."""
    seen = []

    def start(model, corpus, **options):
        seen.append((corpus, options))
        model.get_layer("embedding").set_weights([np.full((len(words), 3), 0.5)])

    monkeypatch.setattr("sentiment.classifier.start_from_texts", start)
    long = "a good film " * 20
    words = {*" ".join([*TEXTS, *MORE]).split(), "<padding>", "<OOV>"}
    classifier = SentimentClassifier(**TINY | {"epochs": 1, "learning_rate": 1e-9, "seed": 5})
    classifier.fit([*TEXTS, long], [*LABELS, "positive"], validation=VALIDATION, unlabelled=MORE)
    ((corpus, options),) = seen
    lengths = [*[4] * len(TEXTS), 60, *(len(text.split()) for text in MORE)]
    assert np.diff(corpus.offsets).tolist() == lengths
    assert options == {"seed": 5, "kept": None, "on_report": None}
    embeddings = classifier.model_.get_layer("embedding").get_weights()[0]
    np.testing.assert_allclose(embeddings, 0.5, atol=1e-6)


def test_classifier_refuses_two_starts(model_folder):
    classifier = SentimentClassifier(start_from=model_folder)
    message = (
        "Expected either a saved model to start from or unlabelled texts. "
        f"Received both: {model_folder} and 3 texts"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        classifier.fit(TEXTS, LABELS, unlabelled=MORE)


def test_classifier_refuses_what_are_no_texts():
    classifier = SentimentClassifier(**TINY)
    with pytest.raises(TypeError, match=r"^Expected a list of texts\. Received: one str; write"):
        classifier.fit(TEXTS, LABELS, unlabelled="one text")
    with pytest.raises(TypeError, match=r"^Expected texts\. Received: 3 at position 1$"):
        classifier.fit(TEXTS, LABELS, unlabelled=["a text", 3])


@pytest.mark.usefixtures("eagerly")
def test_classifier_takes_an_array_of_unlabelled_texts():
    """As it takes one of labelled texts."""
    classifier = SentimentClassifier(**TINY | {"epochs": 1})
    classifier.fit(np.array(TEXTS), LABELS, validation=VALIDATION, unlabelled=np.array(MORE))
    assert "unheard" in classifier.predictor_.encoder.tokenizer.word_index


@pytest.mark.usefixtures("eagerly")
def test_resumed_classifier_keeps_its_start(tmp_path, monkeypatch):
    """The language model is not fitted again; all ends as if nothing had happened."""
    kept = []

    def learn(*_, checkpoint, **__):
        kept.append(checkpoint.name)

    monkeypatch.setattr(pretraining, "fit_steps", learn)
    whole = fitted(checkpoint=tmp_path / "whole.checkpoint.npz")

    def stop(_):
        raise KeyboardInterrupt

    checkpoint = tmp_path / "cut.checkpoint.npz"
    with pytest.raises(KeyboardInterrupt):
        fitted(checkpoint=checkpoint, on_epoch=stop)
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"cut.checkpoint.npz", "cut.checkpoint.npz.pretrained"}
    monkeypatch.setattr(pretraining, "fit_steps", never)
    epochs = []
    cut = fitted(checkpoint=checkpoint, resume=True, on_epoch=lambda e: epochs.append(e.epoch))
    assert kept == [f"{name}.checkpoint.npz.pretrained.steps" for name in ("whole", "cut")]
    assert epochs == [2]
    for found, expected in zip(cut.model_.get_weights(), whole.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("eagerly")
def test_what_another_run_left_is_removed(tmp_path):
    """Unless it is to go on; a checkpoint may have any name."""
    checkpoint = tmp_path / "run.npz"

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(checkpoint=checkpoint, on_epoch=stop)
    other = {"checkpoint": checkpoint, "unlabelled": MORE[:2]}
    steps, epochs = [], []
    with pytest.raises(KeyboardInterrupt):
        fitted(**other, on_step=steps.append, on_epoch=stop)
    assert len(steps) == 1
    fitted(**other, resume=True, on_step=never, on_epoch=lambda epoch: epochs.append(epoch.epoch))
    assert epochs == [2]


def test_ngrams_of_labels_without_an_order_are_refused_before_all_else():
    message = (
        "`ngrams` must be 0 for labels without an order. Received: 5, with the labels cat, dog"
    )
    classifier = SentimentClassifier(**TINY, ngrams=5)
    with pytest.raises(ValueError, match=f"^{message}$"):
        classifier.fit(TEXTS, ["cat", "dog"] * 6, unlabelled=MORE, on_step=never)
