"""A network built by `models.py` → an ONNX graph, written from its weights and checked.

The graph takes `token_ids`, int32 (batch, time) with 0 = padding on the right, and gives
`probabilities`, float32 (batch, num_classes), and with attention pooling also `attention`, float32
(batch, time), how much each word counts.  Inside, time comes first, as ONNX' recurrent operators
want it.  Keras' own exporter is not used: on TensorFlow it does not support bidirectional
LSTMs and converts masks wrongly.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sentiment import cells, ngrams
from sentiment.artifact import BATCH_IDS_KEY, quiet_onnxruntime
from sentiment.models import AttentionPooling, MaskedPooling, NgramScore, TokenMask

OPSET = 17
IR_VERSION = 9
TOLERANCE = 1e-5  # float32: the same sums in another order
# Ids that a batch should have at most, for graphs with a loop: a step costs about the same for one
# text as for many.  On two cores this gave 1.5 times the speed of batches of a quarter.
LOOP_BATCH_IDS = 12_288


class ExportError(ValueError):
    """The network cannot be exported, or its ONNX graph does not agree with it."""


def export_onnx(model: keras.Model) -> bytes:
    """Write a network as ONNX and check it against Keras on mixed lengths.

    Args:
        model: a network of `models.py`, or any chain of the same layers.

    Returns:
        The serialised graph.

    Raises:
        ExportError: a layer has no ONNX writer, or a probability differs by more than 1e-5.
    """
    graph = _Graph()
    graph.start()
    names: dict[int, str] = {}  # id of a Keras tensor → name of a value in the graph
    for layer in model.layers:
        write = _WRITERS.get(type(layer))
        if write is None:
            raise ExportError(f"No ONNX writer for the layer {layer.name} ({type(layer).__name__})")
        inputs = [] if isinstance(layer, keras.layers.InputLayer) else _as_list(layer.input)
        name = write(graph, layer, [names[id(tensor)] for tensor in inputs])
        names[id(layer.output)] = name
    graph.node("Identity", [names[id(model.output)]], "probabilities")
    data = graph.finish(model.output_shape[-1])
    difference = largest_difference(model, data)
    if not difference <= TOLERANCE:
        raise ExportError(f"Keras and ONNX Runtime differ by {difference:.2g} in probability")
    return data


def largest_difference(model: keras.Model, data: bytes, *, seed: int = 0) -> float:
    """Largest difference in probability between Keras and ONNX Runtime on random ids.

    Args:
        model: the network.
        data: its serialised graph.
        seed: of the ids; lengths go from one word to forty.
    """
    generator = np.random.default_rng(seed)
    vocab_size = model.get_layer("embedding").input_dim
    ids = generator.integers(1, vocab_size, (16, 40)).astype("int32")
    lengths = [1, 40, *generator.integers(1, 41, 14)]
    for row, length in zip(ids, lengths, strict=True):
        row[length:] = 0
    session = quiet_onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"token_ids": ids})
    return float(np.abs(found - model.predict_on_batch(ids)).max())


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


class _Graph:
    """Nodes and weights as they are added; also the body of a loop, whose weights are outside."""

    def __init__(self, outside: "_Graph | None" = None) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = outside._weights if outside else []
        self._numbers: Iterator[int] = outside._numbers if outside else itertools.count(1)
        self.attention = ""  # name of the words' weights (time, batch, 1), if there are any
        self.has_loop = False

    def weight(self, value: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: str | Sequence[str] = "",
        **attributes: Any,
    ) -> str:
        """Add a node and return the name of its first named output."""
        if not outputs:
            outputs = f"{operator.lower()}_{next(self._numbers)}"
        outputs = [outputs] if isinstance(outputs, str) else list(outputs)
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return next(name for name in outputs if name)

    def split(self, value: str, widths: Sequence[int]) -> list[str]:
        """Split along the last axis into parts of these widths; returns their names."""
        number = next(self._numbers)
        names = [f"split_{number}_{i}" for i in range(len(widths))]
        self.node("Split", [value, self.weight(np.array(widths))], names, axis=-1)
        return names

    def start(self) -> None:
        """What every network needs: ids with time first, the mask, the lengths."""
        zero = self.weight(np.array(0, "int32"))
        self.node("Transpose", ["token_ids"], "ids", perm=[1, 0])  # (time, batch)
        padding = self.node("Equal", ["ids", zero])
        flat = self.node("Not", [padding])
        self.node("Unsqueeze", [flat, self.weight(np.array([2]))], "mask")  # (time, batch, 1)
        ones = self.node("Cast", [flat], to=TensorProto.INT32)
        axis = self.weight(np.array([0]))
        self.node("ReduceSum", [ones, axis], "lengths", keepdims=0)  # (batch,)

    def scan(
        self,
        step: Callable[["_Graph", list[str], str], tuple[str, list[str]]],
        widths: Sequence[int],
        inputs: str,
    ) -> str:
        """Add a loop over time and return the name of its outputs, (time, batch, units).

        Args:
            step: adds the nodes of one step to the graph that it is given: names of the states and
                of the step's input → name of the output and names of the new states.
            widths: of the states, which start at zero.
            inputs: name of the inputs, (time, batch, features).
        """
        batch = self.node("Shape", [inputs], start=1, end=2)
        states = []
        for width in widths:
            shape = self.node("Concat", [batch, self.weight(np.array([width]))], axis=0)
            states.append(self.node("ConstantOfShape", [shape]))  # zeros
        body = _Graph(self)
        before, now = [f"{name}_before" for name in states], f"{inputs}_now"
        output, after = step(body, before, now)
        output = body.node("Identity", [output])  # a state may not be an output too
        names = [before, [now], after, [output]]
        values = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in group]
            for group in names
        ]
        loop = helper.make_graph(body._nodes, "step", values[0] + values[1], values[2] + values[3])
        outputs = [*(f"{name}_last" for name in states), f"{inputs}_outputs"]
        self.node("Scan", [*states, inputs], outputs, body=loop, num_scan_inputs=1)
        self.has_loop = True
        return outputs[-1]

    def finish(self, num_classes: int) -> bytes:
        value = helper.make_tensor_value_info
        ids = value("token_ids", TensorProto.INT32, ["batch", "time"])
        outputs = [value("probabilities", TensorProto.FLOAT, ["batch", num_classes])]
        if self.attention:
            flat = self.node("Squeeze", [self.attention, self.weight(np.array([2]))])
            self.node("Transpose", [flat], "attention", perm=[1, 0])
            outputs.append(value("attention", TensorProto.FLOAT, ["batch", "time"]))
        graph = helper.make_graph(self._nodes, "sentiment", [ids], outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        if self.has_loop:
            helper.set_model_props(model, {BATCH_IDS_KEY: str(LOOP_BATCH_IDS)})
        onnx.checker.check_model(model)
        return model.SerializeToString()


def _write_input(_graph: _Graph, _layer: Any, _inputs: list[str]) -> str:
    return "ids"


def _write_mask(_graph: _Graph, _layer: Any, _inputs: list[str]) -> str:
    return "mask"


def _write_dropout(_graph: _Graph, _layer: Any, inputs: list[str]) -> str:
    return inputs[0]


def _write_embedding(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    (table,) = layer.get_weights()
    half = table.astype("float16")
    if not np.array_equal(half.astype("float32"), table):
        return graph.node("Gather", [graph.weight(table), inputs[0]])
    # Fitting rounds the embedding so: half the bytes, the same numbers.
    rows = graph.node("Gather", [graph.weight(half), inputs[0]])
    return graph.node("Cast", [rows], to=TensorProto.FLOAT)  # (time, batch, embedding_dim)


# A gate that must stay open gets this bias: σ is then 1 to within float32.
OPEN = 30.0


@dataclass(frozen=True)
class _Operator:
    """One direction of a recurrent layer as an ONNX operator wants it.

    Attributes:
        name: of the operator.
        kernel: (features, gates·units), in the order of ONNX' gates: LSTM i, o, f, g; GRU z, r, g.
        recurrent_kernel: (units, gates·units).
        bias: (2, gates·units), of input and of state.
        peepholes: (3·units,), i, o, f, of an LSTM that has them.
        attributes: of the operator.
    """

    name: str
    kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray
    peepholes: np.ndarray | None = None
    attributes: dict[str, int] = field(default_factory=dict)


def _parts(weight: np.ndarray, count: int) -> list[np.ndarray]:
    return np.split(weight, count, axis=-1)


def _joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=-1)


def _with_no_state_bias(bias: np.ndarray) -> np.ndarray:
    return np.stack([bias, np.zeros_like(bias)])


def _simple_operator(layer: Any) -> _Operator:
    kernel, recurrent_kernel, bias = layer.get_weights()
    return _Operator("RNN", kernel, recurrent_kernel, _with_no_state_bias(bias))


def _gru_operator(layer: Any) -> _Operator:
    attributes = {"linear_before_reset": int(layer.reset_after)}
    kernel, recurrent_kernel, bias = layer.get_weights()
    if not layer.reset_after:
        bias = _with_no_state_bias(bias)
    return _Operator("GRU", kernel, recurrent_kernel, bias, attributes=attributes)


def _lstm_operator(layer: Any) -> _Operator:
    """An LSTM, with peepholes if it has a fourth weight."""

    def ordered(weight: np.ndarray) -> np.ndarray:
        i, f, g, o = _parts(weight, 4)
        return _joined(i, o, f, g)

    kernel, recurrent_kernel, bias, *peepholes = layer.get_weights()
    peepholes = [_joined(i, o, f) for i, f, o in peepholes]
    bias = _with_no_state_bias(ordered(bias))
    return _Operator("LSTM", ordered(kernel), ordered(recurrent_kernel), bias, *peepholes)


def _coupled_operator(layer: Any) -> _Operator:
    """An LSTM with i = σ(−z_f), which is 1 − σ(z_f)."""

    def ordered(weight: np.ndarray) -> np.ndarray:
        f, g, o = _parts(weight, 3)
        return _joined(-f, o, f, g)

    kernel, recurrent_kernel, bias = map(ordered, layer.get_weights())
    return _Operator("LSTM", kernel, recurrent_kernel, _with_no_state_bias(bias))


def _forget_gate_operator(layer: Any) -> _Operator:
    """An LSTM whose other two gates are always open: faster than any loop of our own."""

    def ordered(weight: np.ndarray, rest: float) -> np.ndarray:
        f, g = _parts(weight, 2)
        fixed = np.full_like(f, rest)
        return _joined(fixed, fixed, f, g)

    kernel, recurrent_kernel, bias = layer.get_weights()
    bias = _with_no_state_bias(ordered(bias, OPEN))
    return _Operator("LSTM", ordered(kernel, 0), ordered(recurrent_kernel, 0), bias)


def _clockwork_operator(layer: Any) -> _Operator:
    """A GRU that keeps a unit's state unless its clock ticks, see `_with_clocks`.

    The clocks' inputs close the update gate (z = 0, all new) where they tick; else its bias holds
    it open (z = 1, all kept).  The reset gate is always open.
    """
    cell = layer.cell
    kernel, recurrent_kernel, bias = layer.get_weights()
    recurrent_kernel = recurrent_kernel * cell.hears
    periods = np.unique(cell.periods)
    own = (periods[:, None] == cell.periods).astype("float32")  # (clocks, units)
    others = np.zeros_like(own)
    clocks = [others, own] if layer.go_backwards else [own, others]
    update = np.concatenate([np.zeros_like(kernel), *(-2 * OPEN * part for part in clocks)])
    candidate = np.concatenate([kernel, others, others])
    opened = np.full_like(bias, OPEN)
    return _Operator(
        "GRU",
        _joined(update, np.zeros_like(update), candidate),
        _joined(*[np.zeros_like(recurrent_kernel)] * 2, recurrent_kernel),
        _with_no_state_bias(_joined(opened, opened, bias)),
        attributes={"linear_before_reset": 1},
    )


def _with_clocks(graph: _Graph, states: str, periods: np.ndarray) -> str:
    """Add to each word's features a one for each clock that ticks there, else a zero.

    First the clocks that count from the text's first word, then those that count from its last.
    """
    one = graph.weight(np.array(1, "int32"))
    shape = graph.node("Shape", ["ids"], start=0, end=1)
    time = graph.node("Cast", [graph.node("Squeeze", [shape])], to=TensorProto.INT32)
    positions = graph.node("Range", [graph.weight(np.array(0, "int32")), time, one])
    batch_of_zeros = graph.node("Mul", ["ids", graph.weight(np.array(0, "int32"))])
    column = graph.node("Unsqueeze", [positions, graph.weight(np.array([1]))])
    from_start = graph.node("Add", [column, batch_of_zeros])  # (time, batch)
    from_end = graph.node("Sub", [graph.node("Sub", ["lengths", one]), from_start])
    features = [states]
    for counted in (from_start, from_end):
        words = graph.node("Unsqueeze", [counted, graph.weight(np.array([2]))])
        rest = graph.node("Mod", [words, graph.weight(periods.astype("int32"))])
        ticks = graph.node("Equal", [rest, graph.weight(np.array(0, "int32"))])
        features.append(graph.node("Cast", [ticks], to=TensorProto.FLOAT))
    return graph.node("Concat", features, axis=2)


# Layer or cell → how one direction becomes an operator.
_OPERATORS: dict[type, Callable[[Any], _Operator]] = {
    keras.layers.SimpleRNN: _simple_operator,
    keras.layers.LSTM: _lstm_operator,
    keras.layers.GRU: _gru_operator,
    cells.PeepholeLSTMCell: _lstm_operator,
    cells.CoupledLSTMCell: _coupled_operator,
    cells.ForgetGateLSTMCell: _forget_gate_operator,
    cells.ClockworkRNNCell: _clockwork_operator,
}


def _kind(layer: Any) -> type:
    """What the tables here know: the cell's class of a `ProjectedRNN`, else the layer's."""
    return type(layer.cell) if isinstance(layer, cells.ProjectedRNN) else type(layer)


def _write_recurrent(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    bidirectional = isinstance(layer, keras.layers.Bidirectional)
    directions = [layer.forward_layer, layer.backward_layer] if bidirectional else [layer]
    kind = _kind(directions[0])
    if kind in _LOOPS:
        return _write_loop(graph, layer, directions, inputs[0])
    if kind not in _OPERATORS:
        raise ExportError(f"No ONNX operator for {directions[0].name} ({kind.__name__})")
    operators = [_OPERATORS[kind](direction) for direction in directions]
    first = operators[0]
    weights = [
        np.stack([operator.kernel.T for operator in operators]),
        np.stack([operator.recurrent_kernel.T for operator in operators]),
        np.stack([operator.bias.reshape(-1) for operator in operators]),
    ]
    arguments = [inputs[0], *map(graph.weight, weights), "lengths"]
    if kind is cells.ClockworkRNNCell:
        periods = np.unique(directions[0].cell.periods)
        arguments[0] = _with_clocks(graph, inputs[0], periods)
    if first.peepholes is not None:
        peepholes = np.stack([operator.peepholes for operator in operators])
        arguments += ["", "", graph.weight(peepholes)]
    every_step = directions[0].return_sequences
    name = f"{layer.name}_states"
    states = graph.node(
        first.name,
        arguments,
        [name, ""] if every_step else ["", name],
        hidden_size=len(first.recurrent_kernel),
        direction="bidirectional" if bidirectional else "forward",
        **first.attributes,
    )
    merge = layer.merge_mode if bidirectional else "concat"
    if every_step:  # (time, directions, batch, units) → (time, batch, features)
        if merge != "concat":
            return _merged(graph, states, merge, axis=1)
        states = graph.node("Transpose", [states], perm=[0, 2, 1, 3])
        return graph.node("Reshape", [states, graph.weight(np.array([0, 0, -1]))])
    if merge != "concat":  # (directions, batch, units) → (batch, features)
        return _merged(graph, states, merge, axis=0)
    states = graph.node("Transpose", [states], perm=[1, 0, 2])
    return graph.node("Reshape", [states, graph.weight(np.array([0, -1]))])


def _merged(graph: _Graph, states: str, merge: str, *, axis: int) -> str:
    if merge == "sum":
        return graph.node("ReduceSum", [states, graph.weight(np.array([axis]))], keepdims=0)
    return graph.node("ReduceMean", [states], axes=[axis], keepdims=0)


def _write_loop(graph: _Graph, layer: Any, directions: list[Any], inputs: str) -> str:
    """A cell that no operator computes: `Scan`, once for each direction.

    The backward one reads texts that are turned round, so both meet the padding after the last
    word, where nothing uses their outputs; no step needs the mask.
    """
    outputs = []
    for direction in directions:
        read = _reversed(graph, inputs) if direction.go_backwards else inputs
        states = _LOOPS[type(direction.cell)](graph, direction.cell, read)
        if not direction.return_sequences:  # the output at the last word that was read
            first = graph.weight(np.array(0))
            states = graph.node("Gather", [_reversed(graph, states), first], axis=0)
        elif direction.go_backwards:
            states = _reversed(graph, states)
        outputs.append(states)
    if len(outputs) == 1:
        return outputs[0]
    if layer.merge_mode == "concat":
        return graph.node("Concat", outputs, axis=-1)
    return graph.node("Sum" if layer.merge_mode == "sum" else "Mean", outputs)


def _reversed(graph: _Graph, states: str) -> str:
    """Turn the words of each text round, padding left where it is: (time, batch, features)."""
    lengths = graph.node("Cast", ["lengths"], to=TensorProto.INT64)
    return graph.node("ReverseSequence", [states, lengths], batch_axis=1, time_axis=0)


def _grid_loop(graph: _Graph, cell: cells.GridLSTMCell, inputs: str) -> str:
    projection, *weights = cell.get_weights()
    projected = graph.node("MatMul", [inputs, graph.weight(projection)])
    units = cell.units
    names = []  # kernel and bias of time and depth of each layer, gates i, f, o, g
    for weight in weights:
        i, f, g, o = _parts(weight, 4)
        names.append(graph.weight(_joined(i, f, o, g)))

    def lstm(body: _Graph, h_time: str, h_depth: str, m: str, kernel: str, bias: str) -> Any:
        seen = body.node("Concat", [h_time, h_depth], axis=1)
        sums, candidate = body.split(body.node("Gemm", [seen, kernel, bias]), [3 * units, units])
        i, f, o = body.split(body.node("Sigmoid", [sums]), [units] * 3)
        g = body.node("Tanh", [candidate])
        m = body.node("Add", [body.node("Mul", [f, m]), body.node("Mul", [i, g])])
        return body.node("Tanh", [body.node("Mul", [o, m])]), m

    def step(body: _Graph, states: list[str], now: str) -> tuple[str, list[str]]:
        h_depth, m_depth = body.split(now, [units, units])
        new_states = []
        for n in range(cell.layers):
            time, depth = names[4 * n : 4 * n + 2], names[4 * n + 2 : 4 * n + 4]
            h_time, m_time = lstm(body, states[2 * n], h_depth, states[2 * n + 1], *time)
            h_depth, m_depth = lstm(body, h_time, h_depth, m_depth, *depth)
            new_states += [h_time, m_time]
        return h_depth, new_states

    return graph.scan(step, cell.state_size, projected)


def _depth_gated_loop(graph: _Graph, cell: cells.DepthGatedLSTMCell, inputs: str) -> str:
    units = cell.units
    stack = []  # of each layer kernel, recurrent kernel, bias; and peepholes
    weights = cell.get_weights()
    for n in range(cell.layers):
        *matrices, peepholes = weights[4 * n : 4 * n + 4]
        rows = [graph.weight(row) for row in peepholes]
        stack.append(([graph.weight(matrix) for matrix in matrices], rows))
    kernel, _, bias = stack[0][0]
    projected = graph.node("Add", [graph.node("MatMul", [inputs, kernel]), bias])

    def step(body: _Graph, states: list[str], now: str) -> tuple[str, list[str]]:
        def mul(a: str, b: str) -> str:
            return body.node("Mul", [a, b])

        def add(*terms: str) -> str:
            total = terms[0]
            for term in terms[1:]:
                total = body.node("Add", [total, term])
            return total

        new_states: list[str] = []
        for n, ((kernel, recurrent_kernel, bias), peepholes) in enumerate(stack):
            h, c = states[2 * n : 2 * n + 2]
            z_d = ""
            if n:
                h_below, c_below = new_states[-2:]
                z = body.node("Gemm", [h_below, kernel, bias])
                now, z_d = body.split(z, [4 * units, units])
            z = add(now, body.node("MatMul", [h, recurrent_kernel]))
            z_i, z_f, z_g, z_o = body.split(z, [units] * 4)
            i = body.node("Sigmoid", [add(z_i, mul(peepholes[0], c))])
            f = body.node("Sigmoid", [add(z_f, mul(peepholes[1], c))])
            new_c = add(mul(f, c), mul(i, body.node("Tanh", [z_g])))
            if n:
                seen = add(z_d, mul(peepholes[3], c), mul(peepholes[4], c_below))
                new_c = add(new_c, mul(body.node("Sigmoid", [seen]), c_below))
            o = body.node("Sigmoid", [add(z_o, mul(peepholes[2], new_c))])
            new_states += [mul(o, body.node("Tanh", [new_c])), new_c]
        return new_states[-2], new_states

    return graph.scan(step, cell.state_size, projected)


# Cell → how one direction becomes a loop: (graph, cell, inputs) → outputs (time, batch, units).
_LOOPS: dict[type, Callable[[_Graph, Any, str], str]] = {
    cells.GridLSTMCell: _grid_loop,
    cells.DepthGatedLSTMCell: _depth_gated_loop,
}


def _write_pooling(graph: _Graph, layer: MaskedPooling, inputs: list[str]) -> str:
    states, mask = inputs
    # ONNX Runtime multiplies and adds a mask several times as fast as it chooses with Where.
    kept = graph.node("Cast", [mask], to=TensorProto.FLOAT)  # (time, batch, 1)
    pooled = []
    if "max" in layer.pooling:
        one, lowest = (graph.weight(np.array(n, "float32")) for n in (1, 3.4e38))
        penalty = graph.node("Mul", [graph.node("Sub", [kept, one]), lowest])
        shifted = graph.node("Add", [states, penalty])  # states stay exactly what they are
        pooled.append(graph.node("ReduceMax", [shifted], axes=[0], keepdims=0))
    if "mean" in layer.pooling:
        masked = graph.node("Mul", [states, kept])
        total = graph.node("ReduceSum", [masked, graph.weight(np.array([0]))], keepdims=0)
        lengths = graph.node("Cast", ["lengths"], to=TensorProto.FLOAT)
        lengths = graph.node("Unsqueeze", [lengths, graph.weight(np.array([1]))])
        pooled.append(graph.node("Div", [total, lengths]))
    return graph.node("Concat", pooled, axis=1) if len(pooled) > 1 else pooled[0]


def _write_attention(graph: _Graph, layer: AttentionPooling, inputs: list[str]) -> str:
    states, mask = inputs
    kernel, bias, context = layer.get_weights()
    sums = graph.node("MatMul", [states, graph.weight(kernel)])
    seen = graph.node("Tanh", [graph.node("Add", [sums, graph.weight(bias)])])
    logits = graph.node("MatMul", [seen, graph.weight(context[:, None])])  # (time, batch, 1)
    kept = graph.node("Cast", [mask], to=TensorProto.FLOAT)
    one, lowest = (graph.weight(np.array(n, "float32")) for n in (1, 1e9))
    penalty = graph.node("Mul", [graph.node("Sub", [kept, one]), lowest])
    logits = graph.node("Add", [logits, penalty])
    attention = graph.node("Softmax", [logits], axis=0)
    weighed = graph.node("Mul", [attention, states])
    graph.attention = attention
    return graph.node("ReduceSum", [weighed, graph.weight(np.array([0]))], keepdims=0)


def _write_dense(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    kernel, bias = layer.get_weights()
    logits = graph.node("Gemm", [inputs[0], graph.weight(kernel), graph.weight(bias)])
    activation = layer.activation.__name__
    if activation == "softmax":
        return graph.node("Softmax", [logits], axis=1)
    if activation == "sigmoid":
        return graph.node("Sigmoid", [logits])
    raise ExportError(f"No ONNX writer for the activation {activation!r} of {layer.name}")


def _write_ngrams(graph: _Graph, layer: NgramScore, _inputs: list[str]) -> str:
    """The same steps as `NgramScore.call`; here the largest keys come first."""
    values, tags = layer.get_weights()

    def number(value: int) -> str:
        return graph.weight(np.array(value))

    def cut(value: str, start: int, end: int) -> str:
        bounds = [graph.weight(np.array([n])) for n in (start, end, 1)]
        return graph.node("Slice", [value, *bounds])

    first = graph.node("Cast", ["token_ids"], to=TensorProto.INT64)  # (batch, time)
    none = graph.node("Mul", [first, number(0)])
    far = np.iinfo("int64").max

    def following(words: str) -> str:
        return graph.node("Concat", [cut(words, 1, far), cut(none, 0, 1)], axis=1)

    def hashed(words: list[str], multipliers: Sequence[int]) -> str:
        total = ""
        for word, multiplier in zip(words, multipliers, strict=True):
            term = graph.node("Mul", [word, number(multiplier)])
            total = graph.node("Add", [total, term]) if total else term
            total = graph.node("Mod", [total, number(ngrams.PRIME)])
        return total

    second = following(first)
    third = following(second)
    keys = []
    for words, last in (
        ([first, none, none], first),
        ([first, second, none], second),
        ([first, second, third], third),
    ):
        place = graph.node("Mod", [hashed(words, ngrams.PLACE), number(layer.places)])
        tag = graph.node("Mod", [hashed(words, ngrams.TAG), number(ngrams.TAGS)])
        tag = graph.node("Add", [tag, number(1)])
        key = graph.node("Add", [graph.node("Mul", [place, number(256)]), tag])
        ended = graph.node("Equal", [last, number(0)])
        keys.append(graph.node("Where", [ended, none, key]))
    joined = graph.node("Concat", keys, axis=1)
    count = graph.node("Shape", [joined], start=1, end=2)
    ordered = graph.node("TopK", [joined, count], ["sorted_ngrams", "sorted_places"], axis=1)
    after = graph.node("Concat", [cut(ordered, 1, far), cut(none, 0, 1)], axis=1)
    place = graph.node("Div", [ordered, number(256)])
    tag = graph.node("Mod", [ordered, number(256)])
    found = graph.node("Gather", [graph.weight(tags), place])
    same = graph.node("Equal", [graph.node("Cast", [found], to=TensorProto.INT64), tag])
    once = graph.node("Not", [graph.node("Equal", [ordered, after])])
    counts = graph.node("Cast", [graph.node("And", [same, once])], to=TensorProto.FLOAT)
    weights = graph.node("Gather", [graph.weight(values.astype("float16")), place])
    weights = graph.node("Cast", [weights], to=TensorProto.FLOAT)
    return graph.node(
        "ReduceSum", [graph.node("Mul", [weights, counts]), graph.weight(np.array([1]))], keepdims=1
    )


def _write_concatenation(graph: _Graph, _layer: Any, inputs: list[str]) -> str:
    return graph.node("Concat", inputs, axis=1)


_WRITERS: dict[type, Callable[[_Graph, Any, list[str]], str]] = {
    keras.layers.InputLayer: _write_input,
    TokenMask: _write_mask,
    keras.layers.Embedding: _write_embedding,
    keras.layers.Dropout: _write_dropout,
    keras.layers.SimpleRNN: _write_recurrent,
    keras.layers.LSTM: _write_recurrent,
    keras.layers.GRU: _write_recurrent,
    keras.layers.Bidirectional: _write_recurrent,
    cells.ProjectedRNN: _write_recurrent,
    MaskedPooling: _write_pooling,
    AttentionPooling: _write_attention,
    NgramScore: _write_ngrams,
    keras.layers.Concatenate: _write_concatenation,
    keras.layers.Dense: _write_dense,
}
