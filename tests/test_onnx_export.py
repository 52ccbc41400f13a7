"""Writing a network as ONNX: what is stored, what is checked, what is refused."""

import re

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from sentiment import onnx_export
from sentiment.models import BUILDERS, POOLINGS
from sentiment.onnx_export import ExportError, export_onnx, largest_difference

# The same float32 sums over other batch shapes.
SAME = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="module")
def exported(random_network):
    """(builder, pooling) → session, each written once."""
    written = {}

    def session(name: str, pooling: str) -> onnxruntime.InferenceSession:
        if (name, pooling) not in written:
            model = random_network(name, layers=2, pooling=pooling)
            written[name, pooling] = onnxruntime.InferenceSession(export_onnx(model))
        return written[name, pooling]

    return session


def answer(session, ids) -> np.ndarray:
    (found,) = session.run(["probabilities"], {"token_ids": ids})
    return found


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_extra_padding_changes_nothing(name, pooling, exported, mixed_ids):
    session = exported(name, pooling)
    np.testing.assert_allclose(
        answer(session, np.pad(mixed_ids, ((0, 0), (0, 9)))), answer(session, mixed_ids), **SAME
    )


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_batch_equals_single(name, pooling, exported, mixed_ids):
    session = exported(name, pooling)
    singles = [answer(session, row[row != 0][None]) for row in mixed_ids]
    batch = answer(session, mixed_ids)
    np.testing.assert_allclose(np.concatenate(singles), batch, **SAME)
    assert np.ptp(batch, axis=0).min() > 0.01  # the texts are told apart


def test_inputs_and_outputs(exported):
    session = exported("bilstm", "max")
    (ids,), (found,) = session.get_inputs(), session.get_outputs()
    assert (ids.name, ids.type, ids.shape) == ("token_ids", "tensor(int32)", ["batch", "time"])
    assert (found.name, found.type) == ("probabilities", "tensor(float)")
    assert found.shape == ["batch", 3]


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


@pytest.mark.parametrize(
    ("name", "order"),
    [("lstm", (0, 1, 2, 3)), ("bilstm", (0, 3, 2, 1)), ("gru", (1, 0, 2)), ("bigru", (0, 2, 1))],
)
def test_swapped_gates_are_refused(name, order, random_network, monkeypatch):
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[name.removeprefix("bi")]
    operator, _ = onnx_export._OPERATORS[kind]
    monkeypatch.setitem(onnx_export._OPERATORS, kind, (operator, order))
    with pytest.raises(ExportError, match="^Keras and ONNX Runtime differ by [0-9.e-]+ in prob"):
        export_onnx(random_network(name))


def test_leaking_mask_is_refused(random_network, monkeypatch):
    """Without their lengths, recurrent operators read padding as words."""
    node = onnx_export._Graph.node

    def without_lengths(self, operator, inputs, outputs="", **attributes):
        if operator == "LSTM":
            inputs = inputs[:-1]
        return node(self, operator, inputs, outputs, **attributes)

    monkeypatch.setattr(onnx_export._Graph, "node", without_lengths)
    with pytest.raises(ExportError, match="differ by"):
        export_onnx(random_network("lstm"))


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
    ],
)
def test_layers_that_a_writer_does_not_cover_are_refused(layer):
    """Never a graph that computes something else."""
    model = chain(layer, keras.layers.Dense(2, activation="softmax"))
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 1, w.shape) for w in model.get_weights()])
    with pytest.raises(ExportError):
        export_onnx(model)
