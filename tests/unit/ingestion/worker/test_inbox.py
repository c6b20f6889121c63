"""The inbox: order, what is known of each stream, and a bound that holds the source back."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ingestion.source import Delivery
from ingestion.worker.inbox import Inbox

STREAMS = ("book", "trades", "ticker")
DEADLINE_S = 30.0


def delivery(number: int, stream: str = "book") -> Delivery:
    return Delivery(stream, number, b"")


@given(st.lists(st.one_of(st.sampled_from(STREAMS), st.just("take"), st.just("wake"))))
def test_whatever_is_put_and_taken_the_inbox_is_a_queue_that_knows_its_streams(acts: Sequence[str]) -> None:
    inbox = Inbox()
    held: list[Delivery | None] = []

    async def run() -> None:
        for number, act in enumerate(acts):
            if act == "take":
                assert inbox.take(0) == (held.pop(0) if held else None)
            elif act == "wake":
                inbox.wake()
                held.append(None)
            else:
                await inbox.put(delivery(number, act))
                held.append(delivery(number, act))
            waiting = Counter(each.stream for each in held if each is not None)
            assert len(inbox) == waiting.total()
            assert {stream for stream in STREAMS if inbox.holds(stream)} == set(waiting)

    asyncio.run(run())


def test_a_full_inbox_lets_its_source_wait_and_loses_nothing() -> None:
    count, capacity = 2_000, 8
    inbox = Inbox(capacity=capacity)
    taken: list[int] = []
    longest = 0

    def take_all() -> None:
        nonlocal longest
        while len(taken) < count:
            longest = max(longest, len(inbox))
            found = inbox.take(DEADLINE_S)
            assert found is not None
            taken.append(found.recv_ns)

    async def put_all() -> None:
        for number in range(count):
            await inbox.put(delivery(number))

    taking = threading.Thread(target=take_all, daemon=True)
    taking.start()
    asyncio.run(asyncio.wait_for(put_all(), DEADLINE_S))
    taking.join(DEADLINE_S)
    assert taken == list(range(count))
    assert 0 < longest <= capacity


def test_room_is_made_once_half_is_taken() -> None:
    inbox = Inbox(capacity=4)

    async def run() -> None:
        for number in range(4):
            await inbox.put(delivery(number))
        waiting = asyncio.create_task(inbox.put(delivery(4)))
        await asyncio.sleep(0)
        for _ in range(2):
            inbox.take(0)
            for _ in range(3):
                await asyncio.sleep(0)
            assert not waiting.done()
        inbox.take(0)
        await asyncio.wait_for(waiting, DEADLINE_S)
        assert len(inbox) == 2

    asyncio.run(run())


def test_wake_ends_a_wait_and_takes_nothing_away() -> None:
    inbox = Inbox()
    found: list[Delivery | None] = []
    waiting = threading.Thread(target=lambda: found.append(inbox.take(DEADLINE_S)), daemon=True)
    waiting.start()
    inbox.wake()
    waiting.join(DEADLINE_S)
    assert found == [None]
    asyncio.run(inbox.put(delivery(1)))
    assert inbox.take(0) == delivery(1)
