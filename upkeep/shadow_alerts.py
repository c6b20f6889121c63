"""What shadow parity makes known: groups that were served wrongly, are withheld, or are not compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from market.clock import format_iso, to_ns
from storage.database.shadow import FoundMismatch, Quarantine, ShadowState
from upkeep.alert_rules import Finding

BEHIND_S: Final = 60
"""A served row is compared no later than this after its time."""
MISMATCH_MINUTES: Final = 10
"""How long a difference is reported after it was found."""


def shadow_findings(mismatches: Sequence[FoundMismatch], quarantines: Sequence[Quarantine]) -> list[Finding]:
    """Groups that were served as something else than the tape gives, one finding each, and those that are withheld."""
    found: dict[str, Finding] = {}
    for each in sorted(mismatches, key=lambda mismatch: mismatch.row_ns):
        subject = f"{each.symbol} {each.group}"
        text = (
            f"{subject}: {each.feature} must be what the tape gives, {each.computed}, was served {each.served} "
            f"in {each.found_in} at {format_iso(each.row_ns)}"
        )
        found.setdefault(subject, Finding("shadow_mismatch", subject, text))
    withheld = [
        Finding("group_quarantined", f"{each.symbol} {each.group}", f"{each.symbol} {each.group}: {each.reason}")
        for each in quarantines
    ]
    return [*found.values(), *withheld]


def shadow_behind(states: Sequence[ShadowState], served_until: Mapping[str, datetime]) -> list[Finding]:
    """Symbols whose served rows are not compared.

    served_until: time of each symbol's newest row in the online store.
    """
    by_symbol = {each.symbol: each for each in states}
    found = []
    for symbol, until in served_until.items():
        state = by_symbol.get(symbol)
        last = None if state is None else state.compared_until
        if last is None or (until - last).total_seconds() > BEHIND_S:
            since = "none was" if last is None else f"the last was {format_iso(to_ns(last))}"
            why = "" if state is None or state.reason is None else f": {state.reason}"
            text = f"{symbol}: served rows must be compared within {BEHIND_S} s, {since}{why}"
            found.append(Finding("shadow_behind", symbol, text))
    return found
