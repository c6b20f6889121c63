"""The simulator: a seed's messages are always the same and in order, and wrong arguments are refused."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, SimulatedSymbol, simulate
from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import InvalidSettings
from tests.simulated_messages import BTC, START_NS


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def first_seconds(seed: int) -> list[TimedMessage]:
        return list(simulate(DEFAULT_SYMBOLS, seed=seed, start_ns=START_NS, duration_ns=3 * SECOND_NS))

    assert first_seconds(1) == first_seconds(1)
    ours, theirs = ({message.body for message in first_seconds(seed)} for seed in (1, 2))
    assert not ours & theirs


def test_the_first_bytes_of_a_seed_never_change() -> None:
    message = next(simulate([BTC], seed=1, start_ns=START_NS, duration_ns=SECOND_NS))
    ticker = orjson.loads(message.body)["data"]
    assert (message.recv_ns - START_NS, ticker["openInterest"], ticker["bid1Size"], ticker["ask1Price"]) == (
        19041253,
        "41104.568",
        "0.008",
        "65000.10",
    )


def test_a_longer_simulation_begins_with_the_shorter_one() -> None:
    short = list(simulate([BTC], seed=3, start_ns=START_NS, duration_ns=2 * SECOND_NS))
    longer = list(simulate([BTC], seed=3, start_ns=START_NS, duration_ns=4 * SECOND_NS))
    assert longer[: len(short)] == short


def test_adding_a_symbol_changes_nothing_for_the_others(market: list[TimedMessage]) -> None:
    alone = simulate([BTC], seed=7, start_ns=START_NS, duration_ns=200 * SECOND_NS)
    assert list(alone) == [message for message in market if b"BTCUSDT" in message.body]


def test_messages_arrive_in_order_1_to_40_ms_after_they_are_sent(market: list[TimedMessage]) -> None:
    assert all(a.recv_ns <= b.recv_ns for a, b in pairwise(market))
    for message in market:
        sent = orjson.loads(message.body)
        event_ms = sent["data"][0]["T"] if sent["topic"].startswith("publicTrade") else sent["ts"]
        assert event_ms + 1 <= message.recv_ns / MILLISECOND_NS <= event_ms + 41


def test_messages_are_made_only_as_they_are_asked_for() -> None:
    century_ns = 100 * 365 * 86_400 * SECOND_NS
    messages = simulate(DEFAULT_SYMBOLS, seed=1, start_ns=START_NS, duration_ns=century_ns)
    assert [orjson.loads(next(messages).body)["type"] for _ in range(4)] == ["snapshot"] * 4


def test_everything_wrong_with_the_arguments_is_named_at_once() -> None:
    cheap = SimulatedSymbol("XUSDT", "1", "0.01", "1")
    with pytest.raises(InvalidSettings) as caught:
        simulate(
            [cheap, cheap],
            seed=-1,
            start_ns=-1,
            duration_ns=0,
            depth=1,
            book_interval_ns=SECOND_NS,
            mean_activity=0.0,
        )
    named = [problem.partition(":")[0] for problem in caught.value.problems]
    assert named == ["symbols", "seed", "start_ns", "duration_ns", "depth", "book_interval_ns", "mean_activity"]
    with pytest.raises(InvalidSettings, match=r"XUSDT.start_price: must be at least 500 ticks at depth 50, was 100"):
        simulate([cheap], seed=0, start_ns=0, duration_ns=1, depth=50)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (("1900.00", "0", "0.01"), "tick_size: must be positive"),
        (("1900.00", "0.01", "-1"), "lot_size: must be positive"),
        (("1900.001", "0.01", "0.01"), "start_price: must have at most 2 decimals"),
        (("1900.03", "0.05", "0.01"), "start_price: must be a positive multiple of 0.05"),
        (("0.00", "0.01", "0.01"), "start_price: must be a positive multiple"),
        (("abc", "0.01", "0.01"), "start_price: must be a plain decimal number"),
    ],
)
def test_a_symbol_that_cannot_be_traded_is_refused(texts: tuple[str, str, str], problem: str) -> None:
    with pytest.raises(InvalidSettings, match=problem):
        SimulatedSymbol("XUSDT", *texts)
