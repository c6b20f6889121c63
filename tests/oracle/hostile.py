"""A market that misbehaves in every way a market has: seeded random messages on the edges of every rule."""

from __future__ import annotations

import random
from typing import Final

from ingestion.decoding.own import control_message, position_answer
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, floor_to
from market.events import GAP, START
from tests.oracle import writing
from tests.oracle.writing import SYMBOL

EDGES_NS: Final = (
    *(0, 0, 0, 1, MILLISECOND_NS, SECOND_NS - 1, SECOND_NS, SECOND_NS + 1),
    *(seconds * SECOND_NS + off for seconds in (3, 15, 60) for off in (-1, 0, 1)),
)
"""Random times never hit a window's edge, so the edges are drawn on purpose."""
KINDS: Final = {
    "delta": 30,
    "trades": 12,
    "ticker": 6,
    "kline": 6,
    "bar": 3,
    "deletion": 3,
    "snapshot": 3,
    "duplicate": 2,
    "gap": 2,
    "crossing": 1,
    "restart": 1,
    "gateway_position": 2,
    "position_update": 2,
    "position_answer": 2,
    "lost": 1,
}


class HostileMarket:
    """Messages as (recv_ns, body) from ``start_ns`` on, ended by ``write``."""

    def __init__(self, seed: int, start_ns: int) -> None:
        self.messages: list[tuple[int, bytes]] = []
        self._random = random.Random(seed)
        self._now_ns = start_ns
        self._earliest_ns = floor_to(start_ns, SECOND_NS)
        self._mid = 50_000
        self._update_id = 5
        self._snapshot()

    def write(self, duration_ns: int) -> list[tuple[int, bytes]]:
        """Messages of the time to come, and all before; a candle closes nearly every minute."""
        end_ns = self._now_ns + duration_ns
        minute_ns = floor_to(self._now_ns, MINUTE_NS) + MINUTE_NS
        kinds, weights = list(KINDS), list(KINDS.values())
        while self._now_ns < end_ns:
            patient = self._random.random() < 0.1
            self._now_ns += self._random.choice(EDGES_NS) if patient else self._random.randrange(2 * SECOND_NS)
            while minute_ns <= self._now_ns:
                if self._random.random() < 0.9:
                    self._candle(minute_ns - MINUTE_NS, confirm=True)
                minute_ns += MINUTE_NS
            getattr(self, f"_{self._random.choices(kinds, weights)[0]}")()
        return self.messages

    def _say(self, body: bytes) -> None:
        """Received a little before or after what was said last, its second never before the first message's."""
        late_ns = self._random.choice((0, 0, 0, 0, 1, 300 * MILLISECOND_NS, 2 * SECOND_NS))
        self.messages.append((max(self._now_ns - late_ns, self._earliest_ns), body))

    def _event_ns(self) -> int:
        """The exchange's clock, which may be ahead of ours."""
        return self._now_ns + self._random.choice((-20, 0, 1_500)) * MILLISECOND_NS

    def _levels(self, side: int, least: int, smallest: int) -> list[tuple[str, str]]:
        offsets = self._random.sample(range(1, 30), self._random.randint(least, 12))
        return [
            (f"{(self._mid + side * off) / 10:.1f}", f"{self._random.randint(smallest, 5_000) / 1000:.3f}")
            for off in offsets
        ]

    def _say_book(
        self, update_id: int, *, least: int, smallest: int, kind: str = "delta", is_whole: bool = True
    ) -> None:
        """Levels of both sides, or of one."""
        sides = [self._levels(-1, least, smallest), self._levels(1, least, smallest)]
        if not is_whole:
            sides[self._random.randrange(2)] = []
        self._say(writing.book(self._event_ns(), update_id, kind=kind, bids=sides[0], asks=sides[1]))

    def _snapshot(self) -> None:
        self._update_id = self._random.randint(2, 1_000)
        is_whole = self._random.random() < 0.9
        self._say_book(self._update_id, least=1, smallest=1, kind="snapshot", is_whole=is_whole)

    def _restart(self) -> None:
        self._update_id = 1
        self._say_book(1, least=1, smallest=1)

    def _delta(self) -> None:
        self._update_id += 1
        self._say_book(self._update_id, least=0, smallest=0)

    def _deletion(self) -> None:
        """Every level a side can have is deleted, whether it is there or not."""
        self._update_id += 1
        side = self._random.choice((-1, 1))
        gone = [(f"{(self._mid + side * off) / 10:.1f}", "0") for off in range(1, self._random.choice((2, 5, 30)))]
        bids, asks = (gone, []) if side < 0 else ([], gone)
        self._say(writing.book(self._event_ns(), self._update_id, bids=bids, asks=asks))

    def _duplicate(self) -> None:
        self._say_book(max(2, self._update_id - self._random.randint(0, 3)), least=1, smallest=0)

    def _gap(self) -> None:
        self._update_id += self._random.randint(2, 4)
        self._say_book(self._update_id, least=1, smallest=0)

    def _crossing(self) -> None:
        self._update_id += 1
        bid = f"{(self._mid + self._random.randint(1, 40)) / 10:.1f}"
        self._say(writing.book(self._event_ns(), self._update_id, bids=[(bid, "1")]))

    def _lost(self) -> None:
        """What the service itself writes when it knows that messages are missing."""
        field = self._random.choice((GAP, GAP, START))
        self._say(control_message(field, symbol=SYMBOL, event_ns=self._now_ns, reason="test"))

    def _trades(self) -> None:
        count = self._random.choice((1, 1, 2, 40))
        price = [f"{(self._mid + self._random.randint(-20, 20)) / 10:.1f}" for _ in range(count)]
        said = [
            (self._random.choice(("Buy", "Sell")), px, f"{self._random.randint(1, 9_999) / 1000:.3f}") for px in price
        ]
        self._say(writing.trades(self._event_ns(), *said))

    def _ticker(self) -> None:
        fields = {
            "fundingRate": self._random.choice(("0.0001", "-0.000375", "0")),
            "nextFundingTime": str((self._now_ns + self._random.choice((-1, 0, 1, 480)) * MINUTE_NS) // MILLISECOND_NS),
            "openInterest": self._random.choice(("0", "59891.732", "60100.5")),
            "markPrice": f"{self._mid / 10 + self._random.randint(-3, 3):.2f}",
            "indexPrice": f"{self._mid / 10:.2f}",
        }
        chosen = self._random.sample(list(fields), self._random.randint(0, len(fields)))
        self._say(writing.ticker(self._event_ns(), **{name: fields[name] for name in chosen}))

    def _kline(self) -> None:
        """The candle that closed last or one before again, or the present one unconfirmed."""
        back = self._random.choice((0, 0, 0, 1, 2, 3))
        self._candle(floor_to(self._now_ns, MINUTE_NS) - back * MINUTE_NS, confirm=back > 0)

    def _bar(self) -> None:
        """Of several intervals, the last or one before, confirmed before its end too."""
        minutes = self._random.choice((5, 5, 5, 15, 3))
        back = self._random.choice((0, 0, 1, 1, 2, 3))
        start_ns = floor_to(self._now_ns, minutes * MINUTE_NS) - back * minutes * MINUTE_NS
        self._candle(start_ns, confirm=back > 0 or self._random.random() < 0.5, minutes=minutes)

    def _candle(self, start_ns: int, *, confirm: bool, minutes: int = 1) -> None:
        low, opened, closed, high = (self._mid + step for step in sorted(self._random.randint(-9, 9) for _ in range(4)))
        if self._random.random() < 0.5:
            opened, closed = closed, opened
        texts = [f"{tick / 10:.1f}" for tick in (opened, high, low, closed)]
        volume = self._random.choice(("0", "1.576", f"{self._random.randint(1, 9_999) / 1000:.3f}"))
        self._say(writing.kline(self._event_ns(), start_ns, [*texts, volume], confirm=confirm, minutes=minutes))

    def _gateway_position(self) -> None:
        side, size = self._random.choice((("Buy", "1.25"), ("Sell", "0.333333333"), ("", "0"), ("Buy", None)))
        fields = {
            "avg_price": self._random.choice(("5001.1234567894", "4999", "", None)),
            "unrealised_pnl": self._random.choice(("-12.0000000005", "3.5", None)),
            "realised_pnl": self._random.choice(("-0.5", "", "7")),
        }
        if size is None:
            fields["realised_pnl"] = "-0.25"  # one number at least is stated
        self._say(writing.gateway_position(self._now_ns, side=side, size=size, **fields))

    def _position_update(self) -> None:
        size = self._random.choice(("2.5", "-0.75", "0"))
        pnl = self._random.choice((None, "1e-7", "-1.0000000015"))
        self._say(writing.position_update(self._now_ns, size=size, unrealized_pnl=pnl, realized_pnl="1.5"))

    def _position_answer(self) -> None:
        held = b'{"size": "-3", "average_entry_price": "5003.3", "unrealized_pnl": "1", "realized_pnl": null}'
        answer = self._random.choice((b"null", held))
        self._say(position_answer(SYMBOL, event_ns=self._now_ns, answer=answer))
