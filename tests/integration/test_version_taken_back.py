"""A version that fails behind its change, in a worker under load: it is taken back at that very row, for good."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings, load_settings
from storage.database.activations import ActivationStore
from tests.broker import Broker
from tests.changing import (
    BY_ANNA,
    WorkerProcess,
    assert_without_a_hole,
    life_cycle,
    parity_of,
    seconds_served,
    write_version,
)
from tests.gateway import Passed, envelopes, recorded
from tests.integration.test_version_change import RECORDING, published, published_from_now, servers
from tests.integration.test_version_changes_of_workers import activated_elsewhere, changes
from tests.live import SYMBOLS, eventually
from tests.toy_whales import WHALE

__all__ = ["changes", "servers"]  # the fixtures

FAILING: Final = "9.3.0"
BEFORE: Final = "3.0.0"
SPEED: Final = 0.4
begun = partial(eventually, deadline_s=300.0)


@pytest.mark.soak
def test_a_version_that_raises_behind_the_change_is_taken_back_and_stays_so_after_a_start(
    changes: dict[str, str],
    servers: Servers,
    broker: Broker,
    recorded_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load_settings(changes, env_file=None)
    sources = {"mid_price": "orderbook", "toy_raises_at_a_whale": "trades"}
    write_version(settings.feature_registry_versions_dir, FAILING, sources)
    monkeypatch.setenv("FEATURE_SERVICE_FEATURE_MODULES", "tests.toy_whales")  # of the processes, not of this one
    refusals: list[str | None] = []
    with life_cycle(settings, servers) as cycle, closing(ActivationStore(servers.postgres_url)) as store:
        cycle.activate(BEFORE, BY_ANNA, is_acknowledged=True)
        with ExitStack() as stack:
            worker = WorkerProcess(changes, servers)
            stack.callback(worker.kill)
            publishing = published_from_now(broker, recorded_data, speed=SPEED)
            begun(lambda: any(len(each.worker.status.get("symbols", {})) == 2 for each in cycle.said()[1]))
            activating = threading.Thread(
                target=lambda: refusals.append(activated_elsewhere(changes, servers, FAILING))
            )
            activating.start()

            def says() -> set[str]:
                newest, _ = store.newest()
                assert newest is not None
                return {each.state for each in store.confirmations(newest.id).values()}

            begun(lambda: "changed" in says())
            assert cycle.active_version() == FAILING
            whale = a_whale(recorded_data)
            broker.publish([(whale.queue, whale.body)])
            activating.join(120)
            [refusal] = refusals
            assert refusal is not None
            assert f"{FAILING}: not active, {BEFORE} continues: taken back: worker " in refusal
            assert "toy_raises_at_a_whale: no row can be computed any more" in refusal
            eventually(lambda: [each.version for each in cycle.said()[1]] == [BEFORE])
            publishing.join()
            worker.end()
        documents = published(broker)
        newest = cycle.audit(limit=1)[0]
        assert (newest["action"], newest["version"], newest["previous_version"]) == ("take_back", FAILING, BEFORE)
        assert "toy_raises_at_a_whale" in newest["reason"]
        activation, _ = store.newest()
        assert activation is not None
        assert (activation.state, cycle.active_version()) == ("taken_back", BEFORE)
        again = WorkerProcess(changes, servers)
        begun(lambda: any(f"-{again.pid}-" in each.worker.worker_id and each.version for each in cycle.said()[1]))
        assert {each.version for each in cycle.said()[1] if f"-{again.pid}-" in each.worker.worker_id} == {BEFORE}
        again.end()
    assert_served_without_a_hole(settings, documents, changed_ns=activation.from_row_ns)


def a_whale(recorded_data: Path) -> Passed:
    """The recording's newest trade of BTCUSDT, of more than anybody trades, received now."""
    messages = recorded(recorded_data / RECORDING)
    begin_ns = time.time_ns() - (messages[-1].recv_ns - messages[0].recv_ns)
    passed = [each for each in envelopes(messages, begin_ns=begin_ns) if each.queue == "ws-gateway.trade"]
    trade = next(each for each in reversed(passed) if b"publicTrade.BTCUSDT" in each.body)
    document = json.loads(trade.body)
    document["payload"] = {**document["payload"], "v": str(2 * WHALE), "i": "a-whale"}
    return replace(trade, body=json.dumps(document).encode())


def assert_served_without_a_hole(
    settings: Settings, documents: list[tuple[dict[str, Any], dict[str, Any]]], *, changed_ns: int | None
) -> None:
    """Every second has its row, of the failing version only behind its change and before its failure."""
    assert changed_ns is not None
    failing = {headers["row_ns"] for vector, headers in documents if vector["feature_registry_version"] == FAILING}
    assert all(changed_ns < row_ns <= changed_ns + 6 * SECOND_NS for row_ns in failing)
    for symbol in SYMBOLS:
        of_queue = [
            headers["row_ns"] for _, headers in documents if (headers["symbol"], headers["interval"]) == (symbol, "1s")
        ]
        assert of_queue == sorted(set(of_queue)), "no row is served twice"
        assert_without_a_hole(of_queue)
        served = seconds_served(settings, symbol, [BEFORE])[BEFORE]
        assert_without_a_hole([*served, *failing])
    parity = parity_of(settings, BEFORE)
    assert (parity.mismatched, parity.missing, parity.extra, parity.not_compared) == (0, 0, 0, ()), parity
