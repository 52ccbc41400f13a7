"""The contract of every builder: what the rest of the package takes for granted."""

import inspect
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from sentiment.models import (
    BUILDERS,
    MERGES,
    POOLINGS,
    MaskedPooling,
    TokenMask,
    build_gru,
    build_lstm,
    build_model,
    list_models,
    model_settings,
)

SETTINGS = (
    {},
    {"layers": 3},
    {"layers": 2, "pooling": "last"},
    {"layers": 2, "pooling": "mean"},
    {"pooling": "max+mean", "recurrent_dropout": 0.4},
    {"layers": 2, "merge": "sum"},
    {"merge": "average", "pooling": "last"},
)
CASES = [
    pytest.param((name, settings), id=f"{name} {settings}")
    for name in BUILDERS
    for settings in SETTINGS
    if set(settings) <= set(model_settings(name))
]
# The same float32 sums over other batch shapes; measured: at most 2.4e-7.
SAME = {"rtol": 0, "atol": 1e-6}


def probabilities(model, ids, **options) -> np.ndarray:
    return np.asarray(model(ids, **options))


def trained(model, ids, labels, steps=1, learning_rate=0.01):
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy")
    for _ in range(steps):
        model.train_on_batch(ids, labels)
    return model


@pytest.fixture(scope="module", params=CASES)
def network(request, random_network):
    name, settings = request.param
    return random_network(name, **settings)


# --- every builder, several settings ---


def test_output(network, mixed_ids):
    found = probabilities(network, mixed_ids)
    assert found.shape == (8, 3)
    assert found.dtype == np.float32
    assert (found > 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, **SAME)
    assert network.input_shape == (None, None)
    assert network.inputs[0].dtype == "int32"
    assert np.ptp(found, axis=0).min() > 0.01  # the texts are told apart


def test_extra_padding_changes_nothing(network, mixed_ids):
    padded = np.pad(mixed_ids, ((0, 0), (0, 9)))
    np.testing.assert_allclose(
        probabilities(network, padded), probabilities(network, mixed_ids), **SAME
    )


def test_batch_equals_single(network, mixed_ids):
    singles = [probabilities(network, row[row != 0][None]) for row in mixed_ids]
    np.testing.assert_allclose(np.concatenate(singles), probabilities(network, mixed_ids), **SAME)


def test_word_order_matters(network):
    ids = np.array([[3, 4, 5, 6, 7, 8]], "int32")
    for other in (ids[:, ::-1], ids[:, [1, 0, 2, 3, 4, 5]], ids[:, [0, 1, 2, 3, 5, 4]]):
        difference = probabilities(network, other) - probabilities(network, ids)
        assert np.abs(difference).max() > 1e-4


def test_inference_is_not_random_and_training_is(network, mixed_ids):
    np.testing.assert_array_equal(
        probabilities(network, mixed_ids, training=False), probabilities(network, mixed_ids)
    )
    dropped = [probabilities(network, mixed_ids, training=True) for _ in range(2)]
    assert np.abs(dropped[0] - dropped[1]).max() > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_every_weight_gets_a_gradient(case, random_network, mixed_ids):
    import tensorflow as tf

    name, settings = case
    # A bias that dropout hides or a maximum passes over has no gradient for a moment: so without
    # dropout, and over enough texts that every unit is somewhere the maximum.
    without = {"word_dropout": 0.0, "dropout": 0.0, "recurrent_dropout": 0.0}
    model = random_network(name, **settings | without)
    with tf.GradientTape() as tape:
        likelihood = model(mixed_ids, training=True)[:, 0]
        loss = -tf.reduce_mean(tf.math.log(likelihood))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    assert len(gradients) == len(model.weights)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        values = tf.convert_to_tensor(gradient).numpy()  # the embeddings' has only rows
        if weight.name == "embeddings":
            used = np.isin(np.arange(len(values)), mixed_ids[mixed_ids != 0])
            assert values[used].any(axis=1).all(), weight.path
            assert not values[~used].any(), "padding and absent words must not be learned from"
        else:
            assert (values != 0).all(), weight.path


# --- every builder ---


@pytest.fixture(scope="module")
def overfitted(random_network, mixed_ids, tmp_path_factory):
    """Name → network fitted to eight texts, its first weights, and what a new process answers."""
    folder = tmp_path_factory.mktemp("models")
    labels = np.array([0, 1, 2, 2, 1, 0, 1, 2])
    fitted = {}
    for name in BUILDERS:
        model = random_network(name, units=8, layers=2, word_dropout=0.0, dropout=0.0)
        before = model.get_weights()
        trained(model, mixed_ids, labels, steps=80, learning_rate=0.02)
        model.save(folder / f"{name}.keras")
        fitted[name] = model, before
    np.save(folder / "ids.npy", mixed_ids)
    script = """
import pathlib, keras, numpy as np, sentiment.models
ids = np.load("ids.npy")
for path in pathlib.Path().glob("*.keras"):
    np.save(path.with_suffix(".npy"), keras.saving.load_model(path)(ids))
"""
    path = {"PYTHONPATH": ":".join(p or "." for p in sys.path)}
    subprocess.run([sys.executable, "-c", script], cwd=folder, env=path, check=True)
    return {
        name: (model, before, labels, np.load(folder / f"{name}.npy"))
        for name, (model, before) in fitted.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_overfits_eight_texts(name, overfitted, mixed_ids):
    model, _, labels, _ = overfitted[name]
    likelihood = probabilities(model, mixed_ids)[range(8), labels]
    assert likelihood.min() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_every_weight_moves(name, overfitted, mixed_ids):
    model, before, _, _ = overfitted[name]
    for weight, old in zip(model.weights, before, strict=True):
        moved = np.asarray(weight) != old
        if weight.name == "embeddings":
            np.testing.assert_array_equal(
                moved.all(axis=1), np.isin(np.arange(len(old)), mixed_ids[mixed_ids != 0])
            )
        else:
            assert moved.all(), weight.path


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_saved_network_is_the_same_in_a_new_process(name, overfitted, mixed_ids):
    model, _, _, answered = overfitted[name]
    np.testing.assert_array_equal(answered, probabilities(model, mixed_ids))


@pytest.mark.parametrize("name", BUILDERS)
def test_same_seed_same_model(name, mixed_ids):
    settings = {"units": 5, "embedding_dim": 4, "layers": 2, "recurrent_dropout": 0.2}
    one, two, other, drawn, redrawn = (
        build_model(name, 20, 3, seed=seed, **settings) for seed in (7, 7, 8, None, None)
    )
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for _ in range(2):  # dropout as well, step by step
        np.testing.assert_array_equal(
            probabilities(one, mixed_ids, training=True),
            probabilities(two, mixed_ids, training=True),
        )
    for a, b in ((one, other), (one, drawn), (drawn, redrawn)):
        for weight, x, y in zip(a.weights, a.get_weights(), b.get_weights(), strict=True):
            assert weight.name == "bias" or (x != y).all(), weight.path


@pytest.mark.parametrize("name", BUILDERS)
def test_layers_and_directions_start_different(name):
    model = build_model(name, 20, 3, seed=0, units=5, layers=3)
    kernels = [np.asarray(w) for w in model.weights if w.name == "recurrent_kernel"]
    assert len(kernels) == (6 if name.startswith("bi") else 3)
    for i, kernel in enumerate(kernels):
        for other in kernels[:i]:
            assert (kernel != other).all()


@pytest.mark.parametrize("name", BUILDERS)
def test_first_weights(name):
    """Recurrent kernels have orthonormal rows; forget biases are one, all other biases zero."""
    model = build_model(name, 20, 3, seed=0, units=5, layers=2)
    for weight in model.weights:
        value = np.asarray(weight)
        if weight.name == "recurrent_kernel":
            # QR in float32 of a matrix with up to 20 columns.
            np.testing.assert_allclose(value @ value.T, np.eye(5), rtol=0, atol=2e-6)
        if weight.name == "bias":
            expected = np.zeros_like(value)
            if "lstm" in weight.path:
                expected[5:10] = 1  # i, f, g, o
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_one_class_is_one_sigmoid(name, random_network, mixed_ids):
    model = random_network(name, num_classes=1)
    assert model.get_layer("probabilities").activation is keras.activations.sigmoid
    found = probabilities(model, mixed_ids)
    assert found.shape == (8, 1)
    assert ((found > 0) & (found < 1)).all()
    assert np.ptp(found) > 0.01


def test_word_dropout_leaves_out_whole_words(random_network):
    """Each word's vector is gone or grown by 1 / (1 − share), all of it; and only in training."""
    model = random_network("bilstm", word_dropout=0.25)
    layer = model.get_layer("word_dropout")
    vectors = np.random.default_rng(0).normal(size=(40, 50, 4)).astype("float32")
    factors = np.asarray(layer(vectors, training=True)) / vectors
    assert np.allclose(factors, factors[..., :1])
    kept = factors[..., 0] != 0
    assert np.allclose(factors[kept], 4 / 3)
    assert 1 - kept.mean() == pytest.approx(0.25, abs=0.04)  # of 2,000 words
    assert np.array_equal(np.asarray(layer(vectors, training=False)), vectors)


@pytest.mark.parametrize("name", BUILDERS)
def test_layers_are_named(name):
    model = build_model(name, 20, 3, layers=2, pooling="max")
    assert model.name == name
    assert [layer.name for layer in model.layers if layer.name not in ("mask", "token_ids")] == [
        "embedding",
        "word_dropout",
        f"{name}_1",
        "dropout_2",
        f"{name}_2",
        "pooling",
        "dropout_output",
        "probabilities",
    ]
    assert not model.compiled


def test_signatures_are_alike():
    for name, builder in BUILDERS.items():
        assert builder.__name__ == f"build_{name}"
        first, second, *rest = inspect.signature(builder).parameters.values()
        assert (first.name, second.name) == ("vocab_size", "num_classes")
        assert all(p.kind is p.KEYWORD_ONLY for p in rest)
        assert rest[-1].name == "seed"
        assert "seed" not in model_settings(name)
        assert model_settings(name) == {p.name: p.default for p in rest[:-1]}
    assert list_models() == list(BUILDERS)


# --- what some builders promise ---


def test_lstm_defaults_are_the_classic_tutorial():
    assert model_settings("lstm") == {
        "embedding_dim": 128,
        "units": 64,
        "layers": 1,
        "pooling": "last",
        "word_dropout": 0.0,
        "dropout": 0.3,
        "recurrent_dropout": 0.0,
    }
    model = build_lstm(10000, 1)
    assert [type(layer).__name__ for layer in model.layers] == [
        "InputLayer", "Embedding", "Dropout", "TokenMask", "LSTM", "Dropout", "Dense",
    ]  # fmt: skip
    lstm = model.get_layer("lstm_1")
    assert lstm.units == 64
    assert not lstm.return_sequences
    # 10,000 × 128, then 4 gates × 64 × (128 + 64 + 1), then 64 + 1
    assert model.count_params() == 1_280_000 + 49_408 + 65


def test_gru_resets_after_the_product():
    assert build_gru(20, 2, units=5).get_layer("gru_1").reset_after


@pytest.mark.parametrize("merge", MERGES)
def test_merge_of_directions(merge):
    model = build_model("bilstm", 20, 2, units=5, merge=merge, seed=0)
    layer = model.get_layer("bilstm_1")
    assert layer.output.shape[-1] == (10 if merge == "concatenate" else 5)
    assert not layer.forward_layer.go_backwards
    assert layer.backward_layer.go_backwards


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("max", [[-1, 5], [-4, -2]]),
        ("mean", [[-2, 3], [-4, -2]]),
        ("max+mean", [[-1, 5, -2, 3], [-4, -2, -4, -2]]),
    ],
)
def test_pooling_leaves_padding_out(pooling, expected):
    states = np.array([[[-3, 1], [-1, 5], [9, 9]], [[-4, -2], [9, 9], [9, 9]]], "float32")
    mask = np.array([[True, True, False], [True, False, False]])
    np.testing.assert_array_equal(MaskedPooling(pooling)(states, mask=mask), expected)


def test_without_a_mask_the_contract_would_be_broken(monkeypatch, random_network, mixed_ids):
    """The padding test can fail: a network that takes padding for words does not pass it."""
    monkeypatch.setattr(TokenMask, "call", lambda _, ids: ops.ones_like(ids, dtype="bool"))
    padded = np.pad(mixed_ids, ((0, 0), (0, 9)))
    for name in BUILDERS:
        model = random_network(name)
        difference = probabilities(model, padded) - probabilities(model, mixed_ids)
        assert np.abs(difference).max() > 1e-2


# --- errors ---


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": 0}, "`units` must be a whole number from 1 to 8192. Received: 0"),
        ({"units": 2.5}, "`units` must be a whole number from 1 to 8192. Received: 2.5"),
        ({"units": True}, "`units` must be a whole number from 1 to 8192. Received: True"),
        ({"units": 8193}, "`units` must be a whole number from 1 to 8192. Received: 8193"),
        (
            {"embedding_dim": -1},
            "`embedding_dim` must be a whole number from 1 to 8192. Received: -1",
        ),
        (
            {"embedding_dim": 10**12},
            "`embedding_dim` must be a whole number from 1 to 8192. Received: 1000000000000",
        ),
        ({"dropout": "0.5"}, "`dropout` must be at least 0 and below 1. Received: '0.5'"),
        ({"layers": 5}, "`layers` must be a whole number from 1 to 4. Received: 5"),
        ({"layers": 0}, "`layers` must be a whole number from 1 to 4. Received: 0"),
        ({"dropout": 1.5}, "`dropout` must be at least 0 and below 1. Received: 1.5"),
        ({"dropout": -0.1}, "`dropout` must be at least 0 and below 1. Received: -0.1"),
        ({"dropout": float("nan")}, "`dropout` must be at least 0 and below 1. Received: nan"),
        (
            {"recurrent_dropout": 1},
            "`recurrent_dropout` must be at least 0 and below 1. Received: 1",
        ),
        (
            {"pooling": "min"},
            "`pooling` must be one of last, max, mean, max+mean. Received: 'min'",
        ),
    ],
)
def test_values_out_of_range(name, settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model(name, 20, 3, **settings)


@pytest.mark.parametrize("name", ["bilstm", "bigru"])
def test_unknown_merge(name):
    message = "`merge` must be one of concatenate, sum, average. Received: 'ave'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model(name, 20, 3, merge="ave")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lstm", 1, 3), "`vocab_size` must be a whole number of at least 2. Received: 1"),
        (("lstm", 20, 0), "`num_classes` must be a whole number of at least 1. Received: 0"),
        (
            ("transformer", 20, 3),
            "`model` must be one of rnn, lstm, gru, bilstm, bigru. Received: 'transformer'",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model(*arguments)


def test_unknown_settings():
    message = (
        "Model 'lstm' has no setting 'merge'; it has: "
        "embedding_dim, units, layers, pooling, word_dropout, dropout, "
        "recurrent_dropout"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model("lstm", 20, 3, merge="sum")
    with pytest.raises(ValueError, match="^`model` must be one of rnn, lstm, .* Received: 'cnn'$"):
        model_settings("cnn")


def test_pooling_layer_checks_its_setting():
    message = "`pooling` must be one of max, mean, max+mean. Received: 'last'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        MaskedPooling("last")
    assert POOLINGS == ("last", "max", "mean", "max+mean")
