"""What is missing of a feature that was added or changed, a line each; ``python -m tests.unfinished`` prints them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from market.clock import SECOND_NS, floor_to
from runtime.feature_page import PAGE, feature_page
from tests.oracle.incidents import a_day
from tests.oracle.messages import oracle_rows
from transforms.catalogue import FEATURES, GROUPS, group_fingerprint
from transforms.lock import LOCK

GOLDEN: Final = Path(__file__).parent / "golden"
TO_LOCK: Final = "run `feature-service features lock`"


@cache
def oracle_names() -> frozenset[str]:
    """The features that the oracle computes: those of the last row of a day on which every one has a value."""
    messages = a_day()
    [row] = oracle_rows(messages, [floor_to(messages[-1][0], SECOND_NS)])
    return frozenset(row.values)


def stale_groups(recorded: dict[str, Any]) -> list[str]:
    """The groups whose fingerprint is not the one in a file of golden rows."""
    return [name for name in GROUPS if recorded["groups"].get(name, {}).get("fingerprint") != group_fingerprint(name)]


def unfinished() -> list[str]:
    """Every line names its thing, what is missing of it, and what to do."""
    locked = json.loads(LOCK.read_text(encoding="utf-8"))
    lines = [
        f"{group}: its fingerprint is not the locked one; {TO_LOCK}"
        for group in sorted(GROUPS.keys() | locked.keys())
        if group not in GROUPS or locked.get(group) != group_fingerprint(group)
    ]
    if PAGE.read_text(encoding="utf-8") != feature_page():
        lines.append(f"docs/{PAGE.name}: it is not what the declarations say; {TO_LOCK}")
    lines += [
        f"tests/golden/{path.name}: its rows of {', '.join(stale)} were computed by other code; {TO_LOCK} "
        "where ../shared/data has the recordings"
        for path in sorted(GOLDEN.glob("*.json"))
        if (stale := stale_groups(json.loads(path.read_text(encoding="utf-8"))))
    ]
    lines += [
        f"{name}: quality/oracle does not compute it; write its formula there, in exact arithmetic"
        for name in FEATURES
        if name not in oracle_names()
    ]
    lines += [
        f"{name}: quality/oracle computes it, but it is not a feature; remove it there"
        for name in sorted(oracle_names() - FEATURES.keys())
    ]
    return lines


if __name__ == "__main__":
    for line in unfinished():
        print(line)
