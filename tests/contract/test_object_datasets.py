"""Datasets in an object store that fails: the bytes of a disk, seen whole or not at all, and read by every reader."""

from __future__ import annotations

import dataclasses
import io
import logging
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from feature_client.client import FeatureStoreClient
from feature_client.datasets import Dataset
from market.errors import Conflict, CorruptStore, StoreUnavailable
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.objects.names import NAMES
from storage.objects.path import ObjectPath
from storage.objects.unnamed import remove_unnamed
from storage.places import Place
from tests.build_places import books_on, place_in
from tests.drawn_rows import REQUEST, START_NS, log_drawn_rows
from tests.evaluated import evaluating
from tests.forked import forked
from tests.killed_senders import KilledSenders
from tests.killed_writers import publish_dataset
from tests.postgres_servers import MigratedPostgres
from tests.s3_server import KILLS, SECRET, FaultProxy, new_object_place
from training_sets.builds.builds import DatasetBuilds
from training_sets.builds.place import BuildPlace
from training_sets.builds.verification import verify_dataset
from training_sets.dataset.datasets import Datasets
from training_sets.dataset.manifest import MANIFEST_NAME, PERFORMANCE_NAME, is_intact, read_manifest, stated_files
from training_sets.dataset.usage import datasets_of

STEPS = {
    "file uploaded": r"PUT (?!.*/_names.json$)",
    "file read back": r"GET (?!.*/_names.json$)",
    "folder made or named": r"PUT .*/_names.json$",
}
"""What a publishing asks of the store."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> BuildPlace:
    """The place of builds on rows of a disk."""
    folder = tmp_path_factory.mktemp("drawn")
    log_drawn_rows(folder / "features")
    return place_in(folder, kernel_cache)


@pytest.fixture(scope="module")
def opened(server_postgres: MigratedPostgres) -> Iterator[Callable[[BuildPlace, Datasets], DatasetBuilds]]:
    with server_postgres.with_tables() as url, closing(Metadata(url)) as metadata:
        books = books_on(metadata, JobQueue(url))
        yield lambda place, datasets: DatasetBuilds(books, dataclasses.replace(place, reuses_days=False), datasets)


@pytest.fixture(scope="module")
def finished(
    opened: Callable[[BuildPlace, Datasets], DatasetBuilds], drawn: BuildPlace, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A dataset on a disk, of three folds with a report."""
    return opened(drawn, Datasets(tmp_path_factory.mktemp("datasets"))).build(REQUEST).path


def contents(folder: Place) -> dict[str, bytes]:
    """Every file below but the one that states times."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name != PERFORMANCE_NAME}


def attempt_of(finished: Path, datasets: Datasets, attempt: int = 1) -> Path:
    """An attempt that has made the files of the finished one."""
    folder = datasets.begin("d17", attempt)
    for name, content in contents(finished).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def datasets(object_place: ObjectPath, tmp_path: Path) -> Datasets:
    return Datasets(object_place, tmp_path / "attempts")


def test_a_build_into_an_object_store_has_the_bytes_of_one_on_a_disk_and_is_read_by_every_reader(
    s3: FaultProxy,
    finished: Path,
    opened: Callable[[BuildPlace, Datasets], DatasetBuilds],
    drawn: BuildPlace,
    kernel_cache: Path,
    datasets: Datasets,
    tmp_path: Path,
) -> None:
    s3.fail_often(0.1, seed=3)
    log = new_object_place()
    log_drawn_rows(log)
    builds = opened(place_in(tmp_path, kernel_cache, features=log), datasets)
    assert not Path("s3:").exists()  # the address taken as a path
    built = builds.build(REQUEST)
    place, dataset_id = built.place, built.place.name
    assert (place, list(datasets.attempts.iterdir())) == (datasets.place / dataset_id, [])
    assert contents(place) == contents(finished)
    assert "fold-002/train.parquet" in contents(finished)
    assert datasets_of(datasets, "BTCUSDT", START_NS, START_NS) == [dataset_id]
    assert verify_dataset(place, drawn, tmp_path / "again").is_exact
    here, there = Dataset.open(finished).load("test", fold=1), Dataset.open(place).load("test", fold=1)
    pd.testing.assert_frame_equal(here.features, there.features)
    with evaluating({"d1": (REQUEST, place)}, tmp_path / "api") as client:
        page = client.get("/dataset/d1/report")
        assert page.content == (finished / "_report.html").read_bytes()
        assert page.headers["content-security-policy"].startswith("sandbox")
        with zipfile.ZipFile(io.BytesIO(client.get("/dataset/d1/download").content)) as archive:
            zipped = {name: archive.read(name) for name in archive.namelist()}
        assert zipped == contents(finished)
        assert client.get("/dataset/d1/verification").json()["is_intact"]
        rows = len(there.targets)
        asked = {"dataset_id": "d1", "split": "test", "fold": 1, "model_version": "m"}
        assert client.post("/model/evaluate", json={**asked, "predictions": [0.0] * rows}).status_code == 200
    builds.delete(dataset_id)
    assert contents(place) == {}


def test_a_store_that_goes_away_at_any_write_leaves_no_part_of_a_dataset(
    s3: FaultProxy, finished: Path, datasets: Datasets
) -> None:
    before = s3.requests["PUT"]
    datasets.finish("other", attempt_of(finished, datasets))
    writes = s3.requests["PUT"] - before
    attempt = attempt_of(finished, datasets)
    seen = []
    for last in range(0, writes, 7):
        s3.go_away_after(last, "PUT")
        try:
            datasets.finish("d17", attempt)
        except StoreUnavailable:
            pass
        finally:
            s3.come_back()
        found = contents(datasets.path("d17"))
        # A folder's file may be there before its dataset is; without a manifest nobody looks for it.
        seen.append(MANIFEST_NAME in found)
        assert not seen[-1] or found == contents(finished)
        datasets.remove("d17")
        attempt = attempt_of(finished, datasets)
    assert seen[0] is False
    datasets.finish("d17", attempt)
    assert contents(datasets.path("d17")) == contents(finished)


def test_an_attempt_that_another_came_before_changes_nothing(finished: Path, datasets: Datasets) -> None:
    late = attempt_of(finished, datasets).rename(datasets.attempts / "late")
    path = datasets.finish("d17", attempt_of(finished, datasets, 2))
    (late / "fold-000" / "train.parquet").write_bytes(b"other")
    with pytest.raises(Conflict, match=r"d17: must name no file yet, was \['_manifest\.json'"):
        datasets.finish("d17", late)
    assert contents(path) == contents(finished)


def test_a_changed_object_is_found_by_every_reader(finished: Path, datasets: Datasets) -> None:
    path = datasets.finish("d17", attempt_of(finished, datasets))
    assert isinstance(path, ObjectPath)
    changed = path / "fold-001" / "test.parquet"
    entry = stated_files(read_manifest(path))["fold-001/test.parquet"]
    named = changed.named()
    assert named is not None
    content = changed.read_bytes()
    path.bucket.put(named.key, content[:-1] + bytes([content[-1] ^ 1]))
    assert not is_intact(path, entry)
    with pytest.raises(CorruptStore, match="must have the bytes that its manifest states"):
        Dataset.open(path).load("test", fold=1)
    with pytest.raises(CorruptStore, match=r"must have the \d+ bytes and checksum of its folder"):
        list(changed.pieces())


def test_the_client_of_a_repository_finds_datasets_by_id_and_by_address(
    finished: Path, datasets: Datasets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = datasets.finish("d17", attempt_of(finished, datasets))
    options = f"{{ticks: {{options: {{DATASET_STORAGE_PATH: '{datasets.place}'}}}}}}"
    (tmp_path / "feature_store.yaml").write_text(
        "project: p\nonline_store: {type: redis, connection_string: 'localhost:1'}\n" + f"offline_store: {options}\n"
    )
    caplog.set_level(logging.DEBUG)
    client = FeatureStoreClient(tmp_path)
    assert client.dataset("d17").folder == client.dataset(str(path)).folder == path
    assert client.dataset("d17").steps is not None
    assert SECRET not in caplog.text


@pytest.mark.soak
def test_processes_that_are_killed_at_drawn_writes_publish_a_dataset_whole_or_not_at_all(
    s3: FaultProxy, finished: Path, datasets: Datasets
) -> None:
    s3.kills, published = (kills := KilledSenders(seed=23)), 0
    while kills.total < KILLS:
        attempt = attempt_of(finished, datasets)
        process = forked(publish_dataset, str(datasets.place), datasets.attempts, attempt)
        kills.draw(STEPS, process.kill, most=40)
        process.join()
        is_done = process.exitcode == 0
        assert kills.spare() == (not is_done)
        kills.settle()
        found = contents(datasets.path("d17"))
        published += is_done
        if is_done or MANIFEST_NAME in found:
            assert found == contents(finished)
        assert len(datasets_of(datasets, "BTCUSDT", START_NS, START_NS)) == (MANIFEST_NAME in found)
    print(f"{published} datasets published\n{kills.table()}")
    assert published > 0
    datasets.remove("d17")
    assert isinstance(datasets.place, ObjectPath)
    _, size = remove_unnamed(datasets.place, older_than_s=0.0)
    assert size > 0
    left = datasets.place.bucket.listed(datasets.place.key, lambda _key: True)
    assert {each.key.rpartition("/")[2] for each in left} == {NAMES}
