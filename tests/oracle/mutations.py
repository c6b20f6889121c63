"""A recorded stream with faults in it: what the market and the way to us do wrong, drawn by a seed.

Each fault is made of real messages.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from quality.oracle.book import Book
from tests.oracle.asides import SHIFT, Aside, Numbers
from tests.oracle.delivered import Delivered, levels_of, numbers_of

DAMAGE: Final = ("-1", "1e5", "NaN", "", "0x10")
FINER: Final = "0000000000001"
HELD: Final = 6
"""A message that comes late comes within so many others."""
BETWEEN_SNAPSHOTS: Final = 30
"""Messages from one order book snapshot to the next, on average: what is lost comes back."""


class Mutator:
    """Delivers a recording's messages with faults between them, one for each ``every`` messages on average.

    spares_trades: no trade is made unusable, so that long windows of them can be known. shift: how far the prices of
    second streams lie away.
    """

    def __init__(
        self,
        recorded: Iterable[tuple[int, dict[str, Any]]],
        seed: int,
        *,
        every: int,
        spares_trades: bool = False,
        shift: Decimal = SHIFT,
    ) -> None:
        self.delivered: list[Delivered] = []
        self.joined = 0
        """Messages with new trades and others that had come before."""
        self.mutations: dict[str, int] = dict.fromkeys(MUTATIONS, 0)
        self._random = random.Random(seed)
        self._true = Book()
        self._epoch = 0
        self._shift = 0  # of the update ids since the exchange began to number anew
        self._sent_id = 0  # the update that was delivered last of the recorded book
        self._spares_trades = spares_trades
        self._shift_of_asides = shift
        self._is_part_due = False
        self._markets = 0
        self._asides: list[Aside] = []
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
            if self._is_part_due and usual[0].topic == "publicTrade":
                usual = self._joined(usual[0])
            elif self._last_book and self._random.random() < 1 / every:
                name = self._random.choice(names)
                usual = MUTATIONS[name](self, usual[0])
                self.mutations[name] += 1
            for each in usual:
                self._deliver(each)
            if is_book:
                self._asides = [aside for aside in self._asides if self._brings(aside, message)]
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

    def _deliver(self, message: Delivered) -> None:
        if message.said is not None and message.said["topic"] == self._last_book.get("topic") and not message.market:
            self._sent_id = message.said["data"]["u"]
        self.delivered.append(message)
        self.delivered += [each for left, each in self._held if left <= 0]
        self._held = [(left - 1, each) for left, each in self._held if left > 0]

    def _brings(self, aside: Aside, message: dict[str, Any]) -> bool:
        """Deliver what comes aside of a message; whether the stream goes on."""
        said = aside.beside(message, lambda: self._snapshot().said or {})
        if said is not None:
            self._deliver(replace(self._written(said), epoch=aside.epoch, market=aside.market))
        return said is not None

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
        if not self.delivered:
            return [message]
        before = self._random.choice(self.delivered[-20:])
        return [message, replace(before, recv_ns=self._now_ns, is_again=True)]

    def repeat_in_part(self, message: Delivered) -> list[Delivered]:
        """Trades come again beside each other, or beside the new ones of the next message that has any."""
        sent = self._sent_trades()
        if not sent:
            return self.repeat(message)
        if message.topic == "publicTrade":
            return self._joined(message)
        self._is_part_due = True
        trades = [trade for each in self._random.choices(sent, k=2) for trade in (each.said or {})["data"]]
        self._random.shuffle(trades)
        part = {**(sent[-1].said or {}), "data": trades[: self._random.randrange(1, len(trades) + 1)]}
        return [self._written(part), message]

    def _joined(self, message: Delivered) -> list[Delivered]:
        """A message's trades come in one with others that came before, and in no other."""
        self._is_part_due = False
        said, sent = message.said or {}, self._sent_trades()
        before = [trade for each in self._random.choices(sent, k=2) for trade in (each.said or {})["data"]]
        trades = [*self._random.sample(before, self._random.randrange(1, len(before) + 1)), *said["data"]]
        self._random.shuffle(trades)
        self.joined += 1
        return [self._written({**said, "data": trades})]

    def _sent_trades(self) -> list[Delivered]:
        """The last messages with trades that could be read."""
        sent = [each for each in self.delivered[-300:] if each.topic == "publicTrade" and not each.is_unusable]
        return [each for each in sent if FINER.encode() not in each.body]

    def cut(self, message: Delivered) -> list[Delivered]:
        """Only the beginning comes, perhaps not even the topic."""
        if self._spares(message):
            return [message]
        body = message.body[: self._random.randrange(1, len(message.body))]
        assert message.said is not None
        is_named = f'"topic": "{message.said["topic"]}"'.encode() in body
        return [replace(message, body=body, said=message.said if is_named else None, is_unusable=True)]

    def damage(self, message: Delivered) -> list[Delivered]:
        """A number is none."""
        if self._spares(message):
            return [message]
        # An empty field of a ticker is one that has not changed.
        damage = [text for text in DAMAGE if text or message.topic != "tickers"]
        changed = self._with_number(message, lambda _text: self._random.choice(damage))
        return [replace(changed, is_unusable=True)] if changed.body != message.body else [message]

    def rescale(self, message: Delivered) -> list[Delivered]:
        """A number is finer than any before."""
        if self._spares(message):
            return [message]
        return [self._with_number(message, lambda old: (old if "." in old else f"{old}.") + FINER)]

    def _spares(self, message: Delivered) -> bool:
        return self._spares_trades and message.topic == "publicTrade"

    def _with_number(self, message: Delivered, change: Callable[[str], str]) -> Delivered:
        said = json.loads(message.body)
        found = [(holder, at) for holder, at in numbers_of(message.topic, said["data"]) if Decimal(holder[at]) > 0]
        if not found:
            return message
        holder, at = self._random.choice(found)
        holder[at] = change(holder[at])
        return replace(message, body=json.dumps(said).encode(), said=said)

    def reorder(self, message: Delivered) -> list[Delivered]:
        """It comes some messages later, with the stamp of its time, which others have passed."""
        self._held.append((self._random.randrange(1, HELD), message))
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
        last_id = self._last_book["data"]["u"]
        low = self._random.choice((2, 3, 50, self._random.randrange(100, 5_000)))
        self._number_from(low - last_id, least=HELD + 1)
        return [] if message.topic == "orderbook" else [message]

    def new_numbers(self, message: Delivered) -> list[Delivered]:
        """The ids go on from one far above."""
        self._epoch += 1
        self._number_from(self._shift + self._random.choice((2, 100, self._random.randrange(10**5, 10**6))), least=2)
        return [] if message.topic == "orderbook" else [message]

    def _number_from(self, shift: int, *, least: int) -> None:
        """Shift the update ids; those that go on from what was sent last, which nobody could tell, further up."""
        ahead = self._last_book["data"]["u"] + shift + 1 - self._sent_id
        self._shift = shift + 10 * HELD if -HELD <= ahead < least else shift

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
            depth = self._random.choice((50, 500, 1000))
            numbers = Numbers(self._drawn_id(), self.count)
            self._asides.append(Aside(self._random, numbers, depth, shift=self._shift_of_asides))
        return [message]

    def two_markets(self, message: Delivered) -> list[Delivered]:
        """For some messages the book of another market of the name comes beside it."""
        if not self._asides:
            self._markets += 1
            seq_shift = self._random.choice((-1, 0, 1)) * self._random.randrange(10**6, 10**9)
            numbers = Numbers(self._drawn_id(), self.count, self._markets, seq_shift)
            self._asides.append(Aside(self._random, numbers, shift=self._shift_of_asides))
        return [message]

    def _drawn_id(self) -> int:
        """Of a numbering of its own."""
        return self._random.randrange(10**7, 10**8)


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
        Mutator.two_markets,
    )
}
