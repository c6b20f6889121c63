"""A recording as that of another market: its prices and sizes multiplied, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NamedTuple

PRICES: Final = ("lastPrice", "markPrice", "indexPrice", "prevPrice24h", "highPrice24h", "lowPrice24h", "prevPrice1h")
"""Of a ticker."""


class Shape(NamedTuple):
    price: Decimal
    size: Decimal


SHAPES: Final = {
    "a coin of a millionth": Shape(Decimal("1e-9"), Decimal(1_000_000)),
    "an inverse contract, whose sizes are in USD": Shape(Decimal(40), Decimal(10_000)),
    "a currency of small worth": Shape(Decimal(60_000), Decimal("0.0001")),
    "sums beyond 64 bits": Shape(Decimal(1_000), Decimal(1_000_000)),
}
"""Of a market of some thousand USD."""


def reshaped(recorded: Iterable[tuple[int, dict[str, Any]]], shape: Shape) -> list[tuple[int, dict[str, Any]]]:
    """The messages of a market of that shape; of tickers and candles the fields that features read."""
    return [
        (recv_ns, {**said, "data": _data(said["topic"].partition(".")[0], said["data"], shape)})
        for recv_ns, said in recorded
    ]


def _data(topic: str, data: Any, shape: Shape) -> Any:  # noqa: ANN401  # JSON
    match topic:
        case "orderbook":
            return {
                **data,
                **{
                    side: [[_times(price, shape.price), _times(size, shape.size)] for price, size in data[side]]
                    for side in "ba"
                },
            }
        case "publicTrade":
            return [{**each, "p": _times(each["p"], shape.price), "v": _times(each["v"], shape.size)} for each in data]
        case "kline":
            return [
                _fields(_fields(each, ("open", "high", "low", "close"), shape.price), ("volume",), shape.size)
                for each in data
            ]
        case _:
            return _fields(_fields(data, PRICES, shape.price), ("openInterest",), shape.size)


def _fields(data: dict[str, Any], names: Iterable[str], factor: Decimal) -> dict[str, Any]:
    return {**data, **{name: _times(data[name], factor) for name in names if data.get(name)}}


def _times(text: str, factor: Decimal) -> str:
    return f"{Decimal(text) * factor:f}"
