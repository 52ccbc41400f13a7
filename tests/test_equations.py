"""Keras, NumPy and ONNX Runtime compute the same, and the comparison would notice if not."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sentiment import artifact, equations, onnx_export
from sentiment.equations import STEPS, Network, network_of, network_probabilities, run_cell
from sentiment.models import BUILDERS, MERGES, POOLINGS, model_settings

# NumPy computes in float64, Keras and ONNX Runtime in float32: sums of some ten terms, over up to
# 12 words and 4 layers, and ONNX Runtime's own approximations of σ and tanh.  Each rounds by about
# 1e-7.
TOLERANCE = 2e-6
NOTICED = 1e-3  # what a mistake must at least come to: far above any rounding

STACKED = ("depth_gated_lstm", "grid_lstm")  # builders with one cell that holds all layers


def possible(name: str, **settings: Any) -> dict[str, Any]:
    """Those of the settings that a builder has."""
    return {key: value for key, value in settings.items() if key in model_settings(name)}


def covering_pairs(factors: dict[str, Any]) -> list[dict[str, Any]]:
    """Few settings, chosen greedily, among which every two values of two factors meet."""
    candidates = [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]
    pairs = [set(combinations(candidate.items(), 2)) for candidate in candidates]
    missing = set().union(*pairs)
    chosen = []
    while missing:
        best = max(range(len(candidates)), key=lambda i: len(pairs[i] & missing))
        chosen.append(candidates[best])
        missing -= pairs[best]
    return chosen


@functools.cache
def networks_of(name: str) -> list[dict[str, Any]]:
    """Settings of a builder in which all pairs of values meet, of the layers, poolings, …"""
    known = model_settings(name)
    factors = {
        "layers": (2, 3, 4) if name == "depth_gated_lstm" else (1, 2, 3),
        "num_classes": (1, 3, 7),
    } | possible(name, pooling=POOLINGS, groups=(1, 3, 5))
    if "merge" in known:
        one_way = ["one way"] if "bidirectional" in known else []
        factors["directions"] = [*one_way, *MERGES]
    networks = []
    for settings in covering_pairs(factors):
        directions = settings.pop("directions", "one way")
        both = directions != "one way"
        merge = {"merge": directions} if both else {}
        networks.append(settings | merge | possible(name, bidirectional=both))
    return networks


NETWORKS = [(name, settings) for name in BUILDERS for settings in networks_of(name)]
TWO_WAYS = [(name, settings) for name, settings in NETWORKS if "merge" in settings]


def both_ways(name: str, **settings: Any) -> dict[str, Any]:
    """What of the settings a builder has, read in both directions where it can."""
    return possible(name, bidirectional=True, **settings)


# Cell → the groups of weights that are cut into gates alike: the gates by name in the order of the
# columns, and the places of kernel, recurrent kernel and bias, in stacks of two layers.
LSTM = ("input", "forget", "candidate", "output")


def named(before: str, gates: tuple[str, ...], after: str) -> tuple[str, ...]:
    return tuple(f"{before}{gate}{after}" for gate in gates)


GATES: dict[str, list[tuple[tuple[str, ...], tuple[int, ...]]]] = {
    "rnn": [],
    "lstm": [(LSTM, (0, 1, 2))],
    "gru": [(("update", "reset", "candidate"), (0, 1, 2))],
    "peephole_lstm": [(LSTM, (0, 1, 2))],
    "coupled_lstm": [(("forget", "candidate", "output"), (0, 1, 2))],
    "forget_gate_lstm": [(("forget", "candidate"), (0, 1, 2))],
    "depth_gated_lstm": [
        (named("", LSTM, "_1"), (0, 1, 2)),
        (named("", (*LSTM, "depth"), "_2"), (4, 5, 6)),  # the depth gate has no recurrent kernel
    ],
    "clockwork_rnn": [],
    "grid_lstm": [
        (named("time_", LSTM, "_1"), (1, 2)),
        (named("depth_", LSTM, "_1"), (3, 4)),
        (named("time_", LSTM, "_2"), (5, 6)),
        (named("depth_", LSTM, "_2"), (7, 8)),
    ],
}
PEEPHOLES = {"peephole_lstm": (3,), "depth_gated_lstm": (3, 7)}  # cell → places
# Cell → the builder whose networks have it.
BUILDER = {"rnn": "rnn", "lstm": "bilstm", "gru": "bigru"} | {
    name: name for name in STEPS if name not in ("rnn", "lstm", "gru")
}


@dataclass(frozen=True)
class Compared:
    """A network, what Keras answers, and the weights of the equations for the same answer."""

    model: Any
    ids: np.ndarray
    answer: np.ndarray
    network: Network

    def difference(self, **changed: Any) -> float:
        """Largest distance between Keras and the equations: the comparison of this file."""
        expected = network_probabilities(self.ids, dataclasses.replace(self.network, **changed))
        return float(np.abs(self.answer - expected).max())

    def with_recurrent(self, change: Callable[..., Any]) -> float:
        """The difference where every direction's weights are changed."""
        recurrent = [[change(*weights) for weights in way] for way in self.network.recurrent]
        return self.difference(recurrent=recurrent)


@pytest.fixture(scope="module")
def network(random_network, mixed_ids) -> Callable[..., Compared]:
    """(builder, settings) → `Compared`, each made once."""
    made: dict[str, Compared] = {}

    def make(name: str, **settings: Any) -> Compared:
        key = f"{name} {sorted(settings.items())}"
        if key not in made:
            model = random_network(name, seed=3, **settings)
            made[key] = Compared(model, mixed_ids, np.asarray(model(mixed_ids)), network_of(model))
        return made[key]

    return make


@pytest.mark.parametrize(("name", "settings"), NETWORKS, ids=lambda value: str(value))
def test_keras_numpy_and_onnx_agree(name, settings, network, mixed_ids, monkeypatch):
    compared = network(name, **settings)
    assert compared.difference() < TOLERANCE

    monkeypatch.setattr(onnx_export, "largest_difference", lambda *_: 0.0)  # we compare, below
    graph = onnx_export.export_onnx(compared.model)
    session = onnxruntime.InferenceSession(graph)
    (found,) = session.run(["probabilities"], {"token_ids": mixed_ids})
    np.testing.assert_allclose(
        found, network_probabilities(mixed_ids, compared.network), rtol=0, atol=TOLERANCE
    )
    saved = artifact.unpack_network(artifact.pack_network(compared.network, graph), graph)
    assert_same_network(saved, compared.network)


def assert_same_network(found: Network, expected: Network) -> None:
    """To the last bit and in the same places."""

    def flat(network: Network) -> list[np.ndarray]:
        ways = [weights for directions in network.recurrent for weights in directions]
        return [w for group in (*ways, network.output, network.context) for w in group]

    assert (found.cell, found.pooling, found.merge) == (
        expected.cell,
        expected.pooling,
        expected.merge,
    )
    shape = [[len(weights) for weights in way] for way in expected.recurrent]
    assert [[len(weights) for weights in way] for way in found.recurrent] == shape
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)
    for a, b in zip(flat(found), flat(expected), strict=True):
        assert a.dtype == float
        np.testing.assert_array_equal(a, b)


def test_all_pairs_of_settings_are_compared():
    assert {name for name, _ in NETWORKS} == set(BUILDERS)
    assert {BUILDER[cell] for cell in STEPS} <= set(BUILDERS)
    for name in BUILDERS:
        networks = networks_of(name)
        for pooling in possible(name, pooling=POOLINGS).get("pooling", ()):
            for layers in (2, 3):
                assert any(s["pooling"] == pooling and s["layers"] == layers for s in networks)
            for merge in possible(name, merge=MERGES).get("merge", ()):
                assert any(s["pooling"] == pooling and s.get("merge") == merge for s in networks)


def test_float64_stays_float64(network, mixed_ids):
    for name in BUILDERS:
        compared = network(name, **networks_of(name)[0])
        assert network_probabilities(mixed_ids, compared.network).dtype == float


# --- the comparison notices mistakes: whole networks ---


@pytest.mark.parametrize(("name", "settings"), NETWORKS, ids=lambda value: str(value))
def test_reversed_direction_is_noticed(name, settings, network, monkeypatch):
    compared = network(name, **settings)

    def reversed_run(*args, backward=False):
        return run_cell(*args, backward=not backward)

    monkeypatch.setattr(equations, "run_cell", reversed_run)
    assert compared.difference() > NOTICED


@pytest.mark.parametrize(("name", "settings"), TWO_WAYS, ids=lambda value: str(value))
def test_swapped_directions_are_noticed(name, settings, network):
    """In one recurrent layer at a time."""
    compared = network(name, **settings)
    for number in range(len(compared.network.recurrent)):
        recurrent = list(compared.network.recurrent)
        recurrent[number] = recurrent[number][::-1]
        assert compared.difference(recurrent=recurrent) > NOTICED


def deep_network(name: str, pooling: str) -> dict[str, Any]:
    """Several layers, in both directions if it can: best one of the networks compared anyway."""
    ways = {"merge"} & set(model_settings(name))
    deep = [
        settings
        for settings in networks_of(name)
        if settings.get("pooling", "attention") == pooling
        and settings["layers"] > 1
        and ways <= set(settings)
    ]
    return deep[0] if deep else both_ways(name, pooling=pooling, layers=2)


# One that reads forward meets padding only after the words: it shows in the last state and, since
# that state stays, in the mean; one that reads both ways meets it first, and it shows everywhere.
FORWARD_LEAKS = [("cells", "last"), ("second layer", "last"), ("pooling", "mean")]
OTHER_LEAKS = [
    ("cells", "max"),
    ("cells", "mean"),
    ("cells", "attention"),
    ("second layer", "mean"),
    ("pooling", "max"),
]
LEAKS = [
    (name, place, pooling)
    for name in BUILDERS
    for place, pooling in FORWARD_LEAKS
    + [("pooling", "attention")]
    + OTHER_LEAKS * ("merge" in model_settings(name))
    if not (place == "second layer" and name in STACKED)
    and ("pooling" in model_settings(name) or pooling == "attention")
]


@pytest.mark.parametrize(("name", "place", "pooling"), LEAKS)
def test_leaking_mask_is_noticed(name, place, pooling, network, monkeypatch):
    compared = network(name, **deep_network(name, pooling))
    layers = []

    def leaking_run(cell, x, mask, weights, **options):
        layers.append(x.shape[-1])
        leaks = place == "cells" or x.shape[-1] != layers[0]
        return run_cell(cell, x, np.ones_like(mask) if leaks else mask, weights, **options)

    def leaking(pool):
        return lambda states, mask, how: pool(states, np.ones_like(mask), how)

    if place == "pooling":
        for pool in ("pool", "attention"):
            monkeypatch.setattr(equations, pool, leaking(getattr(equations, pool)))
    else:
        monkeypatch.setattr(equations, "run_cell", leaking_run)
    assert compared.difference() > NOTICED


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, settings) for name, settings in TWO_WAYS if settings["merge"] == "sum"],
    ids=lambda value: str(value),
)
def test_other_merge_or_pooling_is_noticed(name, settings, network):
    compared = network(name, **settings)
    assert compared.difference(merge="average") > NOTICED
    pooling = compared.network.pooling
    for other in {"last", "max", "mean"} - {pooling}:
        if pooling != "max+mean":
            assert compared.difference(pooling=other) > NOTICED


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, settings) for name, settings in TWO_WAYS if settings["merge"] == "concatenate"],
    ids=lambda value: str(value),
)
def test_other_order_of_features_is_noticed(name, settings, network, monkeypatch):
    """Directions concatenated the other way round, or mixed unit by unit."""
    compared = network(name, **settings)
    for merged in (
        lambda f, b, _: np.concatenate([b, f], -1),
        lambda f, b, _: np.stack([f, b], -1).reshape(*f.shape[:-1], -1),
    ):
        monkeypatch.setattr(equations, "merge_directions", merged)
        assert compared.difference() > NOTICED


def test_other_batch_and_time_order_is_noticed(random_network, mixed_ids):
    """Texts of equal length, so that a batch read sideways would have the right shape."""
    ids = np.where(mixed_ids == 0, 5, mixed_ids)[:, :8]
    for name in BUILDERS:
        model = random_network(name)
        weights, answer = network_of(model), np.asarray(model(ids))
        assert np.abs(answer - network_probabilities(ids, weights)).max() < TOLERANCE
        assert np.abs(answer - network_probabilities(ids.T, weights)).max() > NOTICED


# --- the comparison notices mistakes: weights of each cell ---


def swapped_parts(weight: np.ndarray, a: int, b: int, parts: int) -> np.ndarray:
    """The weight with two of its parts along the last axis exchanged."""
    columns = np.split(weight, parts, -1)
    columns[a], columns[b] = columns[b], columns[a]
    return np.concatenate(columns, -1)


def changed_at(change: Callable[[np.ndarray], np.ndarray], *places: int) -> Callable[..., Any]:
    """A function that changes the weights at these places."""
    return lambda *weights: tuple(
        change(weight) if place in places else weight for place, weight in enumerate(weights)
    )


def every_swap(cell: str, units: int, weights: Any) -> list[tuple[str, Any]]:
    """Any two gates of a cell, in all weights or only in one of them: name → change."""
    swaps = []
    for gates, places in GATES[cell]:
        for (a, one), (b, other) in combinations(enumerate(gates), 2):
            having = [place for place in places if weights[place].shape[-1] > b * units]
            for where in (having, *([place] for place in having)):

                def swap(weight, a=a, b=b):
                    return swapped_parts(weight, a, b, weight.shape[-1] // units)

                swaps.append((f"{one}, {other} in {where}", changed_at(swap, *where)))
    return swaps


@pytest.mark.parametrize("cell", [cell for cell in STEPS if GATES[cell]])
def test_swapped_gates_are_noticed(cell, network):
    """In stacked cells in each layer and dimension by itself."""
    name = BUILDER[cell]
    compared = network(name, **both_ways(name, layers=2, pooling="max+mean"))
    weights = compared.network.recurrent[0][0]
    swaps = every_swap(cell, STEPS[cell][1](weights)[0], weights)
    assert len(swaps) >= 4
    for label, swap in swaps:
        assert compared.with_recurrent(swap) > NOTICED, label


@pytest.mark.parametrize("cell", PEEPHOLES)
def test_swapped_peepholes_are_noticed(cell, network):
    """Any two rows; a stack's upper layers have two more."""
    name = BUILDER[cell]
    compared = network(name, **both_ways(name, layers=2, pooling="max+mean"))
    for place in PEEPHOLES[cell]:
        rows = len(compared.network.recurrent[0][0][place])
        assert rows == (3 if place == 3 else 5)
        for a, b in combinations(range(rows), 2):
            order = list(range(rows))
            order[a], order[b] = b, a
            swap = changed_at(lambda peepholes, order=order: peepholes[order], place)
            assert compared.with_recurrent(swap) > NOTICED, (place, a, b)


@pytest.mark.parametrize("name", ["gru", "bigru", "attention_gru"])
def test_swapped_biases_of_gru_are_noticed(name, network):
    compared = network(name, layers=2)
    assert compared.with_recurrent(lambda w, u, b: (w, u, b[::-1])) > NOTICED


@pytest.mark.parametrize("cell", STEPS)
def test_transposed_weights_are_noticed(cell, network):
    """Of every square part of a recurrent kernel, one weight at a time."""
    name = BUILDER[cell]
    compared = network(name, **both_ways(name, layers=2, pooling="max+mean"))
    weights = compared.network.recurrent[0][0]
    units = STEPS[cell][1](weights)[0]

    def transposed(weight):
        blocks = [np.split(row, weight.shape[1] // units, 1) for row in np.split(weight, rows)]
        return np.block([[block.T for block in row] for row in blocks])

    places = [p for p, w in enumerate(weights) if w.ndim == 2 and w.shape[0] in (units, 2 * units)
              and w.shape[1] % units == 0 and p not in PEEPHOLES.get(cell, ())]  # fmt: skip
    assert len(places) == {"depth_gated_lstm": 3, "grid_lstm": 4}.get(cell, 1)
    for place in places:
        rows = weights[place].shape[0] // units
        assert compared.with_recurrent(changed_at(transposed, place)) > NOTICED, place


def test_swapped_states_of_the_grid_are_noticed(network):
    """The rows for h^T and for h^D, of each kernel; and the halves of the projection."""
    compared = network("grid_lstm", bidirectional=True, layers=2, pooling="max+mean")
    for place in (1, 3, 5, 7):
        swap = changed_at(lambda weight: np.concatenate(np.split(weight, 2)[::-1]), place)
        assert compared.with_recurrent(swap) > NOTICED, place
    swap = changed_at(lambda weight: swapped_parts(weight, 0, 1, 2), 0)
    assert compared.with_recurrent(swap) > NOTICED


def test_swapped_dimensions_and_layers_of_the_grid_are_noticed(network):
    compared = network("grid_lstm", bidirectional=True, layers=2, pooling="max+mean")
    for order in (
        (0, 3, 4, 1, 2, 5, 6, 7, 8),  # time and depth of the first layer
        (0, 1, 2, 3, 4, 7, 8, 5, 6),  # of the second
        (0, 5, 6, 7, 8, 1, 2, 3, 4),  # the layers
    ):
        change = [[tuple(w[i] for i in order) for w in way] for way in compared.network.recurrent]
        assert compared.difference(recurrent=change) > NOTICED, order


def test_swapped_layers_of_a_depth_gated_stack_are_noticed(network):
    compared = network("depth_gated_lstm", bidirectional=True, layers=3, pooling="max+mean")
    order = (0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7)
    change = [[tuple(w[i] for i in order) for w in way] for way in compared.network.recurrent]
    assert compared.difference(recurrent=change) > NOTICED


@pytest.mark.parametrize(
    "periods",
    [
        [4, 4, 2, 2, 1],  # the other way round
        [2, 2, 1, 1, 4],
        [1, 1, 4, 4, 2],
        [1, 1, 2, 4, 4],  # groups of other sizes
        [1, 2, 2, 4, 4],
        [1, 1, 2, 2, 8],
        [1, 1, 3, 3, 9],
        [2, 2, 4, 4, 8],
        [1, 1, 1, 1, 1],
    ],
)
def test_other_periods_are_noticed(periods, network):
    compared = network("clockwork_rnn", bidirectional=True, layers=2, pooling="max+mean")
    assert compared.network.recurrent[0][0][3].tolist() == [1, 1, 2, 2, 4]
    swap = changed_at(lambda _: np.array(periods, float), 3)
    assert compared.with_recurrent(swap) > NOTICED


@pytest.mark.parametrize("name", ["attention_gru", "attention_bilstm", "grid_lstm", "rnn"])
def test_other_attention_weights_are_noticed(name, network):
    compared = network(name, **both_ways(name, pooling="attention", layers=2))
    kernel, bias, context = compared.network.context
    for changed in (
        (kernel.T, bias, context),
        (kernel, 0 * bias, context),
        (kernel, -bias, context),
        (kernel, context, bias),
        (kernel, bias, context[::-1]),
        (kernel, bias, -context),
        (kernel, bias, 0 * context),
    ):
        assert compared.difference(context=changed) > NOTICED


# --- the comparison notices mistakes: the equations themselves ---

# Cell → what stands in its step, and what a wrong one has there.
MUTATIONS = {
    "rnn": [
        ("np.tanh(x", "sigmoid(x"),
        ("h @ recurrent_kernel", "0 * h @ recurrent_kernel"),
    ],
    "lstm": [
        ("f * c + i * g", "f * c + g"),
        ("f * c + i * g", "c + i * g"),
        ("f * c + i * g", "(1 - i) * c + i * g"),
        ("h = o * np.tanh(c)", "h = o * c"),
        ("h = o * np.tanh(c)", "h = np.tanh(o * c)"),
        ("h = o * np.tanh(c)", "h = o * np.tanh(states[1])"),
        ("g = np.tanh(z_g)", "g = sigmoid(z_g)"),
    ],
    "gru": [
        ("z * h + (1 - z) * g", "(1 - z) * h + z * g"),
        ("z * h + (1 - z) * g", "z * h + g"),
        ("r * h_g", "h_g"),
        ("h_g = np.split(h @ recurrent_kernel + bias[1]", "h_g = np.split(h @ recurrent_kernel"),
        (  # reset before the product, as in the paper
            "g = np.tanh(x_g + r * h_g)",
            "g = np.tanh(x_g + (r * h) @ np.split(recurrent_kernel, 3, -1)[2]"
            " + np.split(bias[1], 3)[2])",
        ),
    ],
    "peephole_lstm": [
        ("p_o * c)", "p_o * states[1])"),  # the old memory
        ("p_o * c)", "p_o * np.tanh(c))"),
        ("sigmoid(z_o + p_o * c)", "sigmoid(z_o)"),
        ("sigmoid(z_i + p_i * c)", "sigmoid(z_i)"),
        ("sigmoid(z_f + p_f * c)", "sigmoid(z_f)"),
        ("p_i * c)", "p_i * h)"),
        ("p_f * c)", "p_f * h)"),
        ("p_i * c)", "p_f * c)"),
        ("p_f * c)", "p_i * c)"),
        ("p_o * c)", "p_i * c)"),
        ("np.tanh(z_g)", "np.tanh(z_g + p_i * c)"),  # the candidate has none
        ("c = f * c + i * g", "c = f * c + (1 - f) * g"),
    ],
    "coupled_lstm": [
        ("(1 - f) * g", "f * g"),  # i = f
        ("(1 - f) * g", "g"),
        ("f * c + (1 - f) * g", "(1 - f) * c + f * g"),
        ("h = o * np.tanh(c)", "h = o * c"),
        ("h = o * np.tanh(c)", "h = np.tanh(c)"),
    ],
    "forget_gate_lstm": [
        ("f * c + g", "f * c + (1 - f) * g"),
        ("f * c + g", "c + g"),
        ("f * c + g", "c + f * g"),
        ("h = np.tanh(c)", "h = c"),
        ("h = np.tanh(c)", "h = f * np.tanh(c)"),
    ],
    "depth_gated_lstm": [
        ("w_l * below", "w_l * states[2 * layer - 1]"),  # the old memory of the layer below
        ("from_below = d * below", "from_below = d * states[2 * layer - 1]"),
        ("from_below = d * below", "from_below = 0.0"),
        ("from_below = d * below", "from_below = below"),
        ("from_below = d * below", "from_below = (1 - d) * below"),
        ("from_below = d * below", "from_below = d * x"),
        ("w_l * below", "w_l * x"),
        ("w_l * below", "0.0"),
        ("w_c * c", "0.0"),
        ("w_c * c", "w_c * h"),
        ("w_c * c", "w_c * below"),
        ("sigmoid(z_x[4]", "np.tanh(z_x[4]"),
        ("p_o * c)", "p_o * states[2 * layer + 1])"),
        ("x, below = h, c", "x, below = c, c"),
        ("f = sigmoid(z_x[1] + z_h[1] + p_f * c)", "f = 1 - i"),
        ("return x,", "return new_states[0],"),
    ],
    "clockwork_rnn": [
        ("t % periods == 0", "(t + 1) % periods == 0"),  # off by one
        ("t % periods == 0", "(t - 1) % periods == 0"),
        ("t % periods == 0", "t % periods < 0"),  # never ticks
        ("t % periods == 0", "t % periods >= 0"),  # always ticks
        ("t % periods == 0", "(t == 0) | (periods == 1)"),  # the slow ones only once
        ("(h, t + 1)", "(h, t)"),  # stands still
        ("(h, t + 1)", "(h, t + 2)"),
        ("periods[:, None] >= periods[None, :]", "periods[:, None] <= periods[None, :]"),
        ("periods[:, None] >= periods[None, :]", "periods[:, None] == periods[None, :]"),
        ("periods[:, None] >= periods[None, :]", "periods[:, None] > periods[None, :]"),
        ("(recurrent_kernel * hears)", "recurrent_kernel"),
        ("(1 - ticks) * h", "0 * h"),
        ("(1 - ticks) * h", "h"),
    ],
    "grid_lstm": [
        (  # no priority: the depth sees the old h^T
            '"time_{{}}_{layer + 1}")\n        seen = np.concatenate([h_time, h_depth], axis=-1)',
            '"time_{{}}_{layer + 1}")',
        ),
        ("np.tanh(o * m)", "o * np.tanh(m)"),
        ("np.tanh(o * m)", "o * m"),
        ("m = f * m + i * g", "m = f * m + (1 - f) * g"),
        ("new_states += [h_time, m_time]", "new_states += [h_depth, m_time]"),
        ("new_states += [h_time, m_time]", "new_states += [h_time, m_depth]"),
        ("lstm(seen, m_depth,", "lstm(seen, m_time,"),
        ("lstm(seen, m_depth,", "lstm(seen, 0 * m_depth,"),
        ("return h_depth,", "return h_time,"),
    ],
}  # fmt: skip


def mutant(function: Callable[..., Any], old: str, new: str) -> Callable[..., Any]:
    """A function of `equations` with a mistake in its text."""
    source = inspect.getsource(function)
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {function}"
    namespace = dict(vars(equations))
    exec(source.replace(old, new), namespace)
    return namespace[function.__name__]


@pytest.mark.parametrize(
    ("cell", "old", "new"),
    [(cell, *mutation) for cell, mutations in MUTATIONS.items() for mutation in mutations],
)
def test_wrong_step_is_noticed(cell, old, new, network, monkeypatch):
    name = BUILDER[cell]
    compared = network(name, **both_ways(name, layers=2, pooling="max+mean"))
    step, widths = STEPS[cell]
    monkeypatch.setitem(STEPS, cell, (mutant(step, old, new), widths))
    assert compared.difference() > NOTICED


@pytest.mark.parametrize("cell", STEPS)
def test_mutants_without_a_mutation_agree(cell, network, monkeypatch):
    """What is noticed above is the mistake, not how it is made."""
    name = BUILDER[cell]
    compared = network(name, **both_ways(name, layers=2, pooling="max+mean"))
    step, widths = STEPS[cell]
    same = mutant(step, f"def {step.__name__}", f"def  {step.__name__}")
    monkeypatch.setitem(STEPS, cell, (same, widths))
    assert compared.difference() < TOLERANCE


def test_clock_that_counts_padding_is_noticed(network, monkeypatch):
    """Where it is met first, by the direction that reads backward."""
    wrong = mutant(
        run_cell,
        "np.where(kept, n, s) for",
        "(n if n.shape[-1] == 1 else np.where(kept, n, s)) for",
    )
    monkeypatch.setattr(equations, "run_cell", wrong)
    both = network("clockwork_rnn", bidirectional=True, layers=2, pooling="max+mean")
    assert both.difference() > NOTICED
    forward = network("clockwork_rnn", bidirectional=False, layers=2, pooling="max+mean")
    assert forward.difference() < TOLERANCE


def test_clock_that_counts_from_the_first_word_backward_is_noticed(network, monkeypatch):
    """The direction that reads backward ticks at the last word first."""

    def from_the_first(cell, x, mask, weights, *, backward=False):
        if not backward:
            return run_cell(cell, x, mask, weights)
        kernel, recurrent_kernel, bias, periods = weights
        h, outputs = np.zeros((len(x), len(periods))), []
        for t in reversed(range(x.shape[1])):
            clock = np.full((len(x), 1), float(t))
            new, _, _ = equations.clockwork_rnn_step(x[:, t], (h, clock), weights)
            h = np.where(mask[:, t, None], new, h)
            outputs.append(h)
        return equations.CellRun(np.stack(outputs[::-1], 1), {}, ())

    monkeypatch.setattr(equations, "run_cell", from_the_first)
    compared = network("clockwork_rnn", bidirectional=True, layers=2, pooling="max+mean")
    assert compared.difference() > NOTICED


@pytest.mark.parametrize("name", ["attention_gru", "attention_bilstm", "grid_lstm", "rnn"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("np.tanh(states @ kernel + bias)", "(states @ kernel + bias)"),
        ("np.tanh(states @ kernel + bias)", "np.tanh(states @ kernel)"),
        ("np.tanh(states @ kernel + bias)", "states"),
        ("np.where(mask, logits, -np.inf)", "logits"),
        ("softmax(np.where(mask, logits, -np.inf))", "mask / mask.sum(1, keepdims=True)"),
        ("softmax(np.where(mask, logits, -np.inf))", "softmax(logits.T).T"),
    ],
)
def test_wrong_attention_is_noticed(name, old, new, network, monkeypatch):
    compared = network(name, **both_ways(name, pooling="attention", layers=2))
    monkeypatch.setattr(equations, "attention", mutant(equations.attention, old, new))
    assert compared.difference() > NOTICED


# --- the gates by name, and the equations by hand ---

UNITS = 3
# Cell → shapes of its weights, for words of 2 features; stacks have two layers.
SHAPES = {
    "rnn": [(2, 3), (3, 3), (3,)],
    "lstm": [(2, 12), (3, 12), (12,)],
    "gru": [(2, 9), (3, 9), (2, 9)],
    "peephole_lstm": [(2, 12), (3, 12), (12,), (3, 3)],
    "coupled_lstm": [(2, 9), (3, 9), (9,)],
    "forget_gate_lstm": [(2, 6), (3, 6), (6,)],
    "depth_gated_lstm": [
        *[(2, 12), (3, 12), (12,), (3, 3)],
        *[(3, 15), (3, 12), (15,), (5, 3)],
    ],
    "clockwork_rnn": [(2, 3), (3, 3), (3,)],  # and periods
    "grid_lstm": [(2, 6)] + [(6, 12), (12,)] * 4,
}


def saturated(cell: str, **values: float):
    """Weights under which each named gate is 0 or 1 at every step, whatever is read.

    Only its bias is another, so large that the rest can't matter: all other weights are random.
    """
    generator = np.random.default_rng(4)
    weights = [generator.normal(size=shape) for shape in SHAPES[cell]]
    for gate, value in values.items():
        ((gates, places),) = [group for group in GATES[cell] if gate in group[0]]
        part = slice(gates.index(gate) * UNITS, (gates.index(gate) + 1) * UNITS)
        weights[places[-1]][..., part] = 100 if value else -100
    if cell == "clockwork_rnn":
        weights.append(np.array([1.0, 2.0, 4.0]))
    return tuple(weights)


def random_states(cell: str, texts: int = 4) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(6)
    widths = STEPS[cell][1](saturated(cell))
    return tuple(generator.normal(size=(texts, width)) for width in widths)


@pytest.fixture
def words() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(4, 2))


@pytest.fixture
def sequence() -> np.ndarray:
    """(2, 11, 2): two texts of eleven words."""
    return np.random.default_rng(7).normal(size=(2, 11, 2))


@pytest.fixture
def states() -> tuple[np.ndarray, np.ndarray]:
    h, c = np.random.default_rng(6).normal(size=(2, 4, 3))
    return np.tanh(h), c


def test_lstm_that_forgets_nothing_and_writes_nothing_keeps_its_memory(words, states):
    weights = saturated("lstm", forget=1, input=0)
    output, (h, c), gates = equations.lstm_step(words, states, weights)
    np.testing.assert_allclose(c, states[1], rtol=1e-15)
    np.testing.assert_allclose(h, gates["output"] * np.tanh(states[1]), rtol=1e-15)
    np.testing.assert_array_equal(output, h)
    np.testing.assert_array_equal(gates["forget"], 1)
    np.testing.assert_array_equal(gates["input"], 0)


def test_lstm_that_forgets_all_and_writes_all_has_the_candidate(words, states):
    _, (_, c), gates = equations.lstm_step(words, states, saturated("lstm", forget=0, input=1))
    np.testing.assert_array_equal(c, gates["candidate"])
    assert (gates["candidate"] < 0).any()  # tanh, not σ


def test_lstm_that_shows_nothing(words, states):
    output, (h, c), gates = equations.lstm_step(words, states, saturated("lstm", output=0))
    np.testing.assert_array_equal(output, 0)
    np.testing.assert_array_equal(h, 0)
    np.testing.assert_array_equal(
        c, gates["forget"] * states[1] + gates["input"] * gates["candidate"]
    )


def test_gru_that_keeps_all(words, states):
    output, (h,), _ = equations.gru_step(words, states[:1], saturated("gru", update=1))
    np.testing.assert_array_equal(h, states[0])
    np.testing.assert_array_equal(output, h)


def test_gru_that_keeps_nothing_has_the_candidate(words, states):
    _, (h,), gates = equations.gru_step(words, states[:1], saturated("gru", update=0))
    np.testing.assert_array_equal(h, gates["candidate"])


def test_gru_that_resets_all_sees_only_the_word(words, states):
    weights = saturated("gru", reset=0, update=0)
    _, (h,), gates = equations.gru_step(words, states[:1], weights)
    _, (other,), _ = equations.gru_step(words, (-states[0],), weights)
    np.testing.assert_array_equal(h, other)
    np.testing.assert_array_equal(gates["reset"], 0)
    _, (h,), _ = equations.gru_step(words, states[:1], saturated("gru", reset=1, update=0))
    assert (h != other).all()


# --- peepholes ---


def test_peephole_lstm_without_peepholes_is_the_lstm(words, states):
    *weights, peepholes = saturated("peephole_lstm")
    h, (_, c), gates = equations.peephole_lstm_step(
        words, states, (*weights, np.zeros_like(peepholes))
    )
    other, (_, other_c), other_gates = equations.lstm_step(words, states, tuple(weights))
    np.testing.assert_array_equal(h, other)
    np.testing.assert_array_equal(c, other_c)
    for name in LSTM:
        np.testing.assert_array_equal(gates[name], other_gates[name])


def test_peepholes_show_each_unit_its_own_memory(words, states):
    """The old memory of a unit reaches its own input and forget gate, and no candidate."""
    weights = saturated("peephole_lstm")
    _, _, gates = equations.peephole_lstm_step(words, states, weights)
    h, c = states
    for unit in range(UNITS):
        other = c.copy()
        other[:, unit] += 1
        _, _, changed = equations.peephole_lstm_step(words, (h, other), weights)
        own = np.arange(UNITS) == unit
        for name in ("input", "forget", "output"):
            assert ((gates[name] != changed[name]).any(axis=0) == own).all(), name
        np.testing.assert_array_equal(gates["candidate"], changed["candidate"])


def test_output_peephole_sees_the_new_memory(words, states):
    """Where nothing is kept or written it is zero; where only the candidate is, it is that."""
    weights = saturated("peephole_lstm", forget=0, input=0)
    _, (_, c), gates = equations.peephole_lstm_step(words, states, weights)
    kernel, recurrent_kernel, bias, peepholes = weights
    z_o = (words @ kernel + states[0] @ recurrent_kernel + bias)[:, 9:]
    np.testing.assert_array_equal(c, 0)
    np.testing.assert_allclose(gates["output"], 1 / (1 + np.exp(-z_o)), rtol=1e-14)

    weights = saturated("peephole_lstm", forget=0, input=1)
    _, (_, c), gates = equations.peephole_lstm_step(words, states, weights)
    np.testing.assert_array_equal(c, gates["candidate"])
    expected = 1 / (1 + np.exp(-(z_o + peepholes[2] * gates["candidate"])))
    np.testing.assert_allclose(gates["output"], expected, rtol=1e-14)


def test_gate_that_only_sees_the_memory(words, states):
    """All weights zero but the peepholes: each gate is σ(p ∘ c), each with its own."""
    weights = [np.zeros_like(w) for w in saturated("peephole_lstm")]
    weights[3][:] = [[1, 2, 3], [-1, 0, 1], [5, 4, -3]]
    h, c = states
    _, (_, new_c), gates = equations.peephole_lstm_step(words, states, tuple(weights))
    np.testing.assert_allclose(gates["input"], 1 / (1 + np.exp(-c * [1, 2, 3])), rtol=1e-14)
    np.testing.assert_allclose(gates["forget"], 1 / (1 + np.exp(-c * [-1, 0, 1])), rtol=1e-14)
    np.testing.assert_allclose(new_c, c * gates["forget"], rtol=1e-15)  # the candidate is zero
    np.testing.assert_allclose(gates["output"], 1 / (1 + np.exp(-new_c * [5, 4, -3])), rtol=1e-14)


# --- coupled gates ---


def test_memory_of_the_coupled_lstm_stays_within_one():
    """Whatever is read, by weights of any size: it is a mean of itself and the candidate."""
    generator = np.random.default_rng(9)
    weights = tuple(generator.normal(0, 5, w.shape) for w in saturated("coupled_lstm"))
    states = (np.zeros((6, 3)), np.zeros((6, 3)))
    largest = 0.0
    for _ in range(200):
        _, states, _ = equations.coupled_lstm_step(generator.normal(size=(6, 2)), states, weights)
        largest = max(largest, np.abs(states[1]).max())
    assert 0.99 < largest <= 1


def test_coupled_lstm_keeps_or_writes(words, states):
    weights = saturated("coupled_lstm", forget=1)
    h, (_, c), gates = equations.coupled_lstm_step(words, states, weights)
    np.testing.assert_array_equal(c, states[1])
    np.testing.assert_array_equal(h, gates["output"] * np.tanh(c))
    _, (_, c), gates = equations.coupled_lstm_step(
        words, states, saturated("coupled_lstm", forget=0)
    )
    np.testing.assert_array_equal(c, gates["candidate"])


def test_coupled_lstm_is_an_lstm_whose_input_gate_is_one_less_the_forget_gate(words, states):
    weights = saturated("coupled_lstm")
    h, (_, c), gates = equations.coupled_lstm_step(words, states, weights)

    def as_lstm(weight):  # 1 − σ(z) = σ(−z)
        f, g, o = np.split(weight, 3, axis=-1)
        return np.concatenate([-f, f, g, o], axis=-1)

    other, (_, other_c), other_gates = equations.lstm_step(
        words, states, tuple(map(as_lstm, weights))
    )
    np.testing.assert_allclose(h, other, rtol=1e-13)
    np.testing.assert_allclose(c, other_c, rtol=1e-13)
    np.testing.assert_allclose(1 - gates["forget"], other_gates["input"], rtol=1e-13)


# --- a forget gate and no other ---


def test_forget_gate_lstm_that_forgets_nothing_adds_up(sequence):
    x = sequence
    weights = saturated("forget_gate_lstm", forget=1)
    outputs, gates, _ = run_cell("forget_gate_lstm", x, np.ones((2, 11), bool), weights)
    memory = gates["candidate"].cumsum(axis=1)
    np.testing.assert_allclose(outputs, np.tanh(memory), rtol=1e-13)
    assert np.abs(memory).max() > 1  # it may grow


def test_forget_gate_lstm_that_forgets_all_has_the_candidate(words, states):
    weights = saturated("forget_gate_lstm", forget=0)
    h, (_, c), gates = equations.forget_gate_lstm_step(words, states, weights)
    np.testing.assert_array_equal(c, gates["candidate"])
    np.testing.assert_array_equal(h, np.tanh(gates["candidate"]))


def test_forget_gate_lstm_is_an_lstm_with_open_gates(words, states):
    weights = saturated("forget_gate_lstm")
    h, (_, c), _ = equations.forget_gate_lstm_step(words, states, weights)

    def as_lstm(weight, rest):
        f, g = np.split(weight, 2, axis=-1)
        return np.concatenate([np.full_like(f, rest), f, g, np.full_like(f, rest)], axis=-1)

    opened = tuple(as_lstm(w, rest) for w, rest in zip(weights, (0, 0, 100), strict=True))
    other, (_, other_c), _ = equations.lstm_step(words, states, opened)
    np.testing.assert_allclose(h, other, rtol=1e-14)
    np.testing.assert_allclose(c, other_c, rtol=1e-14)


# --- the depth gate ---


def test_open_depth_gate_carries_the_memory_up(words):
    """Where the upper layer keeps and writes nothing, its memory is the new one of the lower."""
    states = random_states("depth_gated_lstm")
    weights = saturated("depth_gated_lstm", input_2=0, forget_2=0, depth_2=1)
    output, (_, c_1, h_2, c_2), gates = equations.depth_gated_lstm_step(words, states, weights)
    np.testing.assert_array_equal(c_2, c_1)
    assert (c_1 != states[1]).all()
    np.testing.assert_array_equal(h_2, gates["output_2"] * np.tanh(c_1))
    np.testing.assert_array_equal(output, h_2)


def test_open_depth_gate_adds_to_what_the_layer_keeps_and_writes(words):
    states = random_states("depth_gated_lstm")
    weights = saturated("depth_gated_lstm", input_2=1, forget_2=1, depth_2=1)
    _, (_, c_1, _, c_2), gates = equations.depth_gated_lstm_step(words, states, weights)
    np.testing.assert_allclose(c_2, c_1 + states[3] + gates["candidate_2"], rtol=1e-14)


def test_layers_of_a_closed_depth_gate_are_peephole_lstms(words):
    states = random_states("depth_gated_lstm")
    weights = saturated("depth_gated_lstm", depth_2=0)
    _, found, gates = equations.depth_gated_lstm_step(words, states, weights)
    h_1, lower, _ = equations.peephole_lstm_step(words, states[:2], weights[:4])
    kernel, recurrent_kernel, bias, peepholes = weights[4:]
    plain = (kernel[:, :12], recurrent_kernel, bias[:12], peepholes[:3])
    _, upper, _ = equations.peephole_lstm_step(h_1, states[2:], plain)
    for new, expected in zip(found, (*lower, *upper), strict=True):
        np.testing.assert_allclose(new, expected, rtol=1e-13)
    np.testing.assert_array_equal(gates["depth_2"], 0)


def test_depth_gate_sees_three_things_and_no_output_of_before(words):
    """d = σ(W_d x + w_c ∘ c + w_l ∘ c' + b_d), with c' new and no h."""
    states = random_states("depth_gated_lstm")
    weights = saturated("depth_gated_lstm")
    _, (h_1, c_1, _, _), gates = equations.depth_gated_lstm_step(words, states, weights)
    kernel, _, bias, peepholes = weights[4:]
    z = h_1 @ kernel[:, 12:] + bias[12:] + peepholes[3] * states[3] + peepholes[4] * c_1
    np.testing.assert_allclose(gates["depth_2"], 1 / (1 + np.exp(-z)), rtol=1e-13)
    states = (*states[:2], -states[2], states[3])
    _, _, changed = equations.depth_gated_lstm_step(words, states, weights)
    np.testing.assert_array_equal(gates["depth_2"], changed["depth_2"])
    assert (gates["input_2"] != changed["input_2"]).all()


# --- clocks ---


@pytest.mark.parametrize("backward", [False, True])
def test_groups_change_only_when_their_clock_ticks(backward, sequence):
    """Periods 1, 2 and 4 over eleven words: all at the first that is read."""
    mask = np.ones((2, 11), bool)
    weights = saturated("clockwork_rnn")
    outputs, gates, _ = run_cell("clockwork_rnn", sequence, mask, weights, backward=backward)
    order = slice(None, None, -1) if backward else slice(None)
    read = np.concatenate([np.zeros((2, 1, 3)), outputs[:, order]], 1)
    changes = read[:, 1:] != read[:, :-1]
    expected = np.zeros((11, 3), bool)
    expected[:, 0] = True
    expected[[0, 2, 4, 6, 8, 10], 1] = True
    expected[[0, 4, 8], 2] = True
    np.testing.assert_array_equal(changes, np.stack([expected] * 2))
    np.testing.assert_array_equal(gates["clock"][:, order], np.stack([expected] * 2))


def test_clock_does_not_count_padding(sequence):
    weights = saturated("clockwork_rnn")
    mask = np.arange(11) < np.array([[11], [6]])
    outputs, *_ = run_cell("clockwork_rnn", sequence, mask, weights, backward=True)
    alone, *_ = run_cell("clockwork_rnn", sequence[1:, :6], mask[1:, :6], weights, backward=True)
    np.testing.assert_allclose(outputs[1:, :6], alone, rtol=1e-14)


def test_slow_groups_hear_nothing_of_fast_ones(words):
    """At a word where all tick: a unit's old state reaches those of its own or a shorter period."""
    weights = saturated("clockwork_rnn")
    h, t = random_states("clockwork_rnn")[0], np.full((4, 1), 4.0)
    new, (_, clock), gates = equations.clockwork_rnn_step(words, (h, t), weights)
    np.testing.assert_array_equal(gates["clock"], 1)
    np.testing.assert_array_equal(clock, 5)
    for unit in range(3):
        other = h.copy()
        other[:, unit] += 1
        changed, _, _ = equations.clockwork_rnn_step(words, (other, t), weights)
        hearing = (changed != new).any(axis=0)
        np.testing.assert_array_equal(hearing, [True, unit >= 1, unit >= 2])


def test_clockwork_rnn_with_one_period_is_the_simple_one(words, states):
    *weights, _ = saturated("clockwork_rnn")
    for t in range(3):
        clock = np.full((4, 1), float(t))
        found, _, _ = equations.clockwork_rnn_step(
            words, (states[0], clock), (*weights, np.ones(3))
        )
        expected, _, _ = equations.rnn_step(words, states[:1], tuple(weights))
        np.testing.assert_array_equal(found, expected)


def test_units_that_do_not_tick_keep_their_state(words):
    weights = saturated("clockwork_rnn")
    h = random_states("clockwork_rnn")[0]
    new, _, _ = equations.clockwork_rnn_step(words, (h, np.full((4, 1), 2.0)), weights)
    np.testing.assert_array_equal(new[:, 2], h[:, 2])
    kernel, recurrent_kernel, bias, _ = weights
    fast = np.tanh(words @ kernel[:, 0] + h @ recurrent_kernel[:, 0] + bias[0])
    middle = np.tanh(words @ kernel[:, 1] + h[:, 1:] @ recurrent_kernel[1:, 1] + bias[1])
    np.testing.assert_allclose(new[:, :2], np.stack([fast, middle], 1), rtol=1e-13)


# --- the grid ---


def test_grid_lstm_by_hand(words):
    """One number at a time, from the paper's equations: no matrices, no splits, no arrays."""
    states = random_states("grid_lstm")
    weights = saturated("grid_lstm")

    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    def lstm(h_time, h_depth, m, kernel, bias):
        seen = [*h_time, *h_depth]
        new_h, new_m = [], []
        for unit in range(UNITS):
            i, f, g, o = (
                sum(seen[row] * kernel[row, gate * UNITS + unit] for row in range(2 * UNITS))
                + bias[gate * UNITS + unit]
                for gate in range(4)
            )
            memory = sigmoid(f) * m[unit] + sigmoid(i) * math.tanh(g)
            new_m.append(memory)
            new_h.append(math.tanh(sigmoid(o) * memory))
        return new_h, new_m

    output, found, _ = equations.grid_lstm_step(words, states, weights)
    for text, word in enumerate(words):
        entered = [sum(word[j] * weights[0][j, k] for j in range(2)) for k in range(2 * UNITS)]
        h_depth, m_depth = entered[:UNITS], entered[UNITS:]
        expected = []
        for layer in range(2):
            h_time, m_time = (state[text] for state in states[2 * layer : 2 * layer + 2])
            time, depth = (
                weights[4 * layer + 1 : 4 * layer + 3],
                weights[4 * layer + 3 : 4 * layer + 5],
            )
            h_time, m_time = lstm(h_time, h_depth, m_time, *time)
            h_depth, m_depth = lstm(h_time, h_depth, m_depth, *depth)  # the new h^T
            expected += [h_time, m_time]
        np.testing.assert_allclose(output[text], h_depth, rtol=1e-13)
        for state, value in zip(found, expected, strict=True):
            np.testing.assert_allclose(state[text], value, rtol=1e-13)


def test_grid_lstm_that_keeps_its_memories(words):
    """What enters the depth goes through it unchanged, but for the output gate's tanh(o ∘ m)."""
    keep = {f"{way}_{gate}_{n}": value for way in ("time", "depth") for n in (1, 2)
            for gate, value in (("input", 0), ("forget", 1), ("output", 1))}  # fmt: skip
    states = random_states("grid_lstm")
    weights = saturated("grid_lstm", **keep)
    output, (h_1, m_1, h_2, m_2), gates = equations.grid_lstm_step(words, states, weights)
    np.testing.assert_array_equal(m_1, states[1])
    np.testing.assert_array_equal(m_2, states[3])
    np.testing.assert_array_equal(h_1, np.tanh(m_1))
    np.testing.assert_array_equal(h_2, np.tanh(m_2))
    np.testing.assert_allclose(output, np.tanh((words @ weights[0])[:, 3:]), rtol=1e-14)
    np.testing.assert_array_equal(gates["time_output_2"], 1)


def test_grid_lstm_that_shows_nothing_is_zero(words):
    """tanh(o ∘ m) with o = 0; and the depth below a closed one still reaches it, by the memory."""
    states = random_states("grid_lstm")
    output, _, _ = equations.grid_lstm_step(words, states, saturated("grid_lstm", depth_output_2=0))
    np.testing.assert_array_equal(output, 0)


# --- attention ---


def test_attention_by_hand():
    generator = np.random.default_rng(11)
    states = generator.normal(size=(2, 4, 3))
    mask = np.array([[True] * 4, [True] * 2 + [False] * 2])
    kernel, bias, context = (generator.normal(size=shape) for shape in ((3, 3), (3,), (3,)))
    found = equations.attention(states, mask, (kernel, bias, context))
    for row, length in enumerate((4, 2)):
        scores = []
        for t in range(length):
            u = [
                math.tanh(sum(states[row, t, j] * kernel[j, k] for j in range(3)) + bias[k])
                for k in range(3)
            ]
            scores.append(math.exp(sum(u[k] * context[k] for k in range(3))))
        expected = [score / sum(scores) for score in scores] + [0.0] * (4 - length)
        np.testing.assert_allclose(found[row], expected, rtol=1e-13)


def test_attention_that_compares_with_nothing_is_the_mean():
    states = np.random.default_rng(12).normal(size=(2, 5, 3))
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    found = equations.attention(states, mask, (np.eye(3), np.zeros(3), np.zeros(3)))
    np.testing.assert_allclose(found, [[0.2] * 5, [1 / 3] * 3 + [0] * 2], rtol=1e-15)


# --- a cell over a text ---


@pytest.mark.parametrize("cell", STEPS)
@pytest.mark.parametrize("backward", [False, True])
def test_gates_are_in_text_order(cell, backward, sequence):
    """What is reported at a word are the gates that the step at this word had."""
    weights = saturated(cell)
    x = sequence[:, :5]
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    outputs, gates, _ = run_cell(cell, x, mask, weights, backward=backward)
    names = [name for group, _ in GATES[cell] for name in group]
    assert sorted(gates) == sorted(names or {"rnn": [], "clockwork_rnn": ["clock"]}[cell])
    step, widths = STEPS[cell]
    for row, length in enumerate((5, 3)):  # each text alone, without padding
        states = tuple(np.zeros((1, width)) for width in widths(weights))
        order = range(length)
        for t in reversed(order) if backward else order:
            output, states, expected = step(x[row : row + 1, t], states, weights)
            np.testing.assert_allclose(outputs[row, t], output[0], rtol=1e-12)
            for name, value in expected.items():
                np.testing.assert_allclose(gates[name][row, t], value[0], rtol=1e-12)


@pytest.mark.parametrize("cell", STEPS)
def test_each_gate_is_where_its_name_says(cell, words):
    """Closing or opening a gate by its bias changes the gate of that name to 0 or 1."""
    for group, _ in GATES[cell]:
        for name in group:
            for value in (0, 1):
                step = STEPS[cell][0]
                _, _, gates = step(words, random_states(cell), saturated(cell, **{name: value}))
                extreme = 2 * value - 1 if "candidate" in name else value
                np.testing.assert_array_equal(gates[name], extreme)
                assert all(np.ptp(g) > 0.1 for other, g in gates.items() if other != name)


@pytest.mark.parametrize("cell", STEPS)
def test_state_stays_where_there_is_no_word(cell, sequence):
    x = sequence[:1, :4]
    mask = np.array([[True, True, False, False]])
    outputs, *_ = run_cell(cell, x, mask, saturated(cell))
    np.testing.assert_array_equal(outputs[0, 2:], outputs[0, [1, 1]])
    outputs, *_ = run_cell(cell, x, mask, saturated(cell), backward=True)
    np.testing.assert_array_equal(outputs[0, 2:], 0)
    alone, *_ = run_cell(cell, x[:, :2], mask[:, :2], saturated(cell), backward=True)
    np.testing.assert_allclose(outputs[:, :2], alone, rtol=1e-14)


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
