"""The watch of shadow parity: the rows of every followed symbol, checked in turn, and findings stored.

1. Rows are followed as the online store publishes them; each check also reads the contents of the store.
2. One process does it at a time: it holds a lease, which another one takes over when it dies.
3. A difference is kept with the messages around its row; where it is so set, its group is withheld from then on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from market.clock import to_datetime
from market.errors import FeatureServiceError, StoreUnavailable
from quality.shadow import ShadowMismatch
from storage.database.leases import Leases
from storage.database.shadow import FoundMismatch, Quarantine, ShadowState, ShadowStore
from storage.online.feed import RowFeed, RowReader
from storage.online.store import OnlineStore
from storage.outages import Outage
from storage.raw.messages import messages_around
from upkeep.shadow import ShadowLook, ShadowSource, SymbolShadow

LEASE: Final = "shadow-parity"
LEASE_TTL: Final = timedelta(seconds=30)
DRAIN_S: Final = 0.5
"""How often rows are taken from their readers, which hold some seconds of them."""
LOOK_S: Final = 5.0
STAND_BY_S: Final = 5.0
MESSAGES_EVERY_S: Final = 60.0
"""For a group that keeps differing, the messages around a row are looked up once per this time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShadowStores:
    """Where rows come from and findings go to."""

    feed: RowFeed
    online: OnlineStore
    findings: ShadowStore
    leases: Leases


class ShadowWatch:
    """Runs until ``stop``; one check after the other, in a thread next to the event loop that takes the rows."""

    def __init__(  # noqa: PLR0913  # what it reads, what it writes, and when
        self,
        stores: ShadowStores,
        make_source: Callable[[threading.Event], ShadowSource | None],
        symbols: Sequence[str],
        *,
        worker_id: str,
        note: Callable[[ShadowLook], object],
        now_ns: Callable[[], int],
        quarantines: bool,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """make_source: called once the lease is held; it compiles, and gives none once its event is set.

        note: called with each check.

        quarantines: whether a group that differs is withheld. timer: seconds that never step back.
        """
        self._stores = stores
        self._make_source = make_source
        self._symbols = tuple(symbols)
        self._worker_id = f"{worker_id}-shadow"
        self._note = note
        self._now_ns = now_ns
        self._quarantines = quarantines
        self._timer = timer
        self._shadows: dict[str, SymbolShadow] = {}
        self._dropped: dict[str, int] = {}
        self._told_s: dict[tuple[str, str], float] = {}
        self._database = Outage(_log, "shadow parity: the database", meanwhile="nothing is compared")
        self._online = Outage(_log, "shadow parity: the online store", meanwhile="only what was published is compared")
        self._stopping = threading.Event()
        self._source: ShadowSource | None = None

    def run(self) -> None:
        """Stand by for the lease, then watch."""
        try:
            while not self._stopping.is_set():
                if self._holds_lease():
                    self._source = self._source or self._make_source(self._stopping)
                    if self._source is not None:
                        asyncio.run(self._watch())
                else:
                    self._stopping.wait(STAND_BY_S)
        finally:
            self._close()

    def stop(self) -> None:
        """Let ``run`` end; from any thread."""
        self._stopping.set()

    def _close(self) -> None:
        try:
            self._stores.leases.release(self._worker_id)
        except StoreUnavailable as error:
            _log.warning("shadow parity: its lease could not be released and will expire: %s", error)

    def _holds_lease(self) -> bool:
        try:
            holds = LEASE in self._stores.leases.acquire(self._worker_id, [LEASE], ttl=LEASE_TTL)
        except StoreUnavailable as error:
            self._database.begin(error)
            return False
        self._database.end()
        return holds

    async def _watch(self) -> None:
        assert self._source is not None
        self._shadows = {symbol: SymbolShadow(self._source, symbol) for symbol in self._symbols}
        self._dropped = dict.fromkeys(self._symbols, 0)
        looking: asyncio.Task[bool] | None = None
        next_look_s = self._timer()
        with ExitStack() as stack:
            readers = {symbol: stack.enter_context(self._stores.feed.reading(symbol)) for symbol in self._symbols}
            while not self._stopping.is_set():
                self._drain(readers)
                if looking is not None and looking.done():
                    if not looking.result():
                        break
                    looking = None
                if looking is None and self._timer() >= next_look_s:
                    next_look_s = self._timer() + LOOK_S
                    looking = asyncio.create_task(asyncio.to_thread(self.look))
                await asyncio.sleep(DRAIN_S)
            if looking is not None:
                await looking
        await self._stores.feed.ended()

    def _drain(self, readers: dict[str, RowReader]) -> None:
        now_s = self._timer()
        for symbol, reader in readers.items():
            while (row := reader.take_now()) is not None:
                self._shadows[symbol].take_published(row, now_s)
            if reader.dropped > self._dropped[symbol]:
                self._shadows[symbol].miss(reader.dropped - self._dropped[symbol], "the rows came too fast")
                self._dropped[symbol] = reader.dropped

    def look(self) -> bool:
        """Look at every symbol once and write down what is found; whether the lease is still held."""
        if not self._holds_lease():
            return False
        self._read_store()
        looks = []
        for shadow in self._shadows.values():
            if self._stopping.is_set():
                return False
            looks.append(shadow.look(self._timer()))
        now = to_datetime(self._now_ns())
        mismatches = []
        for look in looks:
            around = self._messages(look)
            mismatches += [_found(each, around.get(each.group, ()), now) for each in look.mismatches]
        for look in looks:
            self._note(look)
            for each in look.mismatches:
                _log.error("shadow parity: %s, in %d rows of %d", each, each.rows, look.compared)
        withheld = [Quarantine(each.symbol, each.group, now, _why(each)) for each in mismatches]
        try:
            self._stores.findings.add(
                [_state(look, now) for look in looks], mismatches, withheld if self._quarantines else ()
            )
        except StoreUnavailable as error:
            _log.warning("shadow parity: could not be stored: %s", error)
        return True

    def _read_store(self) -> None:
        """The contents of the online store."""
        try:
            for vector in self._stores.online.read(self._symbols):
                if vector is not None:
                    self._shadows[vector.symbol].take_stored(vector, self._timer())
        except FeatureServiceError as error:
            self._online.begin(error)
        else:
            self._online.end()

    def _messages(self, look: ShadowLook) -> Mapping[str, Sequence[dict[str, object]]]:
        """The messages around the row of each group, of those not reported lately."""
        now_s = self._timer()
        due = [
            each
            for each in look.mismatches
            if now_s - self._told_s.get((look.symbol, each.group), -MESSAGES_EVERY_S) >= MESSAGES_EVERY_S
        ]
        if not due:
            return {}
        assert self._source is not None
        self._told_s |= dict.fromkeys(((look.symbol, each.group) for each in due), now_s)
        try:
            with self._source.open_raw(look.symbol) as raw:
                rows = {at: messages_around(raw, look.symbol, at) for at in {each.row_ns for each in due}}
        except FeatureServiceError as error:
            _log.warning("shadow parity: messages around the row could not be read: %s", error)
            return {}
        return {each.group: [asdict(message) for message in rows[each.row_ns]] for each in due}


def _found(each: ShadowMismatch, messages: Sequence[dict[str, object]], now: datetime) -> FoundMismatch:
    return FoundMismatch(
        symbol=each.symbol,
        row_ns=each.row_ns,
        group=each.group,
        feature=each.feature,
        served=each.served,
        computed=each.computed,
        found_in=each.where,
        rows=each.rows,
        messages=messages,
        found_at=now,
    )


def _why(found: FoundMismatch) -> str:
    return f"{found.feature} at row {found.row_ns} was served {found.served}, the tape gives {found.computed}"


def _state(look: ShadowLook, now: datetime) -> ShadowState:
    return ShadowState(
        symbol=look.symbol,
        looked_at=now,
        compared_until=None if look.last_row_ns is None else to_datetime(look.last_row_ns),
        compared=look.compared,
        mismatched=look.mismatched,
        quarantined=look.quarantined,
        not_compared=sum(look.not_compared.values()),
        reason=max(look.not_compared, key=look.not_compared.__getitem__, default=None),
    )
