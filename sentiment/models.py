"""Networks: `build_<name>(vocab_size, num_classes, …)`, all of one shape and chosen by name.

    token_ids (batch, time) → embedding → recurrent layers → pooling → Dense → probabilities

Recurrent layers are Keras' own where Keras has them, and `ProjectedRNN(cell)` with the cells of
`cells.py` where not.

Every builder takes the same first two arguments, returns an uncompiled `keras.Model` with named
layers, and ends in probabilities of shape (batch, num_classes) whose rows sum to one.  Id 0 is
padding, on the right; the mask is handed to every recurrent and pooling layer explicitly, because
Keras after 3.15 stops passing it on.
"""

import inspect
import itertools
import numbers
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
from keras import layers, ops

from sentiment import cells
from sentiment.ngrams import NgramTable, place_of, table_places, tag_of

MERGES = {"concatenate": "concat", "sum": "sum", "average": "ave"}
MOST_NGRAMS = 2_000_000  # a table of 24 MB
LARGEST_WIDTH = 8192  # of words and states: beyond it a kernel alone takes gigabytes
POOLINGS = ("last", "max", "mean", "max+mean", "attention")


@keras.saving.register_keras_serializable(package="sentiment")
class TokenMask(layers.Layer):
    """True where a token id is not padding: int32 (batch, time) → bool (batch, time)."""

    def call(self, token_ids: Any) -> Any:
        """The mask of a batch."""
        return ops.not_equal(token_ids, 0)


@keras.saving.register_keras_serializable(package="sentiment")
class MaskedPooling(layers.Layer):
    """Pools states over time, padding left out: (batch, time, units) → (batch, features).

    Args:
        pooling: `"max"`, `"mean"`, or `"max+mean"` (both, concatenated).
    """

    def __init__(self, pooling: str, **kwargs: Any):
        super().__init__(**kwargs)
        _check_choice("pooling", pooling, ("max", "mean", "max+mean"))
        self.pooling = pooling
        self.supports_masking = True  # else Keras warns that the mask ends here

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """No mask: nothing after this layer has a time axis."""
        return None

    def call(self, states: Any, mask: Any) -> Any:
        """Pool a batch: states (batch, time, units), mask (batch, time)."""
        kept = ops.expand_dims(mask, -1)  # (batch, time, 1)
        pooled = []
        if "max" in self.pooling:
            lowest = ops.full_like(states, -3.4e38)  # below every state, yet finite
            pooled.append(ops.max(ops.where(kept, states, lowest), axis=1))
        if "mean" in self.pooling:
            kept = ops.cast(kept, states.dtype)
            total = ops.sum(states * kept, axis=1)
            pooled.append(total / ops.maximum(ops.sum(kept, axis=1), 1))
        return ops.concatenate(pooled, axis=-1) if len(pooled) > 1 else pooled[0]

    def get_config(self) -> dict[str, Any]:
        """Settings, for saving."""
        return {**super().get_config(), "pooling": self.pooling}


@keras.saving.register_keras_serializable(package="sentiment")
class AttentionPooling(layers.Layer):
    """Mean of the states, weighed by learned attention: (batch, time, units) → (batch, units).

        u_t = tanh(W h_t + b)
        a = softmax over the words of u_t · v
        s = Σ a_t h_t

    where
        W  `kernel` (units, units)
        b  `bias` (units,)
        v  `context` (units,), what the words are compared with
    and padding has no part in the softmax.

    Source: Yang et al., "Hierarchical attention networks for document classification" (2016),
    equations 5 to 7: its word level, without the level of sentences above it.
    """

    pooling = "attention"

    def __init__(
        self,
        *,
        kernel_initializer: Any = "glorot_uniform",
        context_initializer: Any = "glorot_uniform",  # not zeros: nothing would move the kernel
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.context_initializer = keras.initializers.get(context_initializer)
        self.supports_masking = True  # else Keras warns that the mask ends here

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        units = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel", shape=(units, units), initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(units,), initializer="zeros")
        self.context = self.add_weight(
            name="context", shape=(units,), initializer=self.context_initializer
        )

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """No mask: nothing after this layer has a time axis."""
        return None

    def call(self, states: Any, mask: Any) -> Any:
        """Pool a batch: states (batch, time, units), mask (batch, time)."""
        return ops.sum(ops.expand_dims(self.weights_of_words(states, mask), -1) * states, axis=1)

    def weights_of_words(self, states: Any, mask: Any) -> Any:
        """How much each word counts: float32 (batch, time), rows sum to one, padding has zero."""
        seen = ops.tanh(ops.matmul(states, self.kernel) + self.bias)
        logits = ops.matmul(seen, self.context)  # (batch, time)
        logits = ops.where(mask, logits, ops.full_like(logits, -1e9))
        shifted = ops.exp(logits - ops.max(logits, axis=1, keepdims=True))
        return shifted / ops.sum(shifted, axis=1, keepdims=True)  # Keras' softmax warns of one word

    def get_config(self) -> dict[str, Any]:
        """Settings, for saving."""
        serialize = keras.initializers.serialize
        return {
            **super().get_config(),
            "kernel_initializer": serialize(self.kernel_initializer),
            "context_initializer": serialize(self.context_initializer),
        }


@keras.saving.register_keras_serializable(package="sentiment")
class NgramScore(layers.Layer):
    """What n-grams say of a text: int32 (batch, time) → (batch, 1), see `ngrams.ngram_scores`.

    The table is empty until `set_table` fills it, and the score then 0.  Sorted, equal n-grams of a
    text are neighbours, of which one counts.

    Args:
        places: of the table.
    """

    def __init__(self, places: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.places = places
        self.supports_masking = True  # else Keras warns that the mask ends here

    def build(self, _: Any) -> None:
        """Make the table."""
        rows = {"shape": (self.places,), "initializer": "zeros", "trainable": False}
        self.table_values = self.add_weight(name="values", **rows)
        self.table_tags = self.add_weight(name="tags", dtype="uint8", **rows)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """No mask: nothing after this layer has a time axis."""
        return None

    def set_table(self, table: NgramTable) -> None:
        """Fill the table."""
        self.set_weights([table.values, table.tags])

    def call(self, token_ids: Any) -> Any:
        """The score of each text of a batch."""
        first = ops.cast(token_ids, "int64")
        none = ops.zeros_like(first)
        second = ops.concatenate([first[:, 1:], none[:, :1]], axis=1)
        third = ops.concatenate([second[:, 1:], none[:, :1]], axis=1)
        keys = []
        for words, last in (
            ((first, none, none), first),
            ((first, second, none), second),
            ((first, second, third), third),
        ):
            key = place_of(words, self.places) * 256 + tag_of(words)
            keys.append(ops.where(ops.equal(last, 0), none, key))  # 0: the text has ended
        keys = ops.sort(ops.concatenate(keys, axis=1), axis=1)
        before = ops.concatenate([ops.zeros_like(keys[:, :1]), keys[:, :-1]], axis=1)
        place = keys // 256
        tag = ops.cast(ops.take(self.table_tags, place), "int64")
        counts = ops.logical_and(ops.equal(tag, keys % 256), ops.not_equal(keys, before))
        value = ops.take(self.table_values, place)
        return ops.sum(ops.where(counts, value, ops.zeros_like(value)), axis=1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """Settings, for saving."""
        return {**super().get_config(), "places": self.places}


def build_rnn(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    pooling: str = "last",
    word_dropout: float = 0.0,
    dropout: float = 0.3,
    recurrent_dropout: float = 0.0,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """Simple (Elman) recurrent network with tanh units.

    token_ids → Embedding → word dropout → SimpleRNN × layers → pooling → Dropout → Dense

    Args:
        vocab_size: rows of the embedding; every token id is below it.
        num_classes: number of labels; 1 gives a single sigmoid unit, for labels 0 and 1.
        embedding_dim: width of a word's vector.
        units: width of the recurrent state.
        layers: recurrent layers on top of each other, 1 to 4.
        pooling: what of the states the output reads: `"last"`, `"max"`, `"mean"`, `"max+mean"`, or
            `"attention"`, their mean weighed as in `AttentionPooling`.
        word_dropout: share of the words whose vectors are left out, in training.
        dropout: share of features dropped between recurrent layers and before the output, in
            training.
        recurrent_dropout: share of state features dropped at each step, in training.
        ngrams: how many n-grams of one to three words have weights beside the network: their sum
            is one more feature that the output reads.  Their table is empty until it is filled.
        seed: makes weights and dropout the same at every call; `None` draws new ones.

    Returns:
        Uncompiled model: int32 (batch, time), 0 = padding → float32 (batch, num_classes).

    Raises:
        ValueError: a setting is outside its range.

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).
    """
    return _build(
        "rnn",
        False,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_lstm(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    pooling: str = "last",
    word_dropout: float = 0.0,
    dropout: float = 0.3,
    recurrent_dropout: float = 0.0,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """LSTM that reads left to right; with `dropout=0` the classic tutorial's network.

    token_ids → Embedding → word dropout → LSTM × layers → pooling → Dropout → Dense

    Args, Returns, Raises: as `build_rnn`.  Forget biases start at one.

    Source: Hochreiter & Schmidhuber, "Long short-term memory" (1997); forget gate: Gers et al.
    (2000).
    """
    return _build(
        "lstm",
        False,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_gru(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    pooling: str = "last",
    word_dropout: float = 0.0,
    dropout: float = 0.3,
    recurrent_dropout: float = 0.0,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """GRU that reads left to right; the reset gate acts after the matrix product (as in cuDNN).

    token_ids → Embedding → word dropout → GRU × layers → pooling → Dropout → Dense

    Args, Returns, Raises: as `build_rnn`.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).
    """
    return _build(
        "gru",
        False,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_bilstm(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    merge: str = "concatenate",
    pooling: str = "max+mean",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    recurrent_dropout: float = 0.0,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """LSTMs that read in both directions, their states pooled over time.

    token_ids → Embedding → word dropout → Bidirectional(LSTM) × layers → pooling → Dropout → Dense

    Args:
        vocab_size, num_classes, embedding_dim, layers, pooling, word_dropout, dropout,
            recurrent_dropout, ngrams, seed:
            as `build_rnn`.  With `pooling="last"` each direction gives the state after its last
            word, which for the backward one is the text's first.
        units: width of the state of each direction.
        merge: how the directions join: `"concatenate"`, `"sum"` or `"average"`.

    Returns, Raises: as `build_rnn`.

    Source: Graves & Schmidhuber (2005); max pooling of the states: Johnson & Zhang (2016).
    """
    return _build(
        "lstm",
        True,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_bigru(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    merge: str = "concatenate",
    pooling: str = "max+mean",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    recurrent_dropout: float = 0.0,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """GRUs that read in both directions, their states pooled over time.

    token_ids → Embedding → word dropout → Bidirectional(GRU) × layers → pooling → Dropout → Dense

    Args, Returns, Raises: as `build_bilstm`.

    Source: Cho et al. (2014), read in both directions as in Graves & Schmidhuber (2005).
    """
    return _build(
        "gru",
        True,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_peephole_lstm(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    bidirectional: bool = False,
    merge: str = "concatenate",
    pooling: str = "max+mean",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """LSTM whose gates see the memory.

    token_ids → Embedding → word dropout → PeepholeLSTMCell × layers → pooling → Dropout → Dense

    Args:
        vocab_size, num_classes, embedding_dim, units, layers, pooling, word_dropout, dropout,
            ngrams, seed:
            as `build_rnn`.
        bidirectional: whether a second cell of `units` reads from the end.
        merge: how the directions join, if there are two: `"concatenate"`, `"sum"` or `"average"`.

    Returns, Raises: as `build_rnn`.

    Source: `cells.PeepholeLSTMCell`.
    """
    return _build(
        "peephole_lstm",
        bidirectional,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_coupled_lstm(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    bidirectional: bool = False,
    merge: str = "concatenate",
    pooling: str = "max+mean",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """LSTM that writes as much as it forgets: i = 1 − f.

    token_ids → Embedding → word dropout → CoupledLSTMCell × layers → pooling → Dropout → Dense

    Args, Returns, Raises: as `build_peephole_lstm`.

    Source: `cells.CoupledLSTMCell`.
    """
    return _build(
        "coupled_lstm",
        bidirectional,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_forget_gate_lstm(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    bidirectional: bool = False,
    merge: str = "concatenate",
    pooling: str = "max+mean",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """LSTM with a forget gate and no other.

    token_ids → Embedding → word dropout → ForgetGateLSTMCell × layers → pooling → Dropout → Dense

    Args, Returns, Raises: as `build_peephole_lstm`.

    Source: `cells.ForgetGateLSTMCell`.
    """
    return _build(
        "forget_gate_lstm",
        bidirectional,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_depth_gated_lstm(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 2,
    bidirectional: bool = False,
    merge: str = "concatenate",
    pooling: str = "max+mean",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """Stacked LSTMs whose memories are joined by a depth gate.

    token_ids → Embedding → word dropout → DepthGatedLSTMCell → pooling → Dropout → Dense

    Args:
        layers: layers of the one stacked cell, 2 to 4; no dropout between them.
        vocab_size, num_classes, embedding_dim, units, bidirectional, merge, pooling, word_dropout,
            dropout, seed: as `build_peephole_lstm`.

    Returns, Raises: as `build_rnn`.

    Source: `cells.DepthGatedLSTMCell`.
    """
    return _build(
        "depth_gated_lstm",
        bidirectional,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_clockwork_rnn(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    groups: int = 5,
    bidirectional: bool = False,
    merge: str = "concatenate",
    pooling: str = "max+mean",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """Simple recurrent network whose groups of units tick with periods 1, 2, 4, ….

    token_ids → Embedding → word dropout → ClockworkRNNCell × layers → pooling → Dropout → Dense

    Args:
        groups: groups of units, at most `units` and 16.
        vocab_size, num_classes, embedding_dim, units, layers, bidirectional, merge, pooling,
            word_dropout, dropout, seed: as `build_peephole_lstm`.

    Returns, Raises: as `build_rnn`.

    Source: `cells.ClockworkRNNCell`.
    """
    return _build(
        "clockwork_rnn",
        bidirectional,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        groups=groups,
        merge=merge,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_grid_lstm(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 2,
    bidirectional: bool = False,
    merge: str = "concatenate",
    pooling: str = "max+mean",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """LSTMs along the depth as well as along time.

    token_ids → Embedding → word dropout → GridLSTMCell → pooling → Dropout → Dense

    Args:
        layers: layers of the one stacked cell, 1 to 4; no dropout between them.
        vocab_size, num_classes, embedding_dim, units, bidirectional, merge, pooling, word_dropout,
            dropout, seed: as `build_peephole_lstm`.

    Returns, Raises: as `build_rnn`.

    Source: `cells.GridLSTMCell`.
    """
    return _build(
        "grid_lstm",
        bidirectional,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        pooling=pooling,
        word_dropout=word_dropout,
        dropout=dropout,
        ngrams=ngrams,
        seed=seed,
    )


def build_attention_bilstm(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    merge: str = "concatenate",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    recurrent_dropout: float = 0.0,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """LSTMs that read in both directions, their states weighed by attention.

    token_ids → Embedding → word dropout → Bidirectional(LSTM) × layers → AttentionPooling
    → Dropout → Dense

    Args, Returns, Raises: as `build_bilstm`, whose `pooling` is `"attention"` here.

    Source: `AttentionPooling`.
    """
    return _build(
        "lstm",
        True,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        word_dropout=word_dropout,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        pooling="attention",
        ngrams=ngrams,
        seed=seed,
    )


def build_attention_gru(
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int = 128,
    units: int = 64,
    layers: int = 1,
    bidirectional: bool = False,
    merge: str = "concatenate",
    word_dropout: float = 0.3,
    dropout: float = 0.6,
    recurrent_dropout: float = 0.0,
    ngrams: int = 0,
    seed: int | None = None,
) -> keras.Model:
    """GRU whose states are weighed by attention.

    token_ids → Embedding → word dropout → GRU × layers → AttentionPooling → Dropout → Dense

    Args:
        bidirectional: whether a second GRU of `units` reads from the end, as in the source.
        merge: how the directions join, if there are two.
        vocab_size, num_classes, embedding_dim, units, layers, word_dropout, dropout,
            recurrent_dropout, ngrams, seed: as `build_bilstm`.

    Returns, Raises: as `build_rnn`.

    Source: `AttentionPooling`.
    """
    return _build(
        "gru",
        bidirectional,
        vocab_size,
        num_classes,
        embedding_dim=embedding_dim,
        units=units,
        layers=layers,
        merge=merge,
        word_dropout=word_dropout,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        pooling="attention",
        ngrams=ngrams,
        seed=seed,
    )


BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "rnn": build_rnn,
    "lstm": build_lstm,
    "gru": build_gru,
    "bilstm": build_bilstm,
    "bigru": build_bigru,
    "peephole_lstm": build_peephole_lstm,
    "coupled_lstm": build_coupled_lstm,
    "forget_gate_lstm": build_forget_gate_lstm,
    "depth_gated_lstm": build_depth_gated_lstm,
    "clockwork_rnn": build_clockwork_rnn,
    "grid_lstm": build_grid_lstm,
    "attention_bilstm": build_attention_bilstm,
    "attention_gru": build_attention_gru,
}

_KERAS_LAYERS = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}
_CELLS = {
    "peephole_lstm": cells.PeepholeLSTMCell,
    "coupled_lstm": cells.CoupledLSTMCell,
    "forget_gate_lstm": cells.ForgetGateLSTMCell,
    "depth_gated_lstm": cells.DepthGatedLSTMCell,
    "clockwork_rnn": cells.ClockworkRNNCell,
    "grid_lstm": cells.GridLSTMCell,
}
_STACKED = ("depth_gated_lstm", "grid_lstm")  # one cell holds all layers


def list_models() -> list[str]:
    """Names that `build_model` knows."""
    return list(BUILDERS)


def model_settings(name: str) -> dict[str, Any]:
    """Settings of a builder with their defaults, `seed` left out.

    Raises:
        ValueError: no builder has this name.
    """
    _check_choice("model", name, list_models())
    parameters = inspect.signature(BUILDERS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "seed"}


def settings_it_has(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some settings that a builder has, for conditions that all builders shall share.

    Raises:
        ValueError: no builder has this name.
    """
    known = model_settings(name)
    return {setting: value for setting, value in settings.items() if setting in known}


def build_model(
    name: str, vocab_size: int, num_classes: int, *, seed: int | None = None, **settings: Any
) -> keras.Model:
    """Call the builder of this name.

    Args:
        name: a key of `BUILDERS`.
        vocab_size: rows of the embedding.
        num_classes: number of labels.
        seed: makes weights and dropout repeatable.
        settings: the builder's keyword arguments.

    Raises:
        ValueError: no builder has this name, it has no such setting, or a value is out of range.
    """
    known = model_settings(name)
    for setting in settings:
        if setting not in known:
            raise ValueError(
                f"Model {name!r} has no setting {setting!r}; it has: {', '.join(known)}"
            )
    return BUILDERS[name](vocab_size, num_classes, seed=seed, **settings)


def _build(
    cell: str,
    bidirectional: bool,
    vocab_size: int,
    num_classes: int,
    *,
    embedding_dim: int,
    units: int,
    layers: int,
    pooling: str,
    word_dropout: float,
    dropout: float,
    ngrams: int,
    seed: int | None,
    recurrent_dropout: float = 0.0,
    merge: str = "concatenate",
    groups: int = 1,
) -> keras.Model:
    """What the builders share: see the module's docstring."""
    _check_whole("vocab_size", vocab_size, 2, 2**24)
    _check_whole("num_classes", num_classes, 1)
    _check_whole("embedding_dim", embedding_dim, 1, LARGEST_WIDTH)
    _check_whole("units", units, 1, LARGEST_WIDTH)
    _check_whole("layers", layers, 2 if cell == "depth_gated_lstm" else 1, 4)
    _check_whole("groups", groups, 1, min(16, units))
    _check_whole("ngrams", ngrams, 0, MOST_NGRAMS)
    _check_share("word_dropout", word_dropout)
    _check_share("dropout", dropout)
    _check_share("recurrent_dropout", recurrent_dropout)
    _check_choice("pooling", pooling, POOLINGS)
    _check_choice("merge", merge, list(MERGES))
    if not isinstance(bidirectional, bool):
        raise ValueError(f"`bidirectional` must be True or False. Received: {bidirectional!r}")
    # Keras' JSON knows no NumPy numbers, which a grid search may give.
    units, embedding_dim, dropout = int(units), int(embedding_dim), float(dropout)
    word_dropout, recurrent_dropout = float(word_dropout), float(recurrent_dropout)
    settings: dict[str, Any] = {}
    if cell in _KERAS_LAYERS:
        settings["recurrent_dropout"] = recurrent_dropout
    if cell in _STACKED:
        settings["layers"], layers = int(layers), 1
    if cell == "clockwork_rnn":
        settings["groups"] = int(groups)
    seeds = _seeds(seed)

    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = TokenMask(name="mask")(token_ids)  # (batch, time)
    states = keras.layers.Embedding(
        vocab_size,
        embedding_dim,
        embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=next(seeds)),
        name="embedding",
    )(token_ids)  # (batch, time, embedding_dim)
    states = keras.layers.Dropout(
        word_dropout, noise_shape=(None, None, 1), seed=next(seeds), name="word_dropout"
    )(states)
    for number in range(1, layers + 1):
        if number > 1:
            between = keras.layers.Dropout(dropout, seed=next(seeds), name=f"dropout_{number}")
            states = between(states)
        every_step = number < layers or pooling != "last"
        recurrent = _recurrent_layer(
            cell, f"{cell}_{number}", units, settings, seeds, return_sequences=every_step
        )
        if bidirectional:
            recurrent = keras.layers.Bidirectional(
                recurrent,
                merge_mode=MERGES[merge],
                backward_layer=_recurrent_layer(
                    cell,
                    f"backward_{cell}_{number}",
                    units,
                    settings,
                    seeds,
                    return_sequences=every_step,
                    go_backwards=True,
                ),
                name=f"bi{cell}_{number}",
            )
        states = recurrent(states, mask=mask)  # (batch, time, units), the last one as pooled
    if pooling == "attention":
        attention = AttentionPooling(
            kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
            context_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
            name="pooling",
        )
        states = attention(states, mask=mask)
    elif pooling != "last":
        states = MaskedPooling(pooling, name="pooling")(states, mask=mask)
    states = keras.layers.Dropout(dropout, seed=next(seeds), name="dropout_output")(states)
    if ngrams:
        score = NgramScore(table_places(int(ngrams)), name="ngrams")(token_ids)
        states = keras.layers.Concatenate(name="with_ngrams")([states, score])
    probabilities = keras.layers.Dense(
        num_classes,
        activation="softmax" if num_classes > 1 else "sigmoid",
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        name="probabilities",
    )(states)
    name = f"bi{cell}" if bidirectional else cell
    return keras.Model(token_ids, probabilities, name=name)


def _recurrent_layer(
    cell: str,
    name: str,
    units: int,
    settings: dict[str, Any],
    seeds: Iterator[int],
    **options: Any,
) -> keras.layers.RNN:
    """One direction of one layer; `settings` are the cell's, `options` those of any layer."""
    settings = settings | {
        "kernel_initializer": keras.initializers.GlorotUniform(seed=next(seeds)),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=next(seeds)),
    }
    seed = next(seeds)
    if cell in _KERAS_LAYERS:
        return _KERAS_LAYERS[cell](units, seed=seed, name=name, **settings, **options)
    return cells.ProjectedRNN(_CELLS[cell](units, **settings), name=name, **options)


def _seeds(seed: int | None) -> Iterator[int]:
    """Endless different seeds that follow from one; `None` draws that one, as Keras does."""
    start = random.randrange(2**31) if seed is None else int(seed)
    for number in itertools.count(1):
        yield (start * 1000 + number) % 2**31


def _check_choice(name: str, value: Any, choices: Any) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}. Received: {value!r}")


def is_whole(value: Any) -> bool:
    """Whether a setting is a whole number, Python's or NumPy's; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_at_least_one(name: str, value: Any) -> None:
    """Raise `ValueError` unless a setting is a whole number of at least 1."""
    if not is_whole(value) or value < 1:
        raise ValueError(f"`{name}` must be a whole number of at least 1. Received: {value!r}")


def _check_whole(name: str, value: Any, low: int, high: int = 2**20) -> None:
    if not is_whole(value) or not low <= value <= high:
        allowed = f"from {low} to {high}" if high < 2**20 else f"of at least {low}"
        raise ValueError(f"`{name}` must be a whole number {allowed}. Received: {value!r}")


def _check_share(name: str, value: Any) -> None:
    if not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must be at least 0 and below 1. Received: {value!r}")
