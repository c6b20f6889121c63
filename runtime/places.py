"""The stores of a process that are in an object store: prepared and claimed at a start, or once it answers.

1. A store that refuses who asks, or a folder that is another database's, ends the start: waiting changes nothing.
2. While one does not answer, the roles begin all the same, where the database knows the folder by its address. What
   needs the store waits for it or fails meanwhile, each as it says; nothing is written before it was prepared.
3. Where the database does not know the folder yet, nobody can say whose it is: the start waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from market.errors import StoreRefused, StoreUnavailable
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import object_places, prepare_places
from storage.database.data_folder import claim_folder, is_known_folder
from storage.objects.reach import RETRY_S, WITHIN_S, answered_within
from storage.outages import Outage

_log: Final = logging.getLogger(__name__)


class Places:
    """Of one process. claims: whether it writes raw data, which is one database's alone.

    then: what else needs the stores, done by ``run`` once they are prepared; may raise StoreUnavailable.
    """

    def __init__(
        self, settings: Settings, servers: Servers, *, claims: bool, then: Callable[[], object] = lambda: None
    ) -> None:
        self.is_prepared = False
        self._settings = settings
        self._servers = servers
        self._claims = claims
        self._then = then
        self._stop = threading.Event()
        self._outage = Outage(_log, "an object store", meanwhile="what needs it waits, the rest goes on")

    def begin(self) -> None:
        """Prepare and claim, or leave that to ``run``. Raises StoreRefused, Conflict, InvalidSettings, CorruptStore."""
        has_told = False
        while not self._try() and not self._may_begin():
            if not has_told:
                _log.warning("the database does not know %s yet: the start waits", self._settings.raw_data_storage_path)
                has_told = True
            self._stop.wait(RETRY_S)

    def run(self) -> None:
        """Return once everything is prepared, or ``stop`` was called. Raises Conflict, CorruptStore."""
        while not self._stop.wait(RETRY_S):
            with suppress(StoreUnavailable):  # away again, or the database is, whose users say so
                if self.is_prepared or self._try():
                    self._then()
                    return

    def stop(self) -> None:
        """Let ``run`` return; from any thread."""
        self._stop.set()

    def _try(self) -> bool:
        try:
            if object_places(self._settings):
                answered_within(self._prepare, WITHIN_S, "object store")
            else:
                self._prepare()
        except StoreRefused as error:
            if not self._outage.is_on:
                raise
            self._outage.begin(error)  # it may be let in again: the roles run
            return False
        except StoreUnavailable as error:
            if not object_places(self._settings):
                raise
            self._outage.begin(error)
            return False
        self._outage.end()
        self.is_prepared = True
        return True

    def _prepare(self) -> None:
        prepare_places(self._settings)
        if self._claims:
            claim_folder(self._servers.postgres_url, self._settings.raw_data_storage_path)

    def _may_begin(self) -> bool:
        raw = self._settings.raw_data_storage_path
        return not self._claims or raw not in object_places(self._settings) or self._is_known()

    def _is_known(self) -> bool:
        return is_known_folder(self._servers.postgres_url, self._settings.raw_data_storage_path)
