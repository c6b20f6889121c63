"""Historical retrieval out of core: entity rows in Parquet against ten times as many feature rows, part by part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.feast_rows import OURS, name_of, open_feast
from benchmarks.measure import Figure, in_child, peak_rss_mb
from benchmarks.tape import START_NS
from market.clock import MILLISECOND_NS, SECOND_NS

SYMBOLS: Final = 10
FEATURES: Final = tuple(f"feature_{number}" for number in range(5))
PLANNED: Final = 100_000_000
"""Entity rows that the figures are scaled up to."""
_ROWS_A_DAY: Final = 86_400
_ENTITIES_A_GROUP: Final = 100_000
_TIME: Final = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Size:
    """Entity rows, and ten times as many feature rows at one a second of each of ten symbols."""

    entities: int

    @property
    def rows_a_symbol(self) -> int:
        return self.entities * 10 // SYMBOLS

    def __str__(self) -> str:
        return f"{self.entities:,} x {self.rows_a_symbol * SYMBOLS:,} rows"


TENTH: Final = Size(100_000)
WHOLE: Final = Size(1_000_000)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a retrieval took: seconds of a processor, and the most memory that its process held, MB."""

    processor_s: float
    peak_mb: float


def run(folder: Path) -> Iterator[Figure]:
    tenth, whole = (in_child(retrieved, folder, size) for size in (TENTH, WHOLE))
    yield Figure(
        f"retrieval: {WHOLE}, processor time",
        whole.processor_s,
        "s",
        "lower",
        yardstick=f"ten times that of {TENTH}",
        yardstick_value=10 * tenth.processor_s,
        goal="ratio 1: linear",
        details={"planned_hours": whole.processor_s * PLANNED / WHOLE.entities / 3600},
    )
    yield Figure(
        f"retrieval: {WHOLE}, memory of the process",
        whole.peak_mb,
        "MB",
        "lower",
        yardstick=f"that of {TENTH}",
        yardstick_value=tenth.peak_mb,
        goal="<= 2048",
        required="2048",
    )


def retrieved(folder: Path, size: Size) -> Retrieved:
    """Answer all entity rows, a part of 100,000 at a time, and check every answer."""
    from feature_repo.retrieval_job import AsOfRetrievalJob

    log, asked = write_log(folder, size), write_entities(folder, size)
    store = open_feast(log, OURS, FEATURES)
    job = store.get_historical_features(entity_df=str(asked), features=[f"rows:{name}" for name in FEATURES])
    assert isinstance(job, AsOfRetrievalJob)
    begun_s, count = time.process_time(), 0
    for part in job.to_arrow_batches(_ENTITIES_A_GROUP):
        check(part)
        count += part.num_rows
    assert count == size.entities
    return Retrieved(time.process_time() - begun_s, peak_rss_mb())


def check(answers: pa.Table) -> None:
    """Each answer is the row of the second before: the one of the second itself is known 10 ms later."""
    seconds = pc.divide(pc.subtract(answers["event_timestamp"].cast(pa.int64()), START_NS // 1000), 1_000_000)
    for number, name in enumerate(FEATURES):
        expected = pc.add(pc.subtract(seconds, 1).cast(pa.float64()), float(number))
        if not answers[name].combine_chunks().equals(expected.combine_chunks()):
            raise RuntimeError(f"retrieval: {name} must be that of the second before, was another")


def write_log(folder: Path, size: Size) -> Path:
    """Feature rows in a file a symbol, a day a row group; the value is the row's second and the feature's number."""
    log = folder / f"log_{size.entities}"
    if log.exists():
        return log
    count = size.rows_a_symbol + 1
    event_us = (START_NS + np.arange(count) * SECOND_NS) // 1000
    created_us = event_us + 10 * MILLISECOND_NS // 1000
    table = pa.table(
        {
            "event_timestamp": pa.array(event_us).cast(_TIME),
            "created_timestamp": pa.array(created_us).cast(_TIME),
            **{name: pa.array(np.arange(count) + float(number)) for number, name in enumerate(FEATURES)},
        }
    )
    for number in range(SYMBOLS):
        path = log / f"symbol={name_of(number)}" / "part.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table, path, row_group_size=_ROWS_A_DAY)
    return log


def write_entities(folder: Path, size: Size) -> Path:
    """Entity rows in order of time, spread over all seconds but the first."""
    path = folder / f"asked_{size.entities}.parquet"
    if not path.exists():
        second = 1 + np.arange(size.entities) * size.rows_a_symbol // size.entities
        names = pa.array([name_of(number) for number in range(SYMBOLS)])
        table = pa.table(
            {
                "symbol": names.take(np.arange(size.entities) % SYMBOLS),
                "event_timestamp": pa.array((START_NS + second * SECOND_NS) // 1000).cast(_TIME),
            }
        )
        pq.write_table(table, path, row_group_size=_ENTITIES_A_GROUP)
    return path
