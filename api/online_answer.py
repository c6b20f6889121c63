"""The answer of Feast's feature server, made of what the online store holds.

1. One round trip reads of each entity row the packed vector and the times of the views asked for, and the fields of
   views of others.
2. A row whose views all have the vector's time is answered from the vector. Where a view was materialized since, its
   fields say what is newer: they are read in a second round trip, which no row of a running service needs.
3. Values of one feature are one array, statuses and times are encoded once and used for every feature that has them.

Status and time to live are told truthfully: PRESENT, NULL_VALUE, NOT_FOUND without a row, OUTSIDE_MAX_AGE where the row
is older than its view allows. No value is given but a PRESENT one: Feast's clients show values without their status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from feature_repo.serving_plan import ServedFeature, ServedView, ServingPlan, native_value
from market.clock import SECOND_NS, format_iso, parse_iso_ns
from storage.online.feast_fields import timestamp_field
from storage.online.shadow_rows import of_version, shadow_field
from storage.online.table_row import stored_time_ns
from storage.online.vector import VECTOR_FIELD, unpack

STATUSES: Final = ("NOT_FOUND", "PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE")
NOT_FOUND, PRESENT, NULL_VALUE, OUTSIDE_MAX_AGE = range(4)
EPOCH: Final = "1970-01-01T00:00:00Z"
"""The time of what has none: of keys and of rows that are not there."""
_LIST: Final = orjson.OPT_SERIALIZE_NUMPY

Read = Callable[[Sequence[tuple[bytes, Sequence[bytes]]]], list[list[bytes | None]]]
"""Reads fields of hashes, given by key, in one round trip."""


class _View:
    """What was found of one view: by entity row the time, and by feature and row the values.

    time_ns: int64 (rows,), 0 without a row. values: float64 (features, rows) of ours; else a list a feature.
    """

    def __init__(self, view: ServedView, rows: int) -> None:
        self.view = view
        self.time_ns = np.zeros(rows, np.int64)
        self.numbers = np.full((len(view.features), rows), np.nan) if view.is_ours else None
        self.values: list[list[Any]] = [] if view.is_ours else [[None] * rows for _ in view.features]

    def put_fields(self, row: int, held: Sequence[bytes | None]) -> None:
        """What the fields of a row hold, its time last."""
        *values, written = held
        if written is None:
            return
        self.time_ns[row] = stored_time_ns(written)
        for at, stored in enumerate(values):
            value = native_value(stored)
            if self.numbers is None:
                self.values[at][row] = value
            elif isinstance(value, float):
                self.numbers[at, row] = value


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

    Raises Conflict where rows of that version are neither served nor served beside.
    """
    rows = len(next(iter(entities.values())))
    found = [_View(view, rows) for view in plan.views]
    ours = [at for at, view in enumerate(plan.views) if view.is_ours]
    others = [at for at, view in enumerate(plan.views) if not view.is_ours]
    asked: list[tuple[bytes, Sequence[bytes]]] = []
    if ours:
        names = [VECTOR_FIELD, *(plan.views[at].fields[-1] for at in ours)]
        if version is not None:
            names.append(shadow_field(version))
        asked += [(key, names) for key in keys[ours[0]]]
    asked += [(key, plan.views[at].fields) for at in others for key in keys[at]]
    held = read(asked) if asked else []
    if ours:
        symbols = [str(each) for each in _first(plan, entities)]
        of_ours = [found[at] for at in ours]
        packed: Sequence[Sequence[bytes | None]] = held[:rows]
        if version is not None:
            packed = [_of_version(symbol, version, each) for symbol, each in zip(symbols, packed, strict=True)]
        newer = _put_vectors(of_ours, packed, symbols)
        again = [(row, at) for row in newer for at in ours]
        if again:
            fields = read([(keys[at][row], plan.views[at].fields) for row, at in again])
            for (row, at), stored in zip(again, fields, strict=True):
                found[at].put_fields(row, stored)
    begin = rows if ours else 0
    for number, at in enumerate(others):
        for row in range(rows):
            found[at].put_fields(row, held[begin + number * rows + row])
    return _document(plan, entities, found, now_ns=now_ns, names_versions=names_versions)


def _of_version(symbol: str, version: str, held: Sequence[bytes | None]) -> Sequence[bytes | None]:
    """The packed vector of a version and the times of the views with it. Raises Conflict where it is not served."""
    packed, *written, beside = held
    found = of_version(symbol, version, packed, beside)
    if found is None or packed is None or found.version == unpack(packed, symbol=symbol).version:
        return [packed, *written]
    return [beside, *(timestamp_field(found.row_ns) for _ in written)]


def _first(plan: ServingPlan, entities: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
    """The symbols: the key of all of our views."""
    view = next(view for view in plan.views if view.is_ours)
    return entities[next(iter(view.keys.values()))]


def _put_vectors(views: Sequence[_View], held: Sequence[Sequence[bytes | None]], symbols: Sequence[str]) -> list[int]:
    """Put what packed vectors hold; returns the rows that fields have something newer of, or that have no vector."""
    places: dict[tuple[str, ...], list[tuple[_View, npt.NDArray[np.intp], npt.NDArray[np.intp]]]] = {}
    newer = []
    for row, (packed, *written) in enumerate(held):
        if packed is None:
            if any(time is not None for time in written):
                newer.append(row)
            continue
        vector = unpack(packed, symbol=symbols[row])
        expected = timestamp_field(vector.row_ns)
        if any(time is not None and time != expected for time in written):
            newer.append(row)
            continue
        if vector.columns not in places:
            index = {name: at for at, name in enumerate(vector.columns)}
            places[vector.columns] = []
            for view in views:
                at = [(to, index[name]) for to, name in enumerate(view.view.features) if name in index]
                put, take = np.array(at, np.intp).reshape(-1, 2).T
                places[vector.columns].append((view, put, take))
        for (view, put, take), time in zip(places[vector.columns], written, strict=True):
            if time is not None:
                assert view.numbers is not None
                view.time_ns[row] = vector.row_ns
                view.numbers[put, row] = vector.values[take]
    return newer


def _document(
    plan: ServingPlan,
    entities: Mapping[str, Sequence[Any]],
    found: Sequence[_View],
    *,
    now_ns: int,
    names_versions: bool,
) -> bytes:
    rows = len(next(iter(entities.values())))
    keys = list(dict.fromkeys(name for view in plan.views for name in view.keys.values() if name in entities))
    given = [*(name for name in entities if name in keys)]
    metadata: dict[str, Any] = {"feature_names": [*given, *(column.name for column in plan.columns)]}
    if names_versions:
        metadata["feature_view_metadata"] = [{"name": view.name} for view in plan.views]
    encoded = _Encoded(rows)
    results: list[dict[str, Any]] = [
        {
            "values": list(entities[name]),
            "statuses": encoded.statuses(np.full(rows, PRESENT, np.uint8)),
            "event_timestamps": encoded.times(np.zeros(rows, np.int64)),
        }
        for name in given
    ]
    too_old = [_outside_max_age(each, now_ns) for each in found]
    times = [encoded.times(each.time_ns) for each in found]
    for column in plan.columns:
        values, status = _column(found[column.view], column, too_old[column.view])
        results.append({"values": values, "statuses": encoded.statuses(status), "event_timestamps": times[column.view]})
    return orjson.dumps({"metadata": metadata, "results": results}, option=_LIST)


def _outside_max_age(found: _View, now_ns: int) -> npt.NDArray[np.bool_]:
    if found.view.ttl_ns is None:
        return np.zeros(len(found.time_ns), np.bool_)
    is_too_old: npt.NDArray[np.bool_] = (found.time_ns != 0) & (now_ns - found.time_ns > found.view.ttl_ns)
    return is_too_old


def _column(
    found: _View, column: ServedFeature, too_old: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64] | list[Any], npt.NDArray[np.uint8]]:
    """The values of one feature, and the status of each."""
    status = np.where(found.time_ns == 0, NOT_FOUND, PRESENT).astype(np.uint8)
    if found.numbers is not None:
        numbers = found.numbers[column.at]
        status[np.isnan(numbers) & (status == PRESENT)] = NULL_VALUE
        status[too_old] = OUTSIDE_MAX_AGE
        return np.where(status == PRESENT, numbers, np.nan), status  # NaN is encoded as null
    values = found.values[column.at]
    is_null = np.array([value is None for value in values], np.bool_)
    status[is_null & (status == PRESENT)] = NULL_VALUE
    status[too_old] = OUTSIDE_MAX_AGE
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
    """Lists that many features have in common, encoded once."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._statuses: dict[bytes, orjson.Fragment] = {}

    def statuses(self, status: npt.NDArray[np.uint8]) -> orjson.Fragment:
        known = self._statuses.get(key := status.tobytes())
        if known is None:
            known = orjson.Fragment(orjson.dumps([STATUSES[each] for each in status.tolist()]))
            self._statuses[key] = known
        return known

    def times(self, time_ns: npt.NDArray[np.int64]) -> orjson.Fragment:
        texts = {each: rfc3339(each) for each in set(time_ns.tolist())}
        return orjson.Fragment(orjson.dumps([texts[each] for each in time_ns.tolist()]))


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
