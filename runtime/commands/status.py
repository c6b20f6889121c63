"""``status``: how the service is, from its database: upkeep, how fresh its views are, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document, print_table

_NOBODY_LOOKED: Final = "not checked"


def status(data: DataFolder = None, as_json: AsJson = False) -> None:
    """When each upkeep task last succeeded, late tasks, how fresh each view is served, and the open alerts.

    Exits 1 when a task is late: its last success is older than twice its period.
    """
    from api.freshness_document import freshness_document
    from market.clock import SystemClock, to_datetime
    from runtime.commands.alerts import print_alerts
    from runtime.commands.upkeep import print_states
    from runtime.servers import running_servers
    from runtime.upkeep import upkeep_store
    from runtime.wiring import metadata_store
    from storage.database.alerts import AlertStore
    from storage.database.freshness import FreshnessStore

    now_ns = SystemClock().now_ns()
    with (
        running_servers(settings_for(data)) as servers,
        metadata_store(servers),
        upkeep_store(servers) as upkeep,
        closing(FreshnessStore(servers.postgres_url)) as looks,
        closing(AlertStore(servers.postgres_url)) as alerts,
    ):
        states = upkeep.states()
        freshness = freshness_document(looks.windows(to_datetime(now_ns)), (), now_ns=now_ns)
        found = alerts.open_alerts(to_datetime(now_ns))
    if as_json:
        document = {
            "upkeep": [state.document() for state in states],
            "freshness": freshness,
            "alerts": [alert.document() for alert in found],
        }
        print_document(document, as_json=True)
    else:
        print_states(states)
        _print_freshness(freshness)
        print_alerts(found)
    if any(state.is_late for state in states):
        raise typer.Exit(1)


def _print_freshness(views: Mapping[str, Mapping[str, Any]]) -> None:
    print_table(
        ("view", "fresh within", "tier", "coverage 1 h", "6 h", "burn rate 1 h", "6 h", "budget left"),
        [
            (
                view,
                f"{found['freshness_slo_seconds']:g} s",
                tier,
                *(_share(windows.get(window, {}).get("coverage")) for window in ("1h", "6h")),
                *(f"{windows.get(window, {}).get('burn_rate', 0.0):.2f}" for window in ("1h", "6h")),
                _share(windows.get("budget_left")),
            )
            for view, found in views.items()
            for tier, windows in found["tiers"].items()
        ],
        nothing="Freshness has not been measured: it is while run has the role jobs.",
    )


def _share(share: float | None) -> str:
    return _NOBODY_LOOKED if share is None else f"{share:.2%}"
