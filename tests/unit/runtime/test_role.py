"""Roles of a process: one failure stops all of them, and so does the end of the duration."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from market.errors import StoreUnavailable
from runtime import role
from runtime.role import Role, RoleFailed, run_until_stopped


class Steady:
    """Runs until it is stopped."""

    def __init__(self, at_end: Callable[[], None] = lambda: None) -> None:
        self._stop = threading.Event()
        self._at_end = at_end
        self.has_ended = False

    def run(self) -> None:
        assert self._stop.wait(30)
        self._at_end()
        self.has_ended = True

    def role(self, name: str) -> Role:
        return Role(name, self.run, self._stop.set)


def fail() -> None:
    raise StoreUnavailable("redis: call failed")


def ends_at_once() -> None:
    """As a recording that is over."""


def test_a_role_that_fails_stops_the_others_and_fails_the_process(caplog: pytest.LogCaptureFixture) -> None:
    steady = Steady()
    with pytest.raises(RoleFailed, match="failed was ingest"):
        run_until_stopped([steady.role("api"), Role("ingest", fail, lambda: None)], None)
    assert steady.has_ended
    assert "ingest failed: redis: call failed" in caplog.text


def test_the_end_of_the_duration_stops_everything_without_an_error() -> None:
    roles = [Steady(), Steady()]
    run_until_stopped([each.role(str(at)) for at, each in enumerate(roles)], 0.0)
    assert all(each.has_ended for each in roles)


def test_a_role_that_ends_leaves_the_others_running() -> None:
    has_ended, stop = threading.Event(), threading.Event()
    was_stopped: list[bool] = []

    def outlive() -> None:
        assert has_ended.wait(30)
        was_stopped.append(stop.wait(0.2))

    run_until_stopped([Role("ingest", has_ended.set, lambda: None), Role("api", outlive, stop.set)], None)
    assert was_stopped == [False]


def test_the_process_ends_when_every_role_has() -> None:
    run_until_stopped([Role("ingest", ends_at_once, lambda: None)], None)


def test_a_role_that_fails_while_it_stops_fails_the_process() -> None:
    with pytest.raises(RoleFailed, match="failed was ingest"):
        run_until_stopped([Steady(fail).role("ingest")], 0.0)


def test_roles_that_do_not_stop_have_one_deadline_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, eight of them took four minutes."""
    waited: list[float] = []
    ends = threading.Event()
    monkeypatch.setattr(role, "STOP_DEADLINE_S", 0.5)
    roles = [Role(str(at), lambda: waited.append(ends.wait(30)), lambda: None) for at in range(3)]
    joined: list[float | None] = []
    join = threading.Thread.join

    def note(thread: threading.Thread, timeout: float | None = None) -> None:
        joined.append(timeout)
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", note)
    with pytest.raises(RoleFailed, match="failed was 0, 1, 2"):
        run_until_stopped(roles, 0.0)
    ends.set()
    assert joined[1:] == [0.0, 0.0]
