"""What alerts name is there: the metrics of the Prometheus rules, the rules of the page, and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from api.alerts import alert_families
from api.checks import Answer
from api.freshness import freshness_families
from api.metrics import HttpMetrics, _families
from api.upkeep import upkeep_families
from ingestion.worker.metrics import StageTimes, StatusCollector
from upkeep.alert_rules import RULES

ROOT = Path(__file__).parents[2]
GROUPS = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
PROMETHEUS_RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
FIGURE = dict.fromkeys(StatusCollector._COUNTERS, 0) | {"last_recv_ns": 1, "lag_ms": 1.0}
OF_PROMETHEUS = {"up"}


def metrics() -> set[str]:
    """The names of all samples that processes tell."""
    registry = CollectorRegistry()
    HttpMetrics(registry)
    StageTimes(registry)
    status = {"symbols": {"A": FIGURE}, "rejected_by_error": {}, "worker": {"online_is_away": 0.0}}
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


def test_every_metric_of_a_prometheus_rule_exists() -> None:
    known = metrics()
    assert {"feature_service_gaps_total", "feature_service_http_request_seconds_bucket"} <= known
    for rule in PROMETHEUS_RULES:
        named = set(re.findall(r"\b(?:feature_service_\w+|up(?=\{))", rule["expr"]))
        assert named, rule["alert"]
        assert named <= known | OF_PROMETHEUS, rule["alert"]


def test_every_alert_says_what_to_do() -> None:
    assert all(set(rule["annotations"]) == {"summary", "action"} for rule in PROMETHEUS_RULES)
    assert all(rule.action.endswith(".") for rule in RULES.values())
    assert len({rule["alert"] for rule in PROMETHEUS_RULES}) == len(PROMETHEUS_RULES)


def test_every_rule_is_on_its_page() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(RULES)


def test_every_command_that_an_alert_names_is_there() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8") + "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")
    )
    told = " ".join(
        [rule.action for rule in RULES.values()] + [each["annotations"]["action"] for each in PROMETHEUS_RULES]
    )
    for route in re.findall(r"GET (/[\w/-]+)", told):
        assert f"{route}" in page, route
    settings = (ROOT / "env.example").read_text(encoding="utf-8")
    for setting in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", told):
        assert f"{setting}=" in settings, setting
