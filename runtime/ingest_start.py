"""The start of an ingest worker as others see it: while its kernel is compiled it follows no symbol, serves no row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime

from market.errors import StoreUnavailable
from runtime.kernel_start import warm_up
from runtime.servers import Servers
from storage.database.leases import Leases
from transforms.kernel import Kernel

_log = logging.getLogger(__name__)


def compile_and_tell(
    kernel: Kernel, servers: Servers, worker_id: str, symbols: Sequence[str], *, started_at: datetime
) -> None:
    """Compile or load the kernel. The worker's status says which symbols it will follow, every 10 s while it compiles.

    A database that is away is not waited for: alerts do not know of the start then.
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
