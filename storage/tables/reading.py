"""A table, read and checked: what counts, and what became of every row that does not.

| row | rule |
|---|---|
| unsorted | no matter: rows are learned in the order of their known times |
| duplicated | of one key, event time, item and known time the last counts, files by path, then lines as written |
| restated | one of a later known time takes the other's place from then on, and not before |
| of a cell that is no number, or no time | refused; an empty number is NaN |
| of a number outside of the range that the mapping gives its column | refused |
| without key, or known before its event time | refused |
| of a table whose one column is `value`, where it is empty, as on a holiday | says nothing, and is left out |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from market.errors import CorruptStore, InvalidRequest
from storage.tables.mapping import TableMapping
from transforms.known_rows import KnownRows

MOST_EXAMPLES: Final = 5
_EVENT: Final = "event_ns"
_KNOWN: Final = "known_ns"
_ITEM: Final = "item"
_BEGINS_WITH_A_YEAR: Final = r"\s*\d{4}"
"""pandas takes "now" for a time too."""
_NAMES_ITS_ZONE: Final = r"(?:Z|\d[T ]\d\d.*[+-]\d\d(?::?\d\d)?)$"
_YEARS: Final = (1678, 2261)
"""Those that nanoseconds in an int64 hold whole."""


@dataclass(frozen=True, slots=True)
class TableReport:
    """What was found. refused: rows by reason. examples: the first of them in words."""

    rows: int
    keys: int
    counted: int
    restated: int
    duplicated: int
    unsorted: int
    refused: Mapping[str, int]
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows that count, by key, and the report on all of them."""

    mapping: TableMapping
    rows: Mapping[str, KnownRows]
    report: TableReport
    ends: Mapping[str, tuple[int, int]]
    """By key the event times of the first and the last row that counts, as they were written."""


def read_table(mapping: TableMapping, files: Sequence[Path] | None = None) -> Table:
    """Read all files, or those given.

    Raises NotFound, InvalidRequest for a column that a file lacks, CorruptStore for an unreadable file.
    """
    files = mapping.files() if files is None else files
    frames = [_typed(mapping, file) for file in files]
    frame = pd.concat(frames, ignore_index=True)
    is_refused = frame["refusal"] != ""
    refused = frame[is_refused]
    good = frame[~is_refused & ~_says_nothing(mapping, frame)]
    order = good.sort_values([_KNOWN, _EVENT], kind="stable")
    latest = order.drop_duplicates(["key", _EVENT, _ITEM, _KNOWN], keep="last")
    names = [*mapping.columns, *(name for name in mapping.defaults if name not in mapping.columns)]
    rows = {
        str(key): KnownRows(
            of_key[_EVENT].to_numpy(np.int64),
            of_key[_KNOWN].to_numpy(np.int64),
            {name: of_key[name].to_numpy(np.float64) for name in names},
            None if mapping.item is None else of_key[_ITEM].to_numpy(np.int64),
        )
        for key, of_key in latest.groupby("key", sort=True)
    }
    by_key = good.groupby("key", sort=False)[_EVENT]
    before = by_key.shift()
    report = TableReport(
        rows=len(frame),
        keys=len(rows),
        counted=len(latest),
        restated=int(latest.duplicated(["key", _EVENT, _ITEM]).sum()),
        duplicated=len(good) - len(latest),
        unsorted=int((before > good[_EVENT]).sum()),
        refused={str(reason): int(count) for reason, count in refused["refusal"].value_counts().items()},
        examples=tuple(
            f"{row.file} row {row.line}: {row.refusal}, was {row.cell!r}"
            for row in refused.head(MOST_EXAMPLES).itertuples()
        ),
    )
    first, last = by_key.first(), by_key.last()
    ends = zip(first.index.astype(str), zip(first.tolist(), last.tolist(), strict=True), strict=True)
    return Table(mapping, rows, report, dict(ends))


def _says_nothing(mapping: TableMapping, frame: pd.DataFrame) -> Any:  # noqa: ANN401  # a mask
    if list(mapping.columns) != ["value"]:
        return np.zeros(len(frame), np.bool_)
    return frame[next(iter(mapping.columns))].isna()


def _typed(mapping: TableMapping, file: Path) -> pd.DataFrame:
    """The rows of one file: key, times, numbers, and why a row is refused, empty where it is not."""
    read = _read(mapping, file)
    frame = pd.DataFrame({"key": read[mapping.key], "refusal": "", "cell": "", "file": file.name})
    frame["line"] = np.arange(1, len(frame) + 1)
    _refuse(frame, frame["key"].isna() | (frame["key"] == ""), "the key must not be empty", frame["key"])
    frame[_EVENT], is_time = _times_ns(read[mapping.event_time], mapping)
    _refuse(frame, ~is_time, f"{mapping.event_time} must be a time", read[mapping.event_time])
    if mapping.known_time is not None:
        frame[_KNOWN], is_time = _times_ns(read[mapping.known_time], mapping)
        _refuse(frame, ~is_time, f"{mapping.known_time} must be a time", read[mapping.known_time])
        is_early = frame[_KNOWN] < frame[_EVENT]
        _refuse(frame, is_early, f"{mapping.known_time} must not be before the event time", read[mapping.known_time])
    else:
        assert mapping.known_after_ns is not None, "one of both is given"
        frame[_KNOWN] = frame[_EVENT] + mapping.known_after_ns
    frame[_ITEM] = 0 if mapping.item is None else _numbers_of(read[mapping.item])
    for ours, value in mapping.defaults.items():
        frame[ours] = value
    for ours, theirs in mapping.columns.items():
        numbers = _numbers(read[theirs])
        texts = read[theirs][numbers.isna()].dropna().astype(str)
        is_wrong = np.isinf(numbers)
        is_wrong[texts.index] = (texts.str.strip() != "") & (texts.str.lower() != "nan")
        _refuse(frame, is_wrong, f"{theirs} must be a number", read[theirs])
        frame[ours] = numbers.fillna(mapping.defaults.get(ours, np.nan))
        low, high = mapping.ranges.get(ours, (-math.inf, math.inf))
        is_outside = (frame[ours] < low) | (frame[ours] > high)
        _refuse(frame, is_outside, f"{theirs} must be {low:g} to {high:g}", read[theirs])
    return frame


def _refuse(frame: pd.DataFrame, is_wrong: Any, reason: str, cells: pd.Series[Any]) -> None:  # noqa: ANN401  # a mask
    """Refuse rows for the first rule they break."""
    if not is_wrong.any():
        return
    new = is_wrong & (frame["refusal"] == "")
    frame.loc[new, "refusal"] = reason
    frame.loc[new, "cell"] = cells[new].astype(str)


def _read(mapping: TableMapping, file: Path) -> pd.DataFrame:
    wanted = [mapping.key, mapping.event_time, *mapping.columns.values()]
    if mapping.known_time is not None:
        wanted.append(mapping.known_time)
    if mapping.item is not None:
        wanted.append(mapping.item)
    told = _told_by_folders(file)
    inside = [name for name in dict.fromkeys(wanted) if name not in told]
    try:
        if file.suffix == ".parquet":
            # The file alone: of a folder's name pyarrow would make a column of a type of its own.
            with pq.ParquetFile(file) as parquet:
                held = parquet.schema_arrow.names
                missing = [name for name in inside if name not in held]
                read = None if missing else _plain(parquet.read(columns=inside))
        else:
            # As texts: a cell of a wrong type must cost its row, not the column.
            texts = pd.read_csv(file, dtype=str, keep_default_na=False)
            if not isinstance(texts.index, pd.RangeIndex):
                raise ValueError(f"rows of more cells than the {len(texts.columns)} that its header names")
            held, missing = list(texts.columns), [name for name in inside if name not in texts.columns]
            read = None if missing else texts[inside]
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        raise CorruptStore(f"{file}: must be a whole table, was {error}") from error
    if read is None:
        raise InvalidRequest(f"{file}: must have the columns {missing}, was {[*held, *told]}")
    return read.assign(**{name: text for name, text in told.items() if name in wanted})


def _plain(table: pa.Table) -> pd.DataFrame:
    """Columns alone, of values alone: what pandas wrote makes an index of some, and categories of absent keys."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field.name, table.column(at).cast(field.type.value_type))
    return table.to_pandas(ignore_metadata=True)


def _numbers(cells: pd.Series[Any]) -> pd.Series[Any]:
    """float64, the nearest to what each cell says; NaN where it says no number, and of times."""
    if cells.dtype.kind in "mM":
        return pd.Series(np.nan, cells.index)
    numbers = pd.to_numeric(cells, errors="coerce").astype(np.float64)
    if cells.dtype == object:  # pandas reads some texts as the float beside the nearest one
        is_number = numbers.notna()
        numbers[is_number] = cells[is_number].astype(np.float64)
    return numbers


def _told_by_folders(file: Path) -> dict[str, str]:
    """What folders such as ticker=AAPL say of all rows of a file."""
    pairs = (part.partition("=") for part in file.parent.parts if "=" in part)
    return {name: unquote(value) for name, _, value in pairs}


def _numbers_of(items: pd.Series[Any]) -> npt.NDArray[np.int64]:
    """(n,) a number for each text, the same in every run and file."""
    return pd.util.hash_array(items.astype(str).to_numpy(object)).view(np.int64)


def _times_ns(cells: pd.Series[Any], mapping: TableMapping) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(n,) times in ns since 1970 UTC, 0 where a cell is none; and where it is one. Naive ones are of the table's zone.

    An hour that a change of clocks repeats is its second pass, so that nothing is known too early; one that it skips is
    the end of the gap.
    """
    if pd.api.types.is_numeric_dtype(cells):
        return np.zeros(len(cells), np.int64), np.zeros(len(cells), np.bool_)
    codes, told = pd.factorize(cells)  # a day is told by every key
    different = pd.Series(told)
    if isinstance(different.dtype, pd.DatetimeTZDtype):
        times = different.dt.tz_convert("UTC")
    else:
        texts = different.astype(str)
        different = different.where(texts.str.match(_BEGINS_WITH_A_YEAR))
        is_aware = texts.str.contains(_NAMES_ITS_ZONE)
        aware = pd.to_datetime(different.where(is_aware), errors="coerce", utc=True, format="ISO8601")
        naive = pd.to_datetime(different.where(~is_aware), errors="coerce", format="ISO8601")
        local = naive.dt.tz_localize(
            mapping.time_zone, ambiguous=np.zeros(len(naive), np.bool_), nonexistent="shift_forward"
        )
        times = aware.fillna(local.dt.tz_convert("UTC"))
    times = times.where(times.dt.year.between(*_YEARS))
    # The last is of the code -1, which is no cell.
    is_time = np.append(times.notna().to_numpy(), False)
    times_ns = times.fillna(pd.Timestamp(0, tz="UTC")).dt.as_unit("ns").astype(np.int64).to_numpy()
    return np.append(times_ns, 0)[codes], is_time[codes]
