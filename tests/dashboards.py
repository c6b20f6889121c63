"""What the shipped Grafana dashboards ask for: expressions of Prometheus, and queries as Grafana sends them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

DASHBOARDS: Final = sorted((Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards").glob("*.json"))


def queries() -> Iterator[tuple[str, str, str]]:
    """Each panel's name, the kind of it, and its query; those of the variables too."""
    for path in DASHBOARDS:
        for variable in json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]:
            yield f"{path.stem} {variable['name']}", "variable", _as_sent(variable["query"])
    for name, kind, target in _targets():
        if "rawSql" in target:
            yield name, kind, _as_sent(target["rawSql"])


def named_metrics() -> Iterator[tuple[str, set[str]]]:
    """Each panel's name, and the metrics of ours that an expression of it names."""
    for name, _, target in _targets():
        if "expr" in target:
            yield name, set(re.findall(r"\b(?:feature_service|process)_\w+", target["expr"]))


def _targets() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem} {panel['title']}", panel["type"], target


def _as_sent(query: str) -> str:
    """With Grafana's macros and the variable filled in."""
    query = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN now() - interval '1 hour' AND now()", query)
    query = query.replace("$__timeFrom()", "now() - interval '1 hour'").replace("$__timeTo()", "now()")
    query = query.replace("$symbol", "BTCUSDT")
    assert "$" not in query, query
    return query.replace(":", r"\:")
