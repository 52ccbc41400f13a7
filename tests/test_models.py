"""The contract of every builder: what the rest of the package takes for granted."""

import inspect
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from sentiment import cells
from sentiment.cells import UNGATED_FORGET_BIAS
from sentiment.models import (
    BUILDERS,
    MERGES,
    POOLINGS,
    AttentionPooling,
    MaskedPooling,
    TokenMask,
    build_gru,
    build_lstm,
    build_model,
    list_models,
    model_settings,
)

# Few: test_equations.py compares all pairs of them.
SETTINGS = (
    {},
    {"layers": 3, "pooling": "attention"},
    {"layers": 2, "pooling": "last", "recurrent_dropout": 0.4},
    {"layers": 2, "merge": "sum", "bidirectional": True, "pooling": "mean"},
    {"merge": "average", "pooling": "last", "bidirectional": True},
)
STACKED = ("depth_gated_lstm", "grid_lstm")  # one cell holds all layers


def possible(name: str, settings: dict) -> dict:
    """Those of the settings that a builder has."""
    return {key: value for key, value in settings.items() if key in model_settings(name)}


def different(name: str) -> list[dict]:
    """What a builder has of `SETTINGS`, each once and none that are its defaults."""
    found = [{}]
    for settings in SETTINGS:
        settings = possible(name, settings)
        if model_settings(name) | settings not in [model_settings(name) | s for s in found]:
            found.append(settings)
    return found


def reads_both_ways(name: str) -> bool:
    """By its defaults."""
    known = model_settings(name)
    return "merge" in known and known.get("bidirectional", True)


CASES = [
    pytest.param((name, settings), id=f"{name} {settings}")
    for name in BUILDERS
    for settings in different(name)
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


def heard(weight) -> np.ndarray:
    """Where a weight has a part: all over, but that slow groups of a clockwork hear no fast ones.

    Clockworks here have three groups.
    """
    if "clockwork" not in weight.path or weight.name != "recurrent_kernel":
        return np.ones(weight.shape, bool)
    groups = np.array_split(np.arange(weight.shape[0]), 3)
    number = np.repeat(np.arange(3), [len(group) for group in groups])
    return number[:, None] >= number[None, :]


@pytest.fixture(scope="module", params=CASES)
def network(request, random_network):
    name, settings = request.param
    return random_network(name, **settings)


@pytest.fixture(scope="module")
def answers(network, mixed_ids):
    return probabilities(network, mixed_ids)


# --- every builder, several settings ---


def test_output(network, answers):
    assert answers.shape == (8, 3)
    assert answers.dtype == np.float32
    assert (answers > 0).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1, **SAME)
    assert network.input_shape == (None, None)
    assert network.inputs[0].dtype == "int32"
    assert np.ptp(answers, axis=0).max() > 0.01  # the texts are told apart


def test_extra_padding_changes_nothing(network, answers, mixed_ids):
    padded = np.pad(mixed_ids, ((0, 0), (0, 9)))
    np.testing.assert_allclose(probabilities(network, padded), answers, **SAME)


def test_batch_equals_single(network, answers, mixed_ids):
    for row in (0, 1, 3, 6):  # of 1, 12, 7 and 5 words
        ids = mixed_ids[row : row + 1]
        np.testing.assert_allclose(
            probabilities(network, ids[ids != 0][None]), answers[row : row + 1], **SAME
        )


def test_texts_of_one_word(network):
    ids = np.arange(1, 20, dtype="int32")[:, None]
    found = probabilities(network, ids)
    np.testing.assert_allclose(probabilities(network, np.pad(ids, ((0, 0), (0, 3)))), found, **SAME)
    assert np.ptp(found, axis=0).max() > 0.01


def test_word_order_matters(network):
    ids = np.array([3, 4, 5, 6, 7, 8], "int32")
    orders = [range(6), range(5, -1, -1), (1, 0, 2, 3, 4, 5), (0, 1, 2, 3, 5, 4)]
    found = probabilities(network, np.stack([ids[list(order)] for order in orders]))
    assert (np.abs(found[1:] - found[0]).max(axis=1) > 1e-5).all()  # ten times the rounding


def test_inference_is_not_random_and_training_is(network, answers, mixed_ids):
    np.testing.assert_array_equal(probabilities(network, mixed_ids, training=False), answers)
    dropped = [probabilities(network, mixed_ids, training=True) for _ in range(2)]
    assert np.abs(dropped[0] - dropped[1]).max() > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_every_weight_gets_a_gradient(case, random_network, mixed_ids):
    import tensorflow as tf

    name, settings = case
    # A bias that dropout hides or a maximum passes over has no gradient for a moment: so without
    # dropout, and over enough texts that every unit is somewhere the maximum.
    without = {"word_dropout": 0.0, "dropout": 0.0, "recurrent_dropout": 0.0}
    model = random_network(name, **settings | possible(name, without))
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
            np.testing.assert_array_equal(values != 0, heard(weight), err_msg=weight.path)


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
            np.testing.assert_array_equal(moved, heard(weight), err_msg=weight.path)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_saved_network_is_the_same_in_a_new_process(name, overfitted, mixed_ids):
    model, _, _, answered = overfitted[name]
    np.testing.assert_array_equal(answered, probabilities(model, mixed_ids))


@pytest.mark.parametrize("name", BUILDERS)
def test_same_seed_same_model(name, mixed_ids):
    settings = {"units": 5, "embedding_dim": 4, "layers": 2, "recurrent_dropout": 0.2}
    settings = possible(name, settings | {"bidirectional": True})
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
            fixed = "bias" in weight.name or "peepholes" in weight.name
            assert fixed or (x != y).all(), weight.path


@pytest.mark.parametrize("name", BUILDERS)
def test_layers_and_directions_start_different(name):
    """No number of any kernel stands in another, or twice in one: nor within a stacked cell."""
    settings = {"units": 5, "embedding_dim": 5, "layers": 4, "pooling": "max"}
    settings = possible(name, settings | {"bidirectional": True})
    model = build_model(name, 20, 3, seed=0, **settings)
    kernels = [w for w in model.weights if "bias" not in w.name and "peepholes" not in w.name]
    ways = 2 if "merge" in model_settings(name) else 1
    attention = 0 if "pooling" in settings else 2  # kernel and context
    of_layers = ways * {"grid_lstm": 1 + 4 * 2}.get(name, 4 * 2)
    assert len(kernels) == of_layers + attention + 2  # of embedding and output
    values = np.concatenate([np.asarray(kernel).ravel() for kernel in kernels])
    assert len(np.unique(values)) > 0.998 * len(values)  # uniform draws of 23 bits meet by chance


# Part of a weight's path → what the biases of its gates start at.
BIASES = {
    "depth_gated_lstm": {"bias_1": (0, 1, 0, 0), "bias_2": (0, 1, 0, 0, -1)},
    "peephole_lstm": (0, 1, 0, 0),  # i, f, g, o
    "coupled_lstm": (1, 0, 0),  # f, g, o
    "forget_gate_lstm": (UNGATED_FORGET_BIAS, 0),  # f, g
    "grid_lstm": (0, 1, 0, 0),
    "lstm": (0, 1, 0, 0),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_first_weights(name):
    """Recurrent kernels have orthonormal rows; biases but those of forget gates are zero."""
    settings = possible(name, {"units": 5, "layers": 2, "bidirectional": True})
    model = build_model(name, 20, 3, seed=0, **settings)
    seen = set()
    for weight in model.weights:
        value = np.asarray(weight)
        seen.add(weight.name)
        if "recurrent_kernel" in weight.name:
            # QR in float32 of a matrix with up to 20 columns.
            np.testing.assert_allclose(value @ value.T, np.eye(5), rtol=0, atol=2e-6)
        elif "peepholes" in weight.name:
            np.testing.assert_array_equal(value, 0)
        elif "bias" in weight.name:
            starts = next((b for cell, b in BIASES.items() if f"{cell}_" in weight.path), ())
            starts = starts[weight.name] if isinstance(starts, dict) else starts
            expected = np.repeat(np.array(starts), 5) if starts else np.zeros_like(value)
            np.testing.assert_array_equal(value, expected, err_msg=weight.path)
        else:
            assert value.all(), weight.path
    assert {"depth_gated_lstm": "bias_2", "grid_lstm": "time_bias_2"}.get(name, "bias") in seen


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


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", BUILDERS)
def test_layers_are_named(name, bidirectional):
    """After the cell: an attention builder's are those of its Keras layer."""
    settings = possible(name, {"layers": 2, "pooling": "max", "bidirectional": bidirectional})
    model = build_model(name, 20, 3, **settings)
    cell = name.removeprefix("attention_")
    if settings.get("bidirectional"):
        cell = f"bi{cell}"
    assert [layer.name for layer in model.layers if layer.name not in ("mask", "token_ids")] == [
        "embedding",
        "word_dropout",
        f"{cell}_1",
        *([] if name in STACKED else ["dropout_2", f"{cell}_2"]),
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
        assert {"embedding_dim", "units", "layers", "word_dropout", "dropout"} <= set(
            model_settings(name)
        )
    assert list_models() == list(BUILDERS)


def test_who_has_which_settings():
    having = {
        setting: {name for name in BUILDERS if setting in model_settings(name)}
        for setting in ("pooling", "merge", "bidirectional", "recurrent_dropout", "groups")
    }
    all_of_them, own_cells = set(BUILDERS), set(CELLS)
    assert having["pooling"] == all_of_them - {"attention_bilstm", "attention_gru"}
    assert having["merge"] == all_of_them - {"rnn", "lstm", "gru"}
    assert having["bidirectional"] == own_cells | {"attention_gru"}
    assert having["recurrent_dropout"] == all_of_them - own_cells
    assert having["groups"] == {"clockwork_rnn"}


# --- what some builders promise ---

CELLS = {
    "peephole_lstm": cells.PeepholeLSTMCell,
    "coupled_lstm": cells.CoupledLSTMCell,
    "forget_gate_lstm": cells.ForgetGateLSTMCell,
    "depth_gated_lstm": cells.DepthGatedLSTMCell,
    "clockwork_rnn": cells.ClockworkRNNCell,
    "grid_lstm": cells.GridLSTMCell,
}


@pytest.mark.parametrize("name", CELLS)
def test_settings_reach_the_cell(name):
    settings = possible(name, {"units": 6, "layers": 3, "groups": 2})
    one_way = build_model(name, 20, 3, **settings).get_layer(f"{name}_1")
    both = build_model(name, 20, 3, bidirectional=True, **settings).get_layer(f"bi{name}_1")
    for layer in (one_way, both.forward_layer, both.backward_layer):
        assert type(layer) is cells.ProjectedRNN
        assert type(layer.cell) is CELLS[name]
        assert layer.go_backwards == (layer is both.backward_layer)
        assert layer.cell.units == 6
        if name in STACKED:
            assert layer.cell.layers == 3
        if name == "clockwork_rnn":
            assert layer.cell.periods.tolist() == [1, 1, 1, 2, 2, 2]


def test_parameters_of_the_new_cells():
    """By hand, with words of 4 features and 6 units: embedding 80, output (6 + 1) · 3."""
    own = {
        "peephole_lstm": 4 * 6 * (4 + 6 + 1) + 3 * 6,
        "coupled_lstm": 3 * 6 * (4 + 6 + 1),
        "forget_gate_lstm": 2 * 6 * (4 + 6 + 1),
        "depth_gated_lstm": 4 * 6 * (4 + 6 + 1) + 3 * 6 + 5 * 6 * (6 + 1) + 4 * 6 * 6 + 5 * 6,
        "clockwork_rnn": 6 * (4 + 6 + 1),
        "grid_lstm": 2 * 6 * 4 + 4 * (4 * 6 * (12 + 1)),
        "attention_gru": 3 * 6 * (4 + 6 + 2) + 6 * 6 + 6 + 6,
    }
    for name, count in own.items():
        settings = {"embedding_dim": 4, "units": 6} | possible(name, {"pooling": "max"})
        assert build_model(name, 20, 3, **settings).count_params() == 80 + count + 21, name


def test_attention_pooling_by_hand():
    """Two words whose scores are ln 3 apart count 3 to 1; padding counts nothing."""
    layer = AttentionPooling()
    states = np.array([[[1, 0], [0, 1], [9, 9]], [[2, 4], [9, 9], [9, 9]]], "float32")
    mask = np.array([[True, True, False], [True, False, False]])
    layer(states, mask=mask)
    large = np.arctanh(np.log(3) / 2).astype("float32")  # tanh(±large) · 1 = ±ln(3) / 2
    layer.set_weights([np.array([[large, 0], [-large, 0]]), np.zeros(2), np.array([1.0, 5.0])])
    weights = np.asarray(layer.weights_of_words(states, mask))
    np.testing.assert_allclose(weights, [[0.75, 0.25, 0], [1, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(weights[~mask], 0)
    np.testing.assert_allclose(layer(states, mask=mask), [[0.75, 0.25], [2, 4]], rtol=1e-6)
    assert layer.compute_mask(states, mask) is None


def test_attention_pooling_round_trips():
    layer = AttentionPooling(kernel_initializer=keras.initializers.HeNormal(seed=3), name="pool")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is AttentionPooling
    assert again.get_config() == layer.get_config()
    assert isinstance(again.kernel_initializer, keras.initializers.HeNormal)


def test_attention_starts_by_comparing_with_something():
    """A context of zeros would give the kernel no gradient."""
    layer = build_model("attention_gru", 20, 3, seed=0).get_layer("pooling")
    kernel, bias, context = layer.get_weights()
    assert kernel.all()
    assert context.all()
    assert not bias.any()
    assert not np.isin(context, kernel).any()  # drawn anew, no row or column of the kernel


def test_lstm_defaults_are_the_classic_tutorial():
    assert model_settings("lstm") == {
        "embedding_dim": 128,
        "units": 64,
        "layers": 1,
        "pooling": "last",
        "word_dropout": 0.0,
        "dropout": 0.3,
        "recurrent_dropout": 0.0,
        "ngrams": 0,
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


@pytest.mark.parametrize("name", [name for name in BUILDERS if "merge" in model_settings(name)])
@pytest.mark.parametrize("merge", MERGES)
def test_merge_of_directions(name, merge):
    settings = possible(name, {"bidirectional": True, "pooling": "max"})
    model = build_model(name, 20, 2, units=5, merge=merge, seed=0, **settings)
    (layer,) = [x for x in model.layers if isinstance(x, keras.layers.Bidirectional)]
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
        model = random_network(name, **possible(name, {"bidirectional": True}))
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
        ({"layers": 5}, "`layers` must be a whole number from {layers} to 4. Received: 5"),
        ({"layers": 0}, "`layers` must be a whole number from {layers} to 4. Received: 0"),
        ({"layers": "2"}, "`layers` must be a whole number from {layers} to 4. Received: '2'"),
        ({"dropout": 1.5}, "`dropout` must be at least 0 and below 1. Received: 1.5"),
        ({"dropout": -0.1}, "`dropout` must be at least 0 and below 1. Received: -0.1"),
        ({"dropout": float("nan")}, "`dropout` must be at least 0 and below 1. Received: nan"),
        (
            {"recurrent_dropout": 1},
            "`recurrent_dropout` must be at least 0 and below 1. Received: 1",
        ),
        (
            {"pooling": "min"},
            "`pooling` must be one of last, max, mean, max+mean, attention. Received: 'min'",
        ),
        (
            {"merge": "ave"},
            "`merge` must be one of concatenate, sum, average. Received: 'ave'",
        ),
        ({"bidirectional": 1}, "`bidirectional` must be True or False. Received: 1"),
        ({"bidirectional": "no"}, "`bidirectional` must be True or False. Received: 'no'"),
        ({"bidirectional": None}, "`bidirectional` must be True or False. Received: None"),
        ({"groups": 0}, "`groups` must be a whole number from 1 to 16. Received: 0"),
        ({"groups": 17}, "`groups` must be a whole number from 1 to 16. Received: 17"),
        ({"groups": 2.0}, "`groups` must be a whole number from 1 to 16. Received: 2.0"),
        ({"word_dropout": 1}, "`word_dropout` must be at least 0 and below 1. Received: 1"),
    ],
)
def test_values_out_of_range(name, settings, message):
    if possible(name, settings) != settings:
        (setting,) = settings
        message = (
            f"Model {name!r} has no setting {setting!r}; it has: {', '.join(model_settings(name))}"
        )
    message = message.format(layers=2 if name == "depth_gated_lstm" else 1)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model(name, 20, 3, **settings)


def test_groups_of_no_units():
    message = "`groups` must be a whole number from 1 to 4. Received: 5"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model("clockwork_rnn", 20, 3, units=4)
    assert build_model("clockwork_rnn", 20, 3, units=4, groups=4).count_params() > 0


def test_depth_gate_of_one_layer():
    message = "`layers` must be a whole number from 2 to 4. Received: 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model("depth_gated_lstm", 20, 3, layers=1)
    assert build_model("grid_lstm", 20, 3, layers=1).get_layer("grid_lstm_1").cell.layers == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lstm", 1, 3), "`vocab_size` must be a whole number of at least 2. Received: 1"),
        (("lstm", 20, 0), "`num_classes` must be a whole number of at least 1. Received: 0"),
        (
            ("transformer", 20, 3),
            "`model` must be one of rnn, lstm, gru, bilstm, bigru, peephole_lstm, coupled_lstm, "
            "forget_gate_lstm, depth_gated_lstm, clockwork_rnn, grid_lstm, attention_bilstm, "
            "attention_gru. Received: 'transformer'",
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
        "recurrent_dropout, ngrams"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model("lstm", 20, 3, merge="sum")
    with pytest.raises(ValueError, match="^`model` must be one of rnn, lstm, .* Received: 'cnn'$"):
        model_settings("cnn")
    message = (
        "Model 'attention_gru' has no setting 'pooling'; it has: embedding_dim, units, layers, "
        "bidirectional, merge, word_dropout, dropout, recurrent_dropout, ngrams"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model("attention_gru", 20, 3, pooling="max")


def test_pooling_layer_checks_its_setting():
    for pooling in ("last", "attention"):
        message = f"`pooling` must be one of max, mean, max+mean. Received: {pooling!r}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            MaskedPooling(pooling)
    assert POOLINGS == ("last", "max", "mean", "max+mean", "attention")
