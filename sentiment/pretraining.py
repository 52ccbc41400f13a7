"""Where a network starts from: what unlabelled texts teach, or the weights of a saved model.

From unlabelled texts come word vectors, by factorising how often words stand near each other, and
recurrent weights, by a language model in each direction.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sentiment.checkpoints import identity_of, keep_weights
from sentiment.models import TokenMask
from sentiment.preprocessing import OOV_ID, PADDING_ID
from sentiment.stepwise import StepReport, fit_steps
from sentiment.windows import Corpus, windows_at

VECTOR_STD = 0.3  # of all values of the word vectors
WORD_DROPOUT = 0.2  # of the language model
MOST_STEPS = 4000  # of the language model, unless told
SAMPLED = 1024  # words among which each next word is to be found


def start_from(
    model: keras.Model,
    saved: keras.Model,
    *,
    values: Sequence[float] | None,
    saved_values: Sequence[float] | None,
    same_labels: bool,
) -> None:
    """Give a new network the weights of a saved one of the same builder and settings.

    Words that the saved network did not know start as its unknown word, so that at first they
    change no answer, but where its table of n-grams, which is taken over as it is, has the unknown
    word.  Where the labels of both have an order, the weights of a label lie between
    those of the saved labels on both sides of it, in proportion; else only the same labels, in the
    same order, take over their weights, and others start anew.

    Args:
        model: the new network, changed in place; its ids go on where the saved one's end.
        saved: the saved network.
        values: where each of the new labels lies between −1 and 1, or `None` without an order.
        saved_values: the same of the saved labels.
        same_labels: whether both have the same labels.

    Raises:
        ValueError: the networks differ in a layer.
    """
    for layer in model.layers:
        try:
            weights = saved.get_layer(layer.name).get_weights()
        except ValueError as error:
            raise ValueError(f"The saved network has no layer {layer.name!r}.") from error
        if layer.name == "embedding":
            (table,) = weights
            new = np.repeat(table[OOV_ID : OOV_ID + 1], layer.input_dim - len(table), axis=0)
            weights = [np.concatenate([table, new])]
        if layer.name == "probabilities" and not same_labels:
            if values is None or saved_values is None:
                continue
            weights = [_between(weight, saved_values, values) for weight in weights]
        layer.set_weights(weights)


def _between(weight: np.ndarray, saved: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """Weights (…, labels) at other values, by linear interpolation over the labels."""
    places = np.interp(values, saved, range(len(saved)))
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(saved) - 1)
    share = places - below
    return weight[..., below] * (1 - share) + weight[..., above] * share


def word_vectors(
    corpus: Corpus,
    vocab_size: int,
    *,
    dim: int,
    window: int = 15,
    smoothing: float = 0.75,
    passes: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """Vectors of words that stand near the same words: truncated SVD of positive PMI.

    Pairs of words up to `window` apart count, near ones more: (window + 1 − distance) / window.
    The vectors are the left singular vectors times the square roots of the singular values,
    centred and scaled.

    Args:
        corpus: texts, labelled or not.
        vocab_size: every id is below it.
        dim: width of the vectors.
        window: the largest distance between the two words of a pair.
        smoothing: exponent of the context words' counts.
        passes: multiplications with the matrix in the randomised SVD.
        seed: of its random start.

    Returns:
        float32 (vocab_size, dim); 0 for padding.

    Source: Levy, Goldberg & Dagan, "Improving distributional similarity with lessons learned from
    word embeddings" (2015), sections 2.1 and 3.1; the SVD: Halko, Martinsson & Tropp, "Finding
    structure with randomness" (2011).
    """
    from scipy import sparse

    shape = (vocab_size, vocab_size)
    counts = sparse.csr_matrix(shape, dtype=np.float32)
    text = np.repeat(np.arange(len(corpus), dtype=np.int32), np.diff(corpus.offsets))
    for distance in range(1, window + 1):
        same = text[:-distance] == text[distance:]
        pairs = corpus.token_ids[:-distance][same], corpus.token_ids[distance:][same]
        weight = np.full(len(pairs[0]), (window + 1 - distance) / window, np.float32)
        counts = counts + sparse.csr_matrix((weight, pairs), shape)
    counts = (counts + counts.T).tocsr()
    totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1e-9)
    shares = totals**smoothing / (totals**smoothing).sum()
    rows = np.repeat(np.arange(vocab_size), np.diff(counts.indptr))
    pmi = np.log(counts.data / totals[rows] / shares[counts.indices]).astype(np.float32)
    positive = pmi > 0
    matrix = sparse.csr_matrix((pmi[positive], (rows[positive], counts.indices[positive])), shape)
    vectors = _left_vectors(matrix, dim, passes, seed)
    vectors -= vectors[OOV_ID + 1 :].mean(axis=0)
    vectors *= VECTOR_STD / max(float(vectors[OOV_ID + 1 :].std()), 1e-9)
    vectors[PADDING_ID] = 0
    return vectors.astype(np.float32)


def _left_vectors(matrix: Any, dim: int, passes: int, seed: int) -> np.ndarray:
    """The first left singular vectors times the roots of their singular values."""
    transposed = matrix.T.tocsr()
    extra = 20  # columns beyond `dim`, which make the first ones exact
    right = np.random.default_rng(seed).standard_normal((len(matrix.indptr) - 1, dim + extra))
    right = right.astype(np.float32)
    for number in range(passes):
        left, _ = np.linalg.qr(matrix @ right)
        right = transposed @ left
        if number < passes - 1:
            right, _ = np.linalg.qr(right)
    squares, rotation = np.linalg.eigh(right.T @ right)  # ascending
    best = np.argsort(-squares)[:dim]
    vectors = (left @ rotation[:, best]) * np.maximum(squares[best], 0) ** 0.25
    return np.pad(vectors, ((0, 0), (0, dim - len(best))))  # few words span few dimensions


def pretrain(
    model: keras.Model,
    corpus: Corpus,
    *,
    steps: int | None = None,
    window: int = 60,
    batch_size: int = 48,
    learning_rate: float = 3e-3,
    seed: int = 0,
    checkpoint: Path | None = None,
    identity: str = "",
    on_report: Callable[[StepReport], None] | None = None,
) -> None:
    """Teach the embedding and the first recurrent layer which word comes next.

    Each state guesses the next word among others that are drawn by their rank; in a second
    direction, which reads backwards, the word before.  Other layers keep their weights.

    Args:
        model: a network of `build_model`, changed in place.
        corpus: texts, labelled or not.
        steps: updates; `None` for as many as read the corpus once, at most 4,000.
        window: words read at once.
        batch_size: windows per update.
        learning_rate: peak learning rate of Adam.
        seed: of windows and drawn words.
        checkpoint, identity, on_report: as `stepwise.fit_steps`.

    Source: Dai & Le, "Semi-supervised sequence learning" (2015), section 2; sampled softmax: Jean
    et al., "On using very large target vocabulary for neural machine translation" (2015).
    """
    # The first output weights and the drawn words come from the libraries' own generators.
    keras.utils.set_random_seed(seed)
    embedding = model.get_layer("embedding")
    layer = next(layer for layer in model.layers if _is_recurrent(layer))
    directions = (layer,)
    if isinstance(layer, keras.layers.Bidirectional):
        directions = (layer.forward_layer, layer.backward_layer)
    copies = [_every_step(direction) for direction in directions]

    token_ids = keras.Input((None,), dtype="int32")
    mask = TokenMask()(token_ids)
    words = embedding(token_ids)
    read = keras.layers.Dropout(WORD_DROPOUT, noise_shape=(None, None, 1), seed=seed)(words)
    states = [copy(read, mask=mask) for copy in copies]
    next_words = NextWords(embedding.get_weights()[0], name="next_words")
    network = keras.Model(token_ids, next_words([token_ids, *states]))
    for copy, direction in zip(copies, directions, strict=True):
        copy.set_weights(direction.get_weights())

    def batch_at(step: int) -> tuple[np.ndarray, None]:
        generator = np.random.default_rng([seed, step])
        texts = generator.integers(len(corpus), size=batch_size)
        return windows_at(corpus, texts, window, generator), None

    if steps is None:
        steps = max(1, min(MOST_STEPS, len(corpus.token_ids) // (window * batch_size)))
    fit_steps(
        network,
        batch_at,
        loss=None,
        steps=steps,
        learning_rate=learning_rate,
        checkpoint=checkpoint,
        identity=identity,
        on_report=on_report,
    )
    for copy, direction in zip(copies, directions, strict=True):
        direction.set_weights(copy.get_weights())


def start_from_texts(
    model: keras.Model,
    corpus: Corpus,
    *,
    seed: int = 0,
    kept: Path | None = None,
    on_report: Callable[[StepReport], None] | None = None,
    **options: Any,
) -> None:
    """Give a new network word vectors and the weights of a language model.

    Args:
        model: a network of `build_model`, changed in place.
        corpus: texts, labelled or not.
        seed: of all that is random.
        kept: file that keeps the weights; where it is this run's, they are read from it.
        on_report: as `stepwise.fit_steps`.
        options: of `pretrain`.

    Raises:
        ValueError: `kept` is damaged or belongs to another run.
    """
    identity = identity_of(model, corpus.sha256(), options, seed)

    def fit(checkpoint: Path | None) -> None:
        embedding = model.get_layer("embedding")
        dim = embedding.output_dim
        embedding.set_weights([word_vectors(corpus, embedding.input_dim, dim=dim, seed=seed)])
        pretrain(
            model,
            corpus,
            seed=seed,
            checkpoint=checkpoint,
            identity=identity,
            on_report=on_report,
            **options,
        )

    keep_weights(kept, identity, model, fit)


def _is_recurrent(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional))


def _every_step(layer: keras.layers.RNN) -> keras.layers.RNN:
    """A layer like this one that gives the states of all steps, in the order of its reading."""
    return type(layer).from_config(layer.get_config() | {"return_sequences": True})


class NextWords(keras.layers.Layer):
    """Loss of guessing the next words: adds it, and returns it, float32 ().

    Inputs are token ids (batch, time) and states (batch, time, units): forward and, where there
    are two, backward in the order of its reading, from the last word to the first.  A word that is
    not in the vocabulary is not guessed.

    Args:
        vectors: float32 (vocab_size, dim), first vectors of the guessed words.
    """

    def __init__(self, vectors: np.ndarray, *, name: str):
        super().__init__(name=name)
        self.supports_masking = True  # else Keras warns that the mask ends here
        self._vectors = vectors

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """No mask: the loss has no time axis."""
        return None

    def build(self, shapes: list) -> None:
        """Make the projections of the states and the words' output vectors."""
        rows, dim = self._vectors.shape
        self._projections = [
            self.add_weight(name=f"projection_{i}", shape=(shape[-1], dim))
            for i, shape in enumerate(shapes[1:])
        ]
        self._output = self.add_weight(
            name="output", shape=(rows, dim), initializer=lambda *_, **__: self._vectors
        )
        self._bias = self.add_weight(name="bias", shape=(rows,), initializer="zeros")

    def call(self, inputs: list) -> tf.Tensor:
        """Measure the guesses."""
        token_ids, *states = inputs
        guesses, truths = [], []
        for i, (state, projection) in enumerate(zip(states, self._projections, strict=True)):
            ids = token_ids if i == 0 else token_ids[:, ::-1]
            guessed = (ids[:, :-1] != PADDING_ID) & (ids[:, 1:] > OOV_ID)
            guesses.append(tf.matmul(tf.boolean_mask(state[:, :-1], guessed), projection))
            truths.append(tf.boolean_mask(ids[:, 1:], guessed))
        rows = len(self._vectors)
        losses = tf.nn.sampled_softmax_loss(
            self._output,
            self._bias,
            tf.concat(truths, 0)[:, None],
            tf.concat(guesses, 0),
            min(SAMPLED, rows - 1),
            rows,
        )
        loss = tf.math.divide_no_nan(tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32))
        self.add_loss(loss)
        return loss
