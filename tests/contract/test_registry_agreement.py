"""Workers agree on an activation or refuse it, on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Final

import pytest

from feature_repo.registry_versions import DEFAULT_VERSION
from market.clock import SECOND_NS, to_ns
from market.errors import Conflict
from registry.agreement import AHEAD_NS
from storage.database.activations import Activation, ActivationStore, Confirmation, WorkerState
from storage.database.registry_records import Change
from storage.database.registry_versions import RegistryStore
from tests.living_registry import BY_ANNA, MID, MID_AND_SPREAD, NOON, Living, living
from tests.postgres_servers import run

__all__ = ["living"]  # the fixture

ONE: Final = "one"
OTHER: Final = "other"


class Workers:
    """Workers that live and say what the test lets them say, each time that they are waited for."""

    def __init__(self, living: Living) -> None:
        self.living = living
        self.store = ActivationStore(living.url)
        self.does: Callable[[Activation, int], None] = lambda _activation, _time: None
        """Called with the newest activation, and how often before, when it is waited for."""
        self._times = 0
        living.on_wait = self._act

    def live(self, name: str, version: str = "3.0.0", *, follows: bool = True, seen: datetime = NOON) -> None:
        status = json.dumps({"feature_registry_version": version, "follows_activations": follows})
        run(self.living.url, f"INSERT INTO ingest_workers VALUES ('{name}', '{seen}', '{seen}', '{status}')")  # noqa: S608  # ours

    def say(self, activation: Activation, name: str, state: WorkerState, detail: str | None = None) -> None:
        said = Confirmation(worker_id=name, state=state, at=self.living.now, detail=detail)
        self.store.confirm(activation.id, said)

    def _act(self) -> None:
        activation, _ = self.store.newest()
        assert activation is not None
        self.does(activation, self._times)
        heartbeat = f"UPDATE ingest_workers SET heartbeat_at = '{self.living.now}'"  # noqa: S608  # ours
        run(self.living.url, f"{heartbeat} WHERE worker_id <> 'gone'")
        self._times += 1


@pytest.fixture
def workers(living: Living) -> Iterator[Workers]:
    living.cycle.create("3.0.0", MID, BY_ANNA)
    living.cycle.create("3.1.0", MID_AND_SPREAD, BY_ANNA)
    living.cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
    found = Workers(living)
    with closing(found.store):
        yield found


def newest(workers: Workers) -> Activation:
    found, _ = workers.store.newest()
    assert found is not None
    return found


def test_without_workers_an_activation_is_committed_at_once(living: Living, workers: Workers) -> None:
    assert living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False).is_active
    found = newest(workers)
    assert (found.version, found.previous_version, found.state) == ("3.1.0", "3.0.0", "committed")
    assert found.from_row_ns == to_ns(NOON)
    assert living.now == NOON


def test_a_version_is_active_once_every_worker_is_ready_and_says_behind_which_row(
    living: Living, workers: Workers
) -> None:
    workers.live(ONE)
    workers.live(OTHER)
    seen: list[tuple[int, str]] = []

    def does(activation: Activation, time: int) -> None:
        seen.append((time, living.cycle.active_version()))
        workers.say(activation, ONE, "ready" if activation.state == "preparing" else "serving")
        if time >= 3:
            workers.say(activation, OTHER, "ready" if activation.state == "preparing" else "serving")

    workers.does = does
    done = living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False)
    assert done.is_active
    assert [version for time, version in seen if time <= 3] == ["3.0.0"] * 4
    assert {version for time, version in seen if time > 3} == {"3.1.0"}
    found = newest(workers)
    assert found.from_row_ns is not None
    assert found.settled_at is not None
    assert found.from_row_ns % SECOND_NS == 0
    assert AHEAD_NS <= found.from_row_ns - to_ns(found.settled_at) < AHEAD_NS + SECOND_NS


def test_a_worker_that_cannot_serve_it_ends_it_and_nothing_has_changed(living: Living, workers: Workers) -> None:
    workers.live(ONE)
    workers.live(OTHER)

    def does(activation: Activation, _time: int) -> None:
        workers.say(activation, ONE, "ready")
        workers.say(activation, OTHER, "failed", "it does not compile")

    workers.does = does
    with pytest.raises(Conflict, match=r"3\.1\.0: not activated, 3\.0\.0 continues: worker other: it does not compile"):
        living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False)
    assert living.cycle.active_version() == "3.0.0"
    assert newest(workers).state == "failed"
    line = living.cycle.audit(limit=1)[0]
    assert (line["action"], line["version"], line["previous_version"]) == ("refuse", "3.1.0", "3.0.0")
    assert "it does not compile" in line["reason"]
    assert line["made_by"] == "anna"

    def sound(activation: Activation, _time: int) -> None:
        for name in (ONE, OTHER):
            workers.say(activation, name, "ready" if activation.state == "preparing" else "serving")

    workers.does = sound
    assert living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False).is_active


def test_a_worker_that_does_not_answer_in_time_ends_it_and_is_named(living: Living, workers: Workers) -> None:
    workers.live(ONE)
    workers.live(OTHER)

    def does(activation: Activation, _time: int) -> None:
        workers.say(activation, ONE, "ready")
        living.now += timedelta(minutes=1)

    workers.does = does
    with pytest.raises(Conflict, match="workers: must be ready within 300 s, were not: other"):
        living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False)
    assert living.now - NOON > timedelta(minutes=5)
    assert (living.cycle.active_version(), newest(workers).state) == ("3.0.0", "failed")


def test_a_worker_that_is_gone_or_does_not_follow_is_not_waited_for(living: Living, workers: Workers) -> None:
    workers.live("gone", seen=NOON - timedelta(seconds=10))
    workers.live(OTHER, follows=False)
    assert living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False).is_active
    assert timedelta(seconds=5) <= living.now - NOON < timedelta(seconds=10)


def test_a_version_that_nobody_lived_to_be_ready_for_is_not_active(living: Living, workers: Workers) -> None:
    workers.live("gone")

    def does(activation: Activation, _time: int) -> None:
        workers.say(activation, "gone", "preparing")

    workers.does = does
    with pytest.raises(Conflict, match=r"3\.1\.0: not activated, 3\.0\.0 continues: workers: .* gone were: gone"):
        living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False)
    assert (living.cycle.active_version(), newest(workers).state) == ("3.0.0", "failed")


def taken_back_by(workers: Workers, activation: Activation) -> bool:
    with closing(RegistryStore(workers.living.url)) as store:
        return store.take_back(
            activation.id,
            Change(
                at=workers.living.now,
                action="take_back",
                version=activation.version,
                previous_version=activation.previous_version,
                origin="worker one",
                reason="worker one: a row could not be computed",
            ),
        )


@pytest.mark.parametrize("before", ["3.0.0", DEFAULT_VERSION])
def test_a_version_that_fails_after_the_change_is_taken_back_and_the_one_before_is_active(
    living: Living, workers: Workers, before: str
) -> None:
    if before == DEFAULT_VERSION:
        run(living.url, "UPDATE feature_registry_versions SET is_active = false")
    workers.live(ONE, before)
    taken: list[bool] = []

    def does(activation: Activation, _time: int) -> None:
        workers.say(activation, ONE, "ready")
        if activation.state == "committed":
            taken.extend(taken_back_by(workers, activation) for _ in range(2))

    workers.does = does
    with pytest.raises(
        Conflict, match=r"3\.1\.0: not active, .* continues: taken back: worker one: a row could not be"
    ):
        living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=True)
    assert taken == [True, False]
    assert living.cycle.active_version() == before
    assert [line["action"] for line in living.cycle.audit(limit=2)] == ["take_back", "activate"]
    assert workers.store.last_committed("3.1.0") is None


def test_a_second_activation_waits_for_none_and_is_refused(living: Living, workers: Workers) -> None:
    workers.live(ONE)
    refused: list[str] = []

    def does(activation: Activation, _time: int) -> None:
        if activation.state == "preparing" and not refused:
            with pytest.raises(
                Conflict, match=r"registry: must have no activation under way, had that of 3\.1\.0"
            ) as no:
                living.cycle.activate(DEFAULT_VERSION, BY_ANNA, is_acknowledged=True)
            refused.append(str(no.value))
        workers.say(activation, ONE, "ready" if activation.state == "preparing" else "serving")

    workers.does = does
    assert living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False).is_active
    assert len(refused) == 1


def test_one_whose_asker_died_ends_with_its_time(living: Living, workers: Workers) -> None:
    living.agreement.begin("3.1.0", previous="3.0.0", feature_set="f")
    with pytest.raises(Conflict, match="under way"):
        living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False)
    living.now += timedelta(minutes=6)
    assert living.cycle.activate("3.1.0", BY_ANNA, is_acknowledged=False).is_active


def test_a_straggler_is_told(living: Living, workers: Workers) -> None:
    workers.live(ONE, "3.1.0")
    workers.live(OTHER, "2.0.0")
    workers.live("pinned", "1.0.0", follows=False)
    _, said = living.cycle.said()
    straggling = {each.worker.worker_id: each.is_straggling("3.1.0") for each in said}
    assert straggling == {ONE: False, OTHER: True, "pinned": False}
