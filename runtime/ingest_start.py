"""The start of an ingest worker as others see it: while code is compiled it follows no symbol and serves no row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime

from market.errors import StoreUnavailable
from runtime.kernel_start import TOLD_EACH_S, telling_each, warm_up
from runtime.servers import Servers
from storage.database.leases import Leases
from transforms.kernel import Kernel

_log = logging.getLogger(__name__)


def compile_and_tell(
    kernel: Kernel,
    load: Callable[[], object],
    servers: Servers,
    worker_id: str,
    symbols: Sequence[str],
    *,
    started_at: datetime,
) -> None:
    """Compile or load the kernel, then what ``load`` does.

    The worker's status says which symbols it will follow, every 10 s while it compiles. A database that is away is not
    waited for: alerts do not know of the start then.
    """
    with closing(Leases(servers.postgres_url)) as leases:

        def say() -> None:
            try:
                leases.write_status(worker_id, started_at=started_at, status={"starts": list(symbols)})
            except StoreUnavailable as error:
                _log.debug("the start is not told: %s", error)

        def tell(line: str) -> None:
            _log.info(line)
            say()

        say()
        warm_up(kernel, tell)
        with telling_each(TOLD_EACH_S, lambda spent_s: tell(f"compiling what takes messages: {spent_s:.0f} s so far")):
            load()
