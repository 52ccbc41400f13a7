"""The recurrent cells in NumPy, as published, each gate by name.

These few lines are the oracle of the tests: Keras and ONNX Runtime must agree with them.  They also
replay a trained network to show what its gates did.  Arrays keep their type, so float64 weights
give float64 results.

A step takes the input (batch, features), the states and the weights of a cell, and returns its
output (batch, units), its new states, and its gates by name, each (batch, units).  In the equations
σ is the logistic function and ∘ the product of each element with its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sentiment.ngrams import NgramTable, ngram_scores

Weights = tuple[np.ndarray, ...]  # of one direction, in the order of Keras' get_weights()
States = tuple[np.ndarray, ...]
Gates = dict[str, np.ndarray]
DIRECTIONS = ("forward", "backward")
Step = tuple[np.ndarray, States, Gates]  # output (batch, units), new states, gates by name


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, from logits."""
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def rnn_step(x: np.ndarray, states: States, weights: Weights) -> Step:
    """Simple recurrent network.

        h_t = tanh(W x_t + U h_{t−1} + b)

    Args:
        x: input (batch, features).
        states: (h,), shape (batch, units).
        weights: kernel W (features, units), recurrent kernel U (units, units), bias b (units,).

    Source: Elman (1990), section "Exclusive-OR".
    """
    (h,) = states
    kernel, recurrent_kernel, bias = weights
    h = np.tanh(x @ kernel + h @ recurrent_kernel + bias)
    return h, (h,), {}


def lstm_step(x: np.ndarray, states: States, weights: Weights) -> Step:
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

    Gates: `input`, `forget`, `candidate`, `output`.

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
    return h, (h, c), {"input": i, "forget": f, "candidate": g, "output": o}


def gru_step(x: np.ndarray, states: States, weights: Weights) -> Step:
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

    Gates: `update`, `reset`, `candidate`.

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
    h = z * h + (1 - z) * g
    return h, (h,), {"update": z, "reset": r, "candidate": g}


def peephole_lstm_step(x: np.ndarray, states: States, weights: Weights) -> Step:
    """LSTM whose gates see the memory.

        i = σ(W_i x_t + U_i h_{t−1} + p_i ∘ c_{t−1} + b_i)
        f = σ(W_f x_t + U_f h_{t−1} + p_f ∘ c_{t−1} + b_f)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        c_t = f ∘ c_{t−1} + i ∘ g
        o = σ(W_o x_t + U_o h_{t−1} + p_o ∘ c_t + b_o)       the new memory
        h_t = o ∘ tanh(c_t)

    Args:
        x: input (batch, features).
        states: (h, c), each (batch, units).
        weights: W (features, 4·units), U (units, 4·units), b (4·units,), columns i, f, g, o; and
            the peepholes p (3, units), rows i, f, o.

    Gates: `input`, `forget`, `candidate`, `output`.

    Source: see `cells.PeepholeLSTMCell`.
    """
    h, c = states
    kernel, recurrent_kernel, bias, (p_i, p_f, p_o) = weights
    z_i, z_f, z_g, z_o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
    i = sigmoid(z_i + p_i * c)
    f = sigmoid(z_f + p_f * c)
    g = np.tanh(z_g)
    c = f * c + i * g
    o = sigmoid(z_o + p_o * c)
    h = o * np.tanh(c)
    return h, (h, c), {"input": i, "forget": f, "candidate": g, "output": o}


def coupled_lstm_step(x: np.ndarray, states: States, weights: Weights) -> Step:
    """LSTM that writes as much as it forgets.

        f = σ(W_f x_t + U_f h_{t−1} + b_f)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        o = σ(W_o x_t + U_o h_{t−1} + b_o)
        c_t = f ∘ c_{t−1} + (1 − f) ∘ g
        h_t = o ∘ tanh(c_t)

    Args:
        x: input (batch, features).
        states: (h, c), each (batch, units).
        weights: W (features, 3·units), U (units, 3·units), b (3·units,), columns f, g, o.

    Gates: `forget`, `candidate`, `output`.

    Source: see `cells.CoupledLSTMCell`.
    """
    h, c = states
    kernel, recurrent_kernel, bias = weights
    z_f, z_g, z_o = np.split(x @ kernel + h @ recurrent_kernel + bias, 3, axis=-1)
    f = sigmoid(z_f)
    g = np.tanh(z_g)
    o = sigmoid(z_o)
    c = f * c + (1 - f) * g
    h = o * np.tanh(c)
    return h, (h, c), {"forget": f, "candidate": g, "output": o}


def forget_gate_lstm_step(x: np.ndarray, states: States, weights: Weights) -> Step:
    """LSTM with a forget gate only.

        f = σ(W_f x_t + U_f h_{t−1} + b_f)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        c_t = f ∘ c_{t−1} + g
        h_t = tanh(c_t)

    Args:
        x: input (batch, features).
        states: (h, c), each (batch, units).
        weights: W (features, 2·units), U (units, 2·units), b (2·units,), columns f, g.

    Gates: `forget`, `candidate`.

    Source: see `cells.ForgetGateLSTMCell`.
    """
    h, c = states
    kernel, recurrent_kernel, bias = weights
    z_f, z_g = np.split(x @ kernel + h @ recurrent_kernel + bias, 2, axis=-1)
    f = sigmoid(z_f)
    g = np.tanh(z_g)
    c = f * c + g
    h = np.tanh(c)
    return h, (h, c), {"forget": f, "candidate": g}


def depth_gated_lstm_step(x: np.ndarray, states: States, weights: Weights) -> Step:
    """Stacked peephole LSTMs, each memory but the lowest fed from the one below by a depth gate.

    Layer 1 is `peephole_lstm_step`.  In each layer above, where x_t is the output of the layer
    below and c'_t its new memory:

        d = σ(W_d x_t + w_c ∘ c_{t−1} + w_l ∘ c'_t + b_d)    how much comes from below
        c_t = d ∘ c'_t + f ∘ c_{t−1} + i ∘ g

    Args:
        x: input (batch, features).
        states: (h, c) of each layer from the lowest up, each (batch, units).
        weights: four arrays for each layer: W (features, 4·units) with columns i, f, g, o, U
            (units, 4·units) in the same order, b (4·units,), p (3, units) with rows i, f, o; above
            the lowest W and b have five parts, d the fifth, and p five rows, w_c the fourth and w_l
            the fifth.

    Gates: `input_1`, `forget_1`, `candidate_1`, `output_1`, and so for each layer; `depth_2` for
    the second layer and so for each above.

    Source: see `cells.DepthGatedLSTMCell`.
    """
    new_states: list[np.ndarray] = []
    gates: Gates = {}
    below = None
    for layer in range(len(states) // 2):
        h, c = states[2 * layer : 2 * layer + 2]
        kernel, recurrent_kernel, bias, peepholes = weights[4 * layer : 4 * layer + 4]
        p_i, p_f, p_o = peepholes[:3]
        z_x = np.split(x @ kernel + bias, 4 if below is None else 5, axis=-1)
        z_h = np.split(h @ recurrent_kernel, 4, axis=-1)
        i = sigmoid(z_x[0] + z_h[0] + p_i * c)
        f = sigmoid(z_x[1] + z_h[1] + p_f * c)
        g = np.tanh(z_x[2] + z_h[2])
        from_below = 0.0
        if below is not None:
            w_c, w_l = peepholes[3:]
            d = sigmoid(z_x[4] + w_c * c + w_l * below)
            from_below = d * below
            gates[f"depth_{layer + 1}"] = d
        c = from_below + f * c + i * g
        o = sigmoid(z_x[3] + z_h[3] + p_o * c)
        h = o * np.tanh(c)
        for name, value in {"input": i, "forget": f, "candidate": g, "output": o}.items():
            gates[f"{name}_{layer + 1}"] = value
        new_states += [h, c]
        x, below = h, c
    return x, tuple(new_states), gates


def clockwork_rnn_step(x: np.ndarray, states: States, weights: Weights) -> Step:
    """Simple recurrent network whose groups of units each tick with a period of their own.

        m_t = 1 for the units whose period divides t, else 0     t = 0 at the first word
        h_t = m_t ∘ tanh(W x_t + (U ∘ M) h_{t−1} + b) + (1 − m_t) ∘ h_{t−1}

    where M lets a unit hear only units of its own or a longer period.

    Args:
        x: input (batch, features).
        states: (h, t): (batch, units), and the number of words read so far, (batch, 1).
        weights: W (features, units), U (units, units), b (units,), and the periods (units,).

    Gates: `clock`, which is m_t.

    Source: see `cells.ClockworkRNNCell`.
    """
    h, t = states
    kernel, recurrent_kernel, bias, periods = weights
    hears = periods[:, None] >= periods[None, :]  # [from, to]
    ticks = (t % periods == 0).astype(h.dtype)
    new = np.tanh(x @ kernel + h @ (recurrent_kernel * hears) + bias)
    h = ticks * new + (1 - ticks) * h
    return h, (h, t + 1), {"clock": ticks}


def grid_lstm_step(x: np.ndarray, states: States, weights: Weights) -> Step:
    """LSTMs along time and along depth, time first.

    The input enters the depth: h^D = P_h x_t, m^D = P_m x_t.  In each layer, from the lowest up,
    with the time's states h^T, m^T of this layer at t−1:

        (h^T, m^T) ← LSTM([h^T, h^D], m^T)
        (h^D, m^D) ← LSTM([h^T, h^D], m^D)        h^T is already the new one

    each with its own weights, where LSTM(H, m) is

        i, f, o = σ(W_i H + b_i), σ(W_f H + b_f), σ(W_o H + b_o);   g = tanh(W_g H + b_g)
        m' = f ∘ m + i ∘ g;   h' = tanh(o ∘ m')

    Args:
        x: input (batch, features).
        states: (h^T, m^T) of each layer from the lowest up, each (batch, units).
        weights: P (features, 2·units), columns P_h, P_m; then four arrays for each layer: W of time
            (2·units, 4·units), b of time (4·units,), W and b of depth, columns i, f, g, o, rows
            first for h^T.

    Gates: `time_input_1`, `time_forget_1`, `time_candidate_1`, `time_output_1`, `depth_input_1`,
    and so on.

    Source: see `cells.GridLSTMCell`.
    """

    def lstm(h: np.ndarray, m: np.ndarray, kernel: np.ndarray, bias: np.ndarray, name: str) -> Any:
        z_i, z_f, z_g, z_o = np.split(h @ kernel + bias, 4, axis=-1)
        i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
        for gate, value in {"input": i, "forget": f, "candidate": g, "output": o}.items():
            gates[name.format(gate)] = value
        m = f * m + i * g
        return np.tanh(o * m), m

    gates: Gates = {}
    h_depth, m_depth = np.split(x @ weights[0], 2, axis=-1)
    new_states: list[np.ndarray] = []
    for layer in range(len(states) // 2):
        h_time, m_time = states[2 * layer : 2 * layer + 2]
        time_kernel, time_bias, depth_kernel, depth_bias = weights[4 * layer + 1 : 4 * layer + 5]
        seen = np.concatenate([h_time, h_depth], axis=-1)
        h_time, m_time = lstm(seen, m_time, time_kernel, time_bias, f"time_{{}}_{layer + 1}")
        seen = np.concatenate([h_time, h_depth], axis=-1)
        h_depth, m_depth = lstm(seen, m_depth, depth_kernel, depth_bias, f"depth_{{}}_{layer + 1}")
        new_states += [h_time, m_time]
    return h_depth, tuple(new_states), gates


# Cell → its step, and the widths of its states, from its weights.
STEPS: dict[str, tuple[Callable[..., Step], Callable[[Weights], list[int]]]] = {
    "rnn": (rnn_step, lambda w: [len(w[1])]),
    "lstm": (lstm_step, lambda w: [len(w[1])] * 2),
    "gru": (gru_step, lambda w: [len(w[1])]),
    "peephole_lstm": (peephole_lstm_step, lambda w: [len(w[1])] * 2),
    "coupled_lstm": (coupled_lstm_step, lambda w: [len(w[1])] * 2),
    "forget_gate_lstm": (forget_gate_lstm_step, lambda w: [len(w[1])] * 2),
    "depth_gated_lstm": (depth_gated_lstm_step, lambda w: [len(w[1])] * (len(w) // 2)),
    "clockwork_rnn": (clockwork_rnn_step, lambda w: [len(w[1]), 1]),
    "grid_lstm": (grid_lstm_step, lambda w: [len(w[1]) // 2] * (len(w) // 2)),
}


class CellRun(NamedTuple):
    """What a cell did over a batch of sequences, in text order.

    Attributes:
        outputs: after each word, (batch, time, units).
        gates: each by name, (batch, time, units); what they would be, where the mask is false.
        states: after each word, (batch, time, width) each, as the step function orders them.
    """

    outputs: np.ndarray
    gates: Gates
    states: States


def run_cell(
    cell: str, x: np.ndarray, mask: np.ndarray, weights: Weights, *, backward: bool = False
) -> CellRun:
    """Run a cell over a batch of sequences; where the mask is false all stays as it is.

    Args:
        cell: a key of `STEPS`.
        x: inputs (batch, time, features), at least one word long.
        mask: bool (batch, time).
        weights: as the step function takes them.
        backward: whether to read from the end to the start.
    """
    step, widths = STEPS[cell]
    states: States = tuple(np.zeros((len(x), width), x.dtype) for width in widths(weights))
    output = np.zeros_like(states[0])
    outputs: list[np.ndarray] = []
    history: list[States] = []
    gates: dict[str, list[np.ndarray]] = {}
    times = range(x.shape[1])
    for t in reversed(times) if backward else times:
        new_output, new_states, values = step(x[:, t], states, weights)
        kept = mask[:, t, None]
        states = tuple(np.where(kept, n, s) for n, s in zip(new_states, states, strict=True))
        output = np.where(kept, new_output, output)
        outputs.append(output)
        history.append(states)
        for name, value in values.items():
            gates.setdefault(name, []).append(value)

    def in_order(rows: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(rows[::-1] if backward else rows, axis=1)

    return CellRun(
        in_order(outputs),
        {name: in_order(rows) for name, rows in gates.items()},
        tuple(in_order(rows) for rows in zip(*history, strict=True)),
    )


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


def attention(states: np.ndarray, mask: np.ndarray, weights: Weights) -> np.ndarray:
    """How much each word counts; see `models.AttentionPooling`.

        u_t = tanh(W h_t + b)
        a = softmax over the words of u_t · v

    Args:
        states: (batch, time, units).
        mask: bool (batch, time).
        weights: W (units, units), b (units,), v (units,).

    Returns:
        The weights a, (batch, time), which sum to one and are zero where the mask is false.

    Source: Yang et al. (2016), equations 5 and 6.
    """
    kernel, bias, context = weights
    logits = np.tanh(states @ kernel + bias) @ context
    return softmax(np.where(mask, logits, -np.inf))


@dataclass(frozen=True)
class Network:
    """The weights of a network of `models.py`, and how they belong together.

    Attributes:
        embeddings: (vocab_size, embedding_dim), of any type of float.
        cell: a key of `STEPS`.
        recurrent: for each layer the weights of its one direction, or of forward and backward.
        pooling, merge: as the builders take them.
        output: kernel and bias of the last layer.
        context: with attention pooling its weights, as `attention` takes them.
        ngrams: the weights of n-grams beside the network, if it has them; their sum is the last
            feature that the output reads.
    """

    embeddings: np.ndarray
    cell: str
    recurrent: tuple[tuple[Weights, ...], ...]
    pooling: str
    merge: str
    output: tuple[np.ndarray, np.ndarray]
    context: Weights = ()
    ngrams: NgramTable | None = None

    def word_vectors(self, token_ids: np.ndarray) -> np.ndarray:
        """Vectors (…, embedding_dim) of ids (…), of the type of the other weights."""
        return self.embeddings[token_ids].astype(self.output[0].dtype)


class Replay(NamedTuple):
    """What a network did with a batch of texts.

    Attributes:
        probabilities: (batch, num_classes).
        layers: for each recurrent layer what its one direction did, or forward and backward.
        attention: with attention pooling how much each word counts, (batch, time); else `None`.
    """

    probabilities: np.ndarray
    layers: list[list[CellRun]]
    attention: np.ndarray | None


def replay(
    network: Network, vectors: np.ndarray, mask: np.ndarray, scores: np.ndarray | None = None
) -> Replay:
    """Run a whole network, without dropout, and keep what it did.

    Args:
        network: its weights.
        vectors: of the words, (batch, time, embedding_dim).
        mask: bool (batch, time), true first, then false where the text has ended.
        scores: of the texts' n-grams, (batch,), where the network has them.
    """
    layers = []
    states = vectors
    for directions in network.recurrent:
        runs = [
            run_cell(network.cell, states, mask, weights, backward=bool(side))
            for side, weights in enumerate(directions)
        ]
        layers.append(runs)
        read = [run.outputs for run in runs]
        if len(layers) == len(network.recurrent) and network.pooling == "last":
            # after the last word that each one read
            read = [outputs[:, 0 if side else -1] for side, outputs in enumerate(read)]
        states = read[0] if len(read) == 1 else merge_directions(*read, network.merge)
    weights_of_words = None
    if network.pooling == "last":
        features = states
    elif network.pooling == "attention":
        weights_of_words = attention(states, mask, network.context)
        features = (weights_of_words[..., None] * states).sum(axis=1)
    else:
        features = pool(states, mask, network.pooling)
    if network.ngrams is not None:
        features = np.concatenate([features, scores[:, None]], axis=-1)
    return Replay(answer(network, features), layers, weights_of_words)


def answer(network: Network, features: np.ndarray) -> np.ndarray:
    """The last layer: pooled features (batch, features) → probabilities (batch, num_classes)."""
    kernel, bias = network.output
    logits = features @ kernel + bias
    return softmax(logits) if logits.shape[-1] > 1 else sigmoid(logits)


def network_probabilities(token_ids: np.ndarray, network: Network) -> np.ndarray:
    """Probabilities (batch, num_classes) of ids (batch, time), 0 = padding, on the right."""
    return replay_ids(network, token_ids).probabilities


def replay_ids(network: Network, token_ids: np.ndarray) -> Replay:
    """`replay` of ids (batch, time), 0 = padding, on the right."""
    scores = None if network.ngrams is None else ngram_scores(token_ids, network.ngrams)
    return replay(network, network.word_vectors(token_ids), token_ids != 0, scores)


_MERGES = {"concat": "concatenate", "sum": "sum", "ave": "average"}  # Keras' names → ours


def network_of(model: Any) -> Network:
    """The weights of a Keras model of `models.py`, in float64."""
    as_float64 = {
        layer.name: [np.asarray(w, "float64") for w in layer.get_weights()]
        for layer in model.layers
    }
    recurrent, cell, merge = [], "", "concatenate"
    for layer in model.layers:
        prefix = layer.name.rsplit("_", 1)[0].removeprefix("bi")
        if prefix in STEPS:
            cell = prefix
            weights = as_float64[layer.name]
            directions = [weights]
            if hasattr(layer, "forward_layer"):
                half = len(weights) // 2
                directions = [weights[:half], weights[half:]]
                layer, merge = layer.forward_layer, _MERGES[layer.merge_mode]
            if cell == "clockwork_rnn":  # of each unit, and no weight
                for weights in directions:
                    weights.append(np.asarray(layer.cell.periods, "float64"))
            recurrent.append(tuple(tuple(weights) for weights in directions))
    pooled = [layer.pooling for layer in model.layers if layer.name == "pooling"]
    return Network(
        as_float64["embedding"][0],
        cell,
        tuple(recurrent),
        pooled[0] if pooled else "last",
        merge,
        tuple(as_float64["probabilities"]),
        tuple(as_float64.get("pooling", ())),
        NgramTable(*model.get_layer("ngrams").get_weights()) if "ngrams" in as_float64 else None,
    )
