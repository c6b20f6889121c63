"""The names of all samples that processes tell Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from api.alerts import alert_families
from api.checks import Answer
from api.freshness import freshness_families
from api.metrics import HttpMetrics, _families
from api.upkeep import upkeep_families
from ingestion.worker.metrics import StageTimes, StatusCollector

FIGURE = dict.fromkeys(StatusCollector._COUNTERS, 0) | {"last_recv_ns": 1, "lag_ms": 1.0}
WORKER = {"online_is_away": 0.0, "online_outages_total": 0, "log_is_away": 0.0}
OF_PROMETHEUS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def metric_names() -> set[str]:
    """Those of ours."""
    registry = CollectorRegistry()
    HttpMetrics(registry)
    StageTimes(registry)
    status = {"symbols": {"A": FIGURE}, "rejected_by_error": {}, "worker": WORKER}
    asked = {"online_store": Answer({}), "database": Answer({"active_builds": 0})}
    families = [
        *registry.collect(),
        *StatusCollector(lambda: status, now_ns=lambda: 2).collect(),
        *_families(asked, 0),
        *upkeep_families([]),
        *freshness_families(Answer({})),
        *alert_families(Answer({})),
    ]
    names = set()
    for family in families:
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
        names |= {f"{family.name}{suffix}" for suffix in suffixes}
    return names
