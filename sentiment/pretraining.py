"""Where a network starts from: the weights of a saved model."""

from collections.abc import Sequence

import keras
import numpy as np

from sentiment.preprocessing import OOV_ID


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
    change no answer.  Where the labels of both have an order, the weights of a label lie between
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
