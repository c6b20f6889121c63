"""Which registry version a process serves from its start on, on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from feature_repo.registry_versions import DEFAULT_VERSION, LATEST
from market.errors import Conflict, InvalidRegistry, NotFound
from registry.active import NEEDS_START
from registry.life_cycle import RegistryLifeCycle
from runtime.active_version import version_to_serve
from runtime.servers import Servers
from runtime.serving import registry_life_cycle
from runtime.settings import Settings, load_settings
from tests.living_registry import BY_ANNA, MID, MID_AND_SPREAD, Living, living

__all__ = ["living"]  # the fixture


def settings(living: Living, legacy: Path | None = None, *, is_migrated: bool = True, uses_db: bool = True) -> Settings:
    return load_settings(
        {
            "FEATURE_REGISTRY_VERSIONS_DIR": str(living.folder),
            "FEATURE_REGISTRY_CONFIG_PATH": None if legacy is None else str(legacy),
            "FEATURE_REGISTRY_AUTO_MIGRATE": str(is_migrated),
            "FEATURE_REGISTRY_USE_DB": str(uses_db),
        },
        env_file=None,
    )


def served(living: Living, legacy: Path | None = None, *, given: str | None = None) -> str:
    return version_to_serve(living.cycle, settings(living, legacy), given=given)


def test_a_newer_file_is_not_served_until_it_is_activated_and_then_after_every_start(living: Living) -> None:
    living.write("3.0.0", yaml.safe_dump({"version": "3.0.0", **MID}))
    living.write("4.0.0", "version: [")
    assert served(living) == DEFAULT_VERSION
    living.cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
    assert served(living) == served(living) == "3.0.0"
    living.cycle.begin_serving("3.0.0")
    record = living.cycle.state("3.0.0").record
    assert record is not None
    assert record.loaded_at == living.now
    living.cycle.rollback(BY_ANNA)
    assert served(living) == DEFAULT_VERSION


def test_what_was_asked_for_is_served_or_nothing(living: Living) -> None:
    living.write("4.0.0", "version: [")
    living.cycle.create("3.0.0", MID, BY_ANNA)
    assert (served(living, given="3.0.0"), served(living, given=LATEST)) == ("3.0.0", LATEST)
    with pytest.raises(InvalidRegistry):
        served(living, given="4.0.0")
    with pytest.raises(NotFound):
        served(living, given="9.9.9")


@pytest.mark.parametrize("harm", ["gone", "broken"])
def test_an_active_version_whose_file_is_harmed_gives_way_to_the_one_before_and_the_log_says_so(
    living: Living, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    for version in ("3.0.0", "3.1.0"):
        living.cycle.create(version, MID, BY_ANNA)
        living.cycle.activate(version, BY_ANNA, is_acknowledged=True)
    if harm == "gone":
        (living.folder / "3.1.0.yaml").unlink()
    else:
        living.write("3.1.0", "version: [")
    assert served(living) == "3.0.0"
    assert "registry version 3.1.0 cannot be served, another is served instead" in caplog.text
    living.write("3.0.0", "version: [")
    assert served(living) == DEFAULT_VERSION
    (living.folder / f"{DEFAULT_VERSION}.yaml").unlink()
    with pytest.raises(InvalidRegistry if harm == "broken" else NotFound):
        served(living)


def test_a_legacy_file_becomes_the_active_version_once(living: Living, tmp_path: Path) -> None:
    legacy = tmp_path / "feature_registry.yaml"
    legacy.write_text(yaml.safe_dump({"version": "0.9.0", **MID}))
    assert version_to_serve(living.cycle, settings(living, legacy, is_migrated=False), given=None) == DEFAULT_VERSION
    assert served(living, legacy) == "0.9.0"
    assert (living.folder / "0.9.0.yaml").read_bytes() == legacy.read_bytes()
    assert living.actions() == [("migrate", "0.9.0")]
    assert str(legacy) in living.cycle.audit()[0]["reason"]
    living.cycle.rollback(BY_ANNA)
    assert served(living, legacy) == DEFAULT_VERSION, "what was activated since is not undone by a start"


def test_a_legacy_file_that_cannot_be_taken_over_keeps_nothing_from_starting(
    living: Living, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    legacy = tmp_path / "feature_registry.yaml"
    assert served(living, legacy) == DEFAULT_VERSION
    legacy.write_text("version: [")
    assert served(living, legacy) == DEFAULT_VERSION
    living.write("3.0.0", yaml.safe_dump({"version": "3.0.0", **MID}))
    legacy.write_text(yaml.safe_dump({"version": "3.0.0", **MID_AND_SPREAD}))
    assert served(living, legacy) == DEFAULT_VERSION
    assert caplog.text.count("FEATURE_REGISTRY_CONFIG_PATH is not imported") == 3
    assert living.actions() == []


@contextmanager
def by_files(living: Living, legacy: Path | None) -> Iterator[tuple[RegistryLifeCycle, Settings]]:
    """The life cycle of a process whose settings leave the database out."""
    chosen = settings(living, legacy, uses_db=False)
    with registry_life_cycle(chosen, Servers({}, living.url), living.metadata) as cycle:
        yield cycle, chosen


def test_without_the_database_the_files_say_what_is_served_whatever_was_activated(
    living: Living, tmp_path: Path
) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    living.cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
    with by_files(living, None) as (cycle, chosen):
        assert version_to_serve(cycle, chosen, given=None) == cycle.active_version() == DEFAULT_VERSION
        assert version_to_serve(cycle, chosen, given="3.0.0") == "3.0.0"
        assert [state.version for state in cycle.states() if state.is_active] == [DEFAULT_VERSION]
    legacy = tmp_path / "feature_registry.yaml"
    legacy.write_text(yaml.safe_dump({"version": "0.9.0", **MID_AND_SPREAD}))
    with by_files(living, legacy) as (cycle, chosen):
        assert version_to_serve(cycle, chosen, given=None) == "0.9.0"
        assert version_to_serve(cycle, chosen, given=None) == "0.9.0", "a second start finds the file here"
        assert (living.folder / "0.9.0.yaml").read_bytes() == legacy.read_bytes()
        assert cycle.usage("0.9.0").why_not == ("it is active",)
    assert living.cycle.active_version() == "3.0.0", "the database is as it was"
    assert living.actions() == [("create", "3.0.0"), ("activate", "3.0.0")]


def test_without_the_database_no_version_is_changed_while_it_is_served(living: Living) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    with by_files(living, None) as (cycle, _):
        assert (cycle.active.is_changeable, cycle.active.takes_effect) == (False, NEEDS_START)
        changes: list[Callable[[], object]] = [
            lambda: cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True),
            lambda: cycle.rollback(BY_ANNA),
            lambda: cycle.shadows.begin("3.0.0", BY_ANNA, accepted_ms=1.0),
        ]
        for change in changes:
            with pytest.raises(Conflict, match=rf"FEATURE_REGISTRY_USE_DB: must be true .*: {DEFAULT_VERSION} is"):
                change()
    assert living.actions() == [("create", "3.0.0")]


def test_without_the_database_a_file_that_cannot_be_served_ends_the_start(living: Living, tmp_path: Path) -> None:
    legacy = tmp_path / "feature_registry.yaml"
    legacy.write_text("version: [")
    with pytest.raises(InvalidRegistry), by_files(living, legacy):
        pass
    living.write("3.0.0", yaml.safe_dump({"version": "3.0.0", **MID}))
    legacy.write_text(yaml.safe_dump({"version": "3.0.0", **MID_AND_SPREAD}))
    with by_files(living, legacy) as (cycle, chosen), pytest.raises(Conflict, match=r"3\.0\.0: must be as in"):
        version_to_serve(cycle, chosen, given=None)
