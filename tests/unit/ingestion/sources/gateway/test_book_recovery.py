"""Lost order books: who is asked, when an answer counts, and what is made of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import Decoder as JsonDecoder

from ingestion.sources.gateway.book_recovery import BookChange, BookRecovery, OrderBooks, is_joined, snapshot_message
from ingestion.venues.bybit.decode import Decoder
from ingestion.venues.bybit.rest import BookAnswer, BybitRest
from market.clock import SECOND_NS
from market.errors import StoreUnavailable
from market.events import ORDERBOOK, SNAPSHOT
from market.instruments import Instrument, pin_scale
from tests.bybit_rest import Book, OrderBookRest, book_after

B = 1_772_000_000 * SECOND_NS
SYMBOL = "BTCUSDT"
TOPIC = f"orderbook.200.{SYMBOL}"
DEADLINE_S = 20.0
LONG_S = 3600.0
CHANGE = JsonDecoder(BookChange)
ANSWER = JsonDecoder(BookAnswer)


def stream(count: int, *, seed: int = 1) -> list[Book]:
    """A snapshot and changes of a book of ten prices a side; ``u`` is +1 each, ``seq`` grows by more."""
    rng, seq, messages = Random(seed), 1000, []
    for at in range(count):
        seq += rng.randrange(1, 9)
        sides = {}
        for side, first in (("b", 100), ("a", 120)):
            prices = range(first, first + 10) if at == 0 else rng.sample(range(first, first + 10), 3)
            sides[side] = [[f"{price}.50", str(rng.randrange(0 if at else 1, 4))] for price in prices]
        kind = "delta" if at else "snapshot"
        messages.append({"s": SYMBOL, **sides, "u": 50 + at, "seq": seq, "topic": TOPIC, "type": kind})
    return messages


def envelope(message: Book) -> bytes:
    return json.dumps({"event_type": "orderbook", "topic": message["topic"], "payload": message}).encode()


def received_ns(update_id: int) -> int:
    return B + update_id


def levels_of(message: Book) -> dict[str, dict[str, str]]:
    return {side: dict(message[side]) for side in ("b", "a")}


class Recovering:
    """A recovery whose gateway brings nothing, with what it was asked and what was delivered."""

    def __init__(self, rest: OrderBooks | None, *, patience_s: float) -> None:
        self.asked: list[str] = []
        self.delivered: list[Book] = []
        self.stamps: list[int] = []
        self.recovery = BookRecovery(
            ask_gateway=self._ask, order_books=rest, deliver=self._deliver, patience_s=patience_s
        )

    def bring(self, message: Book) -> None:
        self.recovery.note(envelope(message), received_ns(message["u"]))

    async def _ask(self, symbol: str) -> None:
        self.asked.append(symbol)

    async def _deliver(self, body: bytes, recv_ns: int) -> None:
        self.stamps.append(recv_ns)
        self.delivered.append(json.loads(body))


@pytest.fixture
def books() -> dict[str, Book]:
    """What REST answers with by symbol."""
    return {}


@pytest.fixture
def rest(books: dict[str, Book]) -> Iterator[OrderBookRest]:
    opened = OrderBookRest(lambda symbol: books[symbol])
    yield opened
    opened.close()


@asynccontextmanager
async def recovering(rest: OrderBookRest | None, *, patience_s: float = 0.0) -> AsyncIterator[Recovering]:
    client = None if rest is None else BybitRest(rest.url)
    try:
        yield Recovering(client, patience_s=patience_s)
    finally:
        if client is not None:
            await client.close()


async def asked(rest: OrderBookRest, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while len(rest.asked) < count:  # noqa: ASYNC110  # another thread answers
            await asyncio.sleep(0.001)


def test_an_answer_joined_to_its_changes_is_the_snapshot_that_was_missing(
    rest: OrderBookRest, books: dict[str, Book]
) -> None:
    messages = stream(12)
    books[SYMBOL] = book_after(messages[:8])

    async def body() -> None:
        async with recovering(rest) as found:
            running = asyncio.create_task(found.recovery.recover(SYMBOL))
            await asyncio.sleep(0)
            found.bring(messages[6])
            await asked(rest, 1)
            # The answer is ahead of the stream: it waits for the changes to come as far.
            found.bring(messages[7])
            found.bring(messages[8])
            await asyncio.wait_for(running, DEADLINE_S)
            assert found.asked == [SYMBOL]
            [snapshot] = found.delivered
            assert not found.recovery.is_watching
            assert found.recovery.delivered == 1
            assert found.stamps == [received_ns(snapshot["data"]["u"])]
        # The newest change that had come by then may be either.
        at = snapshot["data"]["u"] - 50
        assert at in (7, 8)
        assert (snapshot["topic"], snapshot["type"], snapshot["origin"]) == (TOPIC, "snapshot", "rest")
        assert snapshot["origin_seq"] == messages[7]["seq"]
        assert snapshot["data"]["seq"] == messages[at]["seq"]
        assert levels_of(snapshot["data"]) == levels_of(book_after(messages[: at + 1]))

    asyncio.run(body())
    assert rest.asked == [{"category": "linear", "symbol": SYMBOL, "limit": "200"}]


def test_an_answer_older_than_the_changes_is_asked_for_again(rest: OrderBookRest, books: dict[str, Book]) -> None:
    messages = stream(12)
    books[SYMBOL] = book_after(messages[:4])

    async def body() -> None:
        async with recovering(rest) as found:
            running = asyncio.create_task(found.recovery.recover(SYMBOL))
            await asyncio.sleep(0)
            found.bring(messages[5])
            await asked(rest, 1)
            books[SYMBOL] = book_after(messages[:6])
            await asyncio.wait_for(running, DEADLINE_S)
            [snapshot] = found.delivered
        assert levels_of(snapshot["data"]) == levels_of(book_after(messages[:6]))

    asyncio.run(body())
    assert len(rest.asked) >= 2


def test_changes_with_a_hole_count_only_behind_it(rest: OrderBookRest, books: dict[str, Book]) -> None:
    messages = stream(12)
    books[SYMBOL] = book_after(messages[:5])

    async def body() -> None:
        async with recovering(rest) as found:
            running = asyncio.create_task(found.recovery.recover(SYMBOL))
            await asyncio.sleep(0)
            for message in (messages[3], messages[4], messages[6]):
                found.bring(message)
            await asked(rest, 1)
            assert found.delivered == []
            books[SYMBOL] = book_after(messages[:7])
            await asyncio.wait_for(running, DEADLINE_S)
            [snapshot] = found.delivered
        assert levels_of(snapshot["data"]) == levels_of(book_after(messages[:7]))

    asyncio.run(body())


@pytest.mark.parametrize("number", [None, 1])
def test_a_snapshot_of_the_gateway_or_a_restart_ends_the_recovery(number: int | None) -> None:
    message = stream(1)[0]
    if number is not None:
        message |= {"u": number, "type": "delta"}

    async def body() -> None:
        async with recovering(None, patience_s=LONG_S) as found:
            running = asyncio.create_task(found.recovery.recover(SYMBOL))
            await asyncio.sleep(0)
            await found.recovery.recover(SYMBOL)  # one at a time
            found.bring({**message, "topic": "orderbook.200.ETHUSDT"})
            found.recovery.note(b"no envelope", B)
            await asyncio.sleep(0)
            assert found.recovery.is_watching
            found.bring(message)
            await asyncio.wait_for(running, DEADLINE_S)
            assert (found.asked, found.delivered) == ([SYMBOL], [])
            assert not found.recovery.is_watching

    asyncio.run(body())


@pytest.mark.parametrize(
    ("status", "content"),
    [(500, b""), (200, b'{"retCode": 10006, "retMsg": "Too many visits!", "result": {}}'), (200, b"no json")],
)
def test_an_exchange_that_gives_none_leaves_it_to_the_next_call(
    rest: OrderBookRest, status: int, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    rest.failures = [(status, content)] * 2

    async def body() -> None:
        async with recovering(rest) as found:
            for _ in range(2):
                running = asyncio.create_task(found.recovery.recover(SYMBOL))
                await asyncio.sleep(0)
                found.bring(stream(3)[2])
                await asyncio.wait_for(running, DEADLINE_S)
            assert found.delivered == []
            assert not found.recovery.is_watching

    asyncio.run(body())
    # Once, however often it is asked again.
    assert caplog.text.count(f"order book of {SYMBOL}: the exchange returned none") == 1


def test_an_exchange_that_is_away_is_store_unavailable() -> None:
    async def body() -> None:
        away = BybitRest("http://127.0.0.1:9")
        with pytest.raises(StoreUnavailable, match="no answer"):
            await away.order_book(SYMBOL, 200)
        await away.close()

    asyncio.run(body())


@given(st.integers(0, 10_000), st.integers(2, 20), st.data())
def test_wherever_the_answer_falls_the_snapshot_is_the_book_at_the_newest_change(
    seed: int, count: int, data: st.DataObject
) -> None:
    messages = stream(count, seed=seed)
    first = data.draw(st.integers(1, count - 1))
    newest = data.draw(st.integers(first, count - 1))
    at = data.draw(st.integers(0, count - 1))
    answer = ANSWER.decode(json.dumps(book_after(messages[: at + 1])))
    changes = [CHANGE.decode(json.dumps(message)) for message in messages[first : newest + 1]]
    assert is_joined(answer, changes) == (first <= at <= newest)
    if not is_joined(answer, changes):
        return
    body = snapshot_message(TOPIC, answer, changes)
    made = json.loads(body)
    assert levels_of(made["data"]) == levels_of(book_after(messages[: newest + 1]))
    decoded = Decoder(Pinned()).decode(body)
    assert decoded is not None
    assert (decoded.kind, decoded.symbol) == (ORDERBOOK, SYMBOL)
    assert decoded.records["flags"][0] & SNAPSHOT
    assert int(decoded.records["update_id"][0]) == messages[newest]["u"]


class Pinned:
    """One symbol, pinned by its first price."""

    def __init__(self) -> None:
        self._instruments: dict[str, Instrument] = {}

    def get(self, symbol: str) -> Instrument | None:
        return self._instruments.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        return self._instruments.setdefault(symbol, pin_scale(symbol, price_text))


def test_prices_are_the_same_however_they_are_written() -> None:
    answer = ANSWER.decode(json.dumps(book_after(stream(1))))
    change = {"s": SYMBOL, "b": [["100.5", "0"]], "a": []}
    numbers = ({"u": 7, "seq": answer.seq}, {"u": 8, "seq": answer.seq + 1})
    changes = [CHANGE.decode(json.dumps(change | each)) for each in numbers]
    made: dict[str, Any] = json.loads(snapshot_message(TOPIC, answer, changes))
    assert "100.50" in dict(answer.b)
    assert not {"100.50", "100.5"} & dict(made["data"]["b"]).keys()
