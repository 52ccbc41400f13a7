"""Keras, NumPy and ONNX Runtime compute the same, and the comparison would notice if not."""

from itertools import combinations

import numpy as np
import onnxruntime
import pytest

from sentiment import equations, onnx_export
from sentiment.equations import network_probabilities, run_cell, weights_of
from sentiment.models import BUILDERS, MERGES, POOLINGS, model_settings

# NumPy computes in float64, Keras and ONNX Runtime in float32: sums of some ten terms, over up to
# 12 words and 3 layers, and ONNX Runtime's own approximations of σ and tanh.  Each rounds by about
# 1e-7; the largest difference measured over all networks here is 4e-7.
TOLERANCE = 2e-6
NOTICED = 1e-3  # what a mistake must at least come to: far above any rounding

NETWORKS = [
    (name, {"layers": layers, "pooling": pooling} | merge)
    for name in BUILDERS
    for layers in (1, 2, 3)
    for pooling in POOLINGS
    for merge in ([{"merge": m} for m in MERGES] if "merge" in model_settings(name) else [{}])
]
GATES = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("update", "reset", "candidate"),
}


def difference(model, ids, arguments=None) -> float:
    """Largest distance between Keras and the equations: the comparison of this file."""
    expected = network_probabilities(ids, **(arguments or weights_of(model)))
    return float(np.abs(np.asarray(model(ids)) - expected).max())


def with_recurrent(arguments, change):
    """The arguments with every direction's weights changed."""
    recurrent = [[change(*weights) for weights in layer] for layer in arguments["recurrent"]]
    return arguments | {"recurrent": recurrent}


@pytest.mark.parametrize(("name", "settings"), NETWORKS, ids=lambda value: str(value))
def test_keras_numpy_and_onnx_agree(name, settings, random_network, mixed_ids, monkeypatch):
    model = random_network(name, seed=3, **settings)
    assert difference(model, mixed_ids) < TOLERANCE

    monkeypatch.setattr(onnx_export, "largest_difference", lambda *_: 0.0)  # we compare, below
    session = onnxruntime.InferenceSession(onnx_export.export_onnx(model))
    (found,) = session.run(["probabilities"], {"token_ids": mixed_ids})
    np.testing.assert_allclose(
        found, network_probabilities(mixed_ids, **weights_of(model)), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("num_classes", [1, 2, 7])
@pytest.mark.parametrize("name", BUILDERS)
def test_any_number_of_classes(name, num_classes, random_network, mixed_ids):
    model = random_network(name, num_classes)
    assert difference(model, mixed_ids) < TOLERANCE
    session = onnxruntime.InferenceSession(onnx_export.export_onnx(model))
    (found,) = session.run(["probabilities"], {"token_ids": mixed_ids})
    np.testing.assert_allclose(found, np.asarray(model(mixed_ids)), rtol=0, atol=TOLERANCE)


def test_float64_stays_float64(random_network, mixed_ids):
    assert network_probabilities(mixed_ids, **weights_of(random_network("gru"))).dtype == float


# --- the comparison notices mistakes ---


@pytest.mark.parametrize("name", ["lstm", "gru", "bilstm", "bigru"])
def test_swapped_gates_are_noticed(name, random_network, mixed_ids):
    """Any two gates, in all weights or only in the kernel, the recurrent kernel or the bias."""
    model = random_network(name)
    gates = len(GATES[name.removeprefix("bi")])
    for a, b in combinations(range(gates), 2):
        order = list(range(gates))
        order[a], order[b] = b, a
        for places in ((0, 1, 2), (0,), (1,), (2,)):

            def swap(*weights, order=order, places=places):
                return tuple(
                    np.concatenate([np.split(w, gates, -1)[i] for i in order], -1)
                    if place in places
                    else w
                    for place, w in enumerate(weights)
                )

            swapped = with_recurrent(weights_of(model), swap)
            assert difference(model, mixed_ids, swapped) > NOTICED, (a, b, places)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", BUILDERS)
def test_reversed_direction_is_noticed(name, pooling, random_network, mixed_ids, monkeypatch):
    model = random_network(name, pooling=pooling)
    arguments = weights_of(model)

    def reversed_run(*args, backward=False):
        return run_cell(*args, backward=not backward)

    monkeypatch.setattr(equations, "run_cell", reversed_run)
    assert difference(model, mixed_ids, arguments) > NOTICED


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("name", ["bilstm", "bigru"])
def test_swapped_directions_are_noticed(name, merge, random_network, mixed_ids):
    model = random_network(name, merge=merge, layers=2)
    arguments = weights_of(model)
    for number in range(2):
        recurrent = list(arguments["recurrent"])
        recurrent[number] = recurrent[number][::-1]
        assert difference(model, mixed_ids, arguments | {"recurrent": recurrent}) > NOTICED


# One that reads forward meets padding only after the words: it shows in the last state and, since
# that state stays, in the mean; one that reads both ways meets it first, and it shows everywhere.
FORWARD_LEAKS = [("cells", "last"), ("second layer", "last"), ("pooling", "mean")]
OTHER_LEAKS = [("cells", "max"), ("cells", "mean"), ("second layer", "mean"), ("pooling", "max")]
LEAKS = [
    (name, place, pooling)
    for name in BUILDERS
    for place, pooling in FORWARD_LEAKS + OTHER_LEAKS * name.startswith("bi")
]


@pytest.mark.parametrize(("name", "place", "pooling"), LEAKS)
def test_leaking_mask_is_noticed(name, place, pooling, random_network, mixed_ids, monkeypatch):
    model = random_network(name, pooling=pooling, layers=2)
    arguments = weights_of(model)
    layers = []

    def leaking_run(cell, x, mask, weights, **options):
        layers.append(x.shape[-1])
        leaks = place == "cells" or x.shape[-1] != layers[0]
        return run_cell(cell, x, np.ones_like(mask) if leaks else mask, weights, **options)

    if place == "pooling":
        pool = equations.pool
        monkeypatch.setattr(
            equations, "pool", lambda x, mask, how: pool(x, np.ones_like(mask), how)
        )
    else:
        monkeypatch.setattr(equations, "run_cell", leaking_run)
    assert difference(model, mixed_ids, arguments) > NOTICED


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["bilstm", "bigru"])
def test_other_merge_or_pooling_is_noticed(name, pooling, random_network, mixed_ids):
    model = random_network(name, merge="sum", pooling=pooling)
    arguments = weights_of(model)
    assert difference(model, mixed_ids, arguments | {"merge": "average"}) > NOTICED
    for other in {"last", "max", "mean"} - {pooling}:
        if pooling != "max+mean":
            assert difference(model, mixed_ids, arguments | {"pooling": other}) > NOTICED


@pytest.mark.parametrize("name", ["bilstm", "bigru"])
def test_other_order_of_features_is_noticed(name, random_network, mixed_ids, monkeypatch):
    """Directions concatenated the other way round, or mixed unit by unit."""
    model = random_network(name, layers=2, pooling="max+mean")
    arguments = weights_of(model)
    for merged in (
        lambda f, b, _: np.concatenate([b, f], -1),
        lambda f, b, _: np.stack([f, b], -1).reshape(*f.shape[:-1], -1),
    ):
        monkeypatch.setattr(equations, "merge_directions", merged)
        assert difference(model, mixed_ids, arguments) > NOTICED


@pytest.mark.parametrize("name", BUILDERS)
def test_transposed_weights_are_noticed(name, random_network, mixed_ids):
    model = random_network(name)

    def transpose(kernel, recurrent_kernel, bias):
        units = len(recurrent_kernel)
        turned = [recurrent_kernel[:, i : i + units].T for i in range(0, kernel.shape[1], units)]
        return kernel, np.concatenate(turned, -1), bias

    assert difference(model, mixed_ids, with_recurrent(weights_of(model), transpose)) > NOTICED


def test_other_batch_and_time_order_is_noticed(random_network, mixed_ids):
    """Texts of equal length, so that a batch read sideways would have the right shape."""
    model = random_network("bilstm")
    ids = np.where(mixed_ids == 0, 5, mixed_ids)[:, :8]
    sideways = network_probabilities(ids.T, **weights_of(model))
    assert difference(model, ids) < TOLERANCE
    assert np.abs(np.asarray(model(ids)) - sideways).max() > NOTICED


@pytest.mark.parametrize("name", ["gru", "bigru"])
def test_swapped_biases_of_gru_are_noticed(name, random_network, mixed_ids):
    model = random_network(name)
    swapped = with_recurrent(weights_of(model), lambda w, u, b: (w, u, b[::-1]))
    assert difference(model, mixed_ids, swapped) > NOTICED


# --- the gates by name ---


def saturated(cell: str, units: int = 3, **values: float):
    """Weights under which each named gate is 0 or 1 at every step, whatever is read.

    The other gates and the candidate keep random weights.
    """
    generator = np.random.default_rng(4)
    kernel, recurrent_kernel = (
        np.split(generator.normal(size=(n, len(GATES[cell]) * units)), len(GATES[cell]), -1)
        for n in (2, units)
    )
    bias = np.split(generator.normal(size=len(GATES[cell]) * units), len(GATES[cell]))
    for gate, value in values.items():
        place = GATES[cell].index(gate)
        kernel[place][:] = recurrent_kernel[place][:] = 0
        bias[place][:] = 100 if value else -100
    bias = np.concatenate(bias)
    if cell == "gru":
        bias = np.stack([bias, np.zeros_like(bias)])
    return np.concatenate(kernel, -1), np.concatenate(recurrent_kernel, -1), bias


@pytest.fixture
def words() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(4, 2))


@pytest.fixture
def states() -> tuple[np.ndarray, np.ndarray]:
    h, c = np.random.default_rng(6).normal(size=(2, 4, 3))
    return np.tanh(h), c


def test_lstm_that_forgets_nothing_and_writes_nothing_keeps_its_memory(words, states):
    weights = saturated("lstm", forget=1, input=0)
    (h, c), gates = equations.lstm_step(words, states, weights)
    np.testing.assert_allclose(c, states[1], rtol=1e-15)
    np.testing.assert_allclose(h, gates["output"] * np.tanh(states[1]), rtol=1e-15)
    np.testing.assert_array_equal(gates["forget"], 1)
    np.testing.assert_array_equal(gates["input"], 0)


def test_lstm_that_forgets_all_and_writes_all_has_the_candidate(words, states):
    (_, c), gates = equations.lstm_step(words, states, saturated("lstm", forget=0, input=1))
    np.testing.assert_array_equal(c, gates["candidate"])
    assert (gates["candidate"] < 0).any()  # tanh, not σ


def test_lstm_that_shows_nothing(words, states):
    (h, c), gates = equations.lstm_step(words, states, saturated("lstm", output=0))
    np.testing.assert_array_equal(h, 0)
    np.testing.assert_array_equal(
        c, gates["forget"] * states[1] + gates["input"] * gates["candidate"]
    )


def test_gru_that_keeps_all(words, states):
    (h,), _ = equations.gru_step(words, states[:1], saturated("gru", update=1))
    np.testing.assert_array_equal(h, states[0])


def test_gru_that_keeps_nothing_has_the_candidate(words, states):
    (h,), gates = equations.gru_step(words, states[:1], saturated("gru", update=0))
    np.testing.assert_array_equal(h, gates["candidate"])


def test_gru_that_resets_all_sees_only_the_word(words, states):
    weights = saturated("gru", reset=0, update=0)
    (h,), gates = equations.gru_step(words, states[:1], weights)
    (other,), _ = equations.gru_step(words, (-states[0],), weights)
    np.testing.assert_array_equal(h, other)
    np.testing.assert_array_equal(gates["reset"], 0)
    (h,), _ = equations.gru_step(words, states[:1], saturated("gru", reset=1, update=0))
    assert (h != other).all()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("backward", [False, True])
def test_gates_are_in_text_order(cell, backward):
    """What is reported at a word are the gates that the step at this word had."""
    generator = np.random.default_rng(7)
    weights = saturated(cell)
    x = generator.normal(size=(2, 5, 2))
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    outputs, gates = run_cell(cell, x, mask, weights, backward=backward)
    assert tuple(gates) == GATES[cell]
    step, count = equations.STEPS[cell]
    for row, length in enumerate((5, 3)):  # each text alone, without padding
        states = (np.zeros((1, 3)),) * count
        order = range(length)
        for t in reversed(order) if backward else order:
            states, expected = step(x[row : row + 1, t], states, weights)
            np.testing.assert_allclose(outputs[row, t], states[0][0], rtol=1e-12)
            for name, value in expected.items():
                np.testing.assert_allclose(gates[name][row, t], value[0], rtol=1e-12)


def test_state_stays_where_there_is_no_word():
    x = np.random.default_rng(8).normal(size=(1, 4, 2))
    mask = np.array([[True, True, False, False]])
    outputs, _ = run_cell("lstm", x, mask, saturated("lstm"))
    np.testing.assert_array_equal(outputs[0, 2:], outputs[0, [1, 1]])
    outputs, _ = run_cell("lstm", x, mask, saturated("lstm"), backward=True)
    np.testing.assert_array_equal(outputs[0, 2:], 0)


def test_sigmoid_and_softmax():
    x = np.array([-1000.0, -2.0, 0.0, 2.0, 1000.0])
    np.testing.assert_allclose(
        equations.sigmoid(x), [0, 1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2)), 1], rtol=1e-15
    )
    np.testing.assert_allclose(
        equations.softmax(np.array([[1000.0, 1000.0, -1000.0], [0.0, np.log(2), np.log(5)]])),
        [[0.5, 0.5, 0], [1 / 8, 2 / 8, 5 / 8]],
        rtol=1e-15,
    )
