"""A calm market, and what may happen to it: one stream for each rule that a market can break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ingestion.decoding.own import position_answer
from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from tests.oracle import writing
from tests.oracle.writing import SYMBOL

Messages = list[tuple[int, bytes]]
MIDNIGHT_NS: Final = 1_733_011_200 * SECOND_NS
START_NS: Final = MIDNIGHT_NS - 70 * SECOND_NS + 1
"""A calm minute before midnight and some seconds of the day before: every stream crosses a day and a minute."""
CALM_S: Final = 130
BEST_TICK: Final = 500_000


def price(tick: int) -> str:
    return f"{tick / 100:.2f}"


def side(best_tick: int, step: int, *, levels: int = 12) -> list[tuple[str, str]]:
    return [(price(best_tick + step * (i * i + i) // 2), f"{1 + i * 0.25:.3f}") for i in range(levels)]


class CalmMarket:
    """A second after another of book, trades, ticker and candles; an incident may change what comes."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.now_ns = start_ns
        self.messages: Messages = []
        self.update_id = 10
        self.tick = BEST_TICK
        self.is_moving = True
        self.snapshot()

    def say(self, body: bytes) -> None:
        self.messages.append((self.now_ns, body))

    def snapshot(self) -> None:
        levels = {"bids": side(self.tick - 1, -1), "asks": side(self.tick, 1)}
        self.say(writing.book(self.now_ns, self.update_id, kind="snapshot", **levels))

    def delta(self, *, bids: writing.Texts = (), asks: writing.Texts = ()) -> None:
        self.update_id += 1
        self.say(writing.book(self.now_ns, self.update_id, bids=bids, asks=asks))

    def pass_time(self, seconds: int) -> None:
        """Calm seconds: the best bid's quantity breathes, the touch steps every seventh second, and a trade."""
        for _ in range(seconds):
            self.now_ns += SECOND_NS
            second = self.now_ns // SECOND_NS
            self.delta(bids=[(price(self.tick - 1), f"{1 + second % 5 * 0.5:.3f}")])
            if self.is_moving and second % 7 == 0:
                step = 1 if second % 14 else -1
                gone = (price(self.tick if step > 0 else self.tick - 1), "0")
                self.tick += step
                quotes = ([(price(self.tick - 1), "2")], [(price(self.tick), "3.5")])
                self.delta(
                    bids=[*([gone] if step < 0 else []), *quotes[0]], asks=[*([gone] if step > 0 else []), *quotes[1]]
                )
            taker = "Buy" if second % 3 else "Sell"
            self.say(writing.trades(self.now_ns, (taker, price(self.tick), f"{1 + second % 4}.125")))
            if second % 5 == 0:
                self.ticker(str(59_000 + second % 11))
            if second % 60 == 0:
                self.candle(self.now_ns // MINUTE_NS * MINUTE_NS - MINUTE_NS)

    def ticker(self, open_interest: str) -> None:
        mark, index = price(self.tick + 3), price(self.tick - 2)
        due = str((self.now_ns // DAY_NS + 1) * DAY_NS // MILLISECOND_NS)
        fields = {"markPrice": mark, "indexPrice": index, "nextFundingTime": due, "fundingRate": "-0.0001"}
        self.say(writing.ticker(self.now_ns, openInterest=open_interest, **fields))

    def candle(
        self, start_ns: int, *, volume: str = "12.5", confirm: bool = True, close: int = 0, minutes: int = 1
    ) -> None:
        minute = start_ns // MINUTE_NS
        opened, closed = self.tick + minute % 3, self.tick + minute % 5 - 2 + close
        ticks = (opened, max(opened, closed) + minute % 4, min(opened, closed) - minute % 2, closed)
        self.say(writing.kline(self.now_ns, start_ns, [*map(price, ticks), volume], confirm=confirm, minutes=minutes))


def gap(market: CalmMarket) -> None:
    market.update_id += 1
    market.pass_time(20)
    market.snapshot()


def gap_after_a_long_silence(market: CalmMarket) -> None:
    """Longer than the 512 seconds that anything kept by the second could remember."""
    market.now_ns += 520 * SECOND_NS
    market.update_id += 1
    market.pass_time(30)
    market.snapshot()


def duplicate(market: CalmMarket) -> None:
    market.update_id -= 1
    market.delta(bids=[(price(market.tick - 1), "99")])
    market.say(writing.book(market.now_ns, market.update_id - 5, asks=[(price(market.tick), "99")]))


def exchange_restart(market: CalmMarket) -> None:
    market.update_id = 0
    market.delta(bids=side(market.tick - 1, -1, levels=4), asks=side(market.tick, 1, levels=2))


def exchange_restart_after_a_gap(market: CalmMarket) -> None:
    market.update_id += 3
    market.pass_time(3)
    exchange_restart(market)


def crossed_book(market: CalmMarket) -> None:
    market.delta(bids=[(price(market.tick + 1), "1")])
    market.pass_time(10)
    market.snapshot()


def locked_book(market: CalmMarket) -> None:
    market.delta(bids=[(price(market.tick), "1")])
    market.pass_time(2)
    market.snapshot()


def one_sided_book(market: CalmMarket) -> None:
    market.update_id += 1
    market.say(writing.book(market.now_ns, market.update_id, kind="snapshot", bids=side(market.tick - 1, -1)))
    market.now_ns += 3 * SECOND_NS
    market.delta(asks=side(market.tick, 1, levels=2))


def mended_within_a_second(market: CalmMarket) -> None:
    market.now_ns += SECOND_NS
    market.say(writing.book(market.now_ns, market.update_id + 9, bids=side(market.tick - 1, -1)))
    market.now_ns += 1
    market.snapshot()


def snapshot_of_a_valid_book(market: CalmMarket) -> None:
    market.tick += 4
    market.update_id += 400
    market.snapshot()


def zero_volume_candles(market: CalmMarket) -> None:
    for back in (3, 2, 1):
        market.candle(market.now_ns // MINUTE_NS * MINUTE_NS - back * MINUTE_NS, volume="0")


def constant_price(market: CalmMarket) -> None:
    market.is_moving = False
    market.pass_time(310)


def silent_minute(market: CalmMarket) -> None:
    market.now_ns += 61 * SECOND_NS


def burst_with_one_clock(market: CalmMarket) -> None:
    now_ns = market.now_ns
    market.pass_time(40)
    market.messages = [(min(recv_ns, now_ns), body) for recv_ns, body in market.messages]
    market.now_ns = now_ns


def burst_on_the_boundary(market: CalmMarket) -> None:
    """Two messages in the last and the first nanosecond of a second, which arrive in the other order."""
    boundary_ns = (market.now_ns // SECOND_NS + 1) * SECOND_NS
    later = writing.trades(boundary_ns, ("Buy", price(market.tick), "7"))
    earlier = writing.trades(boundary_ns, ("Sell", price(market.tick), "5"))
    market.messages += [(boundary_ns, later), (boundary_ns - 1, earlier)]


def clock_behind_the_exchange(market: CalmMarket) -> None:
    for _ in range(5):
        market.now_ns += SECOND_NS
        body = writing.trades(market.now_ns + 1_500 * MILLISECOND_NS, ("Sell", price(market.tick), "2"))
        market.say(body)


def kline_hole(market: CalmMarket) -> None:
    """A minute is missing, and a candle of long ago comes again whose minute has the same place in a ring of 2048."""
    market.now_ns += 400 * SECOND_NS
    market.messages = [(at, body) for at, body in market.messages if b"kline" not in body]
    for back in (4 + 2048, 6, 5, 3, 2, 1):
        market.candle(market.now_ns // MINUTE_NS * MINUTE_NS - back * MINUTE_NS)


def unconfirmed_and_sent_again(market: CalmMarket) -> None:
    minute_ns = market.now_ns // MINUTE_NS * MINUTE_NS
    market.candle(minute_ns, confirm=False, volume="999")
    market.candle(minute_ns - MINUTE_NS, close=3, volume="1")
    market.candle(minute_ns - 2 * MINUTE_NS, close=-3, volume="4")


def last_moment_of_candles(market: CalmMarket) -> None:
    """Candles on whole minutes, then none: the last row that may see them is two minutes after the newest."""
    market.messages = [(at, body) for at, body in market.messages if b"kline" not in body]
    for _ in range(3):
        market.now_ns = (market.now_ns // MINUTE_NS + 1) * MINUTE_NS
        market.candle(market.now_ns - MINUTE_NS)
    newest_ns = market.now_ns
    for _ in range(125):
        market.now_ns += SECOND_NS
        market.ticker("59000")
    # One sent again makes the last row look at all of them once more, each as old as it may be.
    market.candle(newest_ns - 2 * MINUTE_NS)
    again_ns, body = market.messages.pop()
    market.messages.append((newest_ns + 2 * MINUTE_NS - 1, body))
    market.now_ns = again_ns + 1
    market.snapshot()


def candle_with_a_start_far_ahead(market: CalmMarket) -> None:
    market.candle(market.now_ns // MINUTE_NS * MINUTE_NS + 400 * DAY_NS)
    market.pass_time(190)


def positions(market: CalmMarket) -> None:
    """Long by the gateway, short by the manager, fields that are null, an answer, and nothing held in three ways."""
    entry = {"avg_price": "4999.1234567895", "unrealised_pnl": "-3.0000000015", "realised_pnl": "1"}
    market.say(writing.gateway_position(market.now_ns, side="Buy", size="0.75", **entry))
    market.pass_time(2)
    market.say(writing.gateway_position(market.now_ns, side="Sell", size="2", avg_price=None, unrealised_pnl=""))
    market.pass_time(2)
    market.say(writing.position_update(market.now_ns, size="0", unrealized_pnl="0", realized_pnl="2"))
    market.pass_time(2)
    market.say(writing.gateway_position(market.now_ns, side="", size="0", avg_price="0"))
    market.pass_time(2)
    market.say(writing.position_update(market.now_ns, size="-0.5", unrealized_pnl="7E-9", realized_pnl=None))
    market.pass_time(2)
    held = b'{"size": "-0.5", "average_entry_price": "5003.25", "unrealized_pnl": null, "mode": "one-way"}'
    market.say(position_answer(SYMBOL, event_ns=market.now_ns, answer=held))
    market.pass_time(2)
    market.update_id += 1  # the price becomes unknown while something is held
    market.pass_time(2)
    market.say(position_answer(SYMBOL, event_ns=market.now_ns, answer=b"null"))
    market.pass_time(2)
    market.snapshot()


INCIDENTS: Final[dict[str, Callable[[CalmMarket], None]]] = {
    incident.__name__: incident
    for incident in (
        gap,
        gap_after_a_long_silence,
        duplicate,
        exchange_restart,
        exchange_restart_after_a_gap,
        crossed_book,
        locked_book,
        one_sided_book,
        mended_within_a_second,
        snapshot_of_a_valid_book,
        zero_volume_candles,
        constant_price,
        silent_minute,
        burst_with_one_clock,
        burst_on_the_boundary,
        clock_behind_the_exchange,
        kline_hole,
        unconfirmed_and_sent_again,
        last_moment_of_candles,
        candle_with_a_start_far_ahead,
        positions,
    )
}


def stream_with(incident: Callable[[CalmMarket], None]) -> Messages:
    """The incident between calm minutes."""
    market = CalmMarket()
    market.pass_time(CALM_S)
    incident(market)
    market.pass_time(70)
    return market.messages


def a_day() -> Messages:
    """More than a day of candles with little else, then six calm minutes and a position: every feature has a value."""
    market = CalmMarket(MIDNIGHT_NS - DAY_NS - 5 * MINUTE_NS)
    while market.now_ns < MIDNIGHT_NS:
        market.now_ns += MINUTE_NS
        volume = f"{1 + market.now_ns // MINUTE_NS % 17}.5"
        market.candle(market.now_ns - MINUTE_NS, volume=volume)
        for minutes in (3, 5, 15, 60):
            if market.now_ns % (minutes * MINUTE_NS) == 0:
                market.candle(market.now_ns - minutes * MINUTE_NS, volume=volume, minutes=minutes)
        if market.now_ns // MINUTE_NS % 13 == 0:
            market.say(writing.trades(market.now_ns, ("Buy", price(market.tick), "0.125")))
    market.say(writing.gateway_position(market.now_ns, side="Buy", size="0.75", avg_price="4999.5", unrealised_pnl="1"))
    market.pass_time(360)
    return market.messages
