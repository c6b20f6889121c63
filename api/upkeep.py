"""Upkeep in the API: in the figures, in health and in the metrics, from the table that its runs write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from api.checks import Answer, Check
from api.services import ProcessServices
from market.clock import SECOND_NS, to_ns
from market.errors import StoreUnavailable
from storage.database.upkeep import LATE_AFTER_PERIODS, UpkeepState

UPKEEP: Final = "upkeep"
NOT_KEPT: Final = "no process of the service has registered upkeep tasks yet"


def upkeep_check(services: ProcessServices) -> Check:
    """The state of each task."""

    def check() -> Mapping[str, Any]:
        states = () if services.upkeep is None else services.upkeep.states()
        if not states:
            raise StoreUnavailable(NOT_KEPT)
        return {"states": states}

    return check


def states_of(answer: Answer) -> Sequence[UpkeepState]:
    """What the check found."""
    states: Sequence[UpkeepState] = answer.found.get("states", ())
    return states


def late_tasks(states: Sequence[UpkeepState]) -> list[str]:
    """Each task that is late, in words."""
    return [
        f"{state.task}: last success must be at most {LATE_AFTER_PERIODS * state.period.total_seconds():g} s ago, "
        f"was {'never' if state.age is None else f'{state.age.total_seconds():.0f} s'}"
        f"{'' if state.error is None else f', since {state.error}'}"
        for state in states
        if state.is_late
    ]


def upkeep_families(states: Sequence[UpkeepState]) -> list[Metric]:
    """The metrics of each task."""
    gauges: dict[str, tuple[str, Any]] = {
        "last_success_timestamp_seconds": (
            "When the task last succeeded, seconds since 1970.",
            lambda state: None if state.succeeded_at is None else to_ns(state.succeeded_at) / SECOND_NS,
        ),
        "period_seconds": ("How often the task is to run.", lambda state: state.period.total_seconds()),
        "lag_seconds": ("How long the task has been due without running.", lambda state: state.lag.total_seconds()),
        "duration_seconds": (
            "How long the last success took.",
            lambda state: None if state.duration is None else state.duration.total_seconds(),
        ),
        "late": ("1 when the last success is older than twice the period, else 0.", lambda state: float(state.is_late)),
        "problems": ("Problems that the last success found.", lambda state: float(len(state.problems))),
    }
    counters: dict[str, tuple[str, Any]] = {
        "runs": ("Finished runs.", lambda state: float(state.runs)),
        "failures": ("Runs that failed.", lambda state: float(state.failures)),
    }
    families: list[Metric] = []
    for kind, of_kind in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters)):
        for name, (text, value_of) in of_kind.items():
            family = kind(f"feature_service_upkeep_{name}", text, labels=["task"])
            for state in states:
                if (value := value_of(state)) is not None:
                    family.add_metric([state.task], value)
            families.append(family)
    return families
