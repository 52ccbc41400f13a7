"""The cells that Keras lacks: they keep Keras' contract for cells, and start as they say."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from sentiment import cells
from sentiment.cells import ProjectedRNN
from sentiment.equations import STEPS, run_cell

UNITS, FEATURES = 6, 4
CELLS: dict[str, tuple[type, dict[str, int]]] = {
    "peephole_lstm": (cells.PeepholeLSTMCell, {}),
    "coupled_lstm": (cells.CoupledLSTMCell, {}),
    "forget_gate_lstm": (cells.ForgetGateLSTMCell, {}),
    "depth_gated_lstm": (cells.DepthGatedLSTMCell, {"layers": 3}),
    "clockwork_rnn": (cells.ClockworkRNNCell, {"groups": 3}),
    "grid_lstm": (cells.GridLSTMCell, {"layers": 2}),
}
# The same float32 sums, taken for all words at once or word by word.
SAME = {"rtol": 2e-6, "atol": 1e-6}  # float32: memories reach 4, where its steps are 5e-7
LENGTHS = (1, 11, 4, 7)


def make(name: str, units: int = UNITS, /, **settings: Any) -> Any:
    kind, defaults = CELLS[name]
    return kind(units, **defaults | settings)


def randomize(layer: Any, seed: int = 0) -> list[np.ndarray]:
    """Give every weight of a built layer a different value, and return them."""
    generator = np.random.default_rng(seed)
    layer.set_weights([generator.normal(0, 0.7, w.shape) for w in layer.get_weights()])
    return layer.get_weights()


def for_equations(name: str, weights: list[np.ndarray], units: int = UNITS) -> tuple:
    """A cell's weights as its step of the equations takes them."""
    arrays = [np.asarray(weight, "float64") for weight in weights]
    if name == "clockwork_rnn":
        assert units == UNITS
        arrays.append(np.array([1.0, 1, 2, 2, 4, 4]))
    return tuple(arrays)


def as_arrays(values: Any) -> list[np.ndarray]:
    return [
        np.asarray(value) for value in (values if isinstance(values, list | tuple) else [values])
    ]


def assert_same(found: Any, expected: Any) -> None:
    found, expected = as_arrays(found), as_arrays(expected)
    assert [a.shape for a in found] == [a.shape for a in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **SAME)


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """float32 (4, 11, FEATURES)."""
    return np.random.default_rng(1).normal(size=(4, 11, FEATURES)).astype("float32")


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    """bool (4, 11): texts of 1 to 11 words, padded on the right."""
    return np.arange(11) < np.array(LENGTHS)[:, None]


def test_every_cell_is_here():
    """And has an equation of the same name."""
    known = [
        kind
        for _, kind in inspect.getmembers(cells, inspect.isclass)
        if issubclass(kind, cells._Cell) and kind is not cells._Cell
    ]
    assert {kind for kind, _ in CELLS.values()} == set(known)
    assert set(CELLS) == set(STEPS) - {"rnn", "lstm", "gru"}


# --- the contract of cells ---


@pytest.mark.parametrize("name", CELLS)
def test_one_step_is_that_of_the_equations(name, words):
    """From states that are not zero."""
    cell = make(name)
    cell.build((None, FEATURES))
    weights = for_equations(name, randomize(cell))
    generator = np.random.default_rng(2)
    states = [generator.normal(size=(4, width)) for width in cell.state_size]
    if name == "clockwork_rnn":
        states[1] = np.array([[0.0], [1.0], [2.0], [6.0]])
    output, new_states = cell(words[:, 0], [state.astype("float32") for state in states])
    step, widths = STEPS[name]
    expected, expected_states, _ = step(words[:, 0], tuple(states), weights)
    assert cell.state_size == widths(weights)
    assert cell.output_size == UNITS == output.shape[-1]
    assert_same(output, expected)
    assert isinstance(new_states, list)
    assert_same(new_states, list(expected_states))


@pytest.mark.parametrize("name", CELLS)
def test_first_states_are_zeros(name):
    cell = make(name)
    found = cell.get_initial_state(batch_size=3)
    assert [tuple(state.shape) for state in found] == [(3, width) for width in cell.state_size]
    assert all(keras.backend.standardize_dtype(state.dtype) == "float32" for state in found)
    assert all(not np.asarray(state).any() for state in found)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("layer", [keras.layers.RNN, ProjectedRNN])
@pytest.mark.parametrize("name", CELLS)
def test_outputs_at_every_word_are_those_of_the_equations(name, layer, backward, words, mask):
    rnn = layer(make(name), return_sequences=True, go_backwards=backward)
    rnn(words, mask=mask)
    weights = for_equations(name, randomize(rnn))
    found = np.asarray(rnn(words, mask=mask))
    expected, *_ = run_cell(name, words.astype(float), mask, weights, backward=backward)
    assert_same(found[:, ::-1] if backward else found, expected)


OPTIONS = [
    {},
    {"return_sequences": True},
    {"return_state": True},
    {"return_sequences": True, "return_state": True, "go_backwards": True},
    {"go_backwards": True},
    {"return_sequences": True, "unroll": True},
    {"return_sequences": True, "zero_output_for_mask": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_projected_rnn_is_keras_rnn(name, options, words, mask):
    plain = keras.layers.RNN(make(name), **options)
    projected = ProjectedRNN(make(name), **options)
    plain(words, mask=mask)
    projected(words, mask=mask)
    projected.set_weights(randomize(plain))
    for some in (mask, None, np.ones_like(mask)):
        assert_same(projected(words, mask=some), plain(words, mask=some))
    shape = projected.compute_output_shape(words.shape)
    assert shape == plain.compute_output_shape(words.shape)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
@pytest.mark.parametrize("name", CELLS)
def test_projected_rnn_inside_bidirectional(name, merge_mode, words, mask):
    """Keras makes the backward layer from the forward one's settings."""
    plain, projected = (
        keras.layers.Bidirectional(layer(make(name), return_sequences=True), merge_mode=merge_mode)
        for layer in (keras.layers.RNN, ProjectedRNN)
    )
    plain(words, mask=mask)
    projected(words, mask=mask)
    weights = randomize(plain)
    projected.set_weights(weights)
    found = projected(words, mask=mask)
    assert_same(found, plain(words, mask=mask))
    assert isinstance(projected.backward_layer, ProjectedRNN)
    assert projected.backward_layer.go_backwards
    if merge_mode is None:
        half = len(weights) // 2
        for values, some, back in zip(found, (weights[:half], weights[half:]), (0, 1), strict=True):
            expected, *_ = run_cell(
                name, words.astype(float), mask, for_equations(name, some), backward=bool(back)
            )
            assert_same(values, expected * mask[..., None])  # as `Bidirectional` wants it


@pytest.mark.parametrize("layer", [keras.layers.RNN, ProjectedRNN])
@pytest.mark.parametrize("name", CELLS)
def test_states_after_padding_are_those_without_it(name, layer, words, mask):
    for backward in (False, True):
        rnn = layer(make(name), return_state=True, go_backwards=backward)
        rnn(words, mask=mask)
        randomize(rnn)
        found = as_arrays(rnn(words, mask=mask))
        for row, length in enumerate(LENGTHS):
            alone = as_arrays(rnn(words[row : row + 1, :length]))
            assert_same([value[row : row + 1] for value in found], alone)
        if name == "clockwork_rnn":  # the last state is how many words were read
            np.testing.assert_array_equal(found[-1][:, 0], LENGTHS)


@pytest.mark.parametrize("layer", [keras.layers.RNN, ProjectedRNN])
@pytest.mark.parametrize("name", CELLS)
def test_reading_goes_on_from_given_states(name, layer, words):
    rnn = layer(make(name), return_state=True)
    rnn(words)
    randomize(rnn)
    _, *states = rnn(words[:, :5])
    assert_same(rnn(words[:, 5:], initial_state=states), rnn(words))
    assert np.abs(np.asarray(rnn(words[:, 5:])[0]) - np.asarray(rnn(words)[0])).max() > 1e-3


def test_cells_stack_in_keras_rnn(words, mask):
    stack = keras.layers.RNN([make(name) for name in CELLS])
    stack(words, mask=mask)
    randomize(stack)
    found = stack(words, mask=mask)
    values = words.astype(float)
    for name, cell in zip(CELLS, stack.cell.cells, strict=True):
        values, *_ = run_cell(name, values, mask, for_equations(name, cell.get_weights()))
    np.testing.assert_allclose(np.asarray(found), values[:, -1], rtol=0, atol=5e-6)  # six cells


# --- settings, for saving ---


@pytest.mark.parametrize("name", CELLS)
def test_settings_of_a_cell_round_trip(name, words):
    cell = make(name, kernel_initializer=keras.initializers.HeNormal(seed=3), name="some_name")
    config = cell.get_config()
    again = type(cell).from_config(config)
    assert again.get_config() == config
    assert config["units"] == UNITS
    assert config["name"] == "some_name"
    assert {key: config[key] for key in CELLS[name][1]} == CELLS[name][1]
    assert isinstance(again.kernel_initializer, keras.initializers.HeNormal)
    assert isinstance(again.recurrent_initializer, keras.initializers.Orthogonal)
    cell.build((None, FEATURES))
    again.build((None, FEATURES))
    again.set_weights(randomize(cell))
    states = cell.get_initial_state(batch_size=4)
    for one, other in zip(cell(words[:, 0], states)[1], again(words[:, 0], states)[1], strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("name", CELLS)
def test_settings_of_a_layer_round_trip(name, words, mask):
    """By Keras' own serialisation, which needs the registered names."""
    layer = ProjectedRNN(make(name), return_sequences=True, go_backwards=True, name="reader")
    layer(words, mask=mask)
    saved = keras.saving.serialize_keras_object(layer)
    assert saved["registered_name"] == "sentiment>ProjectedRNN"
    again = keras.saving.deserialize_keras_object(saved)
    assert type(again) is ProjectedRNN
    assert type(again.cell) is CELLS[name][0]
    assert not again.cell.projects
    assert again.get_config() == layer.get_config()
    again(words, mask=mask)
    again.set_weights(randomize(layer))
    np.testing.assert_array_equal(
        np.asarray(again(words, mask=mask)), np.asarray(layer(words, mask=mask))
    )


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_that_read_for_itself_can_be_projected(name, words):
    """Both layers' numbers stay what they were, whichever made the cell's weights."""
    cell = make(name)
    plain = keras.layers.RNN(cell)
    before = np.asarray(plain(words))
    assert_same(ProjectedRNN(cell)(words), before)


# --- special cases that Keras has ---


def weights_equal(layer: Any, weights: list[np.ndarray], words: np.ndarray) -> Any:
    layer(words)
    layer.set_weights(weights)
    return layer


def test_peephole_lstm_with_zero_peepholes_is_keras_lstm(words, mask):
    rnn = ProjectedRNN(make("peephole_lstm"), return_sequences=True, return_state=True)
    rnn(words)
    *weights, peepholes = randomize(rnn)
    rnn.set_weights([*weights, np.zeros_like(peepholes)])
    options = {"return_sequences": True, "return_state": True}
    lstm = weights_equal(keras.layers.LSTM(UNITS, **options), weights, words)
    assert_same(rnn(words, mask=mask), lstm(words, mask=mask))


def test_coupled_lstm_is_keras_lstm_that_writes_what_it_forgets(words, mask):
    rnn = ProjectedRNN(make("coupled_lstm"), return_sequences=True, return_state=True)
    rnn(words)

    def as_lstm(weight):  # 1 − σ(z) = σ(−z)
        f, g, o = np.split(weight, 3, axis=-1)
        return np.concatenate([-f, f, g, o], axis=-1)

    options = {"return_sequences": True, "return_state": True}
    lstm = keras.layers.LSTM(UNITS, **options)
    lstm = weights_equal(lstm, [as_lstm(weight) for weight in randomize(rnn)], words)
    assert_same(rnn(words, mask=mask), lstm(words, mask=mask))


def test_forget_gate_lstm_is_keras_lstm_with_open_gates(words, mask):
    rnn = ProjectedRNN(make("forget_gate_lstm"), return_sequences=True, return_state=True)
    rnn(words)

    def as_lstm(weight, rest):
        f, g = np.split(weight, 2, axis=-1)
        fixed = np.full_like(f, rest)
        return np.concatenate([fixed, f, g, fixed], axis=-1)

    opened = [as_lstm(w, rest) for w, rest in zip(randomize(rnn), (0, 0, 100), strict=True)]
    options = {"return_sequences": True, "return_state": True}
    lstm = weights_equal(keras.layers.LSTM(UNITS, **options), opened, words)
    assert_same(rnn(words, mask=mask), lstm(words, mask=mask))


def test_depth_gated_lstm_with_closed_gates_is_a_stack_of_peephole_lstms(words, mask):
    rnn = ProjectedRNN(make("depth_gated_lstm"), return_sequences=True)
    rnn(words)
    weights = randomize(rnn)
    expected = words
    for n in range(3):
        kernel, recurrent_kernel, bias, peepholes = weights[4 * n : 4 * n + 4]
        bias[4 * UNITS :] = -100
        plain = [kernel[:, : 4 * UNITS], recurrent_kernel, bias[: 4 * UNITS], peepholes[:3]]
        layer = ProjectedRNN(make("peephole_lstm"), return_sequences=True)
        expected = weights_equal(layer, plain, expected)(expected, mask=mask)
    rnn.set_weights(weights)
    assert_same(rnn(words, mask=mask), expected)


def test_clockwork_rnn_of_one_group_is_keras_simple_rnn(words, mask):
    rnn = ProjectedRNN(make("clockwork_rnn", groups=1), return_sequences=True)
    rnn(words)
    simple = keras.layers.SimpleRNN(UNITS, return_sequences=True)
    simple = weights_equal(simple, randomize(rnn), words)
    assert_same(rnn(words, mask=mask), simple(words, mask=mask))


@pytest.mark.parametrize(
    ("units", "groups", "periods"),
    [
        (6, 3, [1, 1, 2, 2, 4, 4]),
        (5, 3, [1, 1, 2, 2, 4]),
        (7, 3, [1, 1, 1, 2, 2, 4, 4]),
        (5, 5, [1, 2, 4, 8, 16]),
        (2, 1, [1, 1]),
    ],
)
def test_periods(units, groups, periods):
    cell = cells.ClockworkRNNCell(units, groups=groups)
    assert cell.periods.tolist() == periods
    expected = [[float(heard >= hearing) for hearing in periods] for heard in periods]
    assert cell.hears.tolist() == expected
    assert cell.hears.dtype == np.float32


def test_words_between_two_ticks_do_not_matter_to_the_slow_group(words):
    """A text whose words differ only where no slow clock ticks leaves the slow units the same."""
    rnn = ProjectedRNN(make("clockwork_rnn"))
    rnn(words)
    randomize(rnn)
    other = words.copy()
    other[:, [1, 3, 5, 7, 9]] += 1  # period 2 ticks at the even ones
    found, changed = np.asarray(rnn(words)), np.asarray(rnn(other))
    np.testing.assert_array_equal(found[:, 2:], changed[:, 2:])
    assert (found[:, :2] != changed[:, :2]).all()


# --- first weights ---


def built(name: str, seed: int | None = 5, units: int = UNITS, **settings: Any) -> dict[str, Any]:
    """Weights of a new cell by name."""
    initializers = {}
    if seed is not None:
        initializers = {
            "kernel_initializer": keras.initializers.GlorotUniform(seed=seed),
            "recurrent_initializer": keras.initializers.Orthogonal(seed=seed + 1),
        }
    cell = make(name, units, **initializers | settings)
    cell.build((None, units))  # as many features: kernels that could be equal have equal shapes
    return {weight.name: np.asarray(weight) for weight in cell.weights}


WEIGHTS = {
    "peephole_lstm": ["kernel", "recurrent_kernel", "bias", "peepholes"],
    "coupled_lstm": ["kernel", "recurrent_kernel", "bias"],
    "forget_gate_lstm": ["kernel", "recurrent_kernel", "bias"],
    "depth_gated_lstm": [
        f"{weight}_{n}"
        for n in (1, 2, 3)
        for weight in ("kernel", "recurrent_kernel", "bias", "peepholes")
    ],
    "clockwork_rnn": ["kernel", "recurrent_kernel", "bias"],
    "grid_lstm": [
        "projection",
        *(
            f"{way}_{w}_{n}"
            for n in (1, 2)
            for way in ("time", "depth")
            for w in ("kernel", "bias")
        ),
    ],
}
# Name of a bias → what its parts start at.
BIASES = {
    "peephole_lstm": {"bias": (0, 1, 0, 0)},
    "coupled_lstm": {"bias": (1, 0, 0)},
    "forget_gate_lstm": {"bias": (cells.UNGATED_FORGET_BIAS, 0)},
    "depth_gated_lstm": {
        "bias_1": (0, 1, 0, 0),
        "bias_2": (0, 1, 0, 0, -1),
        "bias_3": (0, 1, 0, 0, -1),
    },
    "clockwork_rnn": {"bias": (0,)},
    "grid_lstm": {f"{way}_bias_{n}": (0, 1, 0, 0) for way in ("time", "depth") for n in (1, 2)},
}


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("name", CELLS)
def test_first_weights(name, seed):
    weights = built(name, seed)
    assert list(weights) == WEIGHTS[name]
    for weight, value in weights.items():
        if weight in BIASES[name]:
            expected = np.repeat(np.array(BIASES[name][weight], "float32"), UNITS)
            np.testing.assert_array_equal(value, expected)
        elif "peepholes" in weight:
            np.testing.assert_array_equal(value, 0)
        elif "recurrent" in weight:
            np.testing.assert_allclose(value @ value.T, np.eye(UNITS), atol=1e-5)
        else:  # uniform to ±√(6 / (rows + columns))
            limit = np.sqrt(6 / sum(value.shape))
            assert 0.8 * limit < np.abs(value).max() <= limit
    assert set(BIASES[name]) == {weight for weight in weights if "bias" in weight}


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("name", CELLS)
def test_no_two_kernels_start_alike(name, seed):
    """In no rows, columns or gates: equal layers would learn the same."""
    weights = built(name, seed, **{"layers": 4} if "layers" in CELLS[name][1] else {})
    kernels = [w for key, w in weights.items() if "bias" not in key and "peepholes" not in key]
    values = np.concatenate([kernel.ravel() for kernel in kernels])
    assert len(np.unique(values)) > 0.999 * len(values)


@pytest.mark.parametrize("name", CELLS)
def test_same_seed_same_weights(name):
    one, two, other, drawn, redrawn = (built(name, seed) for seed in (5, 5, 6, None, None))
    for weight, value in one.items():
        np.testing.assert_array_equal(value, two[weight])
        if "bias" not in weight and "peepholes" not in weight:
            assert (value != other[weight]).all()
            assert (drawn[weight] != redrawn[weight]).all()


def test_initializers_without_a_seed():
    weights = built("grid_lstm", None, kernel_initializer="ones", recurrent_initializer="zeros")
    np.testing.assert_array_equal(weights["time_kernel_2"], 1)
    weights = built("peephole_lstm", None, recurrent_initializer="identity")
    assert "recurrent_kernel" in weights


def test_untrained_peephole_lstm_is_an_untrained_lstm(words):
    """Same initializers, same numbers: nothing but the peepholes is new."""
    rnn = ProjectedRNN(make("peephole_lstm"))
    found = rnn(words)
    lstm = weights_equal(keras.layers.LSTM(UNITS), rnn.get_weights()[:3], words)
    assert_same(found, lstm(words))
    fresh = keras.layers.LSTM(UNITS)
    fresh(words)
    np.testing.assert_array_equal(fresh.get_weights()[2], rnn.get_weights()[2])


# --- gradients ---


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_the_finite_differences(name, words, mask):
    """Of a weighed sum of the outputs, by each weight, along a random way."""
    import tensorflow as tf

    rnn = ProjectedRNN(make(name), return_sequences=True)
    rnn(words, mask=mask)
    weights = randomize(rnn)
    generator = np.random.default_rng(8)
    weighing = generator.normal(size=(4, 11, UNITS))
    with tf.GradientTape() as tape:
        total = ops.sum(rnn(words, mask=mask) * weighing.astype("float32"))
    gradients = tape.gradient(total, [weight.value for weight in rnn.trainable_weights])
    assert len(gradients) == len(weights)

    def total_at(changed):
        outputs, *_ = run_cell(name, words.astype(float), mask, for_equations(name, changed))
        return float((outputs * weighing).sum())

    for place, gradient in enumerate(gradients):
        way = generator.normal(size=weights[place].shape)
        ends = []
        for step in (1e-5, -1e-5):
            changed = [np.asarray(weight, "float64") for weight in weights]
            changed[place] = changed[place] + step * way
            ends.append(total_at(changed))
        expected = (ends[0] - ends[1]) / 2e-5
        found = float((np.asarray(gradient) * way).sum())
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3), rnn.trainable_weights[
            place
        ].path
        assert np.abs(np.asarray(gradient)).max() > 1e-3
