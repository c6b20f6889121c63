"""The answer of Feast's feature server, made of what the online store holds.

1. One round trip reads of each entity row the packed vector and the times of the views asked for, and the fields of
   views of others.
2. A row whose views all have the vector's time is answered from the vector. Where a view was materialized since, its
   fields say what is newer: they are read in a second round trip, which no row of a running service needs.
3. Values of all features of ours are one matrix, statuses and times are encoded once and used for every feature that
   has them.

Status and time to live are reported as they are: PRESENT, NULL_VALUE, NOT_FOUND without a row, OUTSIDE_MAX_AGE where
the row is older than its view allows. No value is given but a PRESENT one: Feast's clients show values without their
status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from api.packed_columns import NO_LIMIT, PackedColumns, PackedLayout, packed_layouts
from feature_repo.serving_plan import ServedView, ServingPlan, native_value
from market.clock import SECOND_NS, format_iso, parse_iso_ns
from storage.online.table_row import stored_time_ns

STATUSES: Final = ("NOT_FOUND", "PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE")
NOT_FOUND, PRESENT, NULL_VALUE, OUTSIDE_MAX_AGE = range(4)
EPOCH: Final = "1970-01-01T00:00:00Z"
"""The time of what has none: of keys and of rows that are not there."""
LAYOUTS: Final = "packed layouts"
_LIST: Final = orjson.OPT_SERIALIZE_NUMPY
_FEW_ROWS: Final = 8

Float64s = npt.NDArray[np.float64]

Read = Callable[[Sequence[tuple[bytes, Sequence[bytes]]]], list[list[bytes | None]]]
"""Reads fields of hashes, given by key, in one round trip."""


def online_answer(  # noqa: PLR0913  # what an answer depends on
    plan: ServingPlan,
    entities: Mapping[str, Sequence[Any]],
    keys: Sequence[Sequence[bytes]],
    read: Read,
    *,
    now_ns: int,
    names_versions: bool,
    version: str | None = None,
) -> bytes:
    """The answer as JSON. keys: of each view of the plan, one an entity row. version: the registry version asked for.

    Raises Conflict if rows of that version are served neither as active nor as shadow.
    """
    rows = len(next(iter(entities.values())))
    ours = [PackedColumns(plan, layout, entities[layout.key], version) for layout in _layouts(plan)]
    others = [at for at, view in enumerate(plan.views) if not view.is_ours]
    asked = [each for packed in ours for each in packed.asked(keys[packed.layout.views[0]])]
    asked += [(key, plan.views[at].fields) for at in others for key in keys[at]]
    held = read(asked) if asked else []
    parts = [held[begin : begin + rows] for begin in range(0, len(held), rows)]
    newer = [(packed, packed.put(part)) for packed, part in zip(ours, parts[: len(ours)], strict=True)]
    _read_again([each for each in newer if each[1]], keys, read)
    foreign = {at: _Foreign.of(plan.views[at], part) for at, part in zip(others, parts[len(ours) :], strict=True)}

    encoded = _Encoded(rows)
    given = _given(plan, entities)
    metadata: dict[str, Any] = {"feature_names": [*given, *(column.name for column in plan.columns)]}
    if names_versions:
        metadata["feature_view_metadata"] = [{"name": view.name} for view in plan.views]
    is_there, no_time = bytes([PRESENT]) * rows, np.zeros(rows, np.int64)
    keys_told = [encoded.result(list(entities[name]), is_there, no_time) for name in given]
    results = [*keys_told, *_results(plan, ours, foreign, encoded, now_ns)]
    return orjson.dumps({"metadata": metadata, "results": results}, option=_LIST)


def _layouts(plan: ServingPlan) -> list[PackedLayout]:
    if LAYOUTS not in plan.prepared:
        plan.prepared[LAYOUTS] = packed_layouts(plan)
    layouts: list[PackedLayout] = plan.prepared[LAYOUTS]
    return layouts


def _read_again(newer: Sequence[tuple[PackedColumns, list[int]]], keys: Sequence[Sequence[bytes]], read: Read) -> None:
    """Read the fields of rows that they have something newer of, in one round trip."""
    asked = [packed.asked_again(rows, keys[packed.layout.views[0]]) for packed, rows in newer]
    if not asked:
        return
    held = iter(read([each for of_key in asked for each in of_key]))
    for (packed, rows), of_key in zip(newer, asked, strict=True):
        packed.put_again(rows, [next(held) for _ in of_key])


def _given(plan: ServingPlan, entities: Mapping[str, Sequence[Any]]) -> list[str]:
    """The keys of the request that a view has."""
    keys = {name for view in plan.views for name in view.keys.values()}
    return [name for name in entities if name in keys]


def _results(
    plan: ServingPlan, ours: Sequence[PackedColumns], foreign: Mapping[int, _Foreign], encoded: _Encoded, now_ns: int
) -> list[dict[str, Any]]:
    """The response for each column of the plan."""
    results: dict[int, dict[str, Any]] = {}
    for packed in ours:
        values, status = _told(packed, now_ns)
        width, kinds = values.shape[1], status.tobytes()
        views = packed.layout.view_at.tolist()
        # Of few rows lists cost less than arrays.
        of_feature: Any = values if width > _FEW_ROWS else values.tolist()
        for number, (at, view, of_rows) in enumerate(zip(packed.layout.columns, views, of_feature, strict=True)):
            kind = kinds[number * width : (number + 1) * width]
            results[at] = encoded.result(of_rows, kind, packed.time_ns[view])
    for at, column in enumerate(plan.columns):
        if column.view in foreign:
            found = foreign[column.view]
            values_, status_ = found.column(column.at, now_ns)
            results[at] = encoded.result(values_, status_.tobytes(), found.time_ns)
    return [results[at] for at in range(len(plan.columns))]


def _told(packed: PackedColumns, now_ns: int) -> tuple[Float64s, npt.NDArray[np.uint8]]:
    """The values and statuses of our views, (columns, rows); NaN, which is encoded as null, but for PRESENT ones."""
    of_view = _of_rows(packed.time_ns, packed.layout.ttl_ns[:, None], now_ns)
    status: npt.NDArray[np.uint8] = of_view[packed.layout.view_at]
    status[np.isnan(packed.numbers) & (status == PRESENT)] = NULL_VALUE
    return np.where(status == PRESENT, packed.numbers, np.nan), status


def _of_rows(time_ns: npt.NDArray[np.int64], ttl_ns: npt.NDArray[np.int64] | int, now_ns: int) -> npt.NDArray[np.uint8]:
    """The status of rows of these times, whatever their values."""
    is_found = time_ns != 0
    status: npt.NDArray[np.uint8] = is_found.astype(np.uint8)  # NOT_FOUND and PRESENT
    status[is_found & (now_ns - time_ns > ttl_ns)] = OUTSIDE_MAX_AGE
    return status


@dataclass(frozen=True, slots=True)
class _Foreign:
    """What was found of a view of others: by entity row the time, int64 (rows,), and by feature and row the values."""

    view: ServedView
    time_ns: npt.NDArray[np.int64]
    values: list[list[Any]]

    @classmethod
    def of(cls, view: ServedView, held: Sequence[Sequence[bytes | None]]) -> _Foreign:
        """held: what the fields of each row hold, its time last."""
        found = cls(view, np.zeros(len(held), np.int64), [[None] * len(held) for _ in view.features])
        for row, (*values, written) in enumerate(held):
            if written is not None:
                found.time_ns[row] = stored_time_ns(written)
                for at, stored in enumerate(values):
                    found.values[at][row] = native_value(stored)
        return found

    def column(self, at: int, now_ns: int) -> tuple[list[Any], npt.NDArray[np.uint8]]:
        """The values of one feature, and the status of each."""
        values = self.values[at]
        status = _of_rows(self.time_ns, NO_LIMIT if self.view.ttl_ns is None else self.view.ttl_ns, now_ns)
        status[np.array([value is None for value in values], np.bool_) & (status == PRESENT)] = NULL_VALUE
        return [value if each == PRESENT else None for value, each in zip(values, status, strict=True)], status


def truthful(answer: dict[str, Any], plan: ServingPlan, *, now_ns: int) -> dict[str, Any]:
    """Feast's own answer with the status of what is null, and without what is too old.

    What Feast computed has no row time, so that its inputs may be older than their views allow.
    """
    ttls = {column.name: plan.views[column.view].ttl_ns for column in plan.columns}
    for name, result in zip(answer["metadata"]["feature_names"], answer["results"], strict=True):
        if name not in ttls:
            continue
        ttl_ns = ttls[name]
        for row, text in enumerate(result["event_timestamps"]):
            if text == EPOCH:
                result["statuses"][row] = STATUSES[NOT_FOUND]
            elif ttl_ns is not None and now_ns - parse_iso_ns(text) > ttl_ns:
                result["values"][row], result["statuses"][row] = None, STATUSES[OUTSIDE_MAX_AGE]
            elif result["values"][row] is None:
                result["statuses"][row] = STATUSES[NULL_VALUE]
    return answer


class _Encoded:
    """Results whose lists of statuses and times, which many features have in common, are encoded once."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._statuses: dict[bytes, orjson.Fragment] = {}
        self._times: dict[bytes, orjson.Fragment] = {}

    def result(self, values: Any, status: bytes, time_ns: npt.NDArray[np.int64]) -> dict[str, Any]:  # noqa: ANN401  # a list or an array
        """Of one name. status: a byte a row."""
        if (statuses := self._statuses.get(status)) is None:
            statuses = orjson.Fragment(orjson.dumps([STATUSES[each] for each in status]))
            self._statuses[status] = statuses
        if (times := self._times.get(key := time_ns.tobytes())) is None:
            texts = {each: rfc3339(each) for each in set(time_ns.tolist())}
            times = orjson.Fragment(orjson.dumps([texts[each] for each in time_ns.tolist()]))
            self._times[key] = times
        return {"values": values, "statuses": statuses, "event_timestamps": times}


def rfc3339(time_ns: int) -> str:
    """A time as Feast's server writes it: as many digits below the second as it needs, of 0, 3, 6 and 9."""
    if time_ns == 0:
        return EPOCH
    whole, rest = divmod(time_ns, SECOND_NS)
    base = format_iso(whole * SECOND_NS).removesuffix("Z").partition(".")[0]
    for digits in (0, 3, 6, 9):
        if rest % 10 ** (9 - digits) == 0:
            break
    return f"{base}.{rest // 10 ** (9 - digits):0{digits}d}Z" if digits else f"{base}Z"
