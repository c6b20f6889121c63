"""How a table is read: its YAML mapping says where the files are, and which column is what.

table: daily_bars
path: bars/*.csv              # a file, a folder or a pattern, from the mapping's folder; .csv, .csv.gz or .parquet;
                              # a folder such as ticker=AAPL says a column of the files in it
key: ticker
event_time: date              # what time a row is of
time_zone: America/New_York   # of times that name none; UTC when it is left out
known_after: 975m             # from when on a row could be known: so long after its event time ...
known_time: published         # ... or the column that says so
item: id                      # of items such as news: what tells apart those of one key and time; a text
columns: {close: Close, volume: Volume}    # ours: theirs; all are numbers
defaults: {split_ratio: 1}    # columns that the table leaves out because they never differ
ranges: {close: [0, null], volume: [0, null]}   # what a number of ours lies within, both ends included
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from market.clock import parse_duration_ns
from market.errors import DeclarationError, NotFound

_NAMES: Final = frozenset(
    {
        "table",
        "path",
        "key",
        "event_time",
        "time_zone",
        "known_after",
        "known_time",
        "item",
        "columns",
        "defaults",
        "ranges",
    }
)
_SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True, slots=True)
class TableMapping:
    """A table as declared. Exactly one of ``known_after_ns`` and ``known_time`` is given."""

    table: str
    path: Path
    """Absolute; its parts may be patterns."""
    key: str
    event_time: str
    time_zone: ZoneInfo
    known_after_ns: int | None
    known_time: str | None
    item: str | None
    columns: Mapping[str, str]
    defaults: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    """By column of ours, the least and the greatest number that counts."""

    def files(self) -> list[Path]:
        """The files there are, by path; hidden ones are other programs'. Raises NotFound when there is none."""
        matched = [self.path] if self.path.exists() else _matching(self.path)
        found = {
            each
            for path in matched
            for each in (path.rglob("*") if path.is_dir() else [path])
            if path == each or each.name.endswith(_SUFFIXES)
        }
        files = sorted(each for each in found if each.is_file() and not each.name.startswith((".", "_")))
        if not files:
            raise NotFound(f"table {self.table}: must have files, was nothing at {self.path}")
        return files


def load_mapping(file: Path) -> TableMapping:
    """The mapping in a YAML file. Raises NotFound, or DeclarationError with every problem found."""
    try:
        declared = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"mapping: must be a YAML file, was {file}") from error
    except yaml.YAMLError as error:
        raise DeclarationError(f"mapping {file}", [f"must be YAML, was {error}"]) from error
    if not isinstance(declared, dict):
        raise DeclarationError(f"mapping {file}", [f"must be a mapping, was {type(declared).__name__}"])
    problems = _problems(declared)
    if problems:
        raise DeclarationError(f"mapping {file}", problems)
    lag = declared.get("known_after")
    return TableMapping(
        table=declared["table"],
        path=(file.parent / declared["path"]).absolute(),
        key=declared["key"],
        event_time=declared["event_time"],
        time_zone=ZoneInfo(declared.get("time_zone", "UTC")),
        known_after_ns=None if lag is None else 0 if lag == "0s" else parse_duration_ns(lag),
        known_time=declared.get("known_time"),
        item=declared.get("item"),
        columns=declared["columns"],
        defaults={name: float(value) for name, value in declared.get("defaults", {}).items()},
        ranges={
            name: (-math.inf if low is None else float(low), math.inf if high is None else float(high))
            for name, (low, high) in declared.get("ranges", {}).items()
        },
    )


def _matching(path: Path) -> list[Path]:
    """What a path with patterns in its parts names."""
    parts = path.parts
    first = next((at for at, part in enumerate(parts) if "*" in part or "?" in part), len(parts) - 1)
    return list(Path(*parts[:first]).glob("/".join(parts[first:])))


def _wrong_ranges(ranges: object) -> list[str]:
    if not isinstance(ranges, dict):
        return [f"ranges: must be pairs by column, was {ranges!r}"]
    return [
        f"ranges.{name}: must be the least and the greatest number, or null, was {pair!r}"
        for name, pair in ranges.items()
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, int | float | None) for each in pair)
        )
    ]


def _problems(declared: Mapping[str, Any]) -> list[str]:
    problems = [f"{name}: must be one of {', '.join(sorted(_NAMES))}" for name in declared if name not in _NAMES]
    problems += [
        f"{name}: must be a text, was {declared.get(name)!r}"
        for name in ("table", "path", "key", "event_time")
        if not isinstance(declared.get(name), str)
    ]
    problems += [
        f"{name}: must be a column, was {declared[name]!r}"
        for name in ("known_time", "item")
        if not isinstance(declared.get(name), str | None)
    ]
    if not str(declared.get("table")).isidentifier():
        problems.append(f"table: must be a name of letters, digits and _, was {declared.get('table')!r}")
    if (declared.get("known_after") is None) == (declared.get("known_time") is None):
        problems.append(
            "known_after, known_time: one of the two must say when a row could be known; without it a row of "
            "midnight would tell the close of its evening"
        )
    elif declared.get("known_after") not in {None, "0s"}:
        try:
            parse_duration_ns(str(declared["known_after"]))
        except ValueError as error:
            problems.append(f"known_after: {error}")
    try:
        ZoneInfo(str(declared.get("time_zone", "UTC")))
    except (ZoneInfoNotFoundError, ValueError):
        problems.append(f"time_zone: must be a zone such as America/New_York, was {declared.get('time_zone')!r}")
    columns, defaults = declared.get("columns"), declared.get("defaults", {})
    if not isinstance(columns, dict) or not columns:
        problems.append(f"columns: must name at least one, was {columns!r}")
    if not isinstance(defaults, dict) or not all(isinstance(value, int | float) for value in defaults.values()):
        problems.append(f"defaults: must be numbers by column, was {defaults!r}")
    return problems + _wrong_ranges(declared.get("ranges", {}))
