"""Publishing that is killed, or comes between other changes in any order, ends in what the stores say."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyiceberg.expressions.visitors import _ManifestEvalVisitor
from pyiceberg.manifest import ManifestFile
from sqlalchemy import create_engine, make_url

from market.clock import DAY_NS, SECOND_NS
from market.errors import StoreUnavailable
from runtime.settings import object_store_properties
from storage.features.merging import KEPT_NS, merge_days
from storage.iceberg.catalog import listed_tables, open_catalog
from storage.objects.path import ObjectPath
from storage.retention.features import delete_feature_days, expired_feature_days
from tests.ports import free_port
from tests.published_tables import FEATURES, MIDNIGHT_NS, SET, SYMBOL, Published, addresses, expected
from tests.s3_server import BUCKET, FaultProxy


class Killed(BaseException):
    """As a process that ends there."""


@pytest.mark.parametrize(
    "step",
    [
        "storage.iceberg.publishing._table",
        "storage.iceberg.publishing._data_file",
        "pyiceberg.catalog.sql.SqlCatalog.commit_table",
        "storage.iceberg.publishing._expire",
        "storage.iceberg.publishing.remove_unreferenced",
        "storage.iceberg.publishing.end_linking",
    ],
)
def test_a_publishing_that_is_killed_anywhere_is_completed_by_the_next_and_leaves_nothing(
    here: Published, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.rebuild(0, 3, 1.0, "aa")
    here.publish()
    here.rebuild(0, 3, 2.0, "bb")
    here.write(10, 2, 5.0)

    def killed(*_: Any, **__: Any) -> None:  # noqa: ANN401
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(step, killed)
        with pytest.raises(Killed):
            here.expire()
    # Whoever reads meanwhile finds a whole state, that of before or that of after.
    after = expected(0, 3, 2.0, SECOND_NS) + expected(10, 2, 5.0)
    assert here.rows() in (expected(0, 3, 1.0, SECOND_NS), after)
    here.expire()
    here.expire()
    assert here.rows() == after
    table = here.table()
    [snapshot] = table.metadata.snapshots
    folder = here.log.folder / "iceberg" / "price_aaaa"
    assert isinstance(folder, Path)
    assert {f"file://{path}" for path in (folder / "data").iterdir()} == addresses(here, None)
    lists = {f"file://{path}" for path in (folder / "metadata").glob("snap-*.avro")}
    assert snapshot.manifest_list in lists
    assert table.properties.keys().isdisjoint({"feature-service.unreferenced"})


def test_any_order_of_writing_merging_rebuilding_retiring_and_publishing_says_what_the_store_says(
    here: Published,
) -> None:
    drawn = np.random.default_rng(19)
    steps: list[Callable[[int], object]] = [
        lambda at: here.write(int(drawn.integers(0, 20)), 3, float(at), late_ns=10_000_000 + at),
        lambda at: here.rebuild(int(drawn.integers(0, 20)), 5, float(at), f"{at:02x}", is_revising=bool(at % 2)),
        lambda at: merge_days(here.log.folder, now_ns=at * KEPT_NS // 2),
        lambda at: (
            delete_feature_days(here.log, expired_feature_days(here.log, SYMBOL, MIDNIGHT_NS + DAY_NS), used_by=())
            if at % 7 == 0
            else None
        ),
    ]
    here.write(0, 3, 0.5)
    for at in range(1, 22):
        steps[int(drawn.choice(4, p=[0.4, 0.25, 0.25, 0.1]))](at)
        if drawn.random() < 0.6:
            here.publish(keep_ns=-DAY_NS if at % 5 == 0 else 7 * DAY_NS)
    here.publish()
    if not expired_feature_days(here.log, SYMBOL, MIDNIGHT_NS + DAY_NS):
        assert here.rows() == []
        return
    kept, exact_ns = here.log.read(SYMBOL, SET, from_ns=None, to_ns=None)
    newest: dict[int, tuple[int, float]] = {}
    table = here.table().scan().to_arrow().to_pylist()
    for row in sorted(table, key=lambda row: (row["available_ns"], row["generation"])):
        newest[int(row["event_timestamp"].timestamp()) * SECOND_NS] = row["available_ns"], row["mid"]
    assert [newest[at] for at in sorted(newest)] == list(
        zip(exact_ns.tolist(), kept.values[:, 0].tolist(), strict=True)
    )
    assert sorted(newest) == kept.row_ns.tolist()


def test_an_outage_of_the_object_store_is_no_damage_where_the_table_is_read(
    object_place: ObjectPath, database: str, s3: FaultProxy
) -> None:
    with open_catalog(f"c{uuid.uuid4().hex}", database, object_store_properties()) as catalog:
        published = Published(object_place, catalog)
        published.write(0, 2, 1.0)
        published.publish()
        published.write(10, 2, 5.0)
        metadata = f"/{BUCKET}/{object_place.key}/features/iceberg/price_aaaa/metadata/"
        s3.refusal = (503, "SlowDown", "As it is told.", f"GET {metadata}")
        with pytest.raises(StoreUnavailable, match=r"features\.price_aaaa: its metadata cannot be read"):
            published.publish()
        s3.heal()
        published.publish()
        assert published.rows() == expected(0, 2, 1.0) + expected(10, 2, 5.0)


def test_an_outage_of_the_catalogue_is_no_damage(
    here: Published, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write(0, 2, 1.0)
    here.publish()
    here.write(10, 2, 5.0)
    nobody = make_url(database).set(host="127.0.0.1", port=free_port())
    with monkeypatch.context() as patched:
        patched.setattr(here.catalog, "engine", create_engine(nobody))
        with pytest.raises(StoreUnavailable, match="metadata database: no response"):
            here.publish()
        with pytest.raises(StoreUnavailable, match="metadata database: no response"):
            listed_tables(here.catalog)
    with (
        pytest.raises(StoreUnavailable, match="metadata database: no response"),
        open_catalog("any", nobody.render_as_string(hide_password=False), {}),
    ):
        pass
    here.publish()
    assert here.rows() == expected(0, 2, 1.0) + expected(10, 2, 5.0)


def test_no_two_manifests_are_looked_at_by_one_evaluator(here: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps what it looks at, and pyiceberg looks at several in several threads."""
    for at in range(3):
        here.rebuild(10 * at, 3, 1.0, f"{at:02x}")
        here.publish()
    asked: list[_ManifestEvalVisitor] = []
    evaluate = _ManifestEvalVisitor.eval

    def noted(self: _ManifestEvalVisitor, manifest: ManifestFile) -> bool:
        asked.append(self)
        return evaluate(self, manifest)

    monkeypatch.setattr(_ManifestEvalVisitor, "eval", noted)
    here.rebuild(0, 3, 2.0, "ff")
    assert here.publish()[FEATURES].dropped > 0
    assert len(asked) > 2
    assert len({id(each) for each in asked}) == len(asked)
