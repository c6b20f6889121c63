"""Connections of the HTTP server: one whose request does not come is closed.

uvicorn closes a connection that is idle after an answer. One that never sends a whole head, or stops in the middle of
the next, it keeps for as long as the caller likes, and a few thousand of them are all the descriptors there are.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_S: Final = 10.0


def patient_protocol(head_s: float = HEAD_S) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, which closes a connection whose request's head has not come ``head_s`` after its begin."""

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # which of two it is, uvicorn finds out
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:  # noqa: ANN401  # as uvicorn has it
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(head_s, self._give_up)

        def _give_up(self) -> None:
            self._timer = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Patient
