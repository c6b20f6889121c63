"""Stand-ins for the arrays of many windows, on which a function written for those of one gives the same bits.

``Sliding`` are the windows of a series, ``Stretches`` those of which each has a length of its own, ``Rows`` numbers of
which each window has its own, ``Each`` one number a window. What is done to every element of sliding windows is done to
their series, once; what makes one number of a window is made of the windows side by side, by the loop of numpy that
would have gone over one. Only operations that are known to give the same bits are written here: any other raises
``NotForAll``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.lib.mixins

_EXACT: Final = frozenset(
    {
        *(np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.absolute, np.negative),
        *(np.isfinite, np.isnan, np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal),
        np.bitwise_and,
    }
)
"""Whose result is one and the same wherever its numbers stand, and whether they are an array's or alone."""
_OF_ELEMENTS: Final = _EXACT | {np.log, np.log1p, np.tanh, np.sqrt}
"""Of arrays alone: a number beside others may have other bits than one by itself."""


class NotForAll(TypeError):
    """An operation is not known for many windows at once."""


class Branches(Exception):
    """Windows go two ways, which is no error. is_true: (n,)."""

    def __init__(self, is_true: Any) -> None:
        super().__init__()
        self.is_true = is_true


class _Numbers(numpy.lib.mixins.NDArrayOperatorsMixin):
    """What all stand-ins have."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            raise NotForAll(f"{ufunc.__name__}.{method}")
        if ufunc is np.matmul:
            return _dots(*inputs)
        if ufunc not in _OF_ELEMENTS:
            raise NotForAll(ufunc.__name__)
        if ufunc in _EXACT:
            inputs = tuple(map(_simplest, inputs))
            if all(isinstance(each, Each) or np.isscalar(each) for each in inputs):
                return Each(ufunc(*(each.values if isinstance(each, Each) else each for each in inputs)))
        sliding = [each for each in inputs if isinstance(each, Sliding)]
        if sliding and all(
            each.is_beside(sliding[0]) if isinstance(each, Sliding) else np.isscalar(each) for each in inputs
        ):
            return sliding[0].with_series(ufunc, inputs)
        if any(isinstance(each, Each) for each in inputs) and ufunc not in _EXACT:
            raise NotForAll(ufunc.__name__)
        return Rows(ufunc(*map(_side_by_side, inputs)))

    def __array_function__(self, function: Any, _types: Any, given: Sequence[Any], options: Mapping[str, Any]) -> Any:
        if function not in _FUNCTIONS:
            raise NotForAll(function.__name__)
        return _FUNCTIONS[function](*given, **options)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotForAll("an array of one window")

    def __float__(self) -> float:
        raise NotForAll("a number of one window")

    def __pow__(self, exponent: Any) -> Any:
        raise NotForAll("power")


class Each(_Numbers):
    """(n,) a number for each window. is_float: whether it is Python's own, which no zero divides."""

    def __init__(self, values: Any, *, is_float: bool = False) -> None:
        self.values = values
        self.is_float = is_float

    def __bool__(self) -> bool:
        is_true = self.values != 0
        if is_true.all():
            return True
        if not is_true.any():
            return False
        raise Branches(is_true)

    def __truediv__(self, other: Any) -> Any:
        if self.is_float or getattr(other, "is_float", False):
            raise NotForAll("a division of Python's")
        return super().__truediv__(other)


class Rows(_Numbers):
    """(n, length) numbers of which each window has its own, or (1, length) of which all have the same."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix

    def __len__(self) -> int:
        return int(self.matrix.shape[1])

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Rows(np.ascontiguousarray(self.matrix[:, place]))
        return Each(self.matrix[(slice(None), *place)] if isinstance(place, tuple) else self.matrix[:, place])

    def __setitem__(self, place: slice, values: Any) -> None:
        new = _side_by_side(values)
        if new.ndim == 2 and len(self.matrix) < len(new):
            self.matrix = np.repeat(self.matrix, len(new), axis=0)
        self.matrix[:, place] = new

    def __pow__(self, exponent: Any) -> Rows:
        return Rows(self.matrix**exponent)

    def all(self) -> Each:
        """Whether all of each window are true."""
        return Each(self.matrix.all(axis=1))

    def of(self, is_chosen: Any) -> Rows:
        """Those of some windows."""
        return self if len(self.matrix) == 1 else Rows(self.matrix[is_chosen])


class Sliding(_Numbers):
    """Windows of a series: of each that begins at ``firsts`` (n,) the ``length`` numbers from ``offset`` on."""

    def __init__(self, series: Any, firsts: Any, length: int, offset: int = 0) -> None:
        self.series = series
        self.firsts = firsts
        self.length = length
        self.offset = offset

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, slice):
            return Each(self.series[self.firsts + self.offset + range(self.length)[place]])
        chosen = range(self.length)[place]
        if chosen.step != 1:
            return Rows(np.ascontiguousarray(self.matrix[:, place]))
        return Sliding(self.series, self.firsts, len(chosen), self.offset + chosen.start)

    def __pow__(self, exponent: Any) -> Sliding:
        return Sliding(self.series**exponent, self.firsts, self.length, self.offset)

    def is_beside(self, other: Sliding) -> bool:
        return self.firsts is other.firsts or np.array_equal(self.firsts, other.firsts)

    @property
    def matrix(self) -> Any:
        """(n, length) the windows side by side."""
        return np.lib.stride_tricks.sliding_window_view(self.series, self.length)[self.firsts + self.offset]

    def all(self) -> Each:
        """Whether all of each window are true."""
        return Each(self.matrix.all(axis=1))

    def with_series(self, function: Callable[..., Any], inputs: Sequence[Any]) -> Sliding:
        """The windows of what a function makes of the series of windows of the same firsts."""
        if any(isinstance(each, Sliding) and each.length != self.length for each in inputs):
            raise NotForAll("windows of two lengths")
        count = min(len(each.series) - each.offset for each in inputs if isinstance(each, Sliding))
        parts = [
            each.series[each.offset : each.offset + count] if isinstance(each, Sliding) else each for each in inputs
        ]
        return Sliding(function(*parts), self.firsts, self.length)

    def of(self, is_chosen: Any) -> Sliding:
        """Those of some windows."""
        return Sliding(self.series, self.firsts[is_chosen], self.length, self.offset)


class Stretches(_Numbers):
    """Of a series for each window the numbers from ``firsts`` (n,) until ``ends`` (n,)."""

    def __init__(self, series: Any, firsts: Any, ends: Any) -> None:
        self.series = series
        self.firsts = firsts
        self.ends = ends

    def __array_ufunc__(self, ufunc: Any, *_: Any, **__: Any) -> Any:
        raise NotForAll(f"{ufunc.__name__} of stretches")

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice) and place.stop is None and place.step is None:
            since = place.start.values if isinstance(place.start, Each) else place.start or 0
            if np.any(since < 0):
                raise NotForAll("a stretch from its end")
            return Stretches(self.series, np.minimum(self.firsts + since, self.ends), self.ends)
        if not isinstance(place, int):
            raise NotForAll("a part of stretches")
        places = self.ends + place if place < 0 else self.firsts + place
        if np.any((places < self.firsts) | (places >= self.ends)):
            raise NotForAll("a number that some stretches lack")
        return Each(self.series[places])

    def of(self, is_chosen: Any) -> Stretches:
        """Those of some windows."""
        return Stretches(self.series, self.firsts[is_chosen], self.ends[is_chosen])


def _side_by_side(given: Any) -> Any:
    """As an array whose rows are windows."""
    if isinstance(given, Each):
        return given.values[:, None]
    return given.matrix if isinstance(given, Rows | Sliding) else given


def _simplest(given: Any) -> Any:
    """The number that all elements are, where they are the same and those of all windows."""
    matrix = given.matrix[0] if isinstance(given, Rows) and len(given.matrix) == 1 else given
    if isinstance(matrix, np.ndarray) and matrix.ndim == 1 and matrix.dtype == np.float64 and len(matrix):
        bits = np.ascontiguousarray(matrix).view(np.int64)
        return matrix[0] if (bits == bits[0]).all() else given
    return given


def _dots(one: Any, other: Any) -> Each:
    """Products of a vector and each window, by the loop that multiplies two vectors."""
    vector, windows = (one, other) if isinstance(one, np.ndarray) else (other, one)
    if not (isinstance(vector, np.ndarray) and vector.ndim == 1):
        raise NotForAll("matmul")
    return Each(np.matmul(_side_by_side(windows)[:, None, :], vector[:, None])[:, 0, 0])


def _reduced(function: Any) -> Callable[..., Each]:
    def reduced(windows: Any, **options: Any) -> Each:
        if isinstance(windows, Each) or options.keys() - {"ddof"}:
            raise NotForAll(function.__name__)
        return Each(function(np.ascontiguousarray(_side_by_side(windows)), axis=1, **options))

    return reduced


def _product(windows: Any, **options: Any) -> Each:
    """Numbers are multiplied one after the other, so a product goes on from that of fewer numbers."""
    if not isinstance(windows, Stretches) or options:
        return _reduced(np.prod)(windows, **options)
    values = np.ones(len(windows.ends))
    for first in np.unique(windows.firsts).tolist():
        is_of = windows.firsts == first
        values[is_of] = np.cumprod(np.append(1.0, windows.series[first:]))[windows.ends[is_of] - first]
    return Each(values)


def _search(windows: Any, number: Any, side: Any = "left") -> Each:
    if not isinstance(windows, Stretches) or not isinstance(number, Each) or np.any(np.diff(windows.series) < 0):
        raise NotForAll("searchsorted")
    found = np.searchsorted(windows.series, number.values, side)
    return Each(np.clip(found, windows.firsts, windows.ends) - windows.firsts)


def _convolve(windows: Any, kernel: Any, mode: str) -> Any:
    if not isinstance(windows, Sliding) or mode != "valid" or len(kernel) > len(windows):
        raise NotForAll("convolve")
    series = np.convolve(windows.series, kernel, "valid")
    return Sliding(series, windows.firsts, len(windows) - len(kernel) + 1, windows.offset)


def _corrcoef(vector: Any, windows: Any) -> Rows:
    """(n, 2, 2) as numpy's own, step by step."""
    matrix = _side_by_side(windows)
    both = np.empty((len(matrix), 2, len(vector)))
    both[:, 0], both[:, 1] = vector, matrix
    both -= both.mean(axis=2)[:, :, None]
    product = np.matmul(both, both.transpose(0, 2, 1))
    product *= np.true_divide(1, len(vector) - 1)
    deviation = np.sqrt(np.diagonal(product, axis1=1, axis2=2))
    product /= deviation[:, :, None]
    product /= deviation[:, None, :]
    return Rows(np.clip(product, -1.0, 1.0))


def _clip(numbers: Any, low: float, high: float) -> Each:
    if not isinstance(numbers, Each):
        raise NotForAll("clip")
    return Each(np.clip(numbers.values, low, high))


_FUNCTIONS: Final[dict[Any, Callable[..., Any]]] = {
    **{each: _reduced(each) for each in (np.sum, np.mean, np.std, np.max, np.min, np.ptp)},
    np.prod: _product,
    np.searchsorted: _search,
    np.diff: lambda windows: windows[1:] - windows[:-1],
    np.cumprod: lambda windows: Rows(np.cumprod(_side_by_side(windows), axis=1)),
    np.convolve: _convolve,
    np.corrcoef: _corrcoef,
    np.clip: _clip,
}
