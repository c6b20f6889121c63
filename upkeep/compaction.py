"""Automatic compaction: the finished segments of every tape to raw Parquet, and a check of the result.

1. Which segments lack a part is seen from names alone. A symbol without such a segment is not opened.
2. What was made is read back, with its segment, as ``verify tape`` reads it.
3. A symbol that fails leaves the others to be done; the run fails in the end, naming it. Once an object store does not
   answer, the others would wait in vain: the run ends as unavailable, which is no damage.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ingestion.decoding.scales import Instruments
from ingestion.tape.compaction import compact_tape, part_name
from ingestion.tape.report import verify_parts
from market.errors import FeatureServiceError
from storage.durable_files import changing_files
from storage.places import Place
from storage.raw.manifest import entry_paths
from storage.raw.raw_data import RawData
from storage.tape import tape_symbols
from storage.tape.lock import is_held
from storage.tape.segments import FINISHED, OPEN, segment_paths, tape_folder
from upkeep.failures import Failures
from upkeep.tasks import Reach

_log = logging.getLogger(__name__)


def compact_finished(
    raw_folder: Path, instruments: Instruments, reach: Reach, *, place: Place | None = None
) -> Mapping[str, Any]:
    """Make and check the parts of every finished segment that has none; place: of raw Parquet, None is the raw folder.

    Raises CorruptStore when a symbol could not be compacted, or when what was made is damaged, after all symbols were
    done; StoreUnavailable where nothing is known to be damaged, and disk or store refused.
    """
    raw = RawData(raw_folder, place)
    lacking = {symbol: found for symbol in tape_symbols(raw_folder) if (found := lacking_parts(raw, symbol))}
    made = messages = verified = torn_bytes = 0
    failures = Failures()
    problems: list[str] = []
    for at, symbol in enumerate(lacking):
        reach(at / len(lacking))
        try:
            on_segment = _within(reach, at=at, count=len(lacking))
            done = compact_tape(raw_folder, symbol, instruments, on_segment=on_segment, place=place)
            unmade = sorted({*lacking[symbol]}.intersection(lacking_parts(raw, symbol)))
            made_now = [name for name in lacking[symbol] if name not in unmade]
            check = verify_parts(raw_folder, symbol, made_now, instruments, place=place)
        except FeatureServiceError as error:
            failures.add(symbol, error)
            if failures.is_away(raw.place):
                break
            continue
        made += done.made
        messages += done.messages
        verified += check.parts
        torn_bytes += done.torn_bytes
        failures.damaged += [f"{symbol}: {finding}" for finding in check.findings]
        problems += [
            f"{symbol}: segment {name}: must hold a whole frame to become a part, held none" for name in unmade
        ]
        _log.info("%s: %d parts of %d messages made and checked", symbol, done.made, done.messages)
    failures.check("compaction: must leave every part whole, was not")
    return {
        "symbols": len(lacking),
        "parts_made": made,
        "messages": messages,
        "parts_verified": verified,
        "torn_bytes": torn_bytes,
        "problems": problems,
    }


def lacking_parts(raw: RawData, symbol: str) -> list[str]:
    """The names of the parts that the finished segments of a symbol lack, and those a dead writer left, sorted.

    Raises StoreUnavailable.
    """
    folder = tape_folder(raw.folder, symbol)
    with changing_files(folder):
        found = segment_paths(folder)
        is_abandoned = any(path.suffix == OPEN for path in found) and not is_held(folder)
    made = {path.stem for path in entry_paths(raw.place, symbol)}
    return sorted(
        name
        for path in found
        if path.suffix == FINISHED or is_abandoned
        for name in [part_name(path)]
        if name not in made
    )


def _within(reach: Reach, *, at: int, count: int) -> Callable[[int, int], None]:
    """The share of one symbol among several, from how many of its segments are done."""
    return lambda done, total: reach((at + done / max(1, total)) / count)
