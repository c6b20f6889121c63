"""Online features for a model: values, why one is unknown, and how old they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isnan
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from market.clock import MICROSECOND_NS, format_iso
from market.errors import InvalidRequest
from storage.online.vector import OnlineVector
from transforms.status import STATUS_NAMES

FeatureStatus: TypeAlias = Literal["PRESENT", "STALE", "MISSING", "UNKNOWN_ENTITY"]

UNKNOWN_ENTITY: Final = "UNKNOWN_ENTITY"


class LookAheadError(InvalidRequest, ValueError):
    """A value is from after the time that the caller may see."""


class OnlineFeature(NamedTuple):  # a frozen dataclass takes three times as long to make, a hundred of them a read
    """One feature of one entity row.

    value: None unless the status is PRESENT or STALE; a float64, or any type in a third-party view. reason: why it
    is MISSING, from the row. age: since the row time; None for an unknown entity. group_status: of the view in that
    row, which tells a position of 0 from one that is not known (NO_DATA); None in a view that is not streamed.
    """

    value: Any
    status: FeatureStatus
    reason: str | None
    age: timedelta | None
    group_status: str | None = None


@dataclass(frozen=True, slots=True)
class OnlineFeatures:
    """The features of each entity row, by reference, in the requested order."""

    entity_rows: tuple[dict[str, Any], ...]
    features: tuple[dict[str, OnlineFeature], ...]

    def to_dict(self) -> dict[str, list[Any]]:
        """One list per column, as in Feast's response: the keys and each feature under its name; None is unknown."""
        keys = dict.fromkeys(name for row in self.entity_rows for name in row)
        columns: dict[str, list[Any]] = {name: [row[name] for row in self.entity_rows] for name in keys}
        for reference in self.features[0] if self.features else ():
            columns[reference.partition(":")[2]] = [row[reference].value for row in self.features]
        return columns


def parse_references(feature_refs: Sequence[str]) -> list[tuple[str, str]]:
    """View and name of each ``view:name``. Raises InvalidRequest for another form, or one name of two views."""
    parsed = []
    given: Sequence[object] = feature_refs
    for reference in given:
        view, colon, name = reference.partition(":") if isinstance(reference, str) else ("", "", "")
        if not (view and colon and name):
            raise InvalidRequest(f"feature_refs: must be <view>:<feature>, was {reference!r}")
        parsed.append((view, name))
    if len({name for _, name in parsed}) != len(parsed):
        raise InvalidRequest(f"feature_refs: must name each feature once, was {list(feature_refs)}")
    return parsed


def symbols_of(entity_rows: Sequence[Mapping[str, Any]], *, is_alone: bool = True) -> list[str]:
    """The symbol of each entity row. is_alone: whether it is the row's only key.

    Raises InvalidRequest if a row is not one symbol.
    """
    given: Sequence[object] = entity_rows
    for row in given:
        symbol = row.get("symbol") if isinstance(row, Mapping) and (not is_alone or len(row) == 1) else None
        if not isinstance(symbol, str):
            rule = "be" if is_alone else "hold"
            raise InvalidRequest(f'entity_rows: must {rule} {{"symbol": <text>}} each, was {row!r}')
    return [row["symbol"] for row in entity_rows]


def age_of(event_ns: int, now_ns: int) -> timedelta:
    """How long ago a row's time was; 0 for one that is still to come by this machine's clock."""
    return timedelta(microseconds=max(0, now_ns - event_ns) // MICROSECOND_NS)


def features_of(
    vector: OnlineVector | None,
    references: Sequence[tuple[str, str]],
    *,
    now_ns: int,
    fresh_for: dict[str, timedelta],
) -> dict[str, OnlineFeature]:
    """The value of each reference in one symbol's vector; fresh_for: by view, how old a value may be."""
    if vector is None:
        return {
            f"{view}:{name}": OnlineFeature(None, UNKNOWN_ENTITY, "the symbol has no row", None)
            for view, name in references
        }
    age = age_of(vector.row_ns, now_ns)
    held = dict(zip(vector.columns, vector.values.tolist(), strict=True))
    told = {group: STATUS_NAMES[status] for group, status in vector.statuses.items()}
    answer = {}
    for view, name in references:
        if view not in told or name not in held:
            raise InvalidRequest(
                f"{view}:{name}: must be a feature of the online rows, which are of registry version {vector.version}"
            )
        value = held[name]
        if isnan(value):
            feature = OnlineFeature(None, "MISSING", vector.missing[name], age, told[view])
        else:
            feature = OnlineFeature(value, "STALE" if age > fresh_for[view] else "PRESENT", None, age, told[view])
        answer[f"{view}:{name}"] = feature
    return answer


def refuse_look_ahead(vector: OnlineVector, references: Sequence[tuple[str, str]], as_of_ns: int) -> None:
    """Raises LookAheadError if the vector could not be read yet at ``as_of_ns``."""
    known_ns = vector.known_ns
    if known_ns > as_of_ns:
        names = ", ".join(f"{view}:{name}" for view, name in references)
        raise LookAheadError(
            f"{names} of {vector.symbol}: must be known at as_of_timestamp {format_iso(as_of_ns)}, was of "
            f"{format_iso(vector.row_ns)}, available at {format_iso(known_ns)}"
        )
