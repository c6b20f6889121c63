"""What is loaded or compiled while messages are taken, once a worker has started.

Run as a program, with a folder and the cache of kernels: in a process where nothing else has loaded it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from numba.core import event
from numba.core.dispatcher import Dispatcher

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.pipeline.compiled import load_compiled
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.venues.decoders import Decoders, venue_of
from market.clock import MILLISECOND_NS, SECOND_NS, parse_iso_ns
from market.markets import DEFAULT_MARKET
from storage.instruments import InstrumentPins
from tests.pipelines import pipeline_in
from tests.position_messages import UPDATE
from transforms.kernel import Kernel, compile_kernel

START_NS = parse_iso_ns("2026-03-01T00:00:00")
ROOMS = ("ingestion", "market", "storage", "transforms")
AT_ONCE = 40


class Compiled(event.Listener):
    """The functions that were compiled."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, happened: Any) -> None:  # noqa: ANN401  # numba's event
        self.names.append(f"{happened.data['dispatcher'].py_func.__qualname__} is compiled")

    def on_end(self, happened: Any) -> None: ...  # noqa: ANN401  # as above


def functions() -> list[Any]:
    """Every function of ours that is compiled on its first call, or loaded."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in ROOMS]
    return list({id(each): each for module in modules for each in vars(module).values() if _is_ours(each)}.values())


def _is_ours(found: object) -> bool:
    return isinstance(found, Dispatcher) and found.py_func.__module__.partition(".")[0] in ROOMS


def signatures() -> set[str]:
    """Of each function the types that it is there for."""
    return {f"{_name(each)} of {types}" for each in functions() for types in each.signatures}


def _name(function: Any) -> str:  # noqa: ANN401  # numba's dispatcher
    return f"{function.py_func.__module__}.{function.py_func.__qualname__}"


def absent() -> list[str]:
    """Functions of ingest that Python calls and that are not there for any types."""
    # What only compiled code calls has no file.
    return sorted(
        _name(each)
        for each in functions()
        if each._cache.cache_path is not None and not each.signatures and _name(each).startswith("ingestion.")
    )


def market(begin_ns: int) -> list[TimedMessage]:
    """Some seconds of a market: each kind of message, some late, lost, again, of other forms and unreadable."""
    played = list(simulate(DEFAULT_SYMBOLS[:2], seed=5, start_ns=begin_ns, duration_ns=6 * SECOND_NS, mean_activity=2))
    found = []
    for number, message in enumerate(played):
        if number % 71 == 70:
            continue
        late_ns = 400 * MILLISECOND_NS if number % 53 == 52 else 0
        body = message.body.replace(b":", b":\n") if number % 29 == 28 else message.body
        found.append(replace(message, recv_ns=message.recv_ns - late_ns, body=body))
        if number % 83 == 82:
            found += [replace(message, body=b"no JSON"), replace(message, body=json.dumps(UPDATE).encode())]
        if number % 61 == 60:
            found += found[-20:]
    return found


def take(raw: Path, kernel: Kernel, begin_ns: int) -> dict[str, int]:
    """What one process does from its start to its end; where the folder has a tape it goes on from there."""
    pipeline = pipeline_in(raw, kernel, tape_sync_ms=1)
    messages = market(begin_ns)
    try:
        for at in range(0, len(messages), AT_ONCE):
            batch = messages[at : at + AT_ONCE]
            pipeline.handle_many(batch[1:])
            pipeline.handle(batch[0])
            pipeline.advance(batch[0].recv_ns - SECOND_NS, now_ns=batch[-1].recv_ns)
        pipeline.advance(begin_ns + 8 * SECOND_NS, now_ns=begin_ns + 8 * SECOND_NS)
        return {
            "in_runs": pipeline.counters.in_runs,
            "late": pipeline.late_messages,
            "rejected": pipeline.counters.rejected,
            "redelivered": pipeline.redelivered,
            "rows": pipeline.counters.rows,
            "typed": pipeline.decoders.typed,
        }
    finally:
        pipeline.close()


def main(raw: Path, kernel_cache: Path) -> None:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    load_compiled(Decoders(venue_of(DEFAULT_MARKET), InstrumentPins(raw)))
    not_there, before, compiled = absent(), signatures(), Compiled()
    with event.install_listener("numba:compile", compiled):
        taken = [take(raw, kernel, begin_ns) for begin_ns in (START_NS, START_NS + 10 * SECOND_NS)]
    added = sorted(signatures() - before)
    print(json.dumps({"absent": not_there, "added": added, "compiled": compiled.names, "taken": taken}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
