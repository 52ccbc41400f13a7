"""Writing a network as ONNX: what is stored, what is checked, what is refused."""

import dataclasses
import re
from collections.abc import Iterator
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from sentiment import cells, onnx_export
from sentiment.cells import ProjectedRNN
from sentiment.models import BUILDERS, POOLINGS, AttentionPooling, TokenMask, model_settings
from sentiment.onnx_export import ExportError, export_onnx, largest_difference

# The same float32 sums over other batch shapes.
SAME = {"rtol": 0, "atol": 1e-6}


NETWORKS = [
    (name, pooling)
    for name in BUILDERS
    for pooling in (POOLINGS if "pooling" in model_settings(name) else ["attention"])
]
CELLS = {
    "peephole_lstm": cells.PeepholeLSTMCell,
    "coupled_lstm": cells.CoupledLSTMCell,
    "forget_gate_lstm": cells.ForgetGateLSTMCell,
    "depth_gated_lstm": cells.DepthGatedLSTMCell,
    "clockwork_rnn": cells.ClockworkRNNCell,
    "grid_lstm": cells.GridLSTMCell,
}
LOOPED = ("depth_gated_lstm", "grid_lstm")


def settings_of(name: str, **settings: Any) -> dict[str, Any]:
    """What a builder has of these, two layers, and both directions where it can."""
    settings = {"layers": 2, "bidirectional": True} | settings
    return {key: value for key, value in settings.items() if key in model_settings(name)}


def unchecked(model: keras.Model) -> bytes:
    """The graph without `export_onnx`'s own check, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "largest_difference", lambda *_: 0.0)
        return export_onnx(model)


@pytest.fixture(scope="module")
def exported(random_network):
    """(builder, pooling) → session, each written once."""
    written = {}

    def session(name: str, pooling: str) -> onnxruntime.InferenceSession:
        if (name, pooling) not in written:
            model = random_network(name, **settings_of(name, pooling=pooling))
            written[name, pooling] = onnxruntime.InferenceSession(unchecked(model))
        return written[name, pooling]

    return session


def answer(session, ids) -> np.ndarray:
    (found,) = session.run(["probabilities"], {"token_ids": ids})
    return found


@pytest.mark.parametrize(("name", "pooling"), NETWORKS)
def test_extra_padding_changes_nothing(name, pooling, exported, mixed_ids):
    session = exported(name, pooling)
    np.testing.assert_allclose(
        answer(session, np.pad(mixed_ids, ((0, 0), (0, 9)))), answer(session, mixed_ids), **SAME
    )


@pytest.mark.parametrize(("name", "pooling"), NETWORKS)
def test_batch_equals_single(name, pooling, exported, mixed_ids):
    session = exported(name, pooling)
    singles = [answer(session, row[row != 0][None]) for row in mixed_ids]
    batch = answer(session, mixed_ids)
    np.testing.assert_allclose(np.concatenate(singles), batch, **SAME)
    assert np.ptp(batch, axis=0).max() > 0.1  # the texts are told apart


def test_inputs_and_outputs(exported):
    session = exported("bilstm", "max")
    (ids,), (found,) = session.get_inputs(), session.get_outputs()
    assert (ids.name, ids.type, ids.shape) == ("token_ids", "tensor(int32)", ["batch", "time"])
    assert (found.name, found.type) == ("probabilities", "tensor(float)")
    assert found.shape == ["batch", 3]
    _, attention = exported("attention_gru", "attention").get_outputs()
    assert (attention.name, attention.type) == ("attention", "tensor(float)")
    assert attention.shape == ["batch", "time"]


@pytest.mark.parametrize(("name", "pooling"), NETWORKS)
def test_order_of_the_batch_changes_nothing(name, pooling, exported, mixed_ids):
    """Nothing of a text leaks into another."""
    session = exported(name, pooling)
    np.testing.assert_allclose(
        answer(session, mixed_ids[::-1])[::-1], answer(session, mixed_ids), **SAME
    )


@pytest.mark.parametrize("name", BUILDERS)
def test_shapes_at_the_edge(name, random_network, mixed_ids):
    """One word, one text, both, equal lengths, one class: as Keras answers."""
    model = random_network(name, 1, **settings_of(name, pooling="last"))
    session = onnxruntime.InferenceSession(export_onnx(model))
    full = np.where(mixed_ids == 0, 5, mixed_ids)
    for ids in (mixed_ids[:, :1], mixed_ids[1:2], mixed_ids[:1, :1], mixed_ids[:1], full):
        found = answer(session, ids)
        assert found.shape == (len(ids), 1)
        np.testing.assert_allclose(found, np.asarray(model(ids)), **SAME)


@pytest.mark.parametrize("name", ["attention_gru", "attention_bilstm", "grid_lstm", "rnn"])
def test_attention_is_an_output(name, random_network, mixed_ids):
    """How much each word counts, as the layer says; and no such output without it."""
    model = random_network(name, **settings_of(name, pooling="attention"))
    session = onnxruntime.InferenceSession(unchecked(model))
    assert [value.name for value in session.get_outputs()] == ["probabilities", "attention"]
    (found,) = session.run(["attention"], {"token_ids": mixed_ids})
    layer = model.get_layer("pooling")
    states = keras.Model(model.input, layer.input[0])(mixed_ids)
    expected = np.asarray(layer.weights_of_words(states, mixed_ids != 0))
    np.testing.assert_allclose(found, expected, **SAME)
    np.testing.assert_array_equal(found[mixed_ids == 0], 0)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert np.ptp(found[1]) > 0.01


# --- the graph ---


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of the loops' bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def bodies(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    return [
        attribute.g
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
    ]


@pytest.fixture(scope="module")
def graphs(random_network):
    """Builder → its graph, in both directions where it can, with attention where it can."""

    def graph(name: str) -> onnx.ModelProto:
        model = random_network(name, **settings_of(name, pooling="attention", layers=3))
        return onnx.load_from_string(unchecked(model))

    return {name: graph(name) for name in BUILDERS}


@pytest.mark.parametrize("name", BUILDERS)
def test_graphs_pass_the_full_check(name, graphs):
    """With the shapes of everything that ONNX can infer."""
    onnx.checker.check_model(graphs[name], full_check=True)


@pytest.mark.parametrize("name", BUILDERS)
def test_names_do_not_clash(name, graphs):
    """Also of what is inside of two loops: a body sees what is outside."""
    graph = graphs[name].graph
    names = [value.name for value in graph.input] + [weight.name for weight in graph.initializer]
    names += [output for node in nodes(graph) for output in node.output if output]
    for body in bodies(graph):
        names += [value.name for value in body.input]
    assert len(names) == len(set(names))
    assert len(bodies(graph)) == (2 if name in LOOPED else 0)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_weight_is_used(name, graphs):
    graph = graphs[name].graph
    used = {value for node in nodes(graph) for value in node.input}
    assert {weight.name for weight in graph.initializer} <= used


def test_recurrent_layers_are_operators_where_there_is_one(graphs):
    expected = {
        "rnn": ["RNN"] * 3,
        "lstm": ["LSTM"] * 3,
        "gru": ["GRU"] * 3,
        "bilstm": ["LSTM"] * 3,
        "bigru": ["GRU"] * 3,
        "peephole_lstm": ["LSTM"] * 3,
        "coupled_lstm": ["LSTM"] * 3,
        "forget_gate_lstm": ["LSTM"] * 3,
        "depth_gated_lstm": ["Scan"] * 2,
        "clockwork_rnn": ["GRU"] * 3,
        "grid_lstm": ["Scan"] * 2,
        "attention_bilstm": ["LSTM"] * 3,
        "attention_gru": ["GRU"] * 3,
    }
    recurrent = {"RNN", "LSTM", "GRU", "Scan"}
    found = {
        name: [node.op_type for node in model.graph.node if node.op_type in recurrent]
        for name, model in graphs.items()
    }
    assert found == expected


# --- float16 ---


def test_embeddings_are_stored_in_float16_where_that_is_exact(random_network, mixed_ids):
    model = random_network("lstm")
    before = onnx.load_from_string(export_onnx(model))
    types = {
        onnx.helper.tensor_dtype_to_np_dtype(w.data_type).name for w in before.graph.initializer
    }
    assert "float16" not in types  # random float32 values don't fit

    embedding = model.get_layer("embedding")
    (table,) = embedding.get_weights()
    embedding.set_weights([table.astype("float16").astype("float32")])
    data = export_onnx(model)
    halved = [
        w for w in onnx.load_from_string(data).graph.initializer
        if w.data_type == onnx.TensorProto.FLOAT16
    ]  # fmt: skip
    assert [tuple(w.dims) for w in halved] == [table.shape]
    np.testing.assert_allclose(
        answer(onnxruntime.InferenceSession(data), mixed_ids), np.asarray(model(mixed_ids)), **SAME
    )


def test_one_value_that_float16_lacks_is_kept(random_network):
    model = random_network("lstm")
    embedding = model.get_layer("embedding")
    table = embedding.get_weights()[0].astype("float16").astype("float32")
    table[7, 2] = 0.1
    embedding.set_weights([table])
    stored = onnx.load_from_string(export_onnx(model)).graph.initializer
    (found,) = [
        value for w in stored if (value := onnx.numpy_helper.to_array(w)).shape == table.shape
    ]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, table)


# --- what is checked ---


# Builder → layer or cell, how many gates, and the parts of its operator's kernels.
OPERATORS = {
    "lstm": (keras.layers.LSTM, 4),
    "bilstm": (keras.layers.LSTM, 4),
    "gru": (keras.layers.GRU, 3),
    "bigru": (keras.layers.GRU, 3),
    "attention_bilstm": (keras.layers.LSTM, 4),
    "attention_gru": (keras.layers.GRU, 3),
    "peephole_lstm": (cells.PeepholeLSTMCell, 4),
    "coupled_lstm": (cells.CoupledLSTMCell, 4),
    "forget_gate_lstm": (cells.ForgetGateLSTMCell, 4),
    "clockwork_rnn": (cells.ClockworkRNNCell, 3),
}
REFUSED = "^Keras and ONNX Runtime differ by [0-9.e-]+ in probability$"


def with_order(weight: np.ndarray, order: list[int]) -> np.ndarray:
    parts = np.split(weight, len(order), axis=-1)
    return np.concatenate([parts[i] for i in order], axis=-1)


def test_every_writer_is_tried():
    tried = {kind for kind, _ in OPERATORS.values()} | {keras.layers.SimpleRNN}
    assert tried == set(onnx_export._OPERATORS)
    assert {CELLS[name] for name in LOOPED} == set(onnx_export._LOOPS)


@pytest.mark.parametrize("name", OPERATORS)
def test_swapped_gates_are_refused(name, random_network, monkeypatch):
    """Any two in all of an operator's weights, but two that are alike because they stay open."""
    kind, gates = OPERATORS[name]
    write = onnx_export._OPERATORS[kind]
    model = random_network(name, **settings_of(name))
    alike = {"forget_gate_lstm": [(0, 1)]}.get(name, [])  # input and output
    if name == "coupled_lstm":
        # f = 1 − i, whatever stands in the forget gate's place: so swapping it tells nothing new.
        alike = [(1, 2), (2, 3)]
    for a, b in combinations(range(gates), 2):
        if (a, b) in alike:
            continue
        order = list(range(gates))
        order[a], order[b] = b, a

        def swapped(layer, order=order):
            operator = write(layer)
            weights = {
                part: with_order(getattr(operator, part), order)
                for part in ("kernel", "recurrent_kernel", "bias")
            }
            return dataclasses.replace(operator, **weights)

        monkeypatch.setitem(onnx_export._OPERATORS, kind, swapped)
        with pytest.raises(ExportError, match=REFUSED):
            export_onnx(model)
    monkeypatch.setitem(onnx_export._OPERATORS, kind, write)
    export_onnx(model)


@pytest.mark.parametrize("name", ["rnn", *OPERATORS])
@pytest.mark.parametrize("part", ["recurrent_kernel", "bias"])
def test_forgotten_weights_are_refused(name, part, random_network, monkeypatch):
    kind = OPERATORS.get(name, (keras.layers.SimpleRNN, 1))[0]
    write = onnx_export._OPERATORS[kind]

    def without(layer):
        operator = write(layer)
        return dataclasses.replace(operator, **{part: 0 * getattr(operator, part)})

    monkeypatch.setitem(onnx_export._OPERATORS, kind, without)
    with pytest.raises(ExportError, match=REFUSED):
        export_onnx(random_network(name, **settings_of(name)))


def test_wrong_peepholes_are_refused(random_network, monkeypatch):
    kind = cells.PeepholeLSTMCell
    write = onnx_export._OPERATORS[kind]
    model = random_network("peephole_lstm", bidirectional=True)
    for order in ([0, 2, 1], [1, 0, 2], [2, 1, 0], None):

        def wrong(layer, order=order):
            operator = write(layer)
            peepholes = order and with_order(operator.peepholes, order)
            return dataclasses.replace(operator, peepholes=peepholes)

        monkeypatch.setitem(onnx_export._OPERATORS, kind, wrong)
        with pytest.raises(ExportError, match=REFUSED):
            export_onnx(model)


@pytest.mark.parametrize("name", ["gru", "bigru", "attention_gru"])
def test_reset_before_the_product_is_refused(name, random_network, monkeypatch):
    """What the operator does without being told."""
    write = onnx_export._OPERATORS[keras.layers.GRU]

    def without(layer):
        return dataclasses.replace(write(layer), attributes={})

    monkeypatch.setitem(onnx_export._OPERATORS, keras.layers.GRU, without)
    with pytest.raises(ExportError, match=REFUSED):
        export_onnx(random_network(name))


def test_uncoupled_gates_are_refused(random_network, monkeypatch):
    """An input gate that is the forget gate, i = f, where ONNX has f = 1 − i."""
    write = onnx_export._OPERATORS[cells.CoupledLSTMCell]

    def uncoupled(layer):
        operator = write(layer)
        weights = {}
        for part in ("kernel", "recurrent_kernel", "bias"):
            _, o, f, g = np.split(getattr(operator, part), 4, axis=-1)
            weights[part] = np.concatenate([f, o, f, g], axis=-1)
        return dataclasses.replace(operator, **weights)

    monkeypatch.setitem(onnx_export._OPERATORS, cells.CoupledLSTMCell, uncoupled)
    with pytest.raises(ExportError, match=REFUSED):
        export_onnx(random_network("coupled_lstm"))


@pytest.mark.parametrize("name", LOOPED)
def test_swapped_gates_of_loops_are_refused(name, random_network, monkeypatch):
    """Of each layer and dimension in turn, in kernels and biases; and swapped peepholes."""
    kind = CELLS[name]
    loop = onnx_export._LOOPS[kind]
    model = random_network(name, bidirectional=True, layers=2)
    cell = model.get_layer(f"bi{name}_1").forward_layer.cell

    def refused(change):
        def wrong(graph, cell, inputs):
            weights = [change(place, weight) for place, weight in enumerate(cell.get_weights())]
            stand_in = SimpleNamespace(
                units=cell.units,
                layers=cell.layers,
                state_size=cell.state_size,
                get_weights=lambda: weights,
            )
            return loop(graph, stand_in, inputs)

        monkeypatch.setitem(onnx_export._LOOPS, kind, wrong)
        with pytest.raises(ExportError, match=REFUSED):
            export_onnx(model)

    for at, weight in enumerate(cell.get_weights()):
        if "peepholes" in cell.weights[at].name:
            refused(lambda place, w, at=at: w[::-1] if place == at else w)
            continue
        gates = weight.shape[-1] // cell.units
        order = [1, 0, *range(2, gates - 2), gates - 1, gates - 2] if gates > 2 else [1, 0]
        refused(lambda place, w, at=at, order=order: with_order(w, order) if place == at else w)
    monkeypatch.setitem(onnx_export._LOOPS, kind, loop)
    export_onnx(model)


def without_lengths(self, operator, inputs, outputs="", **attributes):
    """A `_Graph.node` that lets recurrent operators and loops take padding for words."""
    if operator in ("LSTM", "GRU", "RNN"):
        inputs = ["" if value == "lengths" else value for value in inputs]
    if operator == "ReverseSequence":
        longest = node(self, "ReduceMax", ["lengths"], keepdims=1)
        zeros = node(self, "Sub", ["lengths", "lengths"])
        lengths = node(self, "Add", [zeros, longest])
        inputs = [inputs[0], node(self, "Cast", [lengths], to=onnx.TensorProto.INT64)]
    return node(self, operator, inputs, outputs, **attributes)


node = onnx_export._Graph.node


@pytest.mark.parametrize("name", BUILDERS)
def test_leaking_mask_is_refused(name, random_network, monkeypatch):
    """Without their lengths, recurrent operators read padding as words."""
    both_ways = "merge" in model_settings(name)
    pooling = "max" if both_ways else "last"
    model = random_network(name, **settings_of(name, pooling=pooling))
    monkeypatch.setattr(onnx_export._Graph, "node", without_lengths)
    with pytest.raises(ExportError, match=REFUSED):
        export_onnx(model)


@pytest.mark.parametrize("name", ["rnn", "attention_gru"])
def test_attention_that_lets_padding_in_is_refused(name, random_network, monkeypatch):
    def without_mask(graph, layer, inputs):
        one = graph.weight(np.array(1, "float32"))
        kept = graph.node("Cast", [inputs[1]], to=onnx.TensorProto.FLOAT)
        everywhere = graph.node("Sub", [one, graph.node("Sub", [kept, kept])])
        everywhere = graph.node("Cast", [everywhere], to=onnx.TensorProto.BOOL)
        return onnx_export._write_attention(graph, layer, [inputs[0], everywhere])

    monkeypatch.setitem(onnx_export._WRITERS, AttentionPooling, without_mask)
    with pytest.raises(ExportError, match=REFUSED):
        export_onnx(random_network(name, **settings_of(name, pooling="attention")))


@pytest.mark.parametrize("both_ways", [False, True])
def test_wrong_clocks_are_refused(both_ways, random_network, monkeypatch):
    model = random_network("clockwork_rnn", bidirectional=both_ways, layers=2)
    with_clocks = onnx_export._with_clocks
    for wrong in (lambda periods: periods + 1, lambda periods: periods[::-1], np.ones_like):
        monkeypatch.setattr(
            onnx_export,
            "_with_clocks",
            lambda graph, states, periods, wrong=wrong: with_clocks(graph, states, wrong(periods)),
        )
        with pytest.raises(ExportError, match=REFUSED):
            export_onnx(model)


def test_not_a_number_is_refused(random_network):
    model = random_network("lstm")
    output = model.get_layer("probabilities")
    output.set_weights([np.full_like(w, np.nan) for w in output.get_weights()])
    with pytest.raises(ExportError, match="^Keras and ONNX Runtime differ by nan in probability$"):
        export_onnx(model)


def test_wrong_graph_is_measured(random_network):
    model, other = random_network("gru", seed=1), random_network("gru", seed=2)
    data = export_onnx(model)
    assert largest_difference(model, data) < onnx_export.TOLERANCE
    assert largest_difference(other, data) > 0.01


def chain(*layers) -> keras.Model:
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    values = keras.layers.Embedding(20, 4, name="embedding")(ids)
    for layer in layers:
        values = layer(values)
    return keras.Model(ids, values)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [keras.layers.GlobalMaxPooling1D(name="peak"), keras.layers.Dense(3)],
            "No ONNX writer for the layer peak (GlobalMaxPooling1D)",
        ),
        (
            [keras.layers.LSTM(3), keras.layers.Dense(3, activation="relu", name="output")],
            "No ONNX writer for the activation 'relu' of output",
        ),
    ],
)
def test_unknown_layers_are_refused(layers, message):
    with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
        export_onnx(chain(*layers))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LSTM(3, go_backwards=True),
        keras.layers.GRU(3, activation="relu"),
        keras.layers.SimpleRNN(3, activation="sigmoid"),
        keras.layers.Bidirectional(keras.layers.LSTM(3), merge_mode="mul"),
        keras.layers.Bidirectional(ProjectedRNN(cells.GridLSTMCell(3)), merge_mode="mul"),
        keras.layers.RNN(cells.PeepholeLSTMCell(3)),
        ProjectedRNN(cells.PeepholeLSTMCell(3), go_backwards=True),
        ProjectedRNN(cells.CoupledLSTMCell(3), go_backwards=True),
        ProjectedRNN(cells.ForgetGateLSTMCell(3), go_backwards=True),
    ],
)
def test_layers_that_a_writer_does_not_cover_are_refused(layer):
    """Never a graph that computes something else."""
    model = chain(layer, keras.layers.Dense(2, activation="softmax"))
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 1, w.shape) for w in model.get_weights()])
    with pytest.raises(ExportError):
        export_onnx(model)


@pytest.mark.parametrize("kind", CELLS.values())
@pytest.mark.parametrize("options", [{}, {"return_sequences": True}], ids=str)
def test_a_layer_that_reads_backward_alone_is_right_or_refused(kind, options):
    """No builder makes one: outputs of every word then come in the order they were read."""
    layer = ProjectedRNN(kind(6), go_backwards=True, **options)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = TokenMask(name="mask")(ids)
    states = layer(keras.layers.Embedding(20, 4, name="embedding")(ids), mask=mask)
    if options:
        states = ProjectedRNN(cells.PeepholeLSTMCell(3))(states, mask=mask)
    model = keras.Model(ids, keras.layers.Dense(2, activation="softmax")(states))
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 1, w.shape) for w in model.get_weights()])
    try:
        data = export_onnx(model)
    except ExportError:
        return
    assert largest_difference(model, data, seed=5) < onnx_export.TOLERANCE
