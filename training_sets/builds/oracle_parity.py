"""Parity with the oracle: drawn served rows against their formulas, computed from raw data by code of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, utc_date
from market.events import Events
from quality.oracle.market import Oracle
from quality.oracle.records import KINDS, Record, Teller, computed_names
from quality.oracle.rows import UNKNOWN, OracleRow
from quality.parity import OracleCheck, OracleMismatch
from storage.raw.events import first_message_ns, stream_events
from storage.raw.raw_data import RawData
from training_sets.rebuild.rebuild import start_before
from transforms.catalogue import (
    FEATURES,
    GROUPS,
    group_horizon_ns,
    group_kinds,
    group_source,
    group_warm_up_ns,
    stale_after_ns,
)
from transforms.declaration import NOTHING
from transforms.rows import FeatureRows, FeatureSet
from transforms.status import STATUS_NAMES

_SOURCE_NAMES: Final = {kind: name for name, kind in KINDS.items()}
_EXACT_GROUPS: Final = ("candles",)
"""Whose features are answers, 0 or 1, without rounding."""
MOST_RECORDS: Final = 500_000
"""Of a source for one row, some seconds of plain loops: without a snapshot a book is read from far back."""


@dataclass(frozen=True, slots=True)
class OracleChoice:
    """So many served rows of each symbol and day, drawn by a seed."""

    count: int = 5
    seed: int = 0


def compare_with_oracle(raw: RawData, served: FeatureRows, choice: OracleChoice) -> OracleCheck:
    """Compare drawn rows of one symbol and day with the oracle: every value that it has a formula of, every status.

    served: one row at least. Raises CorruptStore, and NotFound when there is no raw data of the symbol.
    """
    chosen = served.feature_set
    known = computed_names()
    columns = [name for name in chosen.columns if name in known]
    reader = _OracleReader(raw, served.symbol, chosen)
    can_be = np.flatnonzero(served.row_ns > reader.first_ns)
    if len(can_be) == 0:
        date = utc_date(int(served.row_ns[0]))
        return OracleCheck(not_checked=(f"{served.symbol} {date}: its rows are older than the raw data",))
    mismatched: list[OracleMismatch] = []
    drawn = _draw(served, can_be, choice)
    long = 0
    for index in drawn.tolist():
        exact = reader.row(int(served.row_ns[index]))
        if exact is None:
            long += 1
            continue
        mismatched += _wrong_values(served, index, exact, columns) + _wrong_statuses(served, index, exact)
    not_checked = [f"{name}: {_why_unknown(name)}" for name in chosen.columns if name not in known]
    if long:
        date = utc_date(int(served.row_ns[0]))
        not_checked.append(f"{served.symbol} {date}: {long} rows, made of more than {MOST_RECORDS} records of a source")
    return OracleCheck(len(drawn) - long, len(columns), tuple(mismatched), tuple(not_checked))


def _draw(served: FeatureRows, can_be: npt.NDArray[np.intp], choice: OracleChoice) -> npt.NDArray[np.intp]:
    """Positions, ascending: those of a symbol and day do not depend on what else is verified."""
    if choice.count >= len(can_be):
        return can_be
    day = int(served.row_ns[0]) // DAY_NS
    draws = np.random.default_rng([choice.seed, crc32(served.symbol.encode()), day])
    return np.sort(draws.choice(can_be, choice.count, replace=False))


def _why_unknown(column: str) -> str:
    if column in FEATURES:
        return "the oracle has no formula of it"
    return "a normalised column is computed from rows, the oracle computes rows from messages"


class _OracleReader:
    """Rows of the oracle, each made of as much raw data as the sources of a feature set are looked back at.

    first_ns: of the first message, after which there are rows.
    """

    def __init__(self, raw: RawData, symbol: str, chosen: FeatureSet) -> None:
        self._raw = raw
        self._symbol = symbol
        self._instrument = raw.instrument(symbol)
        self._parts = raw.parts(symbol)
        self._begin_ns, _ = raw.period(symbol)
        self.first_ns = first_message_ns(raw, self._parts)
        self._groups = [group.name for group in chosen.groups if group.name in GROUPS]
        self._horizons_ns: dict[str, int] = {}
        for group in self._groups:
            furthest_ns = max(group_horizon_ns(group), group_warm_up_ns(group))
            for kind in group_kinds(group):
                # Of another source than the group's own, which is the order book, it reads what is so at the row.
                own_ns = furthest_ns if kind == group_source(group).value else 0
                name = _SOURCE_NAMES[kind]
                self._horizons_ns[name] = max(self._horizons_ns.get(name, 0), own_ns)

    def row(self, row_ns: int) -> OracleRow | None:
        """None where it would take more than MOST_RECORDS of a source."""
        oracle = Oracle()
        oracle.begin(self.first_ns)
        teller = Teller(oracle, self._instrument)
        for source, horizon_ns in self._horizons_ns.items():
            kind = KINDS[source]
            from_ns = start_before(self._raw, self._parts, {kind}, row_ns - horizon_ns, self._begin_ns)
            if from_ns > self._begin_ns:
                oracle.begin(from_ns, source)
            records: list[Record] = []
            for events, _ in stream_events(self._raw, self._symbol, kinds={kind}, from_ns=from_ns, to_ns=row_ns):
                records += _records(events)
                if len(records) > MOST_RECORDS:
                    return None
            teller.tell(source, records)
        return oracle.row(row_ns, self._groups)


def _records(events: Events) -> list[Record]:
    return [Record(*fields) for fields in events.tolist()]


def _wrong_values(served: FeatureRows, index: int, exact: OracleRow, columns: list[str]) -> list[OracleMismatch]:
    wrong = []
    for name in columns:
        declared = FEATURES[name]
        true = exact.values.get(name, UNKNOWN) if exact.is_warm(declared.source.name, declared.warm_up_ns) else UNKNOWN
        value = float(served.values[index, served.feature_set.columns.index(name)])
        if not true.agrees(value, exactly=declared.group in _EXACT_GROUPS):
            wrong.append(OracleMismatch(served.symbol, exact.row_ns, name, repr(value), str(true)))
    return wrong


def _wrong_statuses(served: FeatureRows, index: int, exact: OracleRow) -> list[OracleMismatch]:
    wrong = []
    for group, status in zip(served.feature_set.groups, served.status[index].tolist(), strict=True):
        if group.name not in GROUPS or (source := group_source(group.name)) is NOTHING:
            continue
        true = exact.status(
            source.name,
            horizon_ns=group_horizon_ns(group.name),
            warm_up_ns=group_warm_up_ns(group.name),
            stale_after_ns=stale_after_ns(group.name),
            minutes=GROUPS[group.name][0].window_s // 60,
        )
        if STATUS_NAMES[status] != true:
            wrong.append(
                OracleMismatch(served.symbol, exact.row_ns, f"status of {group.name}", STATUS_NAMES[status], true)
            )
    return wrong
