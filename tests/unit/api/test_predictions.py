"""Predictions are what a strict parser of the whole text gives, however small the pieces, and never a gigabyte."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.predictions import read_predictions
from market.errors import InvalidRequest

NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1, 1), max_size=30)
ROWS = st.lists(st.tuples(*[st.floats(0, 1)] * 3).map(list), min_size=1, max_size=12)


@given(NUMBERS | ROWS, st.sampled_from([None, 0, 2]), st.integers(1, 40))
def test_any_list_is_read_whole_whatever_the_pieces(asked: list[Any], indent: int | None, piece_bytes: int) -> None:
    text = msgspec.Raw(json.dumps(asked, indent=indent).encode())
    found = read_predictions(text, piece_bytes=piece_bytes)
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, np.array(asked, np.float64))


def test_predictions_by_target_are_read_apart_and_null_is_none() -> None:
    found = read_predictions(msgspec.Raw(b'{"one": [1, 2.5], "two": [[0.5, 0.25, 0.25]]}'))
    assert isinstance(found, dict)
    assert {name: values.tolist() for name, values in found.items()} == {"one": [1.0, 2.5], "two": [[0.5, 0.25, 0.25]]}
    assert read_predictions(msgspec.Raw(b"null")) is None


@pytest.mark.parametrize("piece_bytes", [1, 3, 1000])
@pytest.mark.parametrize(
    "text",
    [
        '["1"]',
        "[1,]",
        "[1,,2]",
        "[,1]",
        "[1;2]",
        "[1,[2]]",
        "[[1],[2,3]]",
        "[[1],2]",
        "[[1],]",
        "[null]",
        "3",
        '"x"',
        "[[[1]]]",
        "[1]]",
        "[NaN]",
        "[1,true]",
        '["a,b"]',
    ],
)
def test_what_is_no_list_of_numbers_is_refused(text: str, piece_bytes: int) -> None:
    with pytest.raises(InvalidRequest, match="predictions: must be"):
        read_predictions(msgspec.Raw(text.encode()), piece_bytes=piece_bytes)


def test_memory_is_a_small_multiple_of_the_text() -> None:
    text = msgspec.Raw(b"[" + b"1," * 1_000_000 + b"1]")
    tracemalloc.start()
    try:
        found = read_predictions(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, np.ndarray)
    assert len(found) == 1_000_001
    # Of floats of Python alone there would be 32 MB.
    assert peak < 2 * 8 * len(found) + 2 * len(bytes(text)) + 20 * (1 << 20) / 2
