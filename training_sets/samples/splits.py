"""Splits: which rows a fold keeps in each period, so that no label reaches into a period of another split."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, format_iso
from training_sets.request.folds import Fold, Period, check_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.sessions import TradingSessions
from training_sets.request.targets import Target
from training_sets.samples.target_tally import TargetTally

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTSIDE: Final = -1


@dataclass(frozen=True, slots=True)
class SplitRules:
    """What is dropped at the boundary of two splits.

    label_reach_ns: how far after the model acts the longest label looks, at least 1 ns. purge: drop a row whose label
    window, up to its decision + reach, reaches into a period of another split. embargo_ns: drop the rows within this
    after a boundary too. sessions: on whose clock both are lengths; None is that they are on ours.
    """

    label_reach_ns: int
    purge: bool = True
    embargo_ns: int = 0
    sessions: TradingSessions | None = None

    @classmethod
    def of(cls, request: DatasetRequest) -> SplitRules:
        """Those of a request."""
        return cls(request.label_reach_ns, request.purge, request.embargo_ns, request.sessions)

    def label_ends_ns(self, decisions_ns: Int64s) -> Int64s:
        """The last moment that labels look at of samples that are acted on then."""
        if self.sessions is None:
            return decisions_ns + self.label_reach_ns
        return self.sessions.later_ns(decisions_ns, self.label_reach_ns)

    def embargo_end_ns(self, begin_ns: int) -> int:
        """Until when rows are dropped after a boundary; of sessions, so many are."""
        if self.sessions is None or self.embargo_ns == 0:
            return begin_ns + self.embargo_ns
        return int(self.sessions.later_ns(np.array([begin_ns]), self.embargo_ns + DAY_NS)[0])

    def first_reaching_ns(self, moment_ns: int, from_ns: int, until_ns: int) -> int:
        """From which time of [from, until] on labels look at the moment, of samples that are acted on at their time."""
        if self.sessions is None:
            return min(max(from_ns, moment_ns - self.label_reach_ns), until_ns)
        times = range(from_ns, until_ns)
        return from_ns + bisect_left(times, moment_ns, key=lambda time: int(self.label_ends_ns(np.array([time]))[0]))


@dataclass(frozen=True, slots=True)
class LaidPeriod:
    """A period, and where in it samples are used that are acted on at their time: [used_from_ns, used_until_ns).

    They are purged before embargo_from_ns and from used_until_ns on, and embargoed from embargo_from_ns until they are
    used. The five times ascend. A sample that is acted on later is purged earlier.
    """

    period: Period
    embargo_from_ns: int
    used_from_ns: int
    used_until_ns: int


def laid_periods(fold: Fold, rules: SplitRules) -> list[LaidPeriod]:
    """The periods of a fold, with what the rules leave of each: what ``assign_rows`` says of each row, of all times."""
    found = []
    for index, period in enumerate(fold.periods):
        if period.name == fold.whole:
            found.append(LaidPeriod(period, period.start_ns, period.start_ns, period.end_ns))
            continue
        begin_ns = _boundary_ns(fold, index, rules)
        embargo_from_ns = used_from_ns = period.start_ns
        if begin_ns is not None:
            embargo_from_ns = min(max(period.start_ns, begin_ns), period.end_ns)
            used_from_ns = min(max(embargo_from_ns, rules.embargo_end_ns(begin_ns)), period.end_ns)
        used_until_ns = period.end_ns
        if rules.purge and index + 1 < len(fold.periods):
            used_until_ns = rules.first_reaching_ns(fold.periods[index + 1].start_ns, used_from_ns, period.end_ns)
        found.append(LaidPeriod(period, embargo_from_ns, used_from_ns, used_until_ns))
    return found


def _boundary_ns(fold: Fold, index: int, rules: SplitRules) -> int | None:
    """From when on rows of a period that is not whole are embargoed, purged before; None without a split before it."""
    if fold.whole is None:
        return fold.periods[index].start_ns if index > 0 else None
    ends = [earlier.end_ns for earlier in fold.periods[:index] if earlier.name == fold.whole]
    if not ends:
        return None
    return int(rules.label_ends_ns(np.array([max(ends)]))[0]) if rules.purge else max(ends)


@dataclass(frozen=True, slots=True)
class Assignment:
    """The split of each row in one fold.

    period: int64 (n,), index into the fold's periods, OUTSIDE for none. A row in a period is kept, purged or embargoed;
    is_purged and is_embargoed: bool (n,), never both. label_end_ns: int64 (n,), the last moment its labels look at.
    """

    period: Int64s
    is_purged: Bools
    is_embargoed: Bools
    label_end_ns: Int64s

    @property
    def is_kept(self) -> Bools:
        kept: Bools = (self.period != OUTSIDE) & ~self.is_purged & ~self.is_embargoed
        return kept


def assign_rows(times_ns: Int64s, fold: Fold, rules: SplitRules, *, decisions_ns: Int64s | None = None) -> Assignment:
    """The period of each row, and whether it is purged or embargoed there; each row by its own times alone.

    times_ns: int64 (n,), in any order. decisions_ns: int64 (n,), when the model acts; None is at its time. The earlier
    of two periods gives way, and the later one to an embargo. Around a split that stays whole the others give way on
    both sides: after it, as far as its last labels reach; a row of it that is acted on after its period is over goes.

    Raises InvalidRequest when periods overlap or run backwards.
    """
    check_periods(fold.periods)
    decisions_ns = times_ns if decisions_ns is None else decisions_ns
    label_end_ns = rules.label_ends_ns(decisions_ns)
    found = np.full(len(times_ns), OUTSIDE, np.int64)
    is_purged, is_embargoed = np.zeros((2, len(times_ns)), np.bool_)
    for index, period in enumerate(fold.periods):
        is_inside = (times_ns >= period.start_ns) & (times_ns < period.end_ns)
        found[is_inside] = index
        if period.name == fold.whole:
            if rules.purge:
                is_purged |= is_inside & (decisions_ns >= period.end_ns)
            continue
        begin_ns = _boundary_ns(fold, index, rules)
        if begin_ns is not None:
            is_purged |= is_inside & (times_ns < begin_ns)
            is_embargoed |= is_inside & ~is_purged & (times_ns < rules.embargo_end_ns(begin_ns))
        if rules.purge and index + 1 < len(fold.periods):
            next_ns = fold.periods[index + 1].start_ns
            is_purged |= is_inside & ~is_embargoed & (label_end_ns >= next_ns)
    return Assignment(found, is_purged, is_embargoed, label_end_ns)


class FoldTally:
    """Counts what a fold keeps and drops over any number of pieces, and proves that nothing overlaps.

    targets: by split, a tally of each target's labels that are kept.
    """

    def __init__(self, fold: Fold, rules: SplitRules, targets: Sequence[Target] = ()) -> None:
        self.fold = fold
        self.rules = rules
        self.targets = {name: [TargetTally(target) for target in targets] for name in fold.names}
        self._kept, self._purged, self._embargoed = np.zeros((3, len(fold.periods)), np.int64)
        self._first_ns: list[int | None] = [None] * len(fold.periods)
        self._label_ends_ns: list[int | None] = [None] * len(fold.periods)

    def add(self, times_ns: Int64s, assigned: Assignment, labels: Float64s | None = None) -> None:
        """Take one piece's row times, their assignment, and their labels, float64 (n, targets)."""
        for index in range(len(self.fold.periods)):
            is_inside = assigned.period == index
            self._purged[index] += np.count_nonzero(is_inside & assigned.is_purged)
            self._embargoed[index] += np.count_nonzero(is_inside & assigned.is_embargoed)
            is_kept = is_inside & assigned.is_kept
            if labels is not None:
                for tally, of_target in zip(self.targets[self.fold.periods[index].name], labels.T, strict=True):
                    tally.add(of_target[is_kept])
            if is_kept.any():
                first_ns, label_ns = int(times_ns[is_kept].min()), int(assigned.label_end_ns[is_kept].max())
                self._kept[index] += np.count_nonzero(is_kept)
                known_first_ns, known_label_ns = self._first_ns[index], self._label_ends_ns[index]
                self._first_ns[index] = first_ns if known_first_ns is None else min(first_ns, known_first_ns)
                self._label_ends_ns[index] = label_ns if known_label_ns is None else max(label_ns, known_label_ns)

    def records(self) -> dict[str, int]:
        """Kept rows by split."""
        return {name: int(sum(self._kept[at] for at in self._periods_of(name))) for name in self.fold.names}

    def empty_splits(self, why_empty: Callable[[int, int], str]) -> dict[str, str]:
        """Why each split without rows has none: ``all_dropped``, by purge or embargo, or as ``why_empty`` says."""
        return {
            split["name"]: "all_dropped"
            if split["purged"] + split["embargoed"]
            else why_empty(periods[0].start_ns, periods[-1].end_ns)
            for split in self.document()
            if split["records"] == 0
            for periods in [[self.fold.periods[at] for at in self._periods_of(split["name"])]]
        }

    def warnings(self, empty: Mapping[str, str]) -> list[str]:
        """One line for every split without rows. empty: of ``empty_splits``."""
        where = "" if self.fold.number is None else f"fold {self.fold.number} "
        counts = {split["name"]: split for split in self.document()}
        return [
            f"{where}{name}: no rows, "
            + (
                f"{counts[name]['purged']} purged and {counts[name]['embargoed']} embargoed"
                if reason == "all_dropped"
                else reason
            )
            for name, reason in empty.items()
        ]

    def document(self) -> list[dict[str, Any]]:
        """Each split with its counts and its proof: the last moment that a label looks at and the next start.

        A split of several periods lists them; its own ``overlaps_next`` is whether any of them overlaps.
        """
        return [
            self._split_document(name)
            | {"targets": {tally.target.name: tally.document() for tally in self.targets[name]}}
            for name in self.fold.names
        ]

    def _split_document(self, name: str) -> dict[str, Any]:
        periods = [self._proof(at) for at in self._periods_of(name)]
        if len(periods) == 1:
            return {"name": name, **periods[0]}
        last_labels = [period["last_label_end"] for period in periods if period["last_label_end"] is not None]
        return {
            "name": name,
            "start": periods[0]["start"],
            "end": periods[-1]["end"],
            **{count: sum(period[count] for period in periods) for count in ("records", "purged", "embargoed")},
            "last_label_end": max(last_labels, default=None),
            "next_start": None,
            "overlaps_next": any(period["overlaps_next"] for period in periods),
            "periods": periods,
        }

    def _proof(self, index: int) -> dict[str, Any]:
        period = self.fold.periods[index]
        later = range(index + 1, len(self.fold.periods))
        next_ns = self.fold.periods[index + 1].start_ns if later else None
        if period.name == self.fold.whole:
            # Its labels reach on; the others keep no row before they end.
            others = [self._first_ns[at] for at in later if self.fold.periods[at].name != period.name]
            next_ns = min((first_ns for first_ns in others if first_ns is not None), default=None)
        label_ns = self._label_ends_ns[index]
        return {
            "start": format_iso(period.start_ns),
            "end": format_iso(period.end_ns),
            "records": int(self._kept[index]),
            "purged": int(self._purged[index]),
            "embargoed": int(self._embargoed[index]),
            "last_label_end": None if label_ns is None else format_iso(label_ns),
            "next_start": None if next_ns is None else format_iso(next_ns),
            "overlaps_next": next_ns is not None and label_ns is not None and label_ns >= next_ns,
        }

    def _periods_of(self, name: str) -> list[int]:
        return [at for at, period in enumerate(self.fold.periods) if period.name == name]
