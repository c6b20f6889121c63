"""Messages that cannot be used: kept with their reason, counted, and what they would have changed made unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from ingestion.decoding.decoded import SYMBOL
from ingestion.decoding.stated import Stated
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.lane import Lane
from ingestion.pipeline.lanes import Lanes
from ingestion.venues.decoders import Decoders
from market.errors import InvalidRequest
from market.events import KLINE, ORDERBOOK, TICKER, TRADE

LOSABLE: Final = frozenset((ORDERBOOK, TRADE, KLINE, TICKER))
"""Kinds of which what a message would have changed can be unknown; a position has defaults and is asked for again."""
LONGEST_REASON: Final = 200


class Rejections:
    """Of one pipeline; ``symbols`` are those that it was given, None is all."""

    def __init__(
        self, dead_letter: DeadLetter, lanes: Lanes, decoders: Decoders, symbols: frozenset[str] | None
    ) -> None:
        self.first: str | None = None
        """Why the first unusable message was unusable."""
        self._dead_letter = dead_letter
        self._lanes = lanes
        self._decoders = decoders
        self._symbols = symbols
        self._counts: Counter[tuple[str, str]] = Counter()

    def of(self, symbol: str) -> int:
        """Messages whose topic names the symbol and that could not be used."""
        return sum(count for (of_symbol, _), count in list(self._counts.items()) if of_symbol == symbol)

    @property
    def by_error(self) -> dict[str, dict[str, int]]:
        """Messages that could not be used by symbol and class of error; "" is those that name no symbol of ours."""
        found: dict[str, dict[str, int]] = {}
        for (symbol, error), count in list(self._counts.items()):
            found.setdefault(symbol, {})[error] = count
        return found

    def keep(
        self,
        body: bytes,
        *,
        recv_ns: int,
        reason: str,
        error: str,
        on_durable: Callable[[], object] | None = None,
    ) -> None:
        """Keep what cannot be used, with its reason; what it would have changed is unknown from then on.

        on_durable: called once both are on the disk.
        """
        self.first = self.first or reason
        self._dead_letter.append(recv_ns=recv_ns, reason=reason, error=error, body=body)
        stated = self._decoders.stated(body)
        lane = None if stated is None else self._lose(stated, recv_ns=recv_ns, reason=reason)
        symbol = "" if stated is None else stated.symbol
        is_ours = symbol in self._lanes.by_symbol or symbol in (self._symbols or ())
        self._counts[symbol if is_ours else "", error] += 1
        if on_durable is None:
            return
        if lane is None:
            self._dead_letter.when_durable(on_durable)
        else:
            self._dead_letter.when_durable(partial(lane.tape.when_durable, lane.last_seq, on_durable))

    def is_foreign(self, body: bytes) -> bool:
        """Whether a message that could not be decoded is of a symbol that the pipeline was not given."""
        stated = None if self._symbols is None else self._decoders.stated(body)
        return (
            stated is not None
            and SYMBOL.fullmatch(stated.symbol) is not None
            and stated.symbol not in (self._symbols or ())
        )

    def _lose(self, stated: Stated, *, recv_ns: int, reason: str) -> Lane | None:
        """Make unknown what a rejected message would have changed; returns the lane of its symbol, if it has one."""
        if stated.kind is None:
            return None
        lane = self._lane_of(stated.symbol, recv_ns)
        if lane is not None and stated.kind in LOSABLE:
            lane.lose(stated.kind, recv_ns=recv_ns, reason=f"a message was rejected: {reason}"[:LONGEST_REASON])
        return lane

    def _lane_of(self, symbol: str, recv_ns: int) -> Lane | None:
        """The lane of a symbol that has one, or a tape to continue from."""
        if symbol not in self._lanes.by_symbol and (self._symbols is None or symbol in self._symbols):
            with suppress(InvalidRequest):
                self._lanes.go_on(symbol, now_ns=recv_ns)
        return self._lanes.by_symbol.get(symbol)
