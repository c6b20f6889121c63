"""Faults planted in a process that serves are named by the jobs role beside it, withheld, alerted, and nothing else is.

Run as a program it is the process with the faults.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from feature_repo.project import PROJECT
from feature_repo.registry_versions import load_registry_version
from market.clock import SECOND_NS, SystemClock, to_datetime, to_ns
from market.events import TRADE, Events
from runtime.servers import Servers
from runtime.settings import Settings
from storage.database.alerts import Alert, AlertStore
from storage.database.shadow import FoundMismatch, ShadowStore
from storage.online.address import redis_address
from storage.online.vector import VECTOR_FIELD, OnlineVector, online_channel, online_key
from tests.hurried import HURRIED, VERSION, Changes, Process, command, eventually, serve, servers, settings
from tests.live import online_store_of
from tests.shadowed import flipped_bytes
from transforms.engine import Engine
from transforms.kernel import Kernel
from transforms.status import QUARANTINED
from upkeep.shadow import PUBLISHED, STORED
from upkeep.tasks import ALERTS

__all__ = ["servers", "settings"]  # fixtures

STRUCK, SWAPPED = "BTCUSDT", "ETHUSDT"
"""Of the one a bit is flipped in Redis and a message dropped; the other one's kernel is swapped."""
SYMBOLS = (STRUCK, SWAPPED)
CHANGES = {"FEATURE_SERVICE_SYMBOLS": ",".join(SYMBOLS), "FEATURE_SERVICE_SHADOW_QUARANTINE": "true"}
FLIPPED = "mid_price"
PROMISE_S = 60
"""A fault is named so long after the row that shows it at most."""
EXPECTED = {
    (STRUCK, "price", FLIPPED, STORED),
    (STRUCK, "orderflow", None, PUBLISHED),
    (SWAPPED, "price", FLIPPED, PUBLISHED),
}
"""Symbol, group, feature and place; of a dropped trade several features tell."""


def plant(harm: Path) -> None:
    """From when the file is there on, this process drops one trade message and computes with another kernel."""
    begin, feed = Engine.__init__, Engine.feed
    dropped: list[Events] = []

    def beginning(self: Engine, kernel: Kernel, instrument: Any, **others: Any) -> None:  # noqa: ANN401  # as it takes
        begin(self, _swapped(kernel, harm) if instrument.symbol == SWAPPED else kernel, instrument, **others)

    def feeding(self: Engine, records: Events, *, from_ns: int | None = None) -> None:
        trades = records[records["kind"] == TRADE]
        if self.instrument.symbol == STRUCK and not dropped and len(trades) > 0 and harm.exists():
            dropped.append(trades)
            records = records[records["seq"] != trades["seq"][0]]
        feed(self, records, from_ns=from_ns)

    Engine.__init__ = beginning  # type: ignore[method-assign]
    Engine.feed = feeding  # type: ignore[method-assign]


def _swapped(kernel: Kernel, harm: Path) -> Kernel:
    column = kernel.feature_set.columns.index(FLIPPED)

    def other(state: Any, events: Any, until_ns: Any, due_ns: Any, values: Any, *room: Any) -> int:  # noqa: ANN401
        applied = kernel.run(state, events, until_ns, due_ns, values, *room)
        if harm.exists():
            values[:, column] *= 1 + 1e-12
        return applied

    other.__module__ = kernel.run.__module__
    return replace(kernel, run=other)


@contextmanager
def flipping(servers: Servers) -> Iterator[None]:
    """A bit of each row that is stored of the struck symbol is flipped in Redis meanwhile, until the next is stored."""
    address = redis_address(servers.online_store)
    [(host, port)] = address.nodes
    key, ended = online_key(STRUCK, PROJECT.encode()), threading.Event()
    with redis.Redis(host, port, **address.options) as client, client.pubsub() as channel:
        channel.subscribe(online_channel(key))

        def flip() -> None:
            while not ended.is_set():
                told = channel.get_message(ignore_subscribe_messages=True, timeout=1.0)
                if told is not None:
                    client.execute_command("HSET", key, VECTOR_FIELD, flipped_bytes(told["data"], STRUCK, FLIPPED))

        thread = threading.Thread(target=flip)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture
def changes() -> Changes:
    return CHANGES


@pytest.fixture
def processes(settings: Settings, servers: Servers) -> Iterator[list[Process]]:
    """One that ingests, with the faults to come, and one with the jobs role."""
    with ExitStack() as stack:
        found = []
        for roles in ("ingest", "jobs"):
            process = Process(settings, roles, program=__file__, hurried=(*HURRIED, ALERTS), changes=CHANGES)
            stack.callback(process.kill)
            found.append(process)
        yield found
        for process in found:
            process.stop()


@pytest.mark.soak
def test_each_planted_fault_is_named_withheld_and_alerted_and_nothing_else_is(
    settings: Settings, servers: Servers, processes: list[Process]
) -> None:
    with (
        closing(ShadowStore(servers.postgres_url)) as found,
        closing(AlertStore(servers.postgres_url)) as alerts,
        closing(online_store_of(servers)) as online,
    ):
        eventually(lambda: _compared(found) > 200, processes)
        assert found.mismatches(to_datetime(0)) == []
        assert found.quarantines() == []
        with flipping(servers):
            _harm(settings).touch()
            harmed_ns = SystemClock().now_ns()
            eventually(lambda: len(_first_named(found)) == len(EXPECTED), processes)
        named = _first_named(found)
        assert {_place(each) for each in named} == EXPECTED
        for each in named:
            assert each.row_ns > harmed_ns - 2 * SECOND_NS
            assert each.served != each.computed
            waited_s = (to_ns(each.found_at) - each.row_ns) / SECOND_NS
            print(
                f"{each.symbol} {each.group}: named {waited_s:.1f} s after its row, with {len(each.messages)} messages"
            )
            assert waited_s < PROMISE_S
        assert all(each.messages for each in named)

        pairs = {(each.symbol, each.group) for each in named}
        eventually(lambda: _withheld(online.read(SYMBOLS)) == pairs, processes)
        subjects = {f"{symbol} {group}" for symbol, group in pairs}
        told = {(rule, subject) for rule in ("shadow_mismatch", "group_quarantined") for subject in subjects}
        eventually(lambda: told <= {(each.rule, each.subject) for each in _open(alerts)}, processes)
        assert {each.rule for each in _open(alerts) if each.subject in subjects} == {rule for rule, _ in told}
        code, status = command(settings, "shadow", "status", changes=CHANGES)
        assert (code, len(status["quarantined"])) == (1, len(pairs))

        code, _ = command(settings, "shadow", "release", STRUCK, "price", changes=CHANGES)
        assert code == 0
        eventually(lambda: _withheld(online.read(SYMBOLS)) == pairs - {(STRUCK, "price")}, processes)


def _open(alerts: AlertStore) -> list[Alert]:
    return alerts.open_alerts(to_datetime(SystemClock().now_ns()))


def _harm(settings: Settings) -> Path:
    return settings.feature_service_data_path / "harm"


def _compared(found: ShadowStore) -> int:
    """Rows of the symbol that fewer were compared of."""
    states = {each.symbol: each.compared for each in found.states()}
    return min(states.get(symbol, 0) for symbol in SYMBOLS)


def _first_named(found: ShadowStore) -> list[FoundMismatch]:
    """The first of each symbol, group and place."""
    first: dict[Any, FoundMismatch] = {}
    for each in sorted(found.mismatches(to_datetime(0), limit=10_000), key=lambda each: each.row_ns):
        first.setdefault((each.symbol, each.group, each.found_in), each)
    return list(first.values())


def _place(each: FoundMismatch) -> tuple[str, str, str | None, str]:
    return each.symbol, each.group, None if each.group == "orderflow" else each.feature, each.found_in


def _withheld(vectors: Sequence[OnlineVector | None]) -> set[tuple[str, str]]:
    """Symbols and groups that are withheld from readers; each value of such a group is unknown, and says why."""
    found = set()
    for vector in vectors:
        assert vector is not None
        for group in load_registry_version(VERSION).feature_set.groups:
            if vector.statuses[group.name] == QUARANTINED:
                found.add((vector.symbol, group.name))
                assert np.isnan(vector.values[list(group.indices)]).all()
                assert {vector.missing[column] for column in group.columns} == {"QUARANTINED"}
    return found


if __name__ == "__main__":
    data = Path(sys.argv[1])
    if "ingest" in sys.argv[3].split(","):
        plant(data / "harm")
    serve(*sys.argv[1:])
