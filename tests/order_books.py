"""The compiled order book as tests see it: messages applied, its levels and what is known of it."""

from __future__ import annotations

from market.events import Events
from transforms.order_book import (
    apply_order_book_record,
)
from transforms.state import State, new_state

Levels = list[tuple[int, int]]


def fresh() -> State:
    return new_state(price_scale=100.0, quantity_scale=1000.0)


def apply(state: State, message: Events) -> None:
    for record in message:
        apply_order_book_record(state["book"][0], state["sums"][0], record)


def levels(state: State, side: str) -> Levels:
    """(px, qty) of a side, the best first."""
    kept = state["book"][side][0]
    held = slice(int(kept["first"]), int(kept["end"]))
    return list(zip(kept["px"][held][::-1].tolist(), kept["qty"][held][::-1].tolist(), strict=True))


def known(state: State, name: str) -> int:
    return int(state["book"][name][0])


def changes(state: State) -> int:
    return int(state["sums"]["best_changes"][0])


def imbalance(state: State) -> int:
    high, low = state["sums"]["order_flow_imbalance"][0].tolist()
    return int(high) * 2**62 + int(low)
