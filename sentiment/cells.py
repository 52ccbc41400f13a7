"""Recurrent cells that Keras does not ship, one class per published equation.

Each follows Keras' contract for cells, so `keras.layers.RNN(cell)` runs it: called with an input
(batch, features) and a list of states, it returns its output (batch, units) and the new states.
`ProjectedRNN` runs it faster.  In the equations σ is the logistic function and ∘ the product of
each element with its own; x_t is the input, of width `features`.  Kernels start Glorot-uniform,
recurrent kernels orthogonal, the biases of forget gates at one, all others at zero, as in Keras'
LSTM; a docstring says where not.  `equations.py` has the same cells in NumPy, with every gate by
name.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

States = list[Any]
SEED_STEP = 20  # between the weights of a cell; the builders' own seeds are one apart
CARRY_BIAS = -1.0  # of depth gates: at first little comes from below, or memories grow with depth
# Of the forget gate of a cell that adds every word in full: with one, as elsewhere, the memory of a
# long text starts so large that tanh hides it, and little is learned.  Two epochs over 5,000 IMDB
# reviews gave a validation accuracy of 67 % (from 0), 80 % (from −1) and 83 % (from −2).
UNGATED_FORGET_BIAS = -2.0


@keras.saving.register_keras_serializable(package="sentiment")
class ProjectedRNN(keras.layers.RNN):
    """`keras.layers.RNN` for a cell of this module, with one product for the inputs of all steps.

    A cell's product of input and kernel does not depend on its states, so it is taken for the whole
    batch before the loop.  The numbers are those of `keras.layers.RNN`.

    Args:
        cell: a cell of this module; from then on it is this layer that projects its inputs.
        kwargs: as `keras.layers.RNN`.
    """

    def __init__(self, cell: "_Cell", **kwargs: Any):
        super().__init__(cell, **kwargs)
        cell.projects = False

    def inner_loop(
        self, sequences: Any, initial_state: States, mask: Any, training: bool = False
    ) -> tuple[Any, Any, States]:
        """Read a batch: inputs (batch, time, features) → last output, outputs, last states."""
        projected = self.cell.project(sequences)  # (batch, time, projected)
        return super().inner_loop(projected, initial_state, mask, training)


class _Cell(keras.layers.Layer):
    """What the cells share: a projection of the input, then a step through time."""

    def __init__(
        self,
        units: int,
        *,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = self.output_size = units
        self.projects = True  # `ProjectedRNN` does it in the cell's stead
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)

    @property
    def state_size(self) -> list[int]:
        """Widths of the states."""
        return [self.units, self.units]  # h, c

    def get_initial_state(self, batch_size: Any = None) -> States:
        """Zeros, one (batch, width) for each state."""
        return [ops.zeros((batch_size, width), self.compute_dtype) for width in self.state_size]

    def project(self, inputs: Any) -> Any:
        """The part of a step that depends on the inputs alone: (…, features) → (…, projected)."""
        return ops.matmul(inputs, self.kernel) + self.bias

    def step(self, projected: Any, states: States) -> tuple[Any, States]:
        """The rest of a step: output and new states."""
        raise NotImplementedError

    def call(self, inputs: Any, states: States) -> tuple[Any, States]:
        """One step: input (batch, features) and states → output (batch, units) and new states."""
        return self.step(self.project(inputs) if self.projects else inputs, list(states))

    def get_config(self) -> dict[str, Any]:
        """Settings, for saving."""
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
        }

    def _kernel(self, name: str, rows: int, parts: int) -> Any:
        shape = (rows, parts * self.units)
        return self.add_weight(
            name=name, shape=shape, initializer=self._unlike_the_others(self.kernel_initializer)
        )

    def _recurrent_kernel(self, name: str, parts: int) -> Any:
        shape = (self.units, parts * self.units)
        return self.add_weight(
            name=name, shape=shape, initializer=self._unlike_the_others(self.recurrent_initializer)
        )

    def _unlike_the_others(self, initializer: Any) -> Any:
        """A copy with a seed of its own: an initializer gives the same values at every call."""
        if not hasattr(initializer, "seed"):
            return initializer
        seed = initializer.seed + SEED_STEP * len(self.weights)
        return type(initializer).from_config({**initializer.get_config(), "seed": seed})

    def _bias(self, name: str, starts: Sequence[float]) -> Any:
        """Biases of parts side by side, each of `units`, with what each part starts at."""
        values = np.repeat(np.array(starts, "float32"), self.units)
        return self.add_weight(
            name=name, shape=values.shape, initializer=lambda _, dtype: ops.cast(values, dtype)
        )

    def _peepholes(self, name: str, rows: int) -> Any:
        return self.add_weight(name=name, shape=(rows, self.units), initializer="zeros")


@keras.saving.register_keras_serializable(package="sentiment")
class PeepholeLSTMCell(_Cell):
    """LSTM whose gates see the memory through diagonal weights.

        i = σ(W_i x_t + U_i h_{t−1} + p_i ∘ c_{t−1} + b_i)
        f = σ(W_f x_t + U_f h_{t−1} + p_f ∘ c_{t−1} + b_f)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        c_t = f ∘ c_{t−1} + i ∘ g
        o = σ(W_o x_t + U_o h_{t−1} + p_o ∘ c_t + b_o)
        h_t = o ∘ tanh(c_t)

    where
        W  `kernel` (features, 4·units), columns i, f, g, o
        U  `recurrent_kernel` (units, 4·units), same columns
        b  `bias` (4·units,), same parts
        p  `peepholes` (3, units), rows i, f, o, at first zero: then it is Keras' LSTM

    The output gate sees the new memory, the other two the old one.  Some later papers and programs
    let the peepholes be full matrices; the original's, here, are diagonal.

    Source: Gers & Schmidhuber, "Recurrent nets that time and count" (2000); compared with
    others by Greff et al., "LSTM: a search space odyssey" (2017).
    """

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.kernel = self._kernel("kernel", input_shape[-1], 4)
        self.recurrent_kernel = self._recurrent_kernel("recurrent_kernel", 4)
        self.bias = self._bias("bias", (0, 1, 0, 0))
        self.peepholes = self._peepholes("peepholes", 3)

    def step(self, projected: Any, states: States) -> tuple[Any, States]:
        """See `_Cell`."""
        h, c = states
        z = projected + ops.matmul(h, self.recurrent_kernel)
        z_i, z_f, z_g, z_o = ops.split(z, 4, axis=-1)
        p_i, p_f, p_o = self.peepholes[0], self.peepholes[1], self.peepholes[2]
        i = ops.sigmoid(z_i + p_i * c)
        f = ops.sigmoid(z_f + p_f * c)
        g = ops.tanh(z_g)
        c = f * c + i * g
        o = ops.sigmoid(z_o + p_o * c)
        h = o * ops.tanh(c)
        return h, [h, c]


@keras.saving.register_keras_serializable(package="sentiment")
class CoupledLSTMCell(_Cell):
    """LSTM with input and forget gate in one: it writes as much as it forgets.

        f = σ(W_f x_t + U_f h_{t−1} + b_f)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        o = σ(W_o x_t + U_o h_{t−1} + b_o)
        c_t = f ∘ c_{t−1} + (1 − f) ∘ g
        h_t = o ∘ tanh(c_t)

    where
        W  `kernel` (features, 3·units), columns f, g, o
        U  `recurrent_kernel` (units, 3·units), same columns
        b  `bias` (3·units,), same parts

    A quarter of the LSTM's weights less.  The memory stays within −1…1.  Greff et al. couple the
    LSTM with peepholes (their CIFG); here, as in most programs, there are none.  With a forget bias
    of one it starts by writing a quarter (1 − σ(1) = 0.27) of each word.

    Source: Greff et al., "LSTM: a search space odyssey" (2017), variant CIFG.
    """

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.kernel = self._kernel("kernel", input_shape[-1], 3)
        self.recurrent_kernel = self._recurrent_kernel("recurrent_kernel", 3)
        self.bias = self._bias("bias", (1, 0, 0))

    def step(self, projected: Any, states: States) -> tuple[Any, States]:
        """See `_Cell`."""
        h, c = states
        z = projected + ops.matmul(h, self.recurrent_kernel)
        z_f, z_g, z_o = ops.split(z, 3, axis=-1)
        f = ops.sigmoid(z_f)
        g = ops.tanh(z_g)
        o = ops.sigmoid(z_o)
        c = f * c + (1 - f) * g
        h = o * ops.tanh(c)
        return h, [h, c]


@keras.saving.register_keras_serializable(package="sentiment")
class ForgetGateLSTMCell(_Cell):
    """LSTM with a forget gate and no other.

        f = σ(W_f x_t + U_f h_{t−1} + b_f)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        c_t = f ∘ c_{t−1} + g
        h_t = tanh(c_t)

    where
        W  `kernel` (features, 2·units), columns f, g
        U  `recurrent_kernel` (units, 2·units), same columns
        b  `bias` (2·units,), same parts; b_f starts at −2

    Half of the LSTM's weights.  The memory can grow as long as the gate stays open, and then the
    output saturates.  The source feeds one-hot words to the gates, and reads segments of 50 words
    in training; here words have vectors and texts are read whole.

    Source: Johnson & Zhang, "Supervised and semi-supervised text categorization using LSTM for
    region embeddings" (2016).
    """

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.kernel = self._kernel("kernel", input_shape[-1], 2)
        self.recurrent_kernel = self._recurrent_kernel("recurrent_kernel", 2)
        self.bias = self._bias("bias", (UNGATED_FORGET_BIAS, 0))

    def step(self, projected: Any, states: States) -> tuple[Any, States]:
        """See `_Cell`."""
        h, c = states
        z_f, z_g = ops.split(projected + ops.matmul(h, self.recurrent_kernel), 2, axis=-1)
        f = ops.sigmoid(z_f)
        g = ops.tanh(z_g)
        c = f * c + g
        h = ops.tanh(c)
        return h, [h, c]


@keras.saving.register_keras_serializable(package="sentiment")
class DepthGatedLSTMCell(_Cell):
    """Stacked peephole LSTMs; a gate carries the memory of each layer up to the next.

    Layer 1 is `PeepholeLSTMCell`.  In each layer above, with x_t the output of the layer below and
    c'_t that layer's new memory:

        i = σ(W_i x_t + U_i h_{t−1} + p_i ∘ c_{t−1} + b_i)
        f = σ(W_f x_t + U_f h_{t−1} + p_f ∘ c_{t−1} + b_f)
        d = σ(W_d x_t + w_c ∘ c_{t−1} + w_l ∘ c'_t + b_d)
        g = tanh(W_g x_t + U_g h_{t−1} + b_g)
        c_t = d ∘ c'_t + f ∘ c_{t−1} + i ∘ g
        o = σ(W_o x_t + U_o h_{t−1} + p_o ∘ c_t + b_o)
        h_t = o ∘ tanh(c_t)

    where, for the layer of number n,
        W        `kernel_n`: (features, 4·units) in the first, columns i, f, g, o; (units, 5·units)
                 above, with d as the fifth
        U        `recurrent_kernel_n` (units, 4·units), columns i, f, g, o
        b        `bias_n`, parts as W's columns; b_d starts at −1
        p, w     `peepholes_n` (3, units), rows p_i, p_f, p_o; above the first (5, units), with w_c
                 and w_l; at first zero

    One cell with the states [h, c] of all layers, since a layer needs the memory of the one below
    within the step.  There is no dropout between its layers.  The paper's gate sees no h_{t−1}, and
    has b_d only; its authors' program differs from it (f = 1 − i, peepholes that are full matrices,
    no w_c at the first word), and here it is as in the paper.

    Args:
        units: width of every layer's states.
        layers: how many, at least two.

    Source: Yao et al., "Depth-gated LSTM" (2015), arXiv 1508.03790.
    """

    def __init__(self, units: int, *, layers: int = 2, **kwargs: Any):
        super().__init__(units, **kwargs)
        self.layers = layers

    @property
    def state_size(self) -> list[int]:
        """Widths of the states."""
        return [self.units] * (2 * self.layers)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.stack = []  # for each layer kernel, recurrent kernel, bias, peepholes
        for n in range(1, self.layers + 1):
            first = n == 1
            self.stack.append(
                (
                    self._kernel(
                        f"kernel_{n}", *((input_shape[-1], 4) if first else (self.units, 5))
                    ),
                    self._recurrent_kernel(f"recurrent_kernel_{n}", 4),
                    self._bias(f"bias_{n}", (0, 1, 0, 0) if first else (0, 1, 0, 0, CARRY_BIAS)),
                    self._peepholes(f"peepholes_{n}", 3 if first else 5),
                )
            )

    def project(self, inputs: Any) -> Any:
        """The input's part in the lowest layer's gates."""
        kernel, _, bias, _ = self.stack[0]
        return ops.matmul(inputs, kernel) + bias

    def step(self, projected: Any, states: States) -> tuple[Any, States]:
        """See `_Cell`."""
        new_states: States = []
        below: States = []  # h and c of the layer below, already new
        for n, (kernel, recurrent_kernel, bias, peepholes) in enumerate(self.stack):
            h, c = states[2 * n : 2 * n + 2]
            z_h = ops.matmul(h, recurrent_kernel)
            if below:
                z_x = ops.matmul(below[0], kernel) + bias
                projected, z_d = z_x[:, : 4 * self.units], z_x[:, 4 * self.units :]
            z_i, z_f, z_g, z_o = ops.split(projected + z_h, 4, axis=-1)
            i = ops.sigmoid(z_i + peepholes[0] * c)
            f = ops.sigmoid(z_f + peepholes[1] * c)
            g = ops.tanh(z_g)
            new_c = f * c + i * g
            if below:
                d = ops.sigmoid(z_d + peepholes[3] * c + peepholes[4] * below[1])
                new_c = d * below[1] + new_c
            o = ops.sigmoid(z_o + peepholes[2] * new_c)
            below = [o * ops.tanh(new_c), new_c]
            new_states += below
        return new_states[-2], new_states

    def get_config(self) -> dict[str, Any]:
        """Settings, for saving."""
        return {**super().get_config(), "layers": self.layers}


@keras.saving.register_keras_serializable(package="sentiment")
class ClockworkRNNCell(_Cell):
    """Simple recurrent network whose groups of units each tick with a period of their own.

        m_t = 1 for the units whose period divides t, else 0     t = 0 at the first word
        h_t = m_t ∘ tanh(W x_t + (U ∘ M) h_{t−1} + b) + (1 − m_t) ∘ h_{t−1}

    where
        W  `kernel` (features, units)
        U  `recurrent_kernel` (units, units)
        b  `bias` (units,)
        M  one where the unit that is heard has a period at least as long as the one that hears it:
           slow groups inform fast ones, not the other way

    The periods are 1, 2, 4, …, one for each group; groups are of equal size, or the first ones one
    unit larger.  All groups tick at the first word, and the clock, which is part of the states,
    does not count padding.  The paper saves the work of groups that do not tick, which a product of
    whole matrices does not.

    Args:
        units: width of the state, all groups together.
        groups: number of groups, at most `units`.

    Source: Koutník et al., "A clockwork RNN" (2014).
    """

    def __init__(self, units: int, *, groups: int = 5, **kwargs: Any):
        super().__init__(units, **kwargs)
        self.groups = groups
        sizes = [len(part) for part in np.array_split(np.arange(units), groups)]
        self.periods = np.repeat(2 ** np.arange(groups), sizes)  # (units,)

    @property
    def state_size(self) -> list[int]:
        """Widths of the states."""
        return [self.units, 1]  # h, and the number of words read

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.kernel = self._kernel("kernel", input_shape[-1], 1)
        self.recurrent_kernel = self._recurrent_kernel("recurrent_kernel", 1)
        self.bias = self._bias("bias", (0,))

    @property
    def hears(self) -> np.ndarray:
        """The matrix M, float32 (units, units), rows = heard, columns = hearing."""
        return (self.periods[:, None] >= self.periods[None, :]).astype("float32")

    def step(self, projected: Any, states: States) -> tuple[Any, States]:
        """See `_Cell`."""
        h, t = states
        periods = ops.cast(self.periods, t.dtype)
        ticks = ops.equal(ops.mod(t, periods), 0)  # (batch, units)
        new = ops.tanh(projected + ops.matmul(h, self.recurrent_kernel * self.hears))
        h = ops.where(ticks, new, h)
        return h, [h, t + 1]

    def get_config(self) -> dict[str, Any]:
        """Settings, for saving."""
        return {**super().get_config(), "groups": self.groups}


@keras.saving.register_keras_serializable(package="sentiment")
class GridLSTMCell(_Cell):
    """Grid LSTM of two dimensions: LSTMs along time and along depth.

    The input enters the depth: h^D = P_h x_t, m^D = P_m x_t.  In each layer, from the lowest up,
    with the time's states h^T, m^T of this layer at t−1:

        (h^T, m^T) ← LSTM_T([h^T, h^D], m^T)
        (h^D, m^D) ← LSTM_D([h^T, h^D], m^D)        h^T is already the new one

    where LSTM(H, m), with weights of its own for each dimension and layer, is

        i = σ(W_i H + b_i);   f = σ(W_f H + b_f);   g = tanh(W_g H + b_g);   o = σ(W_o H + b_o)
        m' = f ∘ m + i ∘ g
        h' = tanh(o ∘ m')

    and
        P  `projection` (features, 2·units), columns P_h, P_m
        W  `time_kernel_n` and `depth_kernel_n` (2·units, 4·units), columns i, f, g, o; rows first
           for h^T, then for h^D
        b  `time_bias_n` and `depth_bias_n` (4·units,), same parts

    The output is the last layer's h^D.  This is the paper's form with priority: the depth sees the
    time's new state.  Most programs compute h' = o ∘ tanh(m') as in the LSTM; the paper, and so
    this one, tanh(o ∘ m').  The layers' weights are not tied.  All kernels start Glorot-uniform,
    also their rows for h^T, so `recurrent_initializer` has no effect.

    Args:
        units: width of both dimensions.
        layers: how many, along the depth.

    Source: Kalchbrenner, Danihelka & Graves, "Grid long short-term memory" (2015).
    """

    def __init__(self, units: int, *, layers: int = 2, **kwargs: Any):
        super().__init__(units, **kwargs)
        self.layers = layers

    @property
    def state_size(self) -> list[int]:
        """Widths of the states."""
        return [self.units] * (2 * self.layers)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.projection = self._kernel("projection", input_shape[-1], 2)
        self.stack = [  # for each layer kernel and bias of time, then of depth
            [
                (
                    self._kernel(f"{dimension}_kernel_{n}", 2 * self.units, 4),
                    self._bias(f"{dimension}_bias_{n}", (0, 1, 0, 0)),
                )
                for dimension in ("time", "depth")
            ]
            for n in range(1, self.layers + 1)
        ]

    def project(self, inputs: Any) -> Any:
        """The input's way into the depth."""
        return ops.matmul(inputs, self.projection)

    def step(self, projected: Any, states: States) -> tuple[Any, States]:
        """See `_Cell`."""
        h_depth, m_depth = ops.split(projected, 2, axis=-1)
        new_states: States = []
        for n, (time, depth) in enumerate(self.stack):
            h_time, m_time = states[2 * n : 2 * n + 2]
            h_time, m_time = self._lstm(h_time, h_depth, m_time, *time)
            h_depth, m_depth = self._lstm(h_time, h_depth, m_depth, *depth)
            new_states += [h_time, m_time]
        return h_depth, new_states

    def _lstm(self, h_time: Any, h_depth: Any, m: Any, kernel: Any, bias: Any) -> tuple[Any, Any]:
        z = ops.matmul(ops.concatenate([h_time, h_depth], axis=-1), kernel) + bias
        z_i, z_f, z_g, z_o = ops.split(z, 4, axis=-1)
        m = ops.sigmoid(z_f) * m + ops.sigmoid(z_i) * ops.tanh(z_g)
        return ops.tanh(ops.sigmoid(z_o) * m), m

    def get_config(self) -> dict[str, Any]:
        """Settings, for saving."""
        return {**super().get_config(), "layers": self.layers}
