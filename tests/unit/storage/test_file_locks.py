"""Locks on files: who waits for whom, and when the waiting ends."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from market.errors import Conflict, StoreUnavailable
from storage.file_locks import exclusive


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "a file"
    blocker.write_text("where a folder should be")
    with pytest.raises(StoreUnavailable, match=f"{blocker}/lock: cannot be written"), exclusive(blocker / "lock"):
        pass


def test_a_lock_that_another_holds_is_waited_for_until_it_is_given_up(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    asked = 0

    def gives_up() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with exclusive(lock):
        with pytest.raises(Conflict, match=f"{lock}: held by another"), exclusive(lock, gives_up=gives_up):
            pass
        assert asked == 3
    with exclusive(lock, gives_up=lambda: pytest.fail("a lock that is free is not waited for")):
        pass


def test_a_lock_that_becomes_free_ends_the_waiting(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with ExitStack() as held:
        held.enter_context(exclusive(lock))

        def is_freed_meanwhile() -> bool:
            held.close()
            return False

        with exclusive(lock, gives_up=is_freed_meanwhile):
            pass
