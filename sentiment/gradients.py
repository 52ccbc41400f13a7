"""The derivative of plain NumPy code: reverse mode, for what `equations.py` computes.

`value_and_gradient` calls a function with a `Traced` array in place of a plain one.  NumPy hands
each operation on it to the class, which computes the value and notes how the operation passes a
gradient back; then the notes are read backwards.  What does not depend on the array stays plain
NumPy and leaves no note.

At a kink one side counts: the gradient of a maximum goes to the first of equal numbers, as in
`argmax`, and comparisons are constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from types import EllipsisType, NoneType
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

Share = Callable[[np.ndarray], np.ndarray]  # gradient of a result → that of one operand


def value_and_gradient(
    function: Callable[[Any], Any], x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The value of a function of an array, and its derivative with respect to the array.

    Args:
        function: takes an array like `x` and returns one number for each of its rows, (batch,),
            which depends on this row only.  It may use what `equations.py` uses: + − * / @ with a
            constant on the right of @, `np.tanh`, `np.exp`, `np.split`, `np.concatenate`,
            `np.stack`, `np.where` with a constant condition, comparisons, `.sum`, `.mean` and
            `.max` along an axis, `.T`, and indices made of whole numbers, slices, `None` and `...`.
        x: array of floats (batch, …).

    Returns:
        The numbers, (batch,), and the gradient of each with respect to its row, of the shape and
        the type of `x`.

    Raises:
        TypeError: `x` is no array of floats, or `function` uses an operation that has no
            derivative here.
        ValueError: `function` returns anything but one number for each row.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or not x.ndim:
        raise TypeError(
            "`x` must be a NumPy array of floats with one row for each number wanted. Received: "
            f"{getattr(x, 'dtype', type(x).__name__)} of shape {np.shape(x)}"
        )
    tape: list[_Note] = []
    inputs = Traced(x, tape)
    inputs.note.gradient, inputs.note.owned = np.zeros_like(x), True
    result = function(inputs)
    value = np.asarray(_plain(result))
    if value.shape != x.shape[:1]:
        raise ValueError(
            f"`function` must return one number for each row of `x`, shape {x.shape[:1]}. "
            f"Received: shape {value.shape}"
        )
    if isinstance(result, Traced):
        result.note.add(np.ones_like(value))
    del result  # it holds all that led to it
    while tape:  # newest first, so that a gradient is whole before it is passed on
        tape.pop().pass_back()
    return value, inputs.note.gradient


class _Note:
    """The gradient of one computed array, and to which earlier ones it passes that on.

    Args:
        value: the array; only its shape and type are kept.
        sources: for each operand that depends on x its note, the operand's share of a gradient,
            and the part of the operand that was read.
    """

    __slots__ = ("dtype", "gradient", "owned", "shape", "sources")

    def __init__(self, value: np.ndarray, sources: Sequence[tuple[_Note, Share, Any]]):
        self.shape, self.dtype, self.sources = value.shape, value.dtype, sources
        self.gradient: Any = None
        self.owned = False  # else others may hold the same array, and it must not be written to

    def add(self, share: np.ndarray, part: Any = ...) -> None:
        """Add the share that came from one use of the array, or of a part of it."""
        if part is ...:
            share = _summed_to(share, self.shape)
            if self.gradient is None:
                self.gradient = share
                return
        if not self.owned:
            zero = self.gradient is None
            self.gradient = (
                np.zeros(self.shape, self.dtype) if zero else np.array(self.gradient, self.dtype)
            )
            self.owned = True
        self.gradient[part] += share

    def pass_back(self) -> None:
        """Give each operand its share."""
        if self.gradient is not None:  # else the result does not depend on this array
            for note, share, part in self.sources:
                note.add(share(self.gradient), part)


def _summed_to(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of an array of this shape from that of the array broadcast."""
    if gradient.shape == shape:
        return gradient
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    repeated = tuple(axis for axis, size in enumerate(shape) if size != gradient.shape[axis])
    return gradient.sum(axis=repeated, keepdims=True)


class Traced(NDArrayOperatorsMixin):
    """An array that depends on x, for `function` in `value_and_gradient`."""

    __slots__ = ("note", "tape", "value")

    def __init__(
        self,
        value: np.ndarray,
        tape: list[_Note],
        sources: Sequence[tuple[_Note, Share, Any]] = (),
    ):
        self.value, self.tape, self.note = value, tape, _Note(value, sources)
        tape.append(self.note)

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: self.value.ndim)

    def __len__(self) -> int:
        return len(self.value)

    def _then(self, value: np.ndarray, share: Share, part: Any = ...) -> Traced:
        return Traced(value, self.tape, [(self.note, share, part)])

    def __getitem__(self, part: Any) -> Traced:
        for one in part if isinstance(part, tuple) else (part,):
            whole_number = isinstance(one, int | np.integer) and not isinstance(one, bool)
            if not whole_number and not isinstance(one, slice | NoneType | EllipsisType):
                raise TypeError(
                    "An index must be made of whole numbers, slices, None and ... to have a "
                    f"derivative here. Received: {one!r}"
                )
        return self._then(self.value[part], lambda g: g, part)

    @property
    def T(self) -> Traced:
        """As of an array."""
        return self._then(self.value.T, lambda g: g.T)

    def sum(self, axis: int, keepdims: bool = False) -> Traced:
        """As of an array."""
        shape = self.shape

        def share(g: np.ndarray) -> np.ndarray:
            return np.broadcast_to(g if keepdims else np.expand_dims(g, axis), shape)

        return self._then(self.value.sum(axis=axis, keepdims=keepdims), share)

    def mean(self, axis: int, keepdims: bool = False) -> Traced:
        """As of an array."""
        return self.sum(axis, keepdims) / self.shape[axis]

    def max(self, axis: int, keepdims: bool = False) -> Traced:
        """As of an array; the gradient goes to the first of equal maxima."""
        shape, first = self.shape, np.expand_dims(self.value.argmax(axis), axis)

        def share(g: np.ndarray) -> np.ndarray:
            gradient = np.zeros(shape, g.dtype)
            np.put_along_axis(gradient, first, g if keepdims else np.expand_dims(g, axis), axis)
            return gradient

        return self._then(self.value.max(axis=axis, keepdims=keepdims), share)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise _no_derivative("conversion to a plain array")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            raise _no_derivative(f"{ufunc.__name__}.{method}")
        if options:
            raise _no_derivative(f"{ufunc.__name__} with {', '.join(options)}")
        values = [_plain(x) for x in inputs]
        if ufunc in _COMPARISONS:
            return ufunc(*values)
        if ufunc not in _SHARES:
            raise _no_derivative(ufunc.__name__)
        if ufunc is np.matmul and (isinstance(inputs[1], Traced) or np.ndim(inputs[1]) > 2):
            raise _no_derivative("matmul without a constant vector or matrix on the right")
        value = ufunc(*values)
        return _computed(self.tape, value, inputs, _SHARES[ufunc](value, *values))

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, options: dict[str, Any]
    ) -> Any:
        if function not in _FUNCTIONS:
            raise _no_derivative(function.__name__)
        return _FUNCTIONS[function](self.tape, *args, **options)


def _no_derivative(operation: str) -> TypeError:
    known = [*_SHARES, *_FUNCTIONS]
    return TypeError(
        "`function` must keep to what has a derivative here: "
        f"{', '.join(sorted(f.__name__ for f in known))}, indices, .sum, .mean, .max and .T. "
        f"Received: {operation}"
    )


_COMPARISONS = {np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal}

# Operation → from its result and operands each operand's share of a gradient.  A share keeps
# alive what it needs and nothing else.
_SHARES: dict[np.ufunc, Callable[..., tuple[Share | None, ...]]] = {
    np.add: lambda *_: (lambda g: g, lambda g: g),
    np.subtract: lambda *_: (lambda g: g, lambda g: -g),
    np.multiply: lambda _y, a, b: (lambda g: g * b, lambda g: g * a),
    np.divide: lambda y, _a, b: (lambda g: g / b, lambda g: -g * y / b),
    np.negative: lambda *_: (lambda g: -g,),
    np.tanh: lambda y, _: (lambda g: g * (1 - y * y),),
    np.exp: lambda y, _: (lambda g: g * y,),
    np.matmul: lambda _y, _a, b: (
        (lambda g: g @ np.transpose(b)) if np.ndim(b) == 2 else (lambda g: g[..., None] * b),
        None,
    ),
}


def _plain(x: Any) -> Any:
    return x.value if isinstance(x, Traced) else x


def _computed(
    tape: list[_Note], value: np.ndarray, operands: Sequence[Any], shares: Sequence[Share | None]
) -> Traced:
    """The result of an operation, from whose gradient each operand has its share."""
    pairs = zip(operands, shares, strict=True)
    return Traced(
        value, tape, [(x.note, share, ...) for x, share in pairs if isinstance(x, Traced)]
    )


def _along(ndim: int, axis: int, part: Any) -> tuple[Any, ...]:
    """The index of a part along one axis."""
    return (slice(None),) * (axis % ndim) + (part,)


def _slices(sizes: Sequence[int]) -> list[slice]:
    """Of pieces of these sizes, one after the other."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _split(_: list[_Note], array: Traced, parts: Any, axis: int = 0) -> list[Traced]:
    sizes = [len(piece) for piece in np.split(np.arange(array.shape[axis]), parts)]
    return [array[_along(array.ndim, axis, piece)] for piece in _slices(sizes)]


def _concatenate(tape: list[_Note], arrays: Sequence[Any], axis: int = 0) -> Traced:
    value = np.concatenate([_plain(x) for x in arrays], axis)
    pieces = _slices([x.shape[axis] for x in arrays])
    shares = [itemgetter(_along(value.ndim, axis, piece)) for piece in pieces]
    return _computed(tape, value, arrays, shares)


def _stack(tape: list[_Note], arrays: Sequence[Any], axis: int = 0) -> Traced:
    value = np.stack([_plain(x) for x in arrays], axis)
    shares = [itemgetter(_along(value.ndim, axis, place)) for place in range(len(arrays))]
    return _computed(tape, value, arrays, shares)


def _where(tape: list[_Note], condition: np.ndarray, a: Any, b: Any) -> Traced:
    if isinstance(condition, Traced):
        raise _no_derivative("where with a condition that depends on `x`")
    value = np.where(condition, _plain(a), _plain(b))
    shares = (lambda g: np.where(condition, g, 0)), (lambda g: np.where(condition, 0, g))
    return _computed(tape, value, (a, b), shares)


_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.split: _split,
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.where: _where,
}
