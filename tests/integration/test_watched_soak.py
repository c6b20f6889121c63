"""A watched service: drift from a model's dataset is told by task, route and alert, and every panel shows something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text

from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import SimulatedSymbol, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import MINUTE_NS, SECOND_NS, SystemClock, floor_to, format_iso
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel, instrument_pins, make_pipeline
from tests.dashboards import named_metrics, queries
from tests.hurried import HURRIED, SYMBOL, VERSION, Process, changes, command, eventually, servers, settings
from tests.running_service import Running
from upkeep.tasks import ALERTS, DRIFT

__all__ = ["changes", "servers", "settings"]  # fixtures

TRAINED_ON = SimulatedSymbol(SYMBOL, "65000.00", "1.00", "0.001")
"""Its spread is ten times that of the market that is served."""
MOVED = "spread_rel"
API_KEY = "of-the-drift"
HOURS_AGO = 20
NOTHING_TO_SHOW = {"datasets Failed builds", "upkeep Backfills", "upkeep Waiting and running jobs"}
"""Panels of what such a service need not have."""
OF_ERRORS = {"feature_service_rejected_by_error_total"}
"""Told once a message was rejected."""


def trained_market(settings: Settings) -> int:
    """Minutes of the market that the model learns from, a day ago; their first time."""
    start_ns = floor_to(SystemClock().now_ns(), SECOND_NS) - HOURS_AGO * 60 * MINUTE_NS
    pipeline = make_pipeline(settings, compiled_kernel(settings, VERSION), availability=available_as_if_live)
    with closing(pipeline):
        play(pipeline, simulate([TRAINED_ON], seed=3, start_ns=start_ns, duration_ns=3 * MINUTE_NS))
    compact_tape(settings.raw_folder, SYMBOL, instrument_pins(settings))
    return start_ns


@contextmanager
def service(settings: Settings, roles: str, start_ns: int, **changes: str) -> Iterator[tuple[Process, Running]]:
    """A process that answers, until the block ends."""
    key = {"FEATURE_SERVICE_API_KEY": API_KEY, **changes}
    process = Process(settings, roles, hurried=(*HURRIED, DRIFT, ALERTS), changes=key)
    running = Running(f"http://127.0.0.1:{process.port}", settings.feature_service_data_path, API_KEY, start_ns)
    try:
        eventually(lambda: "api listens" in process.log.read_text(), [process])
        yield process, running
        process.stop()
    finally:
        process.kill()


@pytest.mark.soak
def test_another_market_than_the_datasets_is_told_by_task_route_and_alert_and_every_panel_shows_something(
    settings: Settings, servers: Servers
) -> None:
    start_ns = trained_market(settings)
    with service(settings, "api,jobs", start_ns) as (_, running):
        dataset_id = running.build()
    changes = {"FEATURE_SERVICE_DRIFT_DATASETS": dataset_id}
    with (
        service(settings, "api,ingest,jobs", start_ns, **changes) as (process, running),
        running.client() as client,
    ):

        def column() -> dict[str, Any]:
            answer = client.get("/data-quality/drift", params={"dataset_id": dataset_id})
            assert answer.status_code == 200, answer.text
            told: dict[str, Any] = answer.json()["symbols"][SYMBOL]["columns"].get(MOVED, {"drifted": []})
            return told

        eventually(lambda: {"psi", "ks"} <= set(column()["drifted"]), [process], pause_s=1.0)

        def alerts() -> list[dict[str, Any]]:
            code, told = command(settings, "alerts", "list", changes=changes)
            assert code in (0, 1)
            return [each for each in told if each["rule"] == "feature_drift"]

        eventually(
            lambda: any(dataset_id in each["subject"] and SYMBOL in each["subject"] for each in alerts()), [process]
        )
        [alert] = alerts()
        assert f"most of all {MOVED}" in alert["summary"]
        assert alert["action"]
        _, told = command(settings, "quality", "drift", "--dataset", dataset_id, changes=changes)
        assert MOVED in told["symbols"][SYMBOL]["drifted"]
        assert _unknown_metrics(client.get("/metrics").text) <= OF_ERRORS
        assert client.get("/data-quality/report", params={"symbol": SYMBOL, **last_hour()}).status_code == 200
        assert client.get("/dataset/none").status_code == 404

        def every_panel_shows() -> bool:
            silent = _silent_panels(servers) - NOTHING_TO_SHOW
            print("panels that show nothing:", sorted(silent))  # which ones, when the wait fails
            return not silent

        eventually(every_panel_shows, [process], pause_s=2.0)


def last_hour() -> dict[str, str]:
    now_ns = SystemClock().now_ns()
    return {"from": format_iso(now_ns - 60 * MINUTE_NS), "to": format_iso(now_ns)}


def _unknown_metrics(told: str) -> set[str]:
    """Metrics of ours that panels name and the process does not tell."""
    known = set(re.findall(r"^(\w+)(?:\{| )", told, re.MULTILINE))
    return {each for _, named in named_metrics() for each in named} - known


def _silent_panels(servers: Servers) -> set[str]:
    """Those whose query finds nothing."""
    engine = create_engine(servers.postgres_url, poolclass=NullPool)
    with engine.connect() as connection:
        return {name for name, _, query in queries() if not connection.execute(text(query)).all()}
