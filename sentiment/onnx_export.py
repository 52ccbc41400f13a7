"""A network built by `models.py` → an ONNX graph, written from its weights and checked.

The graph takes `token_ids`, int32 (batch, time) with 0 = padding on the right, and gives
`probabilities`, float32 (batch, num_classes).  Inside, time comes first, as ONNX' recurrent
operators want it.  Keras' own exporter is not used: on TensorFlow it does not support bidirectional
LSTMs and converts masks wrongly.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sentiment.models import MaskedPooling, TokenMask

OPSET = 17
IR_VERSION = 9
TOLERANCE = 1e-5  # float32: the same sums in another order


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
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # must stand before the first import
    import onnxruntime

    generator = np.random.default_rng(seed)
    vocab_size = model.get_layer("embedding").input_dim
    ids = generator.integers(1, vocab_size, (16, 40)).astype("int32")
    lengths = [1, 40, *generator.integers(1, 41, 14)]
    for row, length in zip(ids, lengths, strict=True):
        row[length:] = 0
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"token_ids": ids})
    return float(np.abs(found - model.predict_on_batch(ids)).max())


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


class _Graph:
    """Nodes and weights as they are added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._count = 0

    def weight(self, value: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
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
            self._count += 1
            outputs = f"{operator.lower()}_{self._count}"
        outputs = [outputs] if isinstance(outputs, str) else list(outputs)
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return next(name for name in outputs if name)

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

    def finish(self, num_classes: int) -> bytes:
        ids = helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "time"])
        answer = helper.make_tensor_value_info(
            "probabilities", TensorProto.FLOAT, ["batch", num_classes]
        )
        graph = helper.make_graph(self._nodes, "sentiment", [ids], [answer], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
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


def _reordered(weight: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Swap the gates along the last axis, and put that axis first, as ONNX has it."""
    parts = np.split(weight, len(order), axis=-1)
    return np.concatenate([parts[i] for i in order], axis=-1).T


# Operator, and Keras' gates in ONNX' order: LSTM i,f,g,o → i,o,f,g; GRU z,r,g in both.
_OPERATORS: dict[type, tuple[str, tuple[int, ...]]] = {
    keras.layers.SimpleRNN: ("RNN", (0,)),
    keras.layers.LSTM: ("LSTM", (0, 3, 1, 2)),
    keras.layers.GRU: ("GRU", (0, 1, 2)),
}


def _direction_weights(layer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, R and B of one direction as ONNX wants them."""
    _, order = _OPERATORS[type(layer)]
    kernel, recurrent_kernel, bias = layer.get_weights()
    if bias.ndim == 1:  # ONNX adds an input and a recurrent bias; only Keras' GRU has both
        bias = np.stack([bias, np.zeros_like(bias)])
    biases = [_reordered(part[None], order)[:, 0] for part in bias]
    return _reordered(kernel, order), _reordered(recurrent_kernel, order), np.concatenate(biases)


def _write_recurrent(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    bidirectional = isinstance(layer, keras.layers.Bidirectional)
    directions = [layer.forward_layer, layer.backward_layer] if bidirectional else [layer]
    if layer_type_problem := [d.name for d in directions if type(d) not in _OPERATORS]:
        raise ExportError(f"No ONNX operator for {layer_type_problem[0]}")
    operator, _ = _OPERATORS[type(directions[0])]
    weights = [np.stack(w) for w in zip(*map(_direction_weights, directions), strict=True)]
    attributes: dict[str, Any] = {
        "hidden_size": directions[0].units,
        "direction": "bidirectional" if bidirectional else "forward",
    }
    if operator == "GRU":
        attributes["linear_before_reset"] = int(directions[0].reset_after)
    every_step = directions[0].return_sequences
    name = f"{layer.name}_states"
    states = graph.node(
        operator,
        [inputs[0], *map(graph.weight, weights), "lengths"],
        [name, ""] if every_step else ["", name],
        **attributes,
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


def _write_dense(graph: _Graph, layer: Any, inputs: list[str]) -> str:
    kernel, bias = layer.get_weights()
    logits = graph.node("Gemm", [inputs[0], graph.weight(kernel), graph.weight(bias)])
    activation = layer.activation.__name__
    if activation == "softmax":
        return graph.node("Softmax", [logits], axis=1)
    if activation == "sigmoid":
        return graph.node("Sigmoid", [logits])
    raise ExportError(f"No ONNX writer for the activation {activation!r} of {layer.name}")


_WRITERS: dict[type, Callable[[_Graph, Any, list[str]], str]] = {
    keras.layers.InputLayer: _write_input,
    TokenMask: _write_mask,
    keras.layers.Embedding: _write_embedding,
    keras.layers.Dropout: _write_dropout,
    keras.layers.SimpleRNN: _write_recurrent,
    keras.layers.LSTM: _write_recurrent,
    keras.layers.GRU: _write_recurrent,
    keras.layers.Bidirectional: _write_recurrent,
    MaskedPooling: _write_pooling,
    keras.layers.Dense: _write_dense,
}
