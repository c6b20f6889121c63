"""Verification: what was served against a rebuild and the oracle, and a dataset against a second build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from market.clock import DAY_NS, SECOND_NS
from market.errors import InvalidRequest, NotFound
from quality.parity import Parity, compare_rows
from storage.features.log import FeatureLog
from storage.features.other_versions import times_of_other_versions
from storage.features.served_ticks import read_served_ticks
from storage.places import Place
from storage.raw.raw_data import RawData
from storage.retention.features import logged_symbols
from storage.tape import tape_symbols
from training_sets.builds.builder import build_dataset
from training_sets.builds.oracle_parity import OracleChoice, compare_with_oracle
from training_sets.builds.place import BuildPlace
from training_sets.builds.tick_parity import Recorded, TickChoice, compare_ticks
from training_sets.dataset.manifest import is_intact, manifest_request, read_manifest, stated_files
from training_sets.rebuild.raw_history import RawHistory
from training_sets.rebuild.rebuild import rows_by_day, stream_rows
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, joined_rows
from transforms.silences import Period, hours_left_out, is_between
from transforms.status import QUARANTINED


def verify_parity(
    raw: RawHistory,
    log: FeatureLog,
    kernel: Kernel,
    symbols: Sequence[str] | None = None,
    *,
    ticks: TickChoice | None = None,
    oracle: OracleChoice | None = None,
) -> Parity:
    """Rebuild every served row of the symbols and compare bit by bit; None is every symbol with rows or raw data.

    ticks: which of the rows that readers were given, between whole seconds too, are compared by their recorded digest;
    None is none. oracle: which served rows are compared with the oracle too, so that a wrong formula in the kernel does
    not agree with itself; None is none.

    A row that only the rebuild has is missing, unless another version was served at its time, or it is of an hour of a
    silence of more than a day that nobody was served; one that only the log has is extra. Days before the first that
    was served are left out: raw data is kept longer than the rows. Rows that are served meanwhile are left for the
    next time. Memory holds a day of each.
    """
    parquet = raw.parquet
    known = sorted({*logged_symbols(log), *parquet.symbols(), *tape_symbols(parquet.folder)})
    total = Parity()
    unserved = []
    for symbol in known if symbols is None else symbols:
        until_ns = log.last_served_row_ns(symbol, kernel.feature_set)
        if until_ns is None:
            unserved.append(f"{symbol}: no row of registry {kernel.feature_set.version} was served")
        else:
            total += _SymbolProof(raw, log, kernel, symbol, until_ns, oracle).run(ticks)
    # Without being asked for, a symbol that this version never served is no failure; to have compared nothing is one.
    if symbols is not None or total == Parity():
        nothing = "no symbol has data; --data names the folder of a demo, a replay or a run"
        total += Parity(not_compared=tuple(unserved) or (() if total.compared else (nothing,)))
    return total


@dataclass(frozen=True, slots=True)
class _SymbolProof:
    """The parity of one symbol's rows up to ``until_ns``, the last before the raw data is read.

    What they were made of is in it then, and the worker may go on.
    """

    raw: RawHistory
    log: FeatureLog
    kernel: Kernel
    symbol: str
    until_ns: int
    oracle: OracleChoice | None

    def run(self, ticks: TickChoice | None) -> Parity:
        chosen = self.kernel.feature_set
        days = [day_ns for day_ns in self.log.served_days(self.symbol, chosen) if day_ns <= self.until_ns]
        recorded = None
        if ticks is not None:
            recorded = read_served_ticks(
                self.log, self.symbol, from_ns=0, to_ns=self.until_ns + 1, feature_set=chosen.fingerprint
            )
        try:
            with self.raw.open_whole(self.symbol) as raw:
                silent = self._silent_hours(raw)
                pieces = stream_rows(
                    raw,
                    self.symbol,
                    self.kernel,
                    from_ns=days[0],
                    to_ns=self.until_ns,
                    without=[each for period in silent for each in _between_days(period, days)],
                )
                parity = self._compare_days(raw, days, rows_by_day(pieces), silent)
                if ticks is not None and recorded is not None:
                    if parity.quarantined:
                        recorded = self._without_withheld(recorded, days)
                    parity += compare_ticks(raw, self.symbol, self.kernel, recorded, ticks)
                return parity
        except (NotFound, InvalidRequest) as error:
            return Parity(not_compared=(f"{self.symbol}: {error}",))

    def _served(self, day_ns: int) -> FeatureRows:
        rows, _ = self.log.read(
            self.symbol,
            self.kernel.feature_set,
            from_ns=day_ns,
            to_ns=min(day_ns + DAY_NS, self.until_ns + 1),
            served_only=True,
            whole_only=True,
        )
        return rows

    def _without_withheld(self, recorded: Recorded, days: list[int]) -> Recorded:
        """Those of seconds whose row in the log has every group: a digest does not tell what was withheld."""
        withheld: set[int] = set()
        for day_ns in days:
            served = self._served(day_ns)
            withheld |= set(served.row_ns[(served.status == QUARANTINED).any(axis=1)].tolist())
        row_ns, available_ns, digests = recorded
        is_whole = ~np.isin(-(-row_ns // SECOND_NS) * SECOND_NS, list(withheld))
        return row_ns[is_whole], available_ns[is_whole], digests[is_whole]

    def _silent_hours(self, raw: RawData) -> tuple[Period, ...]:
        """What a worker may have left out; a silence of days lies between parts, each of which is of one day."""
        ends = sorted((part.first_ns, part.last_ns) for part in raw.parts(self.symbol) if part.files)
        last_ns = accumulate((last for _, last in ends), max)
        following = [*(first for first, _ in ends), self.until_ns][1:]
        return tuple(chain.from_iterable(map(hours_left_out, zip(last_ns, following, strict=True))))

    def _without_others(
        self, served: FeatureRows, rebuilt: FeatureRows, day_ns: int, silent: Sequence[Period]
    ) -> FeatureRows:
        """The rebuilt rows but for those at times at which this version was rightly not served.

        Another one was then, or nobody, as of the hours of a long silence.
        """
        others = times_of_other_versions(
            self.log,
            self.symbol,
            self.kernel.feature_set,
            from_ns=day_ns,
            to_ns=min(day_ns + DAY_NS, self.until_ns + 1),
        )
        is_others = np.isin(rebuilt.row_ns, np.setdiff1d(others, served.row_ns))
        is_others |= is_between(rebuilt.row_ns, silent) & ~np.isin(rebuilt.row_ns, served.row_ns)
        if not is_others.any():
            return rebuilt
        kept = ~is_others
        return rebuilt.only(kept, reasons=False)

    def _compare_days(
        self,
        raw: RawData,
        days: list[int],
        rebuilt_days: Iterator[tuple[int, Iterator[FeatureRows]]],
        silent: Sequence[Period],
    ) -> Parity:
        """Each day's served rows, ``days`` those that have any, against the rebuilt ones."""
        parity = Parity()
        for day_ns, of_day in rebuilt_days:
            rebuilt = joined_rows(list(of_day))
            # The rebuild goes on to the last served row, but may begin after the first.
            for earlier_ns in [each for each in days if each < day_ns]:
                parity += self._compare_day(raw, earlier_ns, rebuilt.only(slice(0, 0)), silent)
            days = [each for each in days if each > day_ns]
            parity += self._compare_day(raw, day_ns, rebuilt, silent)
        return parity

    def _compare_day(self, raw: RawData, day_ns: int, rebuilt: FeatureRows, silent: Sequence[Period]) -> Parity:
        served = self._served(day_ns)
        parity = compare_rows(served, self._without_others(served, rebuilt, day_ns, silent))
        whole = served.only((served.status != QUARANTINED).all(axis=1), reasons=False)
        if self.oracle is not None and len(whole) > 0:
            parity += Parity(oracle=compare_with_oracle(raw, whole, self.oracle))
        return parity


def _between_days(period: Period, days: Sequence[int]) -> list[Period]:
    """What of a period is in none of the UTC days."""
    begin_ns, end_ns = period
    edges = [begin_ns, *chain.from_iterable((day_ns, day_ns + DAY_NS - SECOND_NS) for day_ns in days), end_ns]
    outside = (
        (max(after, begin_ns), min(before, end_ns)) for after, before in zip(edges[::2], edges[1::2], strict=True)
    )
    return [(after, before) for after, before in outside if after < before]


@dataclass(frozen=True, slots=True)
class DatasetProof:
    """What a second build of a dataset shows.

    identical: files whose bytes are those of the second build. tampered: files that are no longer what their manifest
    states. differing: files whose second build has other bytes. changed: entries of the manifest with other values
    now, such as the libraries or the raw partitions: they tell why.
    """

    identical: tuple[str, ...]
    tampered: tuple[str, ...]
    differing: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        return len(self.identical) > 0 and not self.tampered and not self.differing


def verify_dataset(folder: Place, place: BuildPlace, scratch: Path) -> DatasetProof:
    """Build a dataset again from its manifest's request into the empty folder ``scratch`` and compare every byte.

    Raises NotFound when the folder holds no finished dataset, and what the build raises.
    """
    manifest = read_manifest(folder)
    seed = (manifest.get("leakage") or {}).get("seed")
    draw_seed = place.draw_seed if seed is None else lambda: int(seed)
    build_dataset(manifest_request(manifest), replace(place, reuses_samples=False, draw_seed=draw_seed), scratch)
    again = read_manifest(scratch)
    stated, rebuilt = stated_files(manifest), stated_files(again)
    tampered = [path for path, entry in stated.items() if not is_intact(folder, entry)]
    identical = [path for path, entry in stated.items() if path not in tampered and rebuilt.get(path) == entry]
    return DatasetProof(
        tuple(identical),
        tuple(tampered),
        tuple(path for path in sorted({*stated, *rebuilt}) if stated.get(path) != rebuilt.get(path)),
        # How much was checked depends on what was proven before, and never on the bytes.
        tuple(key for key in sorted({*manifest, *again} - {"leakage"}) if manifest.get(key) != again.get(key)),
    )
