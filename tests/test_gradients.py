"""The derivative of the equations: every rule against central differences, and against TensorFlow.

Central differences in float64 with a step of 1e-5: what they leave out is of the order of the step
squared, 1e-10, and rounding, 1e-16, is divided by the step.
"""

import re
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from sentiment import gradients
from sentiment.equations import STEPS, Network, network_of, replay
from sentiment.gradients import Traced, value_and_gradient
from sentiment.models import BUILDERS, MERGES, POOLINGS, model_settings

STEP = 1e-5
TOLERANCE = 1e-9  # ten times what central differences leave out
NOTICED = 1e-4  # what a mistake must at least come to


def central_differences(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The gradient of each row's number with respect to the row, one coordinate at a time."""
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape[1:]):
        ends = []
        for step in (STEP, -STEP):
            moved = x.copy()
            moved[(slice(None), *place)] += step
            ends.append(function(moved))
        gradient[(slice(None), *place)] = (ends[0] - ends[1]) / (2 * STEP)
    return gradient


def difference(function: Callable[[Any], Any], x: np.ndarray) -> float:
    """Largest distance between the gradient and central differences."""
    _, gradient = value_and_gradient(function, x)
    return float(np.abs(gradient - central_differences(function, x)).max())


def random(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape)


def numbers(y: Any) -> Any:
    """One number a row, from every element with a weight of its own."""
    y = y * random(*y.shape[1:], seed=9)
    while y.ndim > 1:
        y = y.sum(axis=-1)
    return y


# --- each rule ---


def shared(y: Any) -> Any:
    """`first` and `last` get the same share: y is handed `last`'s, then more, then `first`'s."""
    first = 2 * y
    middle = y[:, :1] * y[:, 1:2]
    last = y + 1
    return first + last + middle


C = random(3, 4, 5, seed=2)
MASK = C > 1
RULES: dict[str, Callable[[Any], Any]] = {
    "x + c": lambda x: x + C,
    "c + x": lambda x: C + x,
    "x + 2": lambda x: x + 2,
    "x + x": lambda x: x + np.tanh(x),
    "x - c": lambda x: x - C,
    "c - x": lambda x: C - x,
    "1 - x": lambda x: 1 - x,
    "x - x": lambda x: x - np.tanh(x),
    "x * c": lambda x: x * C,
    "c * x": lambda x: C * x,
    "number * x": lambda x: np.float64(0.5) * x,
    "bool * x": lambda x: MASK * x,
    "x * x": lambda x: x * np.tanh(x),
    "x / c": lambda x: x / C,
    "c / x": lambda x: C / x,
    "x / x": lambda x: np.tanh(x) / x,
    "-x": lambda x: -x,
    "tanh": lambda x: np.tanh(x),
    "exp": lambda x: np.exp(x),
    "2-D @ 2-D": lambda x: x[:, 0] @ random(5, 6),
    "3-D @ 2-D": lambda x: x @ random(5, 6),
    "3-D @ 1-D": lambda x: x @ random(5),
    "2-D @ 1-D": lambda x: x[:, 0] @ random(5),
    "row + x": lambda x: x[:, :1] + np.tanh(x),
    "x * column": lambda x: x * x[..., :1],
    "vector + x": lambda x: np.tanh(x[:, 0])[:, None] + x,
    "wider than x": lambda x: x[:, :, None] * random(3, 4, 6, 5),
    "fewer axes": lambda x: (x.T * np.tanh(x[:, 0, 0])).T,
    "split": lambda x: np.split(x, [1, 3], axis=-1)[1],
    "split into equal parts": lambda x: np.split(x, 2, axis=1)[1] * np.split(x, 2, axis=1)[0],
    "concatenate": lambda x: np.concatenate([x, C[:, :2], np.tanh(x)[:, 1:]], axis=1),
    "concatenate along the last": lambda x: np.concatenate([np.tanh(x), x * x], axis=-1),
    "concatenate one": lambda x: np.concatenate([x], axis=-1),
    "stack": lambda x: np.stack([x, C, np.tanh(x)], axis=1),
    "stack along the last": lambda x: np.stack([x, x * x], axis=-1),
    "where": lambda x: np.where(MASK, x, np.tanh(x)),
    "where or constant": lambda x: np.where(MASK, x, -7.0),
    "constant where": lambda x: np.where(MASK[..., :1], C, x),
    "where broadcast": lambda x: np.where(MASK, x[:, :1], x),
    "where compared": lambda x: np.where(x > 1, x, 2 * x) + np.where(1 >= x, x, 0),
    "sum": lambda x: x.sum(axis=1),
    "sum kept": lambda x: x * x.sum(axis=-1, keepdims=True),
    "mean": lambda x: x.mean(axis=1),
    "mean kept": lambda x: x * x.mean(axis=-1, keepdims=True),
    "max": lambda x: x.max(axis=1),
    "max kept": lambda x: x * x.max(axis=-1, keepdims=True),
    "T": lambda x: (x.T * C.T).T,
    "whole number": lambda x: x[:, 2],
    "from the end": lambda x: x[:, -1, np.int64(-2)],
    "slice": lambda x: x[:, 1:4:2],
    "reversed": lambda x: x[:, ::-1] * x,
    "new axis": lambda x: x[:, None] * x[..., None, :],
    "ellipsis": lambda x: x[..., 1] * x[..., 2:3, 0],
    "everything": lambda x: x[...] * x[:],
    "rows": lambda x: np.stack(list(x), axis=0),
    "used often": lambda x: np.tanh(x) * np.tanh(x) + x * x[:, 1:2] + x[..., 0:1] - x / 3,
    "parts, then the whole": lambda x: x[:, :1] * x + x[:, 1:2] * x[:, 1:2],
    "whole, then a part": lambda x: np.tanh(np.exp(x)[:, 1:2]) + np.exp(x),
    "same share twice": lambda x: shared(np.tanh(x)),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_against_central_differences(rule):
    def function(x: Any) -> Any:
        return numbers(rule(x))

    x = random(3, 4, 5)
    value, gradient = value_and_gradient(function, x)
    assert type(value) is np.ndarray
    np.testing.assert_array_equal(value, function(x))
    assert (gradient.shape, gradient.dtype) == (x.shape, x.dtype)
    expected = central_differences(function, x)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(gradient, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_gradient_by_hand():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    value, gradient = value_and_gradient(lambda x: (x * x * x).sum(axis=1), x)
    np.testing.assert_array_equal(value, [9, 91])
    np.testing.assert_array_equal(gradient, [[3, 12], [27, 48]])


def test_first_of_equal_maxima_has_the_gradient():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    _, gradient = value_and_gradient(lambda x: x.max(axis=1), x)
    np.testing.assert_array_equal(gradient, [[0, 1, 0], [1, 0, 0]])


def test_the_array_itself():
    x = np.array([1.0, 2.0])
    value, gradient = value_and_gradient(lambda x: x, x)
    np.testing.assert_array_equal(value, x)
    np.testing.assert_array_equal(gradient, [1, 1])


def test_what_does_not_depend_on_x_stays_plain():
    x = random(3, 4)

    def function(traced: Any) -> np.ndarray:
        start = np.zeros((len(traced), traced.shape[1]), traced.dtype)
        found = [start, start @ np.eye(4), traced > 1, traced.shape, len(traced), traced.ndim]
        assert not any(isinstance(value, Traced) for value in found)
        assert found[3:] == [(3, 4), 3, 2]
        np.testing.assert_array_equal(found[2], x > 1)
        return start[:, 0]

    value, gradient = value_and_gradient(function, x)
    np.testing.assert_array_equal(value, np.zeros(3))
    np.testing.assert_array_equal(gradient, np.zeros((3, 4)))


def test_the_array_is_not_changed_nor_shared():
    x = random(3, 4)
    before = x.copy()
    _, gradient = value_and_gradient(lambda x: x.sum(axis=1), x)
    gradient += 1
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(gradient, np.full((3, 4), 2))


def test_float32_stays_float32():
    x = random(3, 4).astype("float32")
    for weights in (random(4, 4).astype("float32"), random(4, 4)):  # of either type

        def function(x: Any, weights: np.ndarray = weights) -> Any:
            return (np.tanh(x @ weights) * x).sum(axis=1)

        value, gradient = value_and_gradient(function, x)
        assert (value.dtype, gradient.dtype) == (weights.dtype, np.float32)
        expected = central_differences(function, x.astype(float))
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)


# --- length and memory ---


def test_long_chains_do_not_recurse():
    steps = 20 * sys.getrecursionlimit()

    def function(x: Any) -> Any:
        for _ in range(steps):
            x = -x
        return x

    _, gradient = value_and_gradient(function, np.ones(2))
    np.testing.assert_array_equal(gradient, [1, 1])

    def failing(x: Any) -> Any:
        function(x)
        raise KeyError("after many steps")

    with pytest.raises(KeyError, match="after many steps"):
        value_and_gradient(failing, np.ones(2))


def test_the_way_back_frees_what_it_has_used():
    """It needs no more than was kept on the way there: of 100 steps each keeps one array."""
    kept = []

    def function(x: Any) -> Any:
        for _ in range(100):
            x = np.tanh(x)
        kept.append(tracemalloc.get_traced_memory()[0])
        return x.sum(axis=1)

    x = random(10, 5000)
    tracemalloc.start()
    try:
        value_and_gradient(function, x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept[0] > 100 * x.nbytes
    assert peak < 110 * x.nbytes


def test_words_read_one_by_one_share_one_buffer(monkeypatch):
    made = []

    def counted(make: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def counting(*args: Any, **options: Any) -> np.ndarray:
            array = make(*args, **options)
            if not options:  # else NumPy's own call, which makes a view
                made.append(array.size)
            return array

        return counting

    def function(x: Any) -> Any:
        y = np.exp(x)
        total = 0.0
        for t in range(50):
            total = total + x[:, t] * y[:, t]
        return total.sum(axis=1)

    x = random(2, 50, 3)
    expected = np.exp(x) * (1 + x)
    for name in ("zeros", "array"):
        monkeypatch.setattr(np, name, counted(getattr(np, name)))
    _, gradient = value_and_gradient(function, x)
    assert x.size <= sum(made) <= 2 * x.size
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


# --- what has no derivative ---

KNOWN = (
    "`function` must keep to what has a derivative here: add, concatenate, divide, exp, matmul, "
    "multiply, negative, split, stack, subtract, tanh, where, indices, .sum, .mean, .max and .T. "
    "Received: "
)
INDEX = "An index must be made of whole numbers, slices, None and ... to have a derivative here. "


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: np.sqrt(x), KNOWN + "sqrt"),
        (lambda x: x**2, KNOWN + "power"),
        (lambda x: x % 2, KNOWN + "remainder"),
        (lambda x: np.maximum(x, 0), KNOWN + "maximum"),
        (lambda x: np.cumsum(x, axis=1), KNOWN + "cumsum"),
        (lambda x: np.add.reduce(x, axis=1), KNOWN + "add.reduce"),
        (lambda x: np.add(x, 1, dtype=float), KNOWN + "add with dtype"),
        (lambda x: np.ones((3, 4)).__iadd__(x), KNOWN + "add with out"),
        (lambda x: np.eye(3) @ x, KNOWN + "matmul without a constant vector or matrix"),
        (lambda x: x @ x.T, KNOWN + "matmul without a constant vector or matrix"),
        (lambda x: x @ np.ones((2, 4, 4)), KNOWN + "matmul without a constant vector or matrix"),
        (lambda x: np.where(x, x, 0), KNOWN + "where with a condition that depends on `x`"),
        (lambda x: np.asarray(x), KNOWN + "conversion to a plain array"),
        (lambda x: np.zeros((3, 4)).__setitem__(0, x[0]), KNOWN + "conversion to a plain array"),
        (lambda x: x[[0, 0]], INDEX + "Received: [0, 0]"),
        (lambda x: x[:, True], INDEX + "Received: True"),
        (lambda x: x[np.ones((3, 4), bool)], INDEX + "Received: array("),
    ],
    ids=range(17),
)
def test_operations_without_derivative_are_named(function, message):
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        value_and_gradient(function, random(3, 4))


def test_unknown_methods_are_named():
    with pytest.raises(AttributeError, match="no attribute 'cumsum'"):
        value_and_gradient(lambda x: x.cumsum(axis=1), random(3, 4))


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x, "(3, 4)"),
        (lambda x: x.sum(axis=0), "(4,)"),
        (lambda x: x.sum(axis=0).sum(axis=0), "()"),
        (lambda x: np.ones(len(x) + 1), "(4,)"),
    ],
)
def test_results_of_another_shape(function, shape):
    message = (
        "`function` must return one number for each row of `x`, shape (3,). "
        f"Received: shape {shape}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        value_and_gradient(function, random(3, 4))


@pytest.mark.parametrize(
    ("x", "received"),
    [
        (np.ones((2, 3), int), "int64 of shape (2, 3)"),
        (np.float64(1), "float64 of shape ()"),
        (np.array(1.0), "float64 of shape ()"),
        ([1.0, 2.0], "list of shape (2,)"),
    ],
)
def test_only_arrays_of_floats(x, received):
    message = (
        "`x` must be a NumPy array of floats with one row for each number wanted. "
        f"Received: {received}"
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        value_and_gradient(lambda x: x, x)


# --- whole networks ---

FEATURES, UNITS = 2, 3
LENGTHS = (1, 5, 3)
WORDS = np.random.default_rng(5).normal(size=(3, 5, FEATURES))
TEXT_MASK = np.arange(5) < np.array(LENGTHS)[:, None]
GATES = {"rnn": 1, "lstm": 4, "gru": 3, "peephole_lstm": 4, "coupled_lstm": 3,
         "forget_gate_lstm": 2, "clockwork_rnn": 1}  # fmt: skip


def weight_shapes(cell: str, features: int) -> list[tuple[int, ...]]:
    if cell == "grid_lstm":
        return [(features, 2 * UNITS), *[(2 * UNITS, 4 * UNITS), (4 * UNITS,)] * 4]
    if cell == "depth_gated_lstm":
        shapes = []
        for width, parts in ((features, 4), (UNITS, 5)):
            shapes += [(width, parts * UNITS), (UNITS, 4 * UNITS), (parts * UNITS,)]
            shapes += [(2 * parts - 5, UNITS)]
        return shapes
    wide = GATES[cell] * UNITS
    shapes = [(features, wide), (UNITS, wide), (2, wide) if cell == "gru" else (wide,)]
    return [*shapes, (3, UNITS)] if cell == "peephole_lstm" else shapes


def random_weights(
    cell: str, *, layers: int = 2, directions: int = 2, merge: str = "concatenate",
    pooling: str = "max+mean", num_classes: int = 3,
) -> Network:  # fmt: skip
    """A network in float64 in which every weight is different."""
    generator = np.random.default_rng(7)
    width, recurrent = FEATURES, []
    for _ in range(layers):
        ways = []
        for _ in range(directions):
            weights = [generator.normal(0, 0.8, shape) for shape in weight_shapes(cell, width)]
            if cell == "clockwork_rnn":
                weights.append(np.array([1.0, 2.0, 4.0]))
            ways.append(tuple(weights))
        recurrent.append(tuple(ways))
        width = directions * UNITS if merge == "concatenate" else UNITS
    context = (
        [generator.normal(size=shape) for shape in ((width, width), width, width)]
        if pooling == "attention"
        else ()
    )
    features = (2 if pooling == "max+mean" else 1) * width
    output = generator.normal(size=(features, num_classes)), generator.normal(size=num_classes)
    embeddings = np.zeros((1, FEATURES))
    return Network(embeddings, cell, tuple(recurrent), pooling, merge, output, tuple(context))


def answers(network: Network, mask: np.ndarray = TEXT_MASK) -> dict[str, Callable[[Any], Any]]:
    """What a network answers: each class, and a score."""
    num_classes = len(network.output[1])
    score = np.linspace(-1, 1, num_classes) if num_classes > 1 else np.array([2.0])
    return {
        f"class {k}": lambda x, k=k: replay(network, x, mask).probabilities[:, k]
        for k in range(num_classes)
    } | {"score": lambda x: replay(network, x, mask).probabilities @ score}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", STEPS)
def test_networks_against_central_differences(cell, pooling):
    """Two layers, read both ways, joined in each way; answers from a softmax or a sigmoid."""
    for merge, num_classes, name in zip(
        MERGES, (3, 1, 3), ("class 1", "class 0", "score"), strict=True
    ):
        network = random_weights(cell, pooling=pooling, merge=merge, num_classes=num_classes)
        function = answers(network)[name]
        value, gradient = value_and_gradient(function, WORDS)
        np.testing.assert_array_equal(value, function(WORDS))
        expected = central_differences(function, WORDS)
        assert np.abs(expected).max() > NOTICED
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(gradient[~TEXT_MASK], 0)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", STEPS)
def test_one_direction_against_central_differences(cell, layers):
    for name, function in answers(random_weights(cell, layers=layers, directions=1)).items():
        assert difference(function, WORDS) < TOLERANCE, name


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", STEPS)
def test_rows_do_not_mix_and_padding_is_nothing(cell, pooling):
    """A text has in a batch the gradient that it has alone; where it has ended exactly zero."""
    network = random_weights(cell, pooling=pooling)
    _, together = value_and_gradient(answers(network)["class 1"], WORDS)
    other = np.where(TEXT_MASK[..., None], WORDS, 1e3)
    _, padded = value_and_gradient(answers(network)["class 1"], other)
    np.testing.assert_array_equal(padded, together)
    np.testing.assert_array_equal(together[~TEXT_MASK], 0)
    for row, length in enumerate(LENGTHS):
        text = slice(row, row + 1), slice(length)
        _, alone = value_and_gradient(answers(network, TEXT_MASK[text])["class 1"], WORDS[text])
        # The same sums; BLAS orders them by the number of rows.
        np.testing.assert_allclose(together[text], alone, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("name", BUILDERS)
def test_keras_has_the_same_gradient(name, random_network, mixed_ids):
    """TensorFlow's, with respect to what the embedding layer gives to the layers above."""
    ways = {"bidirectional": True} if "bidirectional" in model_settings(name) else {}
    model = random_network(name, **ways)
    network = network_of(model)
    embedding, mask = model.get_layer("embedding"), model.get_layer("mask")
    above = keras.Model([embedding.output, mask.output], model.output)
    vectors = embedding(mixed_ids)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(vectors)
        probabilities = above([vectors, mask(mixed_ids)], training=False)
        classes = [probabilities[:, k] for k in range(3)]
    for k, own in enumerate(classes):
        expected = tape.gradient(own, vectors).numpy()
        _, gradient = value_and_gradient(
            answers(network, mixed_ids != 0)[f"class {k}"], network.word_vectors(mixed_ids)
        )
        assert np.abs(expected).max() > 1e-2
        # Keras in float32: each of some hundred sums on the way rounds by about 1e-7.
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=2e-6)


# --- the comparison notices mistakes ---

WRONG_SHARES: dict[str, tuple[np.ufunc, Callable[..., Any]]] = {
    "subtract": (np.subtract, lambda *_: (lambda g: g, lambda g: g)),
    "multiply": (np.multiply, lambda _, a, b: (lambda g: g * a, lambda g: g * b)),
    "divide": (np.divide, lambda y, _, b: (lambda g: g / b, lambda g: g * y / b)),
    "tanh": (np.tanh, lambda y, _: (lambda g: g * (1 - y),)),
    "exp": (np.exp, lambda y, _: (lambda g: g * (1 - y),)),
}


@pytest.mark.parametrize("name", WRONG_SHARES)
def test_wrong_share_is_noticed(name, monkeypatch):
    ufunc, share = WRONG_SHARES[name]
    monkeypatch.setitem(gradients._SHARES, ufunc, share)
    function = answers(random_weights("gru", pooling="attention"))["class 1"]
    assert difference(function, WORDS) > NOTICED


def max_to_all(x: Traced, axis: int, keepdims: bool = False) -> Traced:
    """The gradient of a maximum to every place."""

    def share(g: np.ndarray) -> np.ndarray:
        return np.broadcast_to(g if keepdims else np.expand_dims(g, axis), x.shape)

    return x._then(x.value.max(axis=axis, keepdims=keepdims), share)


def overwrite(note: Any, share: np.ndarray, part: Any = ...) -> None:
    """A note that keeps the last share only."""
    note.gradient = np.zeros(note.shape) if note.gradient is None else np.array(note.gradient)
    note.gradient[part] = gradients._summed_to(share, note.shape) if part is ... else share


def swapped_where(tape: Any, condition: np.ndarray, a: Any, b: Any) -> Traced:
    value = np.where(condition, gradients._plain(a), gradients._plain(b))
    shares = (lambda g: np.where(condition, 0, g)), (lambda g: np.where(condition, g, 0))
    return gradients._computed(tape, value, (a, b), shares)


def test_other_mistakes_are_noticed(monkeypatch):
    function = answers(random_weights("lstm", pooling="max"))["class 1"]
    assert difference(function, WORDS) < TOLERANCE
    for target, name, mistake in (
        (gradients.Traced, "max", max_to_all),
        (gradients._Note, "add", overwrite),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, mistake)
            assert difference(function, WORDS) > NOTICED
    with monkeypatch.context() as patch:
        patch.setitem(gradients._FUNCTIONS, np.where, swapped_where)
        assert difference(function, WORDS) > NOTICED
    assert difference(function, WORDS) < TOLERANCE
