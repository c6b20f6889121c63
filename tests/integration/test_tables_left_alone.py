"""A table that a service keeps by itself: computed and materialized as its views promise, and told of when late."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, ManualClock, SystemClock, format_iso, to_datetime
from runtime.alerting import thresholds
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.stores import open_stores
from runtime.tables import newest_rows, tables_folder
from runtime.upkeep import upkeep_tasks
from runtime.wiring import metadata_store
from storage.database.freshness import FreshnessStore
from storage.tables.computing import add_table
from tests.hurried import changes, servers, settings
from upkeep.alert_findings import freshness_findings, table_findings
from upkeep.tasks import FRESHNESS, MATERIALIZATION

__all__ = ["changes", "servers", "settings"]  # fixtures

MAPPING = "table: daily_bars\npath: bars\nkey: ticker\nevent_time: at\nknown_after: 1m\ncolumns: {close: close}\n"
EACH_FIVE_MINUTES = "price_volume_features"


def write(folder: Path, name: str, *, first_ns: int, days: int) -> None:
    """Bars of two shares, a day apart from ``first_ns`` on, in a file that was written when the last was known."""
    rows = [f"{key},{format_iso(first_ns + at * DAY_NS)},{100 + at}" for key in ("AAPL", "MSFT") for at in range(days)]
    file = folder / name
    file.write_text("\n".join(["ticker,at,close", *rows]) + "\n")
    written_ns = first_ns + (days - 1) * DAY_NS + MINUTE_NS
    os.utime(file, ns=(written_ns, written_ns))


def test_views_of_a_table_are_online_as_promised_and_told_of_when_they_are_late(
    settings: Settings, servers: Servers
) -> None:
    start_ns = SystemClock().now_ns() // SECOND_NS * SECOND_NS
    clock = ManualClock(start_ns)
    folder = settings.feature_service_data_path / "bars"
    folder.mkdir()
    write(folder, "1.csv", first_ns=start_ns - 30 * DAY_NS - HOUR_NS, days=31)
    (folder.parent / "daily_bars.yaml").write_text(MAPPING)
    add_table(folder.parent / "daily_bars.yaml", tables_folder(settings))
    with metadata_store(servers) as metadata, closing(FreshnessStore(servers.postgres_url)) as store:
        tasks = {each.name: each for each in upkeep_tasks(settings, servers, open_stores(settings), metadata, clock)}

        def looked(minutes: int) -> dict[str, tuple[int, int, int]]:
            """What was found of the views over an hour, that minute after the start looked at last."""
            clock.set(start_ns + minutes * MINUTE_NS)
            tasks[FRESHNESS].run(lambda _share: None)
            return {
                each.view: (each.looks, each.fresh, each.covered)
                for each in store.windows(to_datetime(clock.now_ns()))
                if each.window == "1h" and each.tier == 1
            }

        done = tasks[MATERIALIZATION].run(lambda _share: None)
        assert (done["problems"], done["not_due"]) == ([], [])
        assert looked(0)[EACH_FIVE_MINUTES] == (2, 2, 2)
        # A day more, and nobody computes.
        write(folder, "2.csv", first_ns=start_ns + 30 * MINUTE_NS, days=1)
        assert looked(36)[EACH_FIVE_MINUTES] == (4, 4, 4)
        found = [looked(minutes) for minutes in range(37, 47)][-1]
        assert (found[EACH_FIVE_MINUTES], found["momentum_features"]) == ((24, 4, 4), (24, 24, 24))
        windows = store.windows(to_datetime(clock.now_ns()))
        [alert] = freshness_findings(windows, thresholds(settings))
        assert (alert.rule, alert.subject) == ("freshness_burn", f"{EACH_FIVE_MINUTES} tier 1")
        # The schedule: what promises five minutes is due, what promises an hour is not.
        done = tasks[MATERIALIZATION].run(lambda _share: None)
        assert {EACH_FIVE_MINUTES, "liquidity_features"} <= set(done["materialized"])
        assert {"momentum_features", "fundamental_features"} <= set(done["not_due"])
        assert looked(47)[EACH_FIVE_MINUTES] == (26, 6, 6)
        # The table stops: what is online answers no more.
        assert table_findings(newest_rows(settings), clock.now_ns()) == []
        assert looked(8 * 24 * 60)[EACH_FIVE_MINUTES] == (2, 2, 0)
        assert [each.rule for each in table_findings(newest_rows(settings), clock.now_ns())] == ["table_stopped"]
