"""Lost order books behind the gateway, brought back: by its snapshot, or by the exchange's REST interface.

1. The gateway is asked first. While nothing comes, the symbol's changes from the queue are kept aside.
2. After ``PATIENCE_S`` the exchange is asked. Its answer counts once the changes reach it: the oldest kept is no newer
   than the answer, and the newest no older, both by ``seq``, which compares across depths. ``u`` does not.
3. The answer with the changes above its ``seq`` is one snapshot, numbered by the newest change's ``u``, received with
   it: it shows no later moment. It is delivered after that change, so that the next one continues from it, and so it
   is on the tape: a rebuild sees the same.
4. A snapshot from the gateway, or a restart of the exchange, ends the recovery at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.wire import UNDECODABLE, Level, UpdateId
from ingestion.venues.bybit.rest import BookAnswer
from ingestion.venues.bybit.sequence import replaces_book
from ingestion.venues.bybit.topics import depth_of
from ingestion.venues.bybit.wire import Book
from market.errors import StoreUnavailable

PATIENCE_S: Final = 0.15
"""How long the gateway may take before the exchange is asked."""
REACHED_S: Final = 2.0
"""How long the changes may take to reach an answer."""
ANSWERS: Final = 4
"""Answers that may be older than the changes kept, before the worker has to ask again."""
ANSWER_PAUSE_S: Final = 0.1
MOST_CHANGES: Final = 1000

_log = logging.getLogger(__name__)


class OrderBooks(Protocol):
    """Who knows the order book of a symbol now."""

    async def order_book(self, symbol: str, depth: int) -> BookAnswer: ...


class BookChange(Book, kw_only=True, frozen=True, gc=False):
    """A message of the order book with the number that compares across depths."""

    seq: UpdateId


class _Envelope(Struct, kw_only=True, frozen=True, gc=False):
    topic: str
    payload: BookChange


_ENVELOPE: Final = JsonDecoder(_Envelope)


@dataclass(slots=True)
class _Lost:
    """One lost order book. recv_ns: of the newest change. has_changed: a change came since it was cleared."""

    topic: str = ""
    changes: deque[BookChange] = field(default_factory=lambda: deque(maxlen=MOST_CHANGES))
    recv_ns: int = 0
    has_changed: asyncio.Event = field(default_factory=asyncio.Event)
    is_back: asyncio.Event = field(default_factory=asyncio.Event)


class BookRecovery:
    """The lost order books of a gateway; used on one event loop.

    ask_gateway: asks it for a snapshot. order_books: asked after that; None where only the gateway is. deliver: takes
    the snapshot that was made, and when it counts as received.
    """

    def __init__(
        self,
        *,
        ask_gateway: Callable[[str], Awaitable[None]],
        order_books: OrderBooks | None,
        deliver: Callable[[bytes, int], Awaitable[None]],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.delivered = 0
        """Snapshots made of the exchange's answers."""
        self._ask_gateway = ask_gateway
        self._order_books = order_books
        self._deliver = deliver
        self._patience_s = patience_s
        self._lost: dict[str, _Lost] = {}
        self._told: set[str] = set()
        """Why the exchange brought none, until a book is back: one reason is often that of hundreds of symbols."""

    @property
    def is_watching(self) -> bool:
        """Whether order book messages must be noted."""
        return len(self._lost) > 0

    def note(self, body: bytes, recv_ns: int) -> None:
        """An order book message of any symbol, which is delivered right after."""
        try:
            envelope = _ENVELOPE.decode(body)
        except UNDECODABLE:
            return
        change = envelope.payload
        lost = self._lost.get(envelope.topic.rpartition(".")[2])
        if lost is None:
            return
        if replaces_book(change.type, change.u):
            self._told.clear()
            lost.is_back.set()
            return
        if lost.changes and change.u != lost.changes[-1].u + 1:
            lost.changes.clear()  # what is between is missing
        lost.topic, lost.recv_ns = envelope.topic, recv_ns
        lost.changes.append(change)
        lost.has_changed.set()

    async def recover(self, symbol: str) -> None:
        """Recover the book, or leave it to the next call if that fails; one call per symbol at a time."""
        if symbol in self._lost:
            return
        lost = self._lost[symbol] = _Lost()
        try:
            asking = asyncio.ensure_future(self._ask_gateway(symbol))
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(lost.is_back.wait(), self._patience_s)
                if not lost.is_back.is_set():
                    await self._bring(symbol, lost)
                await asking
            finally:
                asking.cancel()
        finally:
            del self._lost[symbol]

    async def _bring(self, symbol: str, lost: _Lost) -> None:
        if self._order_books is None:
            return
        bringing = asyncio.ensure_future(self._ask_exchange(symbol, lost, self._order_books))
        coming = asyncio.ensure_future(lost.is_back.wait())
        try:
            await asyncio.wait([bringing, coming], return_when=asyncio.FIRST_COMPLETED)
            if bringing.done():
                bringing.result()
        except StoreUnavailable as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                _log.warning("order book of %s: the exchange returned none: %s", symbol, error)
        finally:
            bringing.cancel()
            coming.cancel()

    async def _ask_exchange(self, symbol: str, lost: _Lost, order_books: OrderBooks) -> None:
        # Without a change no answer could be joined to what comes next.
        await self._reach(lost, lambda: len(lost.changes) > 0)
        for _ in range(ANSWERS):
            answer = await order_books.order_book(symbol, depth_of(lost.topic))
            if lost.changes and answer.seq >= lost.changes[0].seq:
                await self._join(symbol, lost, answer)
                return
            await asyncio.sleep(ANSWER_PAUSE_S)
        raise StoreUnavailable(f"its answer must be as new as the changes, was older {ANSWERS} times")

    async def _join(self, symbol: str, lost: _Lost, answer: BookAnswer) -> None:
        """Deliver the answer's snapshot once the changes have come as far."""
        await self._reach(lost, lambda: is_joined(answer, lost.changes))
        body = snapshot_message(lost.topic, answer, lost.changes)
        self.delivered += 1
        self._told.clear()
        _log.warning("order book of %s: taken from the exchange's answer at seq %d", symbol, answer.seq)
        await self._deliver(body, lost.recv_ns)

    async def _reach(self, lost: _Lost, is_so: Callable[[], bool]) -> None:
        """Wait until changes have made it so. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(REACHED_S):
                while not is_so():
                    lost.has_changed.clear()
                    await lost.has_changed.wait()
        except TimeoutError as error:
            raise StoreUnavailable(f"changes to join it to must come within {REACHED_S:g} s, did not") from error


def is_joined(answer: BookAnswer, changes: Sequence[BookChange]) -> bool:
    """Whether consecutive changes begin no later than an answer and go as far."""
    return len(changes) > 0 and changes[0].seq <= answer.seq <= changes[-1].seq


def snapshot_message(topic: str, answer: BookAnswer, changes: Sequence[BookChange]) -> bytes:
    """An answer and the changes after it as one snapshot of the topic, which stands where the newest change does.

    It has the exchange's form, plus ``origin`` and the response's ``seq``.
    """
    later = [change for change in changes if change.seq > answer.seq]
    newest = changes[-1]
    levels = {
        "s": answer.s,
        "b": _changed(answer.b, (change.b for change in later)),
        "a": _changed(answer.a, (change.a for change in later)),
        "u": newest.u,
        "seq": newest.seq,
    }
    return msgspec.json.encode(
        {
            "topic": topic,
            "type": "snapshot",
            "ts": answer.ts,
            "data": levels,
            "origin": "rest",
            "origin_seq": answer.seq,
        }
    )


def _changed(levels: Iterable[Level], changes: Iterable[Iterable[Level]]) -> list[Level]:
    """Levels after the changes; their order says nothing, and a text that is no number is left to the decoder."""
    by_price = {_number(price): (price, size) for price, size in levels}
    for change in changes:
        by_price.update({_number(price): (price, size) for price, size in change})
    return [level for level in by_price.values() if _number(level[1]) != 0]


def _number(text: str) -> Decimal | str:
    """What is the same for "1.50" and "1.5"."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return text
