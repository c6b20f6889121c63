"""Calls of a script on one connection: the server works on one group of them while the next is made and sent.

redis-py's pipeline packs all, sends all and then reads: the server waits for the client, and the client for the server.
The arguments of 500 rows are 4 MB besides, which are made in pieces that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import redis
from redis.exceptions import ResponseError

from storage.online.scripts import Script

CALLS_AT_ONCE: Final = 32
"""Calls of a group; two groups are under way at most, whose answers fit in any socket's buffer."""

CallAt: TypeAlias = Callable[[int], tuple[bytes | str, ...]]
"""The key and the arguments of a call, by its number; made again where it is repeated."""


def call_in_groups(client: redis.Redis, script: Script, call_at: CallAt, numbers: Sequence[int]) -> list[Any]:
    """Run the script for each of the numbers, in order; an answer is what it returned, or a ResponseError.

    What fails is repeated from the first call on, as often as the client repeats a call.
    """
    pool = client.connection_pool
    connection: Any = pool.get_connection()  # of one of redis-py's kinds, partly untyped
    try:
        answers: list[Any] = connection.retry.call_with_retry(
            lambda: _exchange(connection, script, call_at, numbers), lambda _error: connection.disconnect()
        )
    except BaseException:
        connection.disconnect()  # it may have answers that nobody has read
        raise
    finally:
        pool.release(connection)
    return answers


def _exchange(connection: Any, script: Script, call_at: CallAt, numbers: Sequence[int]) -> list[Any]:  # noqa: ANN401  # one of redis-py's kinds
    answers: list[Any] = []
    for first in range(0, len(numbers), CALLS_AT_ONCE):
        packed: list[bytes] = []
        for number in numbers[first : first + CALLS_AT_ONCE]:
            packed += connection.pack_command("EVALSHA", script.sha, 1, *call_at(number))
        connection.send_packed_command([b"".join(packed)])  # once: each send wakes the server
        answers += [_answer(connection) for _ in range(first - len(answers))]
    return answers + [_answer(connection) for _ in range(len(numbers) - len(answers))]


def _answer(connection: Any) -> Any:  # noqa: ANN401  # whatever a script returns
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
