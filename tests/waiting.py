"""Waiting for what other threads and processes do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable


def eventually(is_so: Callable[[], object], *, deadline_s: float, pause_s: float = 0.02) -> None:
    """Wait until it is so. Fails after the deadline."""
    deadline = time.monotonic() + deadline_s
    pause = threading.Event()
    while not is_so():
        assert time.monotonic() < deadline, "must become so before the deadline"
        pause.wait(pause_s)


async def eventually_async(is_so: Callable[[], object], *, deadline_s: float, pause_s: float = 0.02) -> None:
    """Let the event loop run until it is so. Raises TimeoutError after the deadline."""
    async with asyncio.timeout(deadline_s):
        while not is_so():  # noqa: ASYNC110  # others make it so
            await asyncio.sleep(pause_s)
