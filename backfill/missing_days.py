"""Missing days: data that a dataset build needs and that is not stored, fetched before its features are built.

A day that fails stops no other and is tried once more at the end; only when the first requests all go unanswered is the
exchange taken to be out of reach, and nothing more is asked. Days are fetched here and now: a day that a backfill
job works on at the same time is waited for, and is complete afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from datetime import date
from typing import Final

from backfill.archived_days import ArchivedAhead
from backfill.days import backfill_day
from backfill.fetching import Place, SymbolDay
from backfill.request import data_types_of_kinds
from market.clock import Clock, utc_date
from market.errors import FeatureServiceError, StoreUnavailable

_STEP_S: Final = 0.2
_FIRST: Final = 2
"""Tasks that all stayed without an answer, each asked several times for half a minute: the rest would be too."""


class _GivenUpError(Exception):
    """The progress callback stopped the work; ``reason`` is what it raised."""

    def __init__(self, reason: FeatureServiceError) -> None:
        self.reason = reason
        super().__init__(str(reason))


class MissingDays:
    """Fetches days; see ``training_sets.builds.place.DayFiller``.

    open_place: where history comes from and goes to, given how its client waits. most_days: of one symbol and build.
    """

    def __init__(self, open_place: Callable[[Callable[[float], None]], Place], clock: Clock, *, most_days: int) -> None:
        self._open_place = open_place
        self._clock = clock
        self._most_days = most_days

    def refusal(self, days: Sequence[str]) -> str | None:
        """Why these days cannot be fetched, None where they may be."""
        today = utc_date(self._clock.now_ns())
        if to_come := [day for day in days if date.fromisoformat(day) > date.fromisoformat(today)]:
            return f"{to_come[0]} is in the future"
        if len(days) > self._most_days:
            return f"{len(days)} days are more than FEATURE_SERVICE_BACKFILL_MAX_DAYS, {self._most_days}"
        return None

    def fill(
        self, symbol: str, days: Sequence[str], kinds: Collection[int], *, on_progress: Callable[[float], None]
    ) -> dict[str, FeatureServiceError]:
        """Fetch what the kinds of record come from; the days that could not be, each with its first reason.

        on_progress: told the share that is done, often; what it raises ends it, and leaves the days that are done.
        """
        done = 0
        tasks: list[SymbolDay] = []

        def tell() -> None:
            try:
                on_progress(min(done / max(len(tasks), 1), 1.0))
            except FeatureServiceError as error:
                # Not to be taken for a day that failed.
                raise _GivenUpError(error) from error

        def wait(seconds: float) -> None:
            deadline = time.monotonic() + seconds
            tell()
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, _STEP_S))
                tell()

        place = self._open_place(wait)
        data_types = data_types_of_kinds(kinds, place.rest.category)
        tasks += [SymbolDay(symbol, data_type, day) for day in days for data_type in data_types]
        try:
            failed: dict[SymbolDay, FeatureServiceError] = {}
            with closing(ArchivedAhead(place, symbol, days, data_types)) as archived:
                for task in tasks:
                    if (error := _failure(place, task, tell, archived)) is not None:
                        failed[task] = error
                    done += 1
                    if done == _FIRST and _is_out_of_reach(failed):
                        return dict.fromkeys(days, failed[task])
                failed = {
                    task: again for task in failed if (again := _failure(place, task, tell, archived)) is not None
                }
        except _GivenUpError as given_up:
            raise given_up.reason from None
        finally:
            place.rest.close()
        reasons: dict[str, FeatureServiceError] = {}
        for task, error in failed.items():
            reasons.setdefault(task.day, error)
        return reasons


def _is_out_of_reach(failed: Mapping[SymbolDay, FeatureServiceError]) -> bool:
    return len(failed) == _FIRST and all(isinstance(error, StoreUnavailable) for error in failed.values())


def _failure(
    place: Place, task: SymbolDay, tell: Callable[[], None], archived: ArchivedAhead
) -> FeatureServiceError | None:
    try:
        tell()
        if archived.of(task) is None:
            # The newest trades and a book of one moment are no day to train on.
            backfill_day(place, task, takes_substitute=False, on_piece=tell)
    except FeatureServiceError as error:
        return type(error)(f"{task.data_type}: {error}")
    return None
