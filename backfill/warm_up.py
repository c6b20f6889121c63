"""Warm-up: the candles before a worker's start, fetched and delivered as if the exchange's stream had brought them now.

1. The source continues unchanged. Next to it the newest candles of each symbol are requested, as many as the longest
   feature sees, and delivered with the time at which they came: no row before knows them.
2. The mark that follows says since when the candles are all there, so that nothing waits for more. It states where they
   come from, and it is on the tape like the candles: a replay sees what the worker saw.
3. A while later those of the last minutes are asked for again: the first candles after the start may have closed before
   the stream was subscribed to.
4. Whatever says that candles may have been missed is answered in the same way. A question without an answer is put
   again AGAIN_S later, MOST_ATTEMPTS times. While the exchange is away that is a line of the log a minute.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from backfill.bybit.messages import AVAILABILITY_NS, MINUTE_MS, candles_message
from backfill.bybit.rest import BybitHistory, Row
from ingestion.decoding.own import OWN, history_message
from ingestion.source import Deliver, Delivery, Source
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, Clock, floor_to
from market.errors import FeatureServiceError, InvalidRequest

STREAM: Final = "history"
AGAIN_S: Final = 90.0
"""More than a minute, so that one candle at least has come or not."""
MOST_ATTEMPTS: Final = 10
CANDLES_A_MESSAGE: Final = 200
"""No longer than what an exchange sends, and a few milliseconds of computing."""
LAST_MINUTES: Final = 5
TOLD_EACH_S: Final = 60.0
NAMED: Final = 3
"""So many symbols of a line of the log are named, the others counted."""
_START: Final = f'{{"topic":"{OWN}start.'.encode()

_log = logging.getLogger(__name__)


class GivenUpError(Exception):
    """The worker is stopping: candles are no longer awaited."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked for: the newest ``count`` candles. is_whole: whether nothing before them is needed."""

    symbol: str
    count: int
    is_whole: bool = True
    attempt: int = 1


class WarmedSource:
    """A source and the candles before it; see ``ingestion.source.Source``.

    symbols: whose candles are asked for. candles: how many in a row a feature sees at most. open_rest: the exchange's
    history, given how its client waits. again_s, told_each_s: as AGAIN_S and TOLD_EACH_S.
    """

    def __init__(  # noqa: PLR0913  # the source, what is asked for, and how often
        self,
        source: Source,
        symbols: Sequence[str],
        *,
        candles: int,
        open_rest: Callable[[Callable[[float], None]], BybitHistory],
        clock: Clock,
        again_s: float = AGAIN_S,
        told_each_s: float = TOLD_EACH_S,
    ) -> None:
        self._source = source
        self._symbols = tuple(symbols)
        # One more for the newest to arrive, and one for the minute that passes meanwhile.
        self._count = candles + 2
        self._is_closing = threading.Event()
        self._rest = open_rest(self._sleep)
        self._clock = clock
        self._again_s = again_s
        self._told_each_s = told_each_s
        self._unanswered: dict[str, list[str]] = {}
        """Symbols by what becomes of their questions, since the last line."""
        self._error: FeatureServiceError | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._questions: asyncio.Queue[_Question] = asyncio.Queue()

    @property
    def streams(self) -> tuple[str, ...]:
        """The source's own: no row waits for candles that are asked for."""
        return self._source.streams

    def is_behind(self, stream: str) -> bool:
        return self._source.is_behind(stream)

    def is_whole(self, symbol: str) -> bool:
        return self._source.is_whole(symbol)

    async def request_snapshot(self, symbol: str) -> None:
        await self._source.request_snapshot(symbol)

    async def run(self, deliver: Deliver) -> None:
        for symbol in self._symbols:
            self._questions.put_nowait(_Question(symbol, self._count))

        async def pass_on(delivery: Delivery) -> None:
            await deliver(delivery)
            if delivery.body.startswith(_START):
                self._note_start(delivery.body)

        async with asyncio.TaskGroup() as together:
            asking = together.create_task(self._ask(deliver), name=STREAM)
            try:
                await self._source.run(pass_on)
            finally:
                asking.cancel()
                self._tell_unanswered()

    async def close(self) -> None:
        self._is_closing.set()
        self._rest.close()
        await self._source.close()

    async def _ask(self, deliver: Deliver) -> None:
        while True:
            question = await self._questions.get()
            if (early_ns := self._clock.now_ns() % MINUTE_NS) < AVAILABILITY_NS["klines"]:
                # The newest candle is being closed: it would be missing here and may be missed there.
                await asyncio.sleep((AVAILABILITY_NS["klines"] - early_ns) / SECOND_NS)
            try:
                rows = await self._in_thread(partial(self._fetch, question))
            except InvalidRequest as error:
                _log.warning("%s: its candles are not requested again: %s", question.symbol, error)
                continue
            except FeatureServiceError as error:
                self._put_again(question, error)
                continue
            await self._tell(question, rows, deliver)

    async def _tell(self, question: _Question, rows: Sequence[Row], deliver: Deliver) -> None:
        symbol, recv_ns = question.symbol, self._clock.now_ns()
        for first in range(0, len(rows), CANDLES_A_MESSAGE):
            body = candles_message(symbol, rows[first : first + CANDLES_A_MESSAGE], at_ms=recv_ns // MILLISECOND_NS)
            await deliver(Delivery(STREAM, recv_ns, body))
        if not rows or not question.is_whole:
            return
        since_ns = int(rows[0][0]) * MILLISECOND_NS
        reason = f"{len(rows)} candles of {self._rest.url} kline"
        mark = history_message(symbol, event_ns=recv_ns, since_ns=since_ns, reason=reason)
        await deliver(Delivery(STREAM, recv_ns, mark))
        _log.info("%s: %s", symbol, reason)
        self._put_later(_Question(symbol, LAST_MINUTES, is_whole=False))

    def _fetch(self, question: _Question) -> list[Row]:
        end_ms = floor_to(self._clock.now_ns(), MINUTE_NS) // MILLISECOND_NS
        return self._rest.klines(question.symbol, end_ms - question.count * MINUTE_MS, end_ms)

    def _note_start(self, body: bytes) -> None:
        """Ask again for what a mark says was missed, unless it was not candles."""
        symbol = body[len(_START) :].partition(b'"')[0].decode()
        if symbol in self._symbols and (b'"kind":' not in body or b'"kind":"kline"' in body):
            self._questions.put_nowait(_Question(symbol, self._count))

    def _put_again(self, question: _Question, error: FeatureServiceError) -> None:
        is_last = question.attempt == MOST_ATTEMPTS
        then = "not requested again" if is_last else f"requested again in {self._again_s:g} s"
        self._unanswered.setdefault(then, []).append(question.symbol)
        self._error = error
        if self._telling is None:
            self._tell_unanswered()
            self._telling = asyncio.get_running_loop().call_later(self._told_each_s, self._tell_again)
        if not is_last:
            self._put_later(replace(question, attempt=question.attempt + 1))

    def _tell_again(self) -> None:
        """What came in the last minute; the first one after a minute without any is told at once."""
        self._telling = None
        if self._unanswered:
            self._tell_unanswered()
            self._telling = asyncio.get_running_loop().call_later(self._told_each_s, self._tell_again)

    def _tell_unanswered(self) -> None:
        for then, symbols in self._unanswered.items():
            others = f" and {len(symbols) - NAMED} more" if len(symbols) > NAMED else ""
            _log.warning("candles of %s%s are %s: %s", ", ".join(symbols[:NAMED]), others, then, self._error)
        self._unanswered.clear()

    def _put_later(self, question: _Question) -> None:
        asyncio.get_running_loop().call_later(self._again_s, self._questions.put_nowait, question)

    async def _in_thread(self, fetch: Callable[[], list[Row]]) -> list[Row]:
        """In a thread that is not joined: an exchange that does not respond must not keep the worker from ending."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Row]] = loop.create_future()

        def settle(rows: list[Row] | None, error: BaseException | None) -> None:
            if found.done():
                return
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(rows or [])

        def work() -> None:
            rows: list[Row] | None = None
            failure: BaseException | None = None
            try:
                rows = fetch()
            except GivenUpError:
                return
            except Exception as error:  # noqa: BLE001  # the top of a thread: the event loop raises it
                failure = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, rows, failure)

        threading.Thread(target=work, name="warm-up", daemon=True).start()
        return await found

    def _sleep(self, seconds: float) -> None:
        if self._is_closing.wait(seconds):
            raise GivenUpError
