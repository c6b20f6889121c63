"""A version that is served beside the active one goes on while the object store of its log is away."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ingestion.pipeline.change import mark_of
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.warming import WarmingPlan
from ingestion.sinks import row_log
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.worker import shadow_process
from ingestion.worker.shadow_process import ShadowPlan, _Serving
from market.clock import SECOND_NS
from market.markets import DEFAULT_MARKET
from storage.features.log import FeatureLog
from storage.features.shadow_log import shadow_log_folder
from storage.objects.path import ObjectPath
from tests.pipelines import pipeline_in
from tests.ports import free_port
from tests.restarted import BEGIN_NS, SHORT, SYMBOL, Kept
from tests.s3_server import FaultProxy
from transforms.kernel import compile_kernel
from transforms.rows import joined_rows


@pytest.mark.parametrize("room", [row_log.MOST_ROWS, 2], ids=["rows wait in memory", "rows are left out"])
def test_rows_of_an_outage_are_in_its_log_once_the_store_is_back(
    object_place: ObjectPath,
    s3: FaultProxy,
    tmp_path: Path,
    kernel_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: int,
) -> None:
    monkeypatch.setattr(row_log, "RETRY_S", 0.0)
    monkeypatch.setattr(row_log, "MOST_ROWS", room)
    monkeypatch.setattr(shadow_process, "FLUSH_S", 0.0)
    kernel, kept = compile_kernel(SHORT, kernel_cache), Kept()
    online = {"type": "redis", "connection_string": f"127.0.0.1:{free_port()}"}
    warming = WarmingPlan(SHORT, kernel_cache, tmp_path, DEFAULT_MARKET, SECOND_NS)
    plan = ShadowPlan(warming, object_place, online, "p", 1000.0)
    messages = iter(list(simulate(DEFAULT_SYMBOLS[:1], seed=4, start_ns=BEGIN_NS, duration_ns=20 * SECOND_NS)))

    def go_on(pipeline: Pipeline, until_s: int) -> None:
        """Serve up to a second, then let the other version come as far."""
        for message in messages:
            pipeline.advance(message.recv_ns, now_ns=message.recv_ns)
            pipeline.handle(message)
            if message.recv_ns > BEGIN_NS + until_s * SECOND_NS:
                break
        lane = pipeline.lanes[SYMBOL]
        assert lane.durability()(30.0)
        serving.bring_to({SYMBOL: mark_of(SYMBOL, lane)}, {})

    serving = _Serving(plan, kernel)
    with closing(pipeline_in(tmp_path, kernel, kept, tape_sync_ms=1)) as pipeline:
        for until_s in (3, 5):
            go_on(pipeline, until_s)
        begun = len(kept.served)
        s3.go_away_after(0, "GET")
        for until_s in (7, 10, 12):
            go_on(pipeline, until_s)
        s3.come_back()
        for until_s in (14, 16):
            go_on(pipeline, until_s)
    serving.close()
    log = FeatureLog(shadow_log_folder(object_place, SHORT.version))
    rows, _ = log.read(SYMBOL, kernel.feature_set, from_ns=None, to_ns=None)
    served = joined_rows([each.whole_seconds().rows for each in kept.served])
    assert len(rows) > begun
    assert rows.row_ns.tolist() == served.row_ns[-len(rows) :].tolist()
    assert rows.values.tobytes() == served.values[-len(rows) :].tobytes()
