"""Features tried by the laws: which group is computed how, on which streams, and the report as a document."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from market.clock import MINUTE_NS
from market.errors import NotFound
from market.events import Events
from market.instruments import Instrument
from quality.feature_laws.generated import INSTRUMENT, generated_stream, generated_tables
from quality.feature_laws.of_tables import TableFeatures
from quality.feature_laws.streamed import StreamedFeatures
from quality.feature_laws.verifying import Verdict, verify_group
from runtime.settings import Settings
from transforms.catalogue import GROUPS, OUR_GROUPS, feature_set, group_horizon_ns, group_kinds
from transforms.declaration import Source
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.kernel import compile_kernel
from transforms.table_group import TableGroup

_MINUTES: Final = 4
_MOST_CANDLES: Final = 400
_RECORDED_NS: Final = 4 * MINUTE_NS


def chosen_groups(names: Sequence[str] | None) -> list[str]:
    """The groups named, or every group of another package. Raises NotFound naming those that there are."""
    known = [*GROUPS, *TABLE_GROUPS]
    if names:
        for name in names:
            if name not in known:
                raise NotFound(f"feature group: must be one of {', '.join(known)}, was {name}")
        return list(names)
    ours = {*OUR_GROUPS, *(name for name, group in TABLE_GROUPS.items() if is_ours(group))}
    return [name for name in known if name not in ours]


def is_ours(group: TableGroup) -> bool:
    """Whether a group ships with the service."""
    return group.features[0].function.__module__.startswith("transforms.")


def verify_features(group: str, settings: Settings, cache_folder: Path, *, seed: int, cheats: int) -> Verdict:
    """Try a group on streams drawn by the seed and, of a stream's features, on what was recorded last."""
    if group in TABLE_GROUPS:
        of_tables = TABLE_GROUPS[group]
        rows = max(each.rows for each in of_tables.features)
        tables = {f"generated {seed}": generated_tables(of_tables, seed, days=max(60, rows + 60))}
        return verify_group(group, TableFeatures(of_tables), tables, seed=seed, cheats=cheats)
    kernel = compile_kernel(feature_set("9.9.9", [each.name for each in GROUPS[group]]), cache_folder)
    kernel.warm_up()
    bars = {each.window_s // 60 for each in GROUPS[group] if each.source is Source.BARS}
    reach = max(each.candles for each in GROUPS[group]) * max(bars, default=1)
    candles = min(_MOST_CANDLES, math.ceil(reach * 1.1))
    minutes = _MINUTES + min(10, group_horizon_ns(group) // MINUTE_NS)
    streams: dict[str, Any] = {
        f"generated {seed}": generated_stream(seed, minutes=minutes, candle_minutes=candles, bar_minutes=bars)
    }
    recorded = _recorded(settings, group_kinds(group))
    instrument = INSTRUMENT
    if recorded is not None:
        instrument, streams[f"recorded {recorded[0].symbol}"] = recorded
    subject = StreamedFeatures(kernel, instrument, cache_folder)
    return verify_group(group, subject, streams, seed=seed, cheats=cheats)


def _recorded(settings: Settings, kinds: Collection[int]) -> tuple[Instrument, Events] | None:
    """The last minutes of the first symbol that has raw data of these kinds."""
    from storage.raw.events import read_events
    from storage.raw.raw_data import RawData

    raw = RawData(settings.raw_folder, settings.raw_data_storage_path)
    for symbol in raw.symbols():
        _, end_ns = raw.period(symbol)
        events = read_events(raw, symbol, kinds=kinds, from_ns=end_ns - _RECORDED_NS, to_ns=end_ns)
        if len(events):
            return raw.instrument(symbol), events
    return None


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """What was tried, how sensitive it was, and the smallest counter-example of each breach."""
    planted, caught = sum(verdict.planted.values()), sum(verdict.caught.values())
    return {
        "group": verdict.group,
        "streams": {name: f"{count} rows" for name, count in verdict.rows.items()},
        "known": {name: f"{share:.0%} of values" for name, share in verdict.known.items()},
        "laws": {name: f"tried {count}" for name, count in verdict.tried.items()},
        "cheats": f"{caught} of {planted} planted were caught",
        "cheats_by_kind": {kind: f"{verdict.caught[kind]} of {count}" for kind, count in verdict.planted.items()},
        "missed": list(verdict.missed),
        "not_shown": [f"{name}: no value was known" for name, share in verdict.known.items() if share == 0],
        "broken": [
            {
                "law": each.breach.law,
                "found": str(each.breach),
                "smallest": f"{each.parts} of {each.of_parts} messages or rows of {each.stream}",
            }
            for each in verdict.breaches
        ],
        "is_clean": verdict.is_clean,
    }
