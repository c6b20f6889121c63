"""Sequences of a dataset: windows of feature rows that end at its samples, each with the targets of the sample.

Windows are read from the feature log, a day at a time; none crosses a gap, a fold, a purge or a restart. They are
arrays, record batches, or an ``IterableDataset`` of PyTorch, which is imported on demand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest
from storage.features.log import FeatureLog
from transforms.rows import FeatureGroup, FeatureSet

if TYPE_CHECKING:
    import pyarrow as pa

    from training_sets.samples.sequences import FeatureWindows

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


class SequenceBatch(NamedTuple):
    """Windows in order of time.

    end_ns: int64 (n,), the last row of each. values: float32 (n, length, features). targets: float64 (n, k).
    """

    end_ns: Int64s
    values: Float32s
    targets: Float64s


@dataclass(frozen=True)
class Sequences:
    """The windows of one symbol in a split; each iteration reads them again.

    windows: those of the feature log. end_ns, targets: of the split's samples, in order of time; a window that ends
    at none of them is left out. NaN is unknown.
    """

    windows: FeatureWindows
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    end_ns: Int64s
    targets: Float64s

    def __iter__(self) -> Iterator[tuple[Float32s, Float64s]]:
        """Each window, float32 (length, features), with its targets, float64 (k,). Raises CorruptStore."""
        for batch in self.batches():
            yield from zip(batch.values, batch.targets, strict=True)

    def batches(self, most: int = 1024) -> Iterator[SequenceBatch]:
        """At most this many windows at a time, in order of time. Raises CorruptStore."""
        if len(self.end_ns) == 0:
            return
        for batch in self.windows.batches(most):
            at = np.minimum(np.searchsorted(self.end_ns, batch.end_ns), len(self.end_ns) - 1)
            own = np.flatnonzero(self.end_ns[at] == batch.end_ns)
            if len(own) > 0:
                yield SequenceBatch(batch.end_ns[own], batch.values[own], self.targets[at[own]])

    def to_numpy(self) -> SequenceBatch:
        """All of them at once."""
        batches = list(self.batches())
        if not batches:
            shape = (0, self.windows.length, len(self.columns))
            none = np.empty((0, len(self.target_columns)))
            return SequenceBatch(np.empty(0, np.int64), np.empty(shape, np.float32), none)
        ends, values, targets = zip(*batches, strict=True)
        return SequenceBatch(np.concatenate(ends), np.concatenate(values), np.concatenate(targets))

    def record_batches(self, most: int = 1024) -> Iterator[pa.RecordBatch]:
        """Columns symbol, timestamp (UTC, the last row), window and the targets.

        A window is a list of length x features float32, row after row.
        """
        import pyarrow as pa

        size = self.windows.length * len(self.columns)
        for batch in self.batches(most):
            flat = pa.array(np.ascontiguousarray(batch.values).reshape(-1))
            yield pa.record_batch(
                {
                    "symbol": pa.array([self.windows.symbol] * len(batch.end_ns), pa.string()),
                    "timestamp": pa.array(batch.end_ns).cast(pa.timestamp("ns", "UTC")),
                    "window": pa.FixedSizeListArray.from_arrays(flat, size),
                    **{
                        name: pa.array(np.ascontiguousarray(column))
                        for name, column in zip(self.target_columns, batch.targets.T, strict=True)
                    },
                }
            )

    def shard(self, number: int, of: int) -> Sequences:
        """Those of every ``of``-th day from the ``number``-th on, for several readers in parallel."""
        return replace(self, windows=replace(self.windows, shard=number, shards=of))

    def torch(self) -> Any:  # noqa: ANN401  # PyTorch is nothing that this package depends on
        """An ``IterableDataset`` over the windows; the workers of a ``DataLoader`` share the days."""
        from torch.utils.data import IterableDataset, get_worker_info

        sequences = self

        class OfDays(IterableDataset):  # type: ignore[misc]  # no types where PyTorch is not installed
            def __iter__(self) -> Iterator[tuple[Float32s, Float64s]]:
                worker = get_worker_info()
                return iter(sequences if worker is None else sequences.shard(worker.id, worker.num_workers))

        return OfDays()


def sequences_of(
    windows: FeatureWindows, columns: tuple[str, ...], target_columns: tuple[str, ...], samples: tuple[Int64s, Float64s]
) -> Sequences:
    """samples: the times of the split's samples of the symbol, int64 (n,), in any order, and their targets."""
    end_ns, targets = samples
    order = np.argsort(end_ns, kind="stable")
    return Sequences(windows, columns, target_columns, end_ns[order], targets[order])


def logged_set(log: FeatureLog, manifest: Mapping[str, Any], symbol: str) -> FeatureSet:
    """The features of a dataset in the log of a symbol; the log's files state the group of each.

    Raises InvalidRequest naming what the log lacks, CorruptStore.
    """
    from storage.features.parts import part_columns
    from storage.places import matching

    columns: list[str] = list(manifest["column_roles"]["features"])
    groups, lacking = [], set(columns)
    for name, fingerprint in manifest["groups"].items():
        held: list[str] = []
        for path in matching(log.folder / name / fingerprint / f"symbol={symbol}", "date=*/[!.]*.parquet"):
            found = part_columns(path) & lacking
            held += [column for column in columns if column in found]
            lacking -= found
        if held:
            places = {column: at for at, column in enumerate(columns)}
            groups.append(FeatureGroup(name, fingerprint, tuple(held), tuple(places[column] for column in held)))
    if lacking:
        raise InvalidRequest(
            f"feature log {log.folder}: must have rows of {symbol} with the features of the dataset, lacks "
            f"{', '.join(sorted(lacking)[:5])}"
        )
    return FeatureSet(manifest["feature_registry_version"], tuple(columns), tuple(groups), str(manifest["feature_set"]))
