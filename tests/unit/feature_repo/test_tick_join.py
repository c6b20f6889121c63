"""Views answered by a source of ticks: which they are, where each answer belongs, and what a wrong name says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

from feature_repo.as_of_join import NULL_NS, Int64Array
from feature_repo.asked_view import AskedView
from feature_repo.entity_rows import EntityRows
from feature_repo.tick_join import TickJoin, Ticks, TicksConfig, TickSource, WantedColumns
from market.clock import SECOND_NS
from market.errors import InvalidRequest

T0 = pd.Timestamp("2026-01-05T12:00:00", tz="UTC")
SYMBOL = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)


class Known:
    """Gives the second before each time, with its number and that of the symbol; nothing of "NONE"."""

    def newest(self, symbol: str, times_ns: Int64Array, wanted: Sequence[WantedColumns], *, has_values: bool) -> Ticks:
        assert (np.diff(times_ns) >= 0).all()
        columns = [name for view in wanted for name in view.columns] if has_values else []
        row_ns = times_ns - SECOND_NS if symbol != "NONE" else np.full(len(times_ns), NULL_NS)
        values = np.array([[(at - T0.value) / SECOND_NS + len(name) for name in columns] for at in row_ns.tolist()])
        return Ticks(row_ns, np.where(row_ns == NULL_NS, NULL_NS, row_ns + 5), values.reshape(len(row_ns), -1))


def open_known(repo_path: Path, **options: str) -> TickSource:
    assert (repo_path, options) == (Path("repository"), {"of": "this"})
    return Known()


CONFIG = TicksConfig(source=f"{__name__}.open_known", options={"of": "this"})


def view(name: str, *features: str, tags: dict[str, str] | None = None) -> FeatureView:
    made = FeatureView(
        name=name,
        entities=[SYMBOL],
        ttl=timedelta(minutes=1),
        schema=[Field(name=each, dtype=Float64) for each in features],
        source=FileSource(name=f"{name}_log", path="nowhere", timestamp_field="event_timestamp"),
        tags=tags or {},
    )
    made.entity_columns = [Field(name="symbol", dtype=String)]  # as `apply` finds it
    return made


def asked(*views: FeatureView) -> list[tuple[FeatureView, AskedView]]:
    return [
        (each, AskedView.of(each, [field.name for field in each.features], full_feature_names=False)) for each in views
    ]


def test_each_entity_row_gets_its_answer_and_views_of_others_stay_with_the_log() -> None:
    ours = asked(view("one", "a", "bb", tags={"fingerprint": "f"}), view("two", "ccc", tags={"fingerprint": "g"}))
    other = asked(view("other", "d"))
    [join] = TickJoin.of(CONFIG, Path("repository"), [*ours, *other])
    assert [join.answers(each) for _, each in [*ours, *other]] == [True, True, False]
    assert [wanted for wanted, _ in join.views] == [
        WantedColumns("one", "f", ("a", "bb")),
        WantedColumns("two", "g", ("ccc",)),
    ]
    frame = pd.DataFrame(
        {
            "symbol": ["ETH", "NONE", "BTC", None, "ETH"],
            "event_timestamp": [T0 + pd.Timedelta(seconds=second) for second in (9, 3, 5, 4, 2)],
        }
    )
    rows, _ = EntityRows.of(frame)
    assert join.join(rows).to_pydict() == {
        "a": [9.0, None, 5.0, None, 2.0],
        "bb": [10.0, None, 6.0, None, 3.0],
        "ccc": [11.0, None, 7.0, None, 4.0],
    }
    times = join.times(rows)
    assert times.column_names == ["one__event", "one__created", "two__event", "two__created"]
    event_ns = [T0.value + second * SECOND_NS if second is not None else None for second in (8, None, 4, None, 1)]
    assert times["two__event"].cast(pa.int64()).to_pylist() == event_ns
    created_ns = [None if at is None else at + 5 for at in event_ns]
    assert times["one__created"].cast(pa.int64()).to_pylist() == created_ns


def test_without_a_source_or_a_view_of_ours_there_is_nothing_to_open() -> None:
    ours = asked(view("one", "a", tags={"fingerprint": "f"}))
    assert TickJoin.of(None, Path("repository"), ours) == []
    assert TickJoin.of(TicksConfig(source="no.such"), Path("repository"), asked(view("other", "d"))) == []


@pytest.mark.parametrize("source", ["no.such", "feature_repo.tick_join.no_such", "nothing"])
def test_a_source_that_is_not_installed_is_named(source: str) -> None:
    ours = asked(view("one", "a", tags={"fingerprint": "f"}))
    with pytest.raises(InvalidRequest, match=f"ticks: must name an installed function, was '{source}'"):
        TickJoin.of(TicksConfig(source=source), Path("repository"), ours)
