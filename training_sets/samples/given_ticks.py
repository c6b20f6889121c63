"""Given ticks: what Feast's historical retrieval is answered for views of the catalogue, as samples at times are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from feature_repo.as_of_join import NULL_NS
from feature_repo.registry_versions import LATEST, load_registry_version, sound_versions
from feature_repo.tick_join import Ticks, WantedColumns
from market.clock import format_iso
from market.errors import InvalidRequest, NotFound
from storage.features.log import FeatureLog
from training_sets.rebuild.raw_history import RawHistory
from training_sets.samples.asked import Int64s, SymbolTicks
from training_sets.samples.availability import available_period
from transforms.kernel import compile_kernel
from transforms.rows import FeatureSet

_AT_A_TIME: Final = 100_000


@dataclass(frozen=True, slots=True)
class GivenTicks:
    """Computes ticks from raw data, for ``feature_repo.tick_join``.

    grid_ns: the row grid of history that was not served live.
    """

    features: FeatureLog
    raw: RawHistory
    versions_folder: Path
    kernels_folder: Path
    grid_ns: int

    def newest(self, symbol: str, times_ns: Int64s, wanted: Sequence[WantedColumns], *, has_values: bool) -> Ticks:
        """The ticks that answer at ascending times, one at least, null where there is no row.

        Raises InvalidRequest when no registry version has the columns, or when the log has rows of a time that the raw
        data does not reach back to.
        """
        chosen = smallest_set_with(tuple(wanted), self.versions_folder)
        place = {column: at for at, column in enumerate(chosen.columns)}
        columns = [place[name] for view in wanted for name in view.columns] if has_values else []
        asked_ns, of = np.unique(times_ns, return_inverse=True)
        row_ns, available_ns = (np.full(len(asked_ns), NULL_NS) for _ in range(2))
        values = np.full((len(asked_ns), len(columns)), np.nan)
        with self._open(symbol, chosen, asked_ns) as ticks:
            answered = [] if ticks is None else np.flatnonzero(ticks.may_answer(asked_ns)).tolist()
            for begin in range(0, len(answered), _AT_A_TIME):
                part = answered[begin : begin + _AT_A_TIME]
                assert ticks is not None
                answers = ticks.answers(asked_ns[part])
                has_row = answers.row_ns >= 0
                row_ns[part] = np.where(has_row, answers.row_ns, NULL_NS)
                available_ns[part] = np.where(has_row, answers.available_ns, NULL_NS)
                if has_values:
                    values[part] = ticks.values(answers.row_ns)[:, columns]
        return Ticks(row_ns[of], available_ns[of], values[of])

    @contextmanager
    def _open(self, symbol: str, chosen: FeatureSet, asked_ns: Int64s) -> Iterator[SymbolTicks | None]:
        """None for a symbol that nothing is known of."""
        with self.raw.until(symbol, int(asked_ns[-1])) as raw:
            try:
                ticks = SymbolTicks(
                    compile_kernel(chosen, self.kernels_folder),
                    symbol,
                    self.features,
                    raw,
                    grid_ns=self.grid_ns,
                    to_ns=int(asked_ns[-1]),
                )
            except NotFound:
                ticks = None
            self._refuse_unprovable(symbol, chosen, asked_ns, None if ticks is None else ticks.first_ns)
            yield ticks

    def _refuse_unprovable(self, symbol: str, chosen: FeatureSet, asked_ns: Int64s, first_ns: int | None) -> None:
        """Raise where the log has rows and raw data for those between them is gone."""
        if first_ns is not None and asked_ns[0] >= first_ns:
            return
        logged = available_period(self.features, symbol, chosen)
        if logged is None:
            return
        is_unprovable = asked_ns >= logged[0]
        if first_ns is not None:
            is_unprovable &= asked_ns < first_ns
        if is_unprovable.any():
            raise InvalidRequest(
                f"{symbol}: must have raw data of {format_iso(int(asked_ns[is_unprovable][0]))} to compute what a "
                "reader was given then, was without: `feature-service tape restore` restores an archived day, and "
                "an offline_store without ticks answers with the whole seconds of the log"
            )


@lru_cache(maxsize=64)  # to read every version takes longer than many an answer, and none ever changes
def smallest_set_with(wanted: tuple[WantedColumns, ...], versions_folder: Path) -> FeatureSet:
    """Of the registry versions that have all columns the one with the fewest: that of a service that is asked for.

    Raises InvalidRequest when none has.
    """
    sets = (version.feature_set for version in (*sound_versions(versions_folder), load_registry_version(LATEST)))
    able = [each for each in sets if all(_has(each, view) for view in wanted)]
    if not able:
        raise InvalidRequest(
            f"feature views {', '.join(view.view for view in wanted)}: must all be of one registry version, as this "
            "code computes it, was of none; `feature-service apply` registers what it computes"
        )
    return min(able, key=lambda each: len(each.columns))


def _has(chosen: FeatureSet, view: WantedColumns) -> bool:
    return any(
        group.name == view.view and group.fingerprint == view.fingerprint and set(view.columns) <= set(group.columns)
        for group in chosen.groups
    )
