"""The life cycle of registry versions, on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import yaml

from feature_repo.registry_versions import DEFAULT_VERSION, SHIPPED_FOLDER, SHIPPED_VERSIONS
from market.errors import Conflict, FeatureServiceError, InvalidRequest, NotFound
from registry.states import change
from storage.database.migration import downgrade, upgrade
from tests.living_registry import BY_ANNA, MID, MID_AND_SPREAD, NOON, Living, entry, living
from tests.postgres_servers import run

__all__ = ["living"]  # the fixture


def test_a_version_that_was_created_is_a_file_and_a_candidate(living: Living) -> None:
    made = living.cycle.create("3.0.0", MID, BY_ANNA)
    assert yaml.safe_load((living.folder / "3.0.0.yaml").read_text()) == {"version": "3.0.0", **MID}
    assert (made.is_active, made.problems, made.usage_count) == (False, (), 0)
    assert made.record is not None
    assert (made.record.created_by, made.record.created_at, made.record.validation_errors) == ("anna", NOON, [])
    assert living.cycle.active_version() == DEFAULT_VERSION
    assert living.announced == 1
    assert [path.name for path in living.folder.iterdir() if path.name.startswith(".")] == []
    with pytest.raises(Conflict, match=r"3\.0\.0: must be new"):
        living.cycle.create("3.0.0", MID, BY_ANNA)


@pytest.mark.parametrize("version", ["3", "../x", "1.0.0\n", "٣.0.0", "03.0.0", "1" * 5000 + ".0.0", "latest"])
def test_a_version_has_a_number(living: Living, version: str) -> None:
    with pytest.raises(InvalidRequest, match="version: must be <major>"):
        living.cycle.create(version, MID, BY_ANNA)


def test_every_problem_of_a_new_version_is_told_and_nothing_is_kept(living: Living) -> None:
    config = {"features": [entry("mid_prize"), entry("spread_abs", lookahead_forbidden=False)]}
    with pytest.raises(InvalidRequest) as caught:
        living.cycle.create("3.0.0", config, BY_ANNA)
    assert "mid_prize: must be in the catalogue, did you mean mid_price" in str(caught.value)
    assert "spread_abs.lookahead_forbidden: must be true, was False" in str(caught.value)
    assert living.actions() == []
    assert not (living.folder / "3.0.0.yaml").exists()


def test_a_version_is_not_created_over_a_file_that_appeared(living: Living) -> None:
    living.write("3.0.0", "anything")
    with pytest.raises(Conflict, match="its file already exists"):
        living.cycle.create("3.0.0", MID, BY_ANNA)
    assert (living.folder / "3.0.0.yaml").read_text() == "anything"


def test_of_two_that_create_one_version_at_once_one_does(living: Living) -> None:
    def create(config: dict[str, Any]) -> bool:
        barrier.wait(10)
        try:
            living.cycle.create("3.0.0", config, BY_ANNA)
        except Conflict:
            return False
        return True

    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(create, (MID, MID_AND_SPREAD))) == [False, True]
    assert living.actions() == [("create", "3.0.0")]
    assert living.cycle.state("3.0.0").problems == ()


def test_a_file_that_appears_is_a_candidate_and_a_broken_one_harms_nothing_else(living: Living) -> None:
    living.write("3.0.0", yaml.safe_dump({"version": "3.0.0", **MID}))
    living.write("4.0.0", "version: [")
    living.write("5.0.0", yaml.safe_dump({"version": "5.0.1", **MID}))
    states = {state.version: state for state in living.cycle.states()}
    assert list(states) == [DEFAULT_VERSION, "3.0.0", "4.0.0", "5.0.0"]
    assert [version for version, state in states.items() if state.is_active] == [DEFAULT_VERSION]
    assert states["3.0.0"].record is None
    assert "file: must be YAML" in states["4.0.0"].problems[0]
    assert states["5.0.0"].problems == ("version: must be 5.0.0 as in the file's name, was 5.0.1",)
    living.cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
    for version in ("4.0.0", "5.0.0"):
        with pytest.raises(Conflict, match="must be valid"):
            living.cycle.activate(version, BY_ANNA, is_acknowledged=True)
    assert living.cycle.active_version() == "3.0.0"


def test_sync_records_what_the_file_is_now(living: Living) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    sound = living.cycle.state("3.0.0").record
    living.write("3.0.0", "version: [")
    broken = living.cycle.sync("3.0.0", BY_ANNA)
    assert broken.record is not None
    assert len(broken.problems) == 1
    assert broken.record.validation_errors == list(broken.problems)
    assert broken.record.definition is None
    living.write("3.0.0", yaml.safe_dump({"version": "3.0.0", **MID_AND_SPREAD}))
    healed = living.cycle.sync("3.0.0", BY_ANNA).record
    assert healed is not None
    assert sound is not None
    assert healed.validation_errors == []
    assert healed.content_sha256 != sound.content_sha256
    assert living.actions() == [("create", "3.0.0"), ("sync", "3.0.0"), ("sync", "3.0.0")]


def test_what_breaks_readers_must_be_acknowledged(living: Living) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    with pytest.raises(InvalidRequest, match=r"acknowledge_breaking_changes: must be true, because 3\.0\.0 .*removed"):
        living.cycle.activate("3.0.0", BY_ANNA, is_acknowledged=False)
    assert living.cycle.active_version() == DEFAULT_VERSION
    done = living.cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
    assert (done.previous_version, done.activated_by, done.activation_reason) == (DEFAULT_VERSION, "anna", "to see")
    assert done.breaking_changes is not None
    assert len(done.breaking_changes) == 167
    assert "spread_abs: removed" in done.breaking_changes
    living.cycle.create("3.1.0", MID_AND_SPREAD, BY_ANNA)
    wider = living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False)
    assert (wider.breaking_changes, wider.previous_version) == ([], "3.0.0")
    with pytest.raises(Conflict, match="must not be active already"):
        living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=True)


def test_what_is_compared_with_is_what_was_recorded_and_not_what_the_file_became(living: Living) -> None:
    living.cycle.create("3.0.0", MID_AND_SPREAD, BY_ANNA)
    living.cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
    living.write("3.0.0", yaml.safe_dump({"version": "3.0.0", **MID}))
    living.cycle.create("3.1.0", MID, BY_ANNA)
    with pytest.raises(InvalidRequest, match="spread_abs: removed"):
        living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False)


def test_a_version_whose_file_is_gone_can_be_left(living: Living) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    living.cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
    (living.folder / "3.0.0.yaml").unlink()
    assert living.cycle.state("3.0.0").problems == ("file: must be there, 3.0.0.yaml was not",)
    assert living.cycle.rollback(BY_ANNA).version == DEFAULT_VERSION


def test_of_two_activations_at_once_one_wins_and_the_other_is_refused(living: Living) -> None:
    for version in ("3.0.0", "3.1.0"):
        living.cycle.create(version, MID, BY_ANNA)
    for expected in (None, "3.0.0"):
        if expected is not None:
            living.cycle.rollback(BY_ANNA)
            living.cycle.activate(expected, BY_ANNA, is_acknowledged=True)
        active = living.store.active()
        assert (None if active is None else active.version) == expected
        won = both_activate(living, expected)
        assert len(won) == 1
        assert living.cycle.active_version() == won[0]
        assert run(living.url, "SELECT count(*) FROM feature_registry_versions WHERE is_active") == [(1,)]


def both_activate(living: Living, expected: str | None) -> list[str]:
    """The versions that were activated by two who had both seen ``expected``."""
    barrier = threading.Barrier(2)

    def activate(version: str) -> str | None:
        checked = living.cycle.files.look(version)
        made = change("activate", version, BY_ANNA, at=NOON, previous=expected or DEFAULT_VERSION)
        barrier.wait(10)
        try:
            return living.store.activate(checked, made, expected=expected).version
        except Conflict:
            return None

    with ThreadPoolExecutor(2) as pool:
        return [version for version in pool.map(activate, ("3.1.0", "3.1.0")) if version is not None]


def test_many_activations_at_once_leave_one_active_and_a_line_for_each_that_won(living: Living) -> None:
    versions = [f"3.{number}.0" for number in range(6)]
    for version in versions:
        living.cycle.create(version, MID, BY_ANNA)
    barrier = threading.Barrier(len(versions))

    def activate(version: str) -> FeatureServiceError | None:
        barrier.wait(10)
        try:
            living.cycle.activate(version, BY_ANNA, is_acknowledged=True)
        except Conflict as error:
            return error
        return None

    with ThreadPoolExecutor(len(versions)) as pool:
        lost = [error for error in pool.map(activate, versions) if error is not None]
    lines = [line for line in reversed(living.cycle.audit()) if line["action"] == "activate"]
    assert len(lines) + len(lost) == len(versions)
    assert lines[-1]["version"] == living.cycle.active_version()
    # Each took the place of the one before it: none was decided on what another had changed.
    assert [line["previous_version"] for line in lines] == [DEFAULT_VERSION, *(line["version"] for line in lines[:-1])]


def test_rollback_returns_to_the_version_before(living: Living) -> None:
    with pytest.raises(Conflict, match=f"must have a version before {DEFAULT_VERSION} to return to"):
        living.cycle.rollback(BY_ANNA)
    for version in ("3.0.0", "3.1.0"):
        living.cycle.create(version, MID, BY_ANNA)
        living.cycle.activate(version, BY_ANNA, is_acknowledged=True)
    back = living.cycle.rollback(BY_ANNA)
    assert (back.version, back.rollback_from, back.previous_version) == ("3.0.0", "3.1.0", DEFAULT_VERSION)
    assert living.cycle.rollback(BY_ANNA).version == DEFAULT_VERSION
    with pytest.raises(Conflict, match="to return to, had none"):
        living.cycle.rollback(BY_ANNA)
    assert living.actions()[-2:] == [("rollback", "3.0.0"), ("rollback", DEFAULT_VERSION)]


def test_what_is_in_use_is_not_deleted(living: Living) -> None:
    for version in ("3.0.0", "3.1.0", "3.2.0", "3.3.0"):
        living.cycle.create(version, MID, BY_ANNA)
    for version in ("3.0.0", "3.1.0"):
        living.cycle.activate(version, BY_ANNA, is_acknowledged=True)
    living.add_dataset("3.2.0")
    status = '{"feature_registry_version": "3.3.0"}'
    run(living.url, f"INSERT INTO ingest_workers VALUES ('w1', '{NOON}', '{NOON}', '{status}')")  # noqa: S608  # ours
    for version, why in (
        (DEFAULT_VERSION, "it is shipped"),
        ("3.0.0", "a rollback returns to it"),
        ("3.1.0", "it is active"),
        ("3.2.0", "1 datasets were built with it"),
        ("3.3.0", "1 workers serve it"),
    ):
        assert living.cycle.usage(version).why_not != ()
        with pytest.raises(Conflict, match=why):
            living.cycle.delete(version, BY_ANNA)
        assert (living.folder / f"{version}.yaml").exists()
    living.now += timedelta(minutes=1)
    living.cycle.delete("3.3.0", BY_ANNA)
    assert not (living.folder / "3.3.0.yaml").exists()
    with pytest.raises(NotFound):
        living.cycle.state("3.3.0")
    assert living.actions()[-1] == ("delete", "3.3.0")
    assert living.withdrawn == ["3.3.0"], "its feature service goes with it, and no other"


def test_a_dataset_that_came_between_the_look_and_the_deletion_keeps_the_version(living: Living) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    living.add_dataset("3.0.0")
    with pytest.raises(Conflict, match="must be used by no dataset"):
        living.store.delete("3.0.0", change("delete", "3.0.0", BY_ANNA, at=NOON))
    assert living.cycle.state("3.0.0").record is not None


def test_nobody_changes_the_audit(living: Living) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    for statement in (
        "UPDATE feature_registry_audit SET made_by = 'another'",
        "DELETE FROM feature_registry_audit",
        "TRUNCATE feature_registry_audit",
    ):
        with pytest.raises(Exception, match="feature_registry_audit: must not be changed"):
            run(living.url, statement)
    (line,) = living.cycle.audit()
    told = {name: line[name] for name in ("at", "action", "version", "made_by", "reason", "origin", "trace_id")}
    assert told == {
        "at": NOON,
        "action": "create",
        "version": "3.0.0",
        "made_by": "anna",
        "reason": "to see",
        "origin": "test",
        "trace_id": "t1",
    }
    assert living.cycle.audit(version="2.0.0") == []


def test_the_difference_of_two_versions_says_what_history_lacks(living: Living) -> None:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    change = living.cycle.differences.between("3.0.0", DEFAULT_VERSION)
    found, rows = change.difference, change.rows_to_compute
    assert change.document()["cost_after"] == {"row_ms": 0.25, "rows_measured": 60, "reason": None}
    assert "spread_abs" in found.added
    assert found.breaking_changes == ()
    assert set(found.sources_added) == {"kline", "trades", "ticker", "position_manager"}
    assert set(rows) == set(found.groups_to_compute)
    with pytest.raises(NotFound):
        living.cycle.differences.between("3.0.0", "9.9.9")


def test_the_shipped_versions_are_those_of_the_folder() -> None:
    assert tuple(sorted(path.stem for path in SHIPPED_FOLDER.glob("*.yaml"))) == SHIPPED_VERSIONS


def test_the_migration_goes_down_and_up_again(url: str) -> None:
    downgrade(url, "0010")
    upgrade(url)
