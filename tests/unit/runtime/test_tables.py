"""Tables in the settings' folders: one process computes at a time."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path

from market.clock import SystemClock
from runtime.commands.options import settings_for
from runtime.equities_demo import write_example
from runtime.tables import compute_tables, tables_folder
from storage.durable_files import exclusive
from storage.tables.computing import add_table


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
