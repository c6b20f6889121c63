"""What tests of the offline store share: Feast repositories in folders of their own, and a book of one symbol."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from feast import FeatureStore, FeatureView, Field, RepoConfig
from feast.types import Float64

from storage.objects.bucket import bucket
from tests.s3_server import BUCKET
from tests.stored_books import OURS, MakeStore, rows_of, view_of, write


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """A Feast repository in a folder of its own, with the objects applied."""

    def make(objects: list[Any], offline_store: str = OURS, **options: bool) -> FeatureStore:
        store = FeatureStore(
            config=RepoConfig(
                project="market",
                provider="local",
                registry=str(tmp_path / "registry.db"),
                online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
                offline_store={"type": offline_store, **options},
                entity_key_serialization_version=3,
                repo_path=tmp_path,
            )
        )
        store.apply(objects)
        return store

    return make


@pytest.fixture(params=["this machine", "object store"])
def stored(request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """Where a folder or file of another program is read from: its path, or an address to which it was copied."""
    if request.param == "this machine":
        return str
    request.getfixturevalue("s3")

    def copied(path: Path) -> str:
        top = f"others/{uuid4().hex}"
        for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
            bucket(BUCKET).put(f"{top}/{file.relative_to(path.parent).as_posix()}", file)
        return f"s3://{BUCKET}/{top}/{path.name}"

    return copied


@pytest.fixture
def book(tmp_path: Path) -> FeatureView:
    """One symbol, three rows; the last is restated late."""
    table = rows_of(["BTC"] * 4, [0, 10, 20, 20], [0, 10, 20, 60], mid=[1.0, 2.0, 3.0, 99.0])
    return view_of(write(table, tmp_path / "book.parquet"), [Field(name="mid", dtype=Float64)], ttl=timedelta(hours=1))
