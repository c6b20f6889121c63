"""Tables in the settings' folders: one process computes at a time."""

from __future__ import annotations

import os
import threading
from datetime import date
from pathlib import Path

from market.clock import SECOND_NS, ManualClock, SystemClock
from runtime.commands.options import settings_for
from runtime.equities_demo import write_example
from runtime.tables import compute_tables, tables_folder, watched_views
from storage.file_locks import exclusive
from storage.tables.computing import add_table
from storage.tables.newest_rows import NewestRows


def test_who_computes_waits_for_who_computes(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    add_table(write_example(tmp_path / "bars", last_day=date(2013, 3, 1)), tables_folder(settings))
    mapping = tables_folder(settings) / "daily_bars.yaml"
    few = tmp_path / "few.csv"
    head = "date,ticker,open,high,low,close,volume,split_ratio,dividend"
    few.write_text(f"{head}\n2013-03-01,AAPL,1,1,1,1,1,1,0\n")
    text = mapping.read_text().splitlines()
    mapping.write_text("\n".join([*(line for line in text if not line.startswith("path:")), f"path: {few}"]))
    done: list[list[dict[str, object]]] = []
    computing = threading.Thread(target=lambda: done.append(compute_tables(settings, SystemClock())))
    with exclusive(tables_folder(settings) / ".lock"):
        computing.start()
        computing.join(timeout=0.5)
        assert computing.is_alive()
        assert done == []
    computing.join()
    assert {each["new_rows"] for each in done[0]} >= {1}
    assert {each["new_rows"] for each in compute_tables(settings)} == {0}
    newest = NewestRows()
    views = {view.name: view for view in watched_views(settings, newest)}
    assert set(views["price_volume_features"].newest) == {"AAPL"}
    assert {view.waits_since_ns for view in views.values()} == {None}
    # A file that was changed after that waits until it is computed.
    changed_ns = SystemClock().now_ns() + SECOND_NS
    os.utime(few, ns=(changed_ns, changed_ns))
    assert {view.waits_since_ns for view in watched_views(settings, newest)} == {changed_ns}
    compute_tables(settings, ManualClock(changed_ns + SECOND_NS))
    assert {view.waits_since_ns for view in watched_views(settings, newest)} == {None}
