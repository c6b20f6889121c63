"""Calls of a script: in which order groups are sent and answered, and what is left of a connection that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoScriptError
from redis.retry import Retry

from storage.online.script_calls import CALLS_AT_ONCE, call_in_groups
from storage.online.scripts import Script

SCRIPT = Script("return 1")
CALLS = [(f"key{at}".encode(), "order", b"vector") for at in range(2 * CALLS_AT_ONCE + 1)]


class Wire:
    """A connection and its pool that keep what is done with them. answer: of each call, or raised."""

    def __init__(self, answer: Callable[[int], object]) -> None:
        self.done: list[str] = []
        self.retry = Retry(NoBackoff(), 1)
        self.connection_pool = self
        self._answer = answer
        self._unread: list[int] = []

    def get_connection(self) -> Wire:
        return self

    def release(self, connection: Wire) -> None:
        assert connection is self
        self.done.append("released")

    def pack_command(self, *words: object) -> list[bytes]:
        name, sha, keys, key, *arguments = words
        assert (name, sha, keys, arguments) == ("EVALSHA", SCRIPT.sha, 1, ["order", b"vector"])
        return [b"call " + cast("bytes", key), b";"]

    def send_packed_command(self, packed: list[bytes]) -> None:
        [sent] = packed
        numbers = [int(each.removeprefix(b"call key")) for each in sent.split(b";")[:-1]]
        self._unread += numbers
        self.done.append(f"sent {len(numbers)}")

    def read_response(self) -> object:
        self.done.append("read")
        answer = self._answer(self._unread.pop(0))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def disconnect(self) -> None:
        self._unread.clear()
        self.done.append("disconnected")


def answers_of(wire: Wire) -> list[Any]:
    return call_in_groups(cast("redis.Redis", wire), SCRIPT, CALLS.__getitem__, range(len(CALLS)))


def test_a_group_is_sent_before_the_answers_to_the_one_before_are_read() -> None:
    wire = Wire(lambda number: number)
    assert answers_of(wire) == list(range(len(CALLS)))
    read = ["read"] * CALLS_AT_ONCE
    assert wire.done == [
        f"sent {CALLS_AT_ONCE}",
        f"sent {CALLS_AT_ONCE}",
        *read,
        "sent 1",
        *read,
        "read",
        "released",
    ]
    assert call_in_groups(cast("redis.Redis", wire), SCRIPT, CALLS.__getitem__, []) == []


def test_an_answer_that_is_an_error_stands_in_its_place() -> None:
    forgotten = NoScriptError("no such script")
    wire = Wire(lambda number: forgotten if number == CALLS_AT_ONCE else number)
    answers = answers_of(wire)
    assert answers[CALLS_AT_ONCE] is forgotten
    assert [each for each in answers if each is not forgotten] == [
        at for at in range(len(CALLS)) if at != CALLS_AT_ONCE
    ]


def test_a_lost_connection_is_tried_once_more_from_the_first_call_on() -> None:
    lost = [Lost("reset by peer")]
    wire = Wire(lambda number: lost.pop() if number == 40 and lost else number)
    assert answers_of(wire) == list(range(len(CALLS)))
    assert wire.done.count("disconnected") == 1
    assert wire.done.count(f"sent {CALLS_AT_ONCE}") == 4


@pytest.mark.parametrize("error", [Lost("reset by peer"), KeyboardInterrupt()], ids=["lost", "interrupted"])
def test_a_connection_with_answers_that_nobody_read_is_not_used_again(error: BaseException) -> None:
    def answer(_number: int) -> object:
        raise error

    wire = Wire(answer)
    with pytest.raises(type(error)):
        answers_of(wire)
    assert wire.done[-2:] == ["disconnected", "released"]
