"""Random tables are answered as by a reader that tries every row for every question."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore, FeatureView, Field
from feast.types import Array, Bool, FeastType, Float64, Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.retrieval_job import AsOfRetrievalJob
from tests.driver_tables import CUSTOMER, NAN, repository, source
from tests.stored_books import T0

TTL = timedelta(seconds=5)
US = timedelta(microseconds=1)
# Mostly one key and two times that lie a TTL apart, so that ages of exactly the TTL are the rule.
EDGES = st.sampled_from([timedelta(0), timedelta(0), timedelta(0), US, -US])
MOMENTS = st.builds(lambda base, off: base + off, st.sampled_from([T0, T0, T0 + TTL]), EDGES)
LATER = st.builds(lambda base, off: base + off, st.sampled_from([T0 + TTL, T0 + TTL, T0 + 2 * TTL, T0]), EDGES)
KEYS = st.sampled_from(["a", "a", "a", "a", "b", "c", None])
VALUES = st.sampled_from([None, NAN, np.inf, -0.0, 5e-324, 1.5])
NUMBERS = st.sampled_from([None, 0, 2**53 + 1, -(2**63)])
OTHERS = st.sampled_from([(None, None, None), ("", False, []), ("é y", True, [1, None]), ("x" * 40, None, [2**62])])
ROWS = st.lists(st.tuples(KEYS, MOMENTS, st.one_of(st.none(), MOMENTS), VALUES, NUMBERS, OTHERS), max_size=10)
QUESTIONS = st.lists(st.tuples(st.sampled_from(["a", "a", "a", "b", "c", "unknown", None]), LATER), max_size=8)
Row = tuple[str | None, datetime, datetime | None, float | None, int | None, tuple[Any, ...]]
FEATURES: dict[str, FeastType] = {
    "value": Float64,
    "number": Int64,
    "note": String,
    "is_new": Bool,
    "tags": Array(Int64),
}
TIMES_TO_LIVE = {"lasting": None, "brief": TTL, "keyed": TTL}
"""Of each view: two on one folder of files, one on a folder partitioned by the key."""


def answer_slowly(key: str | None, moment: datetime, rows: list[Row], ttl: timedelta | None) -> tuple[Any, ...]:
    """The features of the newest row that may be known; all None where there is none."""
    best: tuple[datetime, datetime, int] | None = None
    for at_row, (held, event, created, *_) in enumerate(rows):
        known = event if created is None else created
        is_alive = ttl is None or moment - event <= ttl
        if key is not None and held == key and event <= moment and known <= moment and is_alive:
            best = max(best or (event, known, at_row), (event, known, at_row))
    if best is None:
        return (None,) * len(FEATURES)
    *_, value, number, others = rows[best[2]]
    return (value, number, *others)


@pytest.fixture(scope="module")
def random_tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, Path]:
    folder = tmp_path_factory.mktemp("random")
    views = [
        FeatureView(
            name=name,
            entities=[CUSTOMER],
            ttl=ttl,
            schema=[
                Field(name="customer_id", dtype=String),
                *(Field(name=feature, dtype=kind) for feature, kind in FEATURES.items()),
            ],
            source=source(folder / ("keyed" if name == "keyed" else "rows"), created=True),
        )
        for name, ttl in TIMES_TO_LIVE.items()
    ]
    (folder / "rows").mkdir()
    (folder / "keyed").mkdir()
    return repository(folder, CUSTOMER, *views), folder


def write_twice(folder: Path, rows: list[Row], split: int) -> None:
    """The rows as two files of a folder, and as two files of each partition, the first ``split`` in the first."""
    time_type = pa.timestamp("ns", "UTC")
    flat = [(*row[:5], *row[5]) for row in rows]
    columns = list(zip(*flat, strict=True)) or [()] * 8
    kinds = [
        pa.string(),
        time_type,
        time_type,
        pa.float64(),
        pa.int64(),
        pa.string(),
        pa.bool_(),
        pa.list_(pa.int64()),
    ]
    names = ["customer_id", "event_timestamp", "created", *FEATURES]
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)], names=names)
    pq.write_table(table.slice(0, split), folder / "rows" / "a.parquet", row_group_size=3)
    pq.write_table(table.slice(split), folder / "rows" / "b.parquet", row_group_size=1)
    for key in ("a", "b", "c", None):
        part = folder / "keyed" / f"customer_id={key or '__HIVE_DEFAULT_PARTITION__'}"
        part.mkdir(exist_ok=True)
        for file, first, last in (("a", 0, split), ("b", split, len(rows))):
            held = [at for at in range(first, min(last, len(rows))) if rows[at][0] == key]
            own = table.take(pa.array(held, pa.int64())).drop_columns("customer_id")
            pq.write_table(own, part / f"{file}.parquet", row_group_size=2)


def check_against_the_slow_reader(
    random_tables: tuple[FeatureStore, Path], rows: list[Row], questions: list[tuple[str | None, datetime]], split: int
) -> None:
    store, folder = random_tables
    write_twice(folder, rows, split)
    asked = pd.DataFrame(
        {
            "customer_id": pd.Series([key for key, _ in questions], dtype=object),
            "event_timestamp": pd.to_datetime([moment for _, moment in questions], utc=True),
        }
    )
    references = [f"{view}:{feature}" for view in TIMES_TO_LIVE for feature in FEATURES]
    job = store.get_historical_features(asked, references, full_feature_names=True)
    assert isinstance(job, AsOfRetrievalJob)
    for found in (job.to_arrow(), pa.concat_tables(job.to_arrow_batches(3))):
        for view, ttl in TIMES_TO_LIVE.items():
            answers = [answer_slowly(key, moment, rows, ttl) for key, moment in questions]
            for at_feature, feature in enumerate(FEATURES):
                given, wanted = found[f"{view}__{feature}"].combine_chunks(), [answer[at_feature] for answer in answers]
                assert given.is_valid().to_pylist() == [value is not None for value in wanted]
                if feature == "value":
                    bits = np.array([value for value in wanted if value is not None], np.float64).tobytes()
                    assert given.drop_null().to_numpy().tobytes() == bits
                else:
                    assert given.to_pylist() == wanted


@pytest.mark.filterwarnings("ignore:.*every row was created after the requested time")
@given(rows=ROWS, questions=QUESTIONS, split=st.integers(0, 10))
@settings(max_examples=100)
def test_the_store_answers_what_trying_every_row_answers(
    random_tables: tuple[FeatureStore, Path], rows: list[Row], questions: list[tuple[str | None, datetime]], split: int
) -> None:
    check_against_the_slow_reader(random_tables, rows, questions, split)


@pytest.mark.filterwarnings("ignore:.*every row was created after the requested time")
@pytest.mark.soak
@given(rows=ROWS, questions=QUESTIONS, split=st.integers(0, 10))
@settings(max_examples=5000)
def test_thousands_of_random_tables_are_answered_as_trying_every_row_answers(
    random_tables: tuple[FeatureStore, Path], rows: list[Row], questions: list[tuple[str | None, datetime]], split: int
) -> None:
    check_against_the_slow_reader(random_tables, rows, questions, split)
