"""A recorded stream with faults in it: what the market and the way to us do wrong, drawn by a seed.

Each fault is made of real messages. What comes is told apart from what is true: a delivered message knows of which
numbering of the book it is, whether it was delivered before, and what it would have said before it was damaged.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from quality.oracle.book import Book

DAMAGE: Final = ("-1", "1e5", "NaN", "", "0x10")
FINER: Final = "0000000000001"
BETWEEN_SNAPSHOTS: Final = 30
"""Messages from one order book snapshot to the next, on average: what is lost comes back."""
SHIFT: Final = Decimal(500)
"""How far the prices of another depth lie away: to mix a level of theirs in is seen."""


@dataclass(frozen=True)
class Delivered:
    """A message as it comes. said: what it states, None where that is lost with no trace of its topic.

    epoch: how often the exchange began to number the book anew before it. is_again: whether it came before.
    is_unusable: whether nobody can know what it says.
    """

    recv_ns: int
    body: bytes
    said: dict[str, Any] | None
    epoch: int = 0
    is_again: bool = False
    is_unusable: bool = False

    @property
    def topic(self) -> str:
        return "" if self.said is None else str(self.said["topic"]).partition(".")[0]


class Mutator:
    """Delivers a recording's messages with faults between them, one for each ``every`` messages on average."""

    def __init__(self, recorded: Iterable[tuple[int, dict[str, Any]]], seed: int, *, every: int) -> None:
        self.delivered: list[Delivered] = []
        self.mutations: dict[str, int] = dict.fromkeys(MUTATIONS, 0)
        self._random = random.Random(seed)
        self._true = Book()
        self._epoch = 0
        self._shift = 0  # of the update ids since the exchange began to number anew
        self._asides: list[_Aside] = []
        self._held: list[tuple[int, Delivered]] = []
        self._now_ns = 0
        self._last_book: dict[str, Any] = {}
        self._play(list(recorded), every)

    def _play(self, recorded: list[tuple[int, dict[str, Any]]], every: int) -> None:
        names = list(MUTATIONS)
        for recv_ns, message in recorded:
            self._now_ns = max(recv_ns, self._now_ns)
            is_book = message["topic"].startswith("orderbook.")
            if is_book:
                self._follow(message)
            usual = [self._as_delivered(message)]
            if self._last_book and self._random.random() < 1 / every:
                name = self._random.choice(names)
                usual = MUTATIONS[name](self, usual[0])
                self.mutations[name] += 1
            for each in usual:
                self._deliver(each)
            if is_book:
                self._asides = [aside for aside in self._asides if aside.goes_on(self, message)]
                if self._random.random() < 1 / BETWEEN_SNAPSHOTS:
                    self._deliver(self._snapshot())
        for _, each in self._held:
            self.delivered.append(each)

    @property
    def count(self) -> int:
        return sum(self.mutations.values())

    def _follow(self, message: dict[str, Any]) -> None:
        self._last_book = message
        data = message["data"]
        bids, asks = levels_of(data)
        self._true.apply(0, replaces=message["type"] == "snapshot", update_id=data["u"], bids=bids, asks=asks)
        self._true.steps.clear()

    def _deliver(self, message: Delivered) -> None:
        self.delivered.append(message)
        self.delivered += [each for left, each in self._held if left <= 0]
        self._held = [(left - 1, each) for left, each in self._held if left > 0]

    def _as_delivered(self, message: dict[str, Any]) -> Delivered:
        if message["topic"].startswith("orderbook."):
            message = {**message, "data": {**message["data"], "u": message["data"]["u"] + self._shift}}
        return self._written(message)

    def _written(self, message: dict[str, Any]) -> Delivered:
        return Delivered(self._now_ns, json.dumps(message).encode(), message, self._epoch)

    def _snapshot(self, *, kind: str = "snapshot", without: str = "") -> Delivered:
        """The whole order book as it truly is, but for sides that are left out."""
        sides = {
            name: [[f"{price:f}", f"{side.quantities[price]:f}"] for price in side.prices]
            for name, side in (("b", self._true._bids), ("a", self._true._asks))
        }
        data = {**self._last_book["data"], **sides, "u": self._last_book["data"]["u"] + self._shift}
        data |= {side: [] for side in without}
        return self._written({**self._last_book, "type": kind, "data": data})

    # The faults: each gives what is delivered in the place of a message.

    def drop(self, _message: Delivered) -> list[Delivered]:
        return []

    def repeat(self, message: Delivered) -> list[Delivered]:
        """One of the last messages comes once more."""
        before = self._random.choice(self.delivered[-20:])
        return [message, replace(before, recv_ns=self._now_ns, is_again=True)]

    def repeat_in_part(self, message: Delivered) -> list[Delivered]:
        """Trades come again in another message, beside new ones or each other."""
        sent = [each for each in self.delivered[-300:] if each.topic == "publicTrade" and not each.is_unusable]
        sent = [each for each in sent if FINER.encode() not in each.body]
        if not sent:
            return self.repeat(message)
        chosen = [*self._random.choices(sent, k=2), *([message] if message.topic == "publicTrade" else [])]
        trades = [trade for each in chosen for trade in (each.said or {})["data"]]
        self._random.shuffle(trades)
        part = self._written({**(sent[-1].said or {}), "data": trades[: self._random.randrange(1, len(trades) + 1)]})
        return [part, message]

    def cut(self, message: Delivered) -> list[Delivered]:
        """Only the beginning comes, perhaps not even the topic."""
        body = message.body[: self._random.randrange(1, len(message.body))]
        assert message.said is not None
        is_named = f'"topic": "{message.said["topic"]}"'.encode() in body
        return [replace(message, body=body, said=message.said if is_named else None, is_unusable=True)]

    def damage(self, message: Delivered) -> list[Delivered]:
        """A number is none."""
        changed = self._with_number(message, lambda _text: self._random.choice(DAMAGE))
        return [replace(changed, is_unusable=True)] if changed.body != message.body else [message]

    def rescale(self, message: Delivered) -> list[Delivered]:
        """A number is finer than any before."""
        return [self._with_number(message, lambda old: (old if "." in old else f"{old}.") + FINER)]

    def _with_number(self, message: Delivered, change: Callable[[str], str]) -> Delivered:
        said = json.loads(message.body)
        found: list[tuple[Any, Any]] = []
        if message.topic == "orderbook":
            found = [(level, at) for side in "ba" for level in said["data"][side] for at in (0, 1)]
        elif message.topic == "publicTrade":
            found = [(trade, name) for trade in said["data"] for name in ("p", "v")]
        found = [(holder, at) for holder, at in found if Decimal(holder[at]) > 0]
        if not found:
            return message
        holder, at = self._random.choice(found)
        holder[at] = change(holder[at])
        return replace(message, body=json.dumps(said).encode(), said=said)

    def reorder(self, message: Delivered) -> list[Delivered]:
        """It comes some messages later, with the stamp of its time, which others have passed."""
        self._held.append((self._random.randrange(1, 6), message))
        return []

    def swap(self, message: Delivered) -> list[Delivered]:
        """It takes the place of the message before, and that one its own; the stamps stay."""
        if not self.delivered:
            return [message]
        before = self.delivered.pop()
        self.delivered.append(replace(message, recv_ns=before.recv_ns))
        return [replace(before, recv_ns=message.recv_ns)]

    def restart(self, message: Delivered) -> list[Delivered]:
        """The exchange begins anew at 1 with the whole book, whatever the message is called."""
        self._epoch += 1
        self._shift = 1 - self._last_book["data"]["u"]
        whole = self._snapshot(kind=self._random.choice(("snapshot", "delta")))
        return [whole] if message.topic == "orderbook" else [whole, message]

    def missed_restart(self, message: Delivered) -> list[Delivered]:
        """The exchange begins anew, and the snapshot is lost on the way: the ids go on from a low one."""
        self._epoch += 1
        self._shift = self._random.choice((2, 3, 50, self._random.randrange(100, 5_000))) - self._last_book["data"]["u"]
        return [] if message.topic == "orderbook" else [message]

    def new_numbers(self, message: Delivered) -> list[Delivered]:
        """The ids go on from one far above."""
        self._epoch += 1
        self._shift += self._random.choice((2, 100, self._random.randrange(10**5, 10**6)))
        return [] if message.topic == "orderbook" else [message]

    def empty_snapshot(self, message: Delivered) -> list[Delivered]:
        return [message, self._emptied("ab")]

    def one_sided_snapshot(self, message: Delivered) -> list[Delivered]:
        return [message, self._emptied(self._random.choice("ab"))]

    def _emptied(self, sides: str) -> Delivered:
        """A snapshot of its own id and seq in which sides of the book are gone."""
        self._shift += 1
        data = self._last_book["data"]
        self._last_book = {**self._last_book, "data": {**data, "seq": data["seq"] + 1}}
        return self._snapshot(without=sides)

    def two_depths(self, message: Delivered) -> list[Delivered]:
        """For some messages the book of another depth comes beside it."""
        if not self._asides:
            self._asides.append(_Aside(self._random, self._random.choice((50, 500, 1000)), self.count))
        return [message]


class _Aside:
    """A second stream of order books beside the first, for so many messages: its snapshot, then deltas."""

    def __init__(self, drawn: random.Random, depth: int, epoch: int) -> None:
        self._left = drawn.randrange(1, 60)
        self._depth = depth
        self._update_id = drawn.randrange(10**7, 10**8)
        self._epoch = epoch
        self._is_whole = False

    def goes_on(self, mutator: Mutator, message: dict[str, Any]) -> bool:
        """Deliver its part beside a message of the first; whether it has more to come."""
        whole = mutator._snapshot()
        assert whole.said is not None
        data = message["data"] if self._is_whole else whole.said["data"]
        sides = {
            side: [[f"{Decimal(price) + SHIFT:f}", quantity] for price, quantity in data[side]] for side in ("b", "a")
        }
        symbol = message["topic"].split(".")[2]
        said = {
            **message,
            "topic": f"orderbook.{self._depth}.{symbol}",
            "type": "delta" if self._is_whole else "snapshot",
            "data": {**data, **sides, "u": self._update_id},
        }
        mutator._deliver(replace(mutator._written(said), epoch=self._epoch))
        self._update_id += 1
        self._left -= 1
        self._is_whole = True
        return self._left > 0


MUTATIONS: Final[dict[str, Callable[[Mutator, Delivered], list[Delivered]]]] = {
    mutation.__name__: mutation
    for mutation in (
        Mutator.drop,
        Mutator.repeat,
        Mutator.repeat_in_part,
        Mutator.cut,
        Mutator.damage,
        Mutator.rescale,
        Mutator.reorder,
        Mutator.swap,
        Mutator.restart,
        Mutator.missed_restart,
        Mutator.new_numbers,
        Mutator.empty_snapshot,
        Mutator.one_sided_snapshot,
        Mutator.two_depths,
    )
}


def levels_of(data: dict[str, Any]) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
    """Bids and asks that a message states."""
    bids, asks = ([(Decimal(price), Decimal(quantity)) for price, quantity in data[side]] for side in "ba")
    return bids, asks
