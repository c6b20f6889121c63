"""``pytest -p tests.processor_time``: the seconds of a processor that each file takes, with those of its processes.

Wall time says little on a machine that does other things. What a server of the system does is not counted.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
SHOWN: Final = 30
taken: defaultdict[str, float] = defaultdict(float)


def processor_s(process_id: int | None = None) -> float:
    """Of a process (None: this one), of those that it started and theirs, and of those of them that were waited for."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            stat = (process / "stat").read_text(errors="replace")
        except OSError:  # it ended while we looked
            continue
        fields = stat.rpartition(")")[2].split()
        children.setdefault(int(fields[1]), []).append(int(process.name))
        ticks[int(process.name)] = sum(map(int, fields[11:15]))
    total, todo = 0, [process_id or os.getpid()]
    while todo:
        found = todo.pop()
        total += ticks[found]
        todo += children.get(found, [])
    return total * TICK_S


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    before = processor_s()
    result = yield
    taken[item.location[0]] += processor_s() - before
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section(f"{sum(taken.values()):.0f} s of a processor in tests, {processor_s():.0f} s in all")
    for name, seconds in sorted(taken.items(), key=lambda each: -each[1])[:SHOWN]:
        terminalreporter.write_line(f"{seconds:8.1f} {name}")
