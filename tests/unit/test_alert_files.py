"""What alerts and dashboards name is there: metrics of rules and panels, the rules of the page, and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.dashboards import named_metrics
from tests.metric_names import OF_PROMETHEUS, metric_names
from upkeep.alert_rules import RULES

ROOT = Path(__file__).parents[2]
GROUPS = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
PROMETHEUS_RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]


def test_every_metric_of_a_prometheus_rule_exists() -> None:
    known = metric_names()
    assert {"feature_service_gaps_total", "feature_service_http_request_seconds_bucket"} <= known
    for rule in PROMETHEUS_RULES:
        named = set(re.findall(r"\b(?:feature_service_\w+|up(?=\{))", rule["expr"]))
        assert named, rule["alert"]
        assert named <= known | OF_PROMETHEUS, rule["alert"]


def test_every_metric_of_every_panel_exists() -> None:
    known = metric_names() | OF_PROMETHEUS
    for panel, named in named_metrics():
        assert named, panel
        assert named <= known, panel


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
