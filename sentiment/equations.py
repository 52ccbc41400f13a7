"""The recurrent cells in NumPy, as published, each gate by name.

These few lines are the oracle of the tests: Keras and ONNX Runtime must agree with them.  They also
replay a trained network to show what its gates did.  Arrays keep their type, so float64 weights
give float64 results.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Weights = tuple[np.ndarray, np.ndarray, np.ndarray]  # kernel, recurrent kernel, bias
States = tuple[np.ndarray, ...]
Gates = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, from logits."""
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def rnn_step(x: np.ndarray, states: States, weights: Weights) -> tuple[States, Gates]:
    """Simple recurrent network.

        h_t = tanh(W x_t + U h_{t−1} + b)

    Args:
        x: input (batch, features).
        states: (h,), shape (batch, units).
        weights: kernel W (features, units), recurrent kernel U (units, units), bias b (units,).

    Returns:
        The new states, and no gates.

    Source: Elman (1990), section "Exclusive-OR".
    """
    (h,) = states
    kernel, recurrent_kernel, bias = weights
    return (np.tanh(x @ kernel + h @ recurrent_kernel + bias),), {}


def lstm_step(x: np.ndarray, states: States, weights: Weights) -> tuple[States, Gates]:
    """LSTM with forget gate and without peepholes.

        i = σ(W_i x_t + U_i h_{t−1} + b_i)        how much is written
        f = σ(W_f x_t + U_f h_{t−1} + b_f)        how much is kept
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)     what could be written
        o = σ(W_o x_t + U_o h_{t−1} + b_o)        how much is shown
        c_t = f ∘ c_{t−1} + i ∘ g
        h_t = o ∘ tanh(c_t)

    Args:
        x: input (batch, features).
        states: (h, c), each (batch, units).
        weights: W (features, 4·units), U (units, 4·units), b (4·units,), columns in Keras' order
            i, f, g, o.

    Returns:
        The new (h, c), and the gates `input`, `forget`, `candidate`, `output`, each (batch, units).

    Source: Hochreiter & Schmidhuber (1997); forget gate: Gers, Schmidhuber & Cummins (2000).
    """
    h, c = states
    kernel, recurrent_kernel, bias = weights
    z_i, z_f, z_g, z_o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
    i = sigmoid(z_i)
    f = sigmoid(z_f)
    g = np.tanh(z_g)
    o = sigmoid(z_o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return (h, c), {"input": i, "forget": f, "candidate": g, "output": o}


def gru_step(x: np.ndarray, states: States, weights: Weights) -> tuple[States, Gates]:
    """GRU with the reset gate after the matrix product (Keras' `reset_after=True`, cuDNN).

        z = σ(W_z x_t + b_z + U_z h_{t−1} + d_z)             how much is kept
        r = σ(W_r x_t + b_r + U_r h_{t−1} + d_r)             how much of the past is seen
        g = tanh(W_g x_t + b_g + r ∘ (U_g h_{t−1} + d_g))    what could be written
        h_t = z ∘ h_{t−1} + (1 − z) ∘ g

    Args:
        x: input (batch, features).
        states: (h,), shape (batch, units).
        weights: W (features, 3·units), U (units, 3·units), biases (2, 3·units) with rows b and d,
            columns in Keras' order z, r, g.

    Returns:
        The new (h,), and the gates `update`, `reset`, `candidate`, each (batch, units).

    Source: Cho et al. (2014), equations 5 to 8.  The paper resets before the product, and swaps z
    and 1 − z; the form here is that of cuDNN.
    """
    (h,) = states
    kernel, recurrent_kernel, bias = weights
    x_z, x_r, x_g = np.split(x @ kernel + bias[0], 3, axis=-1)
    h_z, h_r, h_g = np.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
    z = sigmoid(x_z + h_z)
    r = sigmoid(x_r + h_r)
    g = np.tanh(x_g + r * h_g)
    return (z * h + (1 - z) * g,), {"update": z, "reset": r, "candidate": g}


STEPS: dict[str, tuple[Callable[..., tuple[States, Gates]], int]] = {  # step, number of states
    "rnn": (rnn_step, 1),
    "lstm": (lstm_step, 2),
    "gru": (gru_step, 1),
}


def run_cell(
    cell: str, x: np.ndarray, mask: np.ndarray, weights: Weights, *, backward: bool = False
) -> tuple[np.ndarray, Gates]:
    """Run a cell over a batch of sequences; where the mask is false the state stays as it is.

    Args:
        cell: a key of `STEPS`.
        x: inputs (batch, time, features).
        mask: bool (batch, time).
        weights: as the step function takes them.
        backward: whether to read from the end to the start.

    Returns:
        The outputs h after each word, in text order, (batch, time, units); and each gate by name,
        of the same shape (what they would be, where the mask is false).
    """
    step, count = STEPS[cell]
    units = weights[1].shape[0]
    states: States = (np.zeros((len(x), units), x.dtype),) * count
    outputs = np.zeros((*x.shape[:2], units), x.dtype)
    gates: dict[str, list[np.ndarray]] = {}
    times = range(x.shape[1])
    for t in reversed(times) if backward else times:
        new, values = step(x[:, t], states, weights)
        kept = mask[:, t, None]
        states = tuple(np.where(kept, n, s) for n, s in zip(new, states, strict=True))
        outputs[:, t] = states[0]
        for name, value in values.items():
            gates.setdefault(name, []).append(value)
    in_order = slice(None, None, -1) if backward else slice(None)
    return outputs, {name: np.stack(rows[in_order], 1) for name, rows in gates.items()}


def merge_directions(forward: np.ndarray, backward: np.ndarray, merge: str) -> np.ndarray:
    """Join two directions: `"concatenate"`, `"sum"` or `"average"`."""
    if merge == "concatenate":
        return np.concatenate([forward, backward], axis=-1)
    return (forward + backward) / (2 if merge == "average" else 1)


def pool(states: np.ndarray, mask: np.ndarray, pooling: str) -> np.ndarray:
    """Pool states (batch, time, units) over time: `"max"`, `"mean"` or `"max+mean"`."""
    kept = mask[..., None]
    pooled = []
    if "max" in pooling:
        pooled.append(np.where(kept, states, -np.inf).max(axis=1))
    if "mean" in pooling:
        pooled.append((states * kept).sum(axis=1) / kept.sum(axis=1))
    return np.concatenate(pooled, axis=-1)


def network_probabilities(
    token_ids: np.ndarray,
    *,
    embeddings: np.ndarray,
    cell: str,
    recurrent: list[list[Weights]],
    pooling: str,
    merge: str,
    output: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """A whole network of `models.py`, without dropout.

    Args:
        token_ids: int (batch, time), 0 = padding, on the right.
        embeddings: (vocab_size, embedding_dim).
        cell: a key of `STEPS`.
        recurrent: for each layer the weights of its one direction, or of forward and backward.
        pooling, merge: as the builders take them.
        output: kernel and bias of the last layer.

    Returns:
        Probabilities (batch, num_classes).
    """
    mask = token_ids != 0
    states = embeddings[token_ids]
    for number, directions in enumerate(recurrent, 1):
        read = [
            run_cell(cell, states, mask, weights, backward=bool(side))[0]
            for side, weights in enumerate(directions)
        ]
        if number == len(recurrent) and pooling == "last":  # after the last word each one read
            read = [outputs[:, 0 if side else -1] for side, outputs in enumerate(read)]
        states = read[0] if len(read) == 1 else merge_directions(*read, merge)
    features = states if pooling == "last" else pool(states, mask, pooling)
    kernel, bias = output
    logits = features @ kernel + bias
    return softmax(logits) if logits.shape[-1] > 1 else sigmoid(logits)


def weights_of(model: Any) -> dict[str, Any]:
    """The arguments of `network_probabilities` for a Keras model of `models.py`, in float64."""
    as_float64 = [
        (layer, [np.asarray(w, "float64") for w in layer.get_weights()]) for layer in model.layers
    ]
    by_name = {layer.name: weights for layer, weights in as_float64}
    recurrent, cell, merge = [], "", "concatenate"
    for layer, weights in as_float64:
        prefix = layer.name.rsplit("_", 1)[0].removeprefix("bi")
        if prefix in STEPS:
            cell = prefix
            recurrent.append([tuple(weights[i : i + 3]) for i in range(0, len(weights), 3)])
            names = {"sum": "sum", "ave": "average", "concat": "concatenate"}
            merge = names[getattr(layer, "merge_mode", "concat")]
    pooled = [layer.pooling for layer in model.layers if layer.name == "pooling"]
    return {
        "embeddings": by_name["embedding"][0],
        "cell": cell,
        "recurrent": recurrent,
        "pooling": pooled[0] if pooled else "last",
        "merge": merge,
        "output": tuple(by_name["probabilities"]),
    }
