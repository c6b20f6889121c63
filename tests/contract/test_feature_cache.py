"""The feature cache warns of builds that find few of their days computed, once there are several of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from storage.database.dataset_records import BuildMeasured
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from tests.build_places import place_in
from tests.dataset_record import NOON, RECORD
from training_sets.builds.feature_cache import FeatureCache


def build(metadata: Metadata, name: str, *, computed: int, reused: int) -> None:
    metadata.create_dataset(replace(RECORD, dataset_id=name))
    metadata.begin_attempt(name, NOON)
    metadata.update_dataset(name, NOON, status="ready")
    metadata.add_build_measured(
        BuildMeasured(
            dataset_id=name,
            attempt=1,
            samples=3600,
            days_computed=computed,
            days_reused=reused,
            features_seconds=1.5,
            build_seconds=0.25,
        )
    )


def test_a_low_hit_rate_of_several_builds_is_warned_of(metadata: Metadata, fresh_url: str, tmp_path: Path) -> None:
    place = place_in(tmp_path, tmp_path / "kernels")
    cache = FeatureCache(metadata, JobQueue(fresh_url), place, queue_name="builds", is_stopping=lambda: False)
    # The first build of a service finds nothing, which is no fault.
    build(metadata, "ds-1", computed=60, reused=0)
    assert cache.statistics()["warnings"] == []
    build(metadata, "ds-2", computed=60, reused=30)
    found = cache.statistics()
    assert found["warnings"] == ["cache: hit rate must be 0.5 or more, was 0.20"]
    assert (found["miss_count"], found["hit_count"]) == (120, 30)
    build(metadata, "ds-3", computed=0, reused=90)
    assert cache.statistics()["warnings"] == []
