"""The coverage certificate as JSON, and a calendar of it in characters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, floor_to, format_iso, utc_date
from market.events import ORDERBOOK, TICKER, TRADE
from quality.coverage import STREAMS, CoverageTally, Missing, StreamCoverage
from quality.time_ranges import Range, joined
from transforms.catalogue import FEATURES, GROUPS, group_kinds, group_warm_up_ns, normalised_warm_up_ns
from transforms.rows import FeatureSet

_SHADES: Final = " ░▒▓"


def coverage_document(
    symbol: str,
    tally: CoverageTally,
    chosen: FeatureSet,
    *,
    begin_ns: int,
    end_ns: int,
    kinds: Collection[int] = tuple(STREAMS),
) -> dict[str, Any]:
    """The certificate as JSON: every stream with its missing ranges and its days, oldest first.

    chosen: whose features are listed. kinds: of the streams that are listed. expected and held are in the stream's
    unit, of whole days and of the part of the first and the last that lies in the period.
    """
    return {
        "symbol": symbol,
        "from": format_iso(begin_ns),
        "to": format_iso(end_ns),
        "feature_registry_version": chosen.version,
        "streams": {
            STREAMS[kind]: _stream_document(tally, covered, chosen, begin_ns=begin_ns, end_ns=end_ns)
            for kind, covered in tally.finish(kinds).items()
        },
    }


def features_reading(kind: int, chosen: FeatureSet) -> dict[str, int]:
    """The columns that a hole in a stream makes unknown, each with for how long after it, ns, in the set's order."""
    of_columns = {name: (name, FEATURES[name].warm_up_ns) for name in chosen.columns if name in FEATURES}
    of_columns |= {each.name: (each.feature, normalised_warm_up_ns(each)) for each in chosen.normalisations}
    return {name: warm_up_ns for name, (read, warm_up_ns) in of_columns.items() if kind in FEATURES[read].kinds}


def _groups_reading(kind: int, chosen: FeatureSet) -> dict[str, int]:
    """The groups that a hole in a stream makes unknown, each with for how long after it, ns."""
    own = {
        group.name: group_warm_up_ns(group.name)
        for group in chosen.groups
        if group.name in GROUPS and kind in group_kinds(group.name)
    }
    reading = features_reading(kind, chosen)
    normalised = {
        group.name: max(reading[name] for name in group.columns if name in reading)
        for group in chosen.groups
        if group.name not in GROUPS and any(name in reading for name in group.columns)
    }
    return own | normalised


def _stream_document(
    tally: CoverageTally, covered: StreamCoverage, chosen: FeatureSet, *, begin_ns: int, end_ns: int
) -> dict[str, Any]:
    days = [
        _day_document(tally, covered, max(day, begin_ns), min(day + DAY_NS, end_ns))
        for day in range(floor_to(begin_ns, DAY_NS), end_ns, DAY_NS)
    ]
    reading = _groups_reading(covered.kind, chosen)
    return {
        "unit": _unit(covered),
        "certified_by": covered.evidence,
        "expected": sum(day["expected"] for day in days),
        "held": sum(day["held"] for day in days),
        "messages_live": sum(day["messages_live"] for day in days),
        "messages_backfilled": sum(day["messages_backfilled"] for day in days),
        "held_ranges": _held_document(covered),
        "missing": [_missing_document(each, covered.kind, reading) for each in covered.missing],
        "not_proven": [_range(each) for each in covered.not_proven],
        "unknown_for_s": {
            name: warm_up_ns / SECOND_NS for name, warm_up_ns in features_reading(covered.kind, chosen).items()
        },
        "days": days,
    }


def _unit(covered: StreamCoverage) -> str:
    if covered.is_counted:
        return "trades" if covered.kind == TRADE else "messages"
    return "seconds" if covered.kind == TICKER else "minutes"


def _held_document(covered: StreamCoverage) -> list[dict[str, str]]:
    ranges = [(each, source) for source in ("live", "backfilled") for each in getattr(covered, source)]
    return [{**_range(each), "source": source} for each, source in sorted(ranges)]


def _range(span: Range) -> dict[str, str]:
    return {"from": format_iso(span[0]), "to": format_iso(span[1])}


def _day_document(tally: CoverageTally, covered: StreamCoverage, begin_ns: int, end_ns: int) -> dict[str, Any]:
    """coverage: share of the day's time in which nothing is missing."""
    day_ns = floor_to(begin_ns, DAY_NS)
    ranges = [(max(each.begin_ns, begin_ns), min(each.end_ns, end_ns)) for each in covered.missing]
    lost_ns = sum(end - begin for begin, end in joined(ranges))
    live, backfilled = tally.held(covered.kind, day_ns)
    if covered.is_counted:
        expected, held = tally.counted(covered, day_ns)
    else:
        unit_ns = SECOND_NS if covered.kind == TICKER else MINUTE_NS
        expected = (end_ns - begin_ns) // unit_ns
        held = expected - -(-lost_ns // unit_ns)
    return {
        "date": utc_date(day_ns),
        "expected": expected,
        "held": held,
        "messages_live": live,
        "messages_backfilled": backfilled,
        "coverage": 1 - lost_ns / (end_ns - begin_ns),
    }


def _missing_document(missing: Missing, kind: int, reading: Mapping[str, int]) -> dict[str, Any]:
    ids = None
    if missing.first_id is not None and missing.count:
        ids = [missing.first_id, missing.first_id + missing.count - 1]
    begin_ns, end_ns = missing.effect_ns or (missing.begin_ns, missing.end_ns)
    until = {group: format_iso(end_ns + warm_up_ns) for group, warm_up_ns in reading.items()}
    return {
        "from": format_iso(missing.begin_ns),
        "to": format_iso(missing.end_ns),
        "evidence": missing.evidence,
        "messages": missing.count,
        "update_ids": ids if kind == ORDERBOOK else None,
        "trade_numbers": ids if kind == TRADE else None,
        "unknown_from": format_iso(begin_ns) if missing.makes_unknown else None,
        "unknown_until": until if missing.makes_unknown else {},
        "computed_without": [] if missing.makes_unknown else list(reading),
    }


def listed_holes(streams: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The holes of each stream for a person to read: those that touch and were found and act alike are one.

    Two touch where one message lies between them: a stream of which only such messages are there has a hole for each.
    ``evidence`` says how many they are; the certificate has each of them.
    """
    found = []
    for name, stream in streams.items():
        row: list[dict[str, Any]] = []
        for hole in [*stream["missing"], None]:
            if row and not (hole is not None and _follows(row[-1], hole)):
                counts = [each["messages"] for each in row]
                listed = {**row[-1], "from": row[0]["from"], "messages": None if None in counts else sum(counts)}
                if len(row) > 1:
                    listed["evidence"] = f"{row[0]['evidence']}, {len(row):,} in a row"
                found.append((name, listed))
                row = []
            if hole is not None:
                row.append(hole)
    return found


def _follows(before: Mapping[str, Any], hole: Mapping[str, Any]) -> bool:
    is_alike = before["evidence"] == hole["evidence"] and bool(before["unknown_until"]) == bool(hole["unknown_until"])
    return bool(is_alike and before["to"] == hole["from"])


def day_shade(coverage: float) -> str:
    """A day as a character: from blank, nothing held, to a full bar, nothing missing."""
    return "█" if coverage == 1 else _SHADES[-(-int(coverage * 1000) * (len(_SHADES) - 1) // 1000)]


def day_picture(streams: Mapping[str, Any]) -> dict[str, str]:
    """Each stream's days as characters, oldest first."""
    return {name: "".join(day_shade(day["coverage"]) for day in stream["days"]) for name, stream in streams.items()}
