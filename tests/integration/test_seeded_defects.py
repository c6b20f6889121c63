"""Twenty defects, each put into a day that is clean without it, are reported by their names; a clean day has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.sources.gateway.holes import QueueHoles
from market.clock import HOUR_NS, MINUTE_NS, SECOND_NS
from storage.online.vector import OnlineVector
from tests.seeded_day import HARM_NS, STILL, SYMBOL, Day, Defect, Messages, is_served_alone
from tests.shadowed import flipped
from transforms.kernel import Kernel, compile_kernel
from upkeep.alert_rules import RULES

VERSION = "1.0.0"


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version(VERSION).feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


def body(message: TimedMessage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(message.body)
    return document


def with_body(message: TimedMessage, document: dict[str, Any]) -> TimedMessage:
    return replace(message, body=json.dumps(document).encode())


def topic(message: TimedMessage) -> str:
    return str(body(message)["topic"]).partition(".")[0]


def without(
    name: str, seconds: float = HOUR_NS / SECOND_NS, *, most: int | None = None
) -> Callable[[Messages], Messages]:
    """Messages of a topic that do not come, from the harm on for so long, or so many."""

    def harmed(messages: Messages) -> Messages:
        gone = count()
        for message in messages:
            is_due = HARM_NS <= message.recv_ns < HARM_NS + seconds * SECOND_NS
            if not (is_due and topic(message) == name and (most is None or next(gone) < most)):
                yield message

    return harmed


def changed(
    name: str, change: Callable[[dict[str, Any]], None], *, most: int | None = None
) -> Callable[[Messages], Messages]:
    """Messages of a topic with another content, from the harm on."""

    def harmed(messages: Messages) -> Messages:
        done = count()
        for message in messages:
            if message.recv_ns >= HARM_NS and topic(message) == name and (most is None or next(done) < most):
                document = body(message)
                change(document)
                yield with_body(message, document)
            else:
                yield message

    return harmed


def without_candles(messages: Messages) -> Messages:
    """Candles that go on and are never confirmed."""
    for message in messages:
        is_due = message.recv_ns >= HARM_NS - MINUTE_NS and topic(message) == "kline"
        if not (is_due and any(each["confirm"] for each in body(message)["data"])):
            yield message


def spike(document: dict[str, Any]) -> None:
    for trade in document["data"]:
        trade["p"] = str(float(trade["p"]) * 3)


def later_exchange(document: dict[str, Any]) -> None:
    document["ts"] -= 900
    document["cts"] = document.get("cts", document["ts"] + 900) - 900


def crossed(document: dict[str, Any]) -> None:
    asks = document["data"]["a"]
    document["data"]["b"].append([asks[0][0] if asks else "70000.0", "1.5"])
    document["data"]["b"].append(["99000.0", "1"])


def reset(document: dict[str, Any]) -> None:
    document["data"]["u"] %= 1000


def repeated(messages: Messages) -> Messages:
    """Every trade message again, with nothing new in it."""
    for message in messages:
        yield message
        if message.recv_ns >= HARM_NS - MINUTE_NS:
            yield message


def late(messages: Messages) -> Messages:
    """Trades of the second half come with a stamp of two seconds before."""
    for message in messages:
        is_late = message.recv_ns >= HARM_NS - MINUTE_NS and topic(message) != "kline"
        yield replace(message, recv_ns=message.recv_ns - 2 * SECOND_NS) if is_late else message


def storm(vector: OnlineVector) -> OnlineVector:
    is_due = vector.row_ns >= HARM_NS
    return replace(vector, values=np.full_like(vector.values, np.nan)) if is_due else vector


def one_flip(vector: OnlineVector) -> OnlineVector:
    return flipped(vector, "mid_price") if vector.row_ns == HARM_NS else vector


def wider(vector: OnlineVector) -> OnlineVector:
    if not is_served_alone(vector.row_ns):
        return vector
    values = vector.values.copy()
    values[[vector.columns.index(name) for name in STILL]] *= 10
    return replace(vector, values=values)


def reject_some(day: Day) -> None:
    for _ in range(10):
        day.market.pipeline.handle(TimedMessage(day.market.tick_ns, b'{"topic": "orderbook.200.XUSDT", "ts": "no"}'))


def lose_a_queue(day: Day) -> None:
    holes = QueueHoles()
    holes.hear("q", f"publicTrade.{SYMBOL}")
    holes.hear("q", f"orderbook.200.{SYMBOL}")
    holes.end("q", day.market.tick_ns, is_gone=True)
    for mark in holes.due(day.market.tick_ns + SECOND_NS):
        day.market.pipeline.handle(TimedMessage(day.market.tick_ns, mark))


DEFECTS = (
    (Defect("gap", without("orderbook", most=10)), "orderbook gap"),
    (Defect("freeze", without("orderbook", 20)), "orderbook silence"),
    (Defect("spike", changed("publicTrade", spike, most=40)), "trade outliers"),
    (Defect("clock jump", changed("orderbook", later_exchange)), "orderbook clock_jump"),
    (Defect("silent stream", without("tickers")), "ticker silence"),
    (Defect("duplicate", repeated), "messages_repeated"),
    (Defect("late", late), "messages_late"),
    (Defect("NaN storm", row=storm), "values_unknown"),
    (Defect("drift", row=wider), "feature_drift"),
    (Defect("disk filling", after=lambda day: setattr(day, "disk_warn_percent", 0.001)), "disk_filling"),
    (Defect("Redis stale", during=lambda day: setattr(day, "looks_away", True)), "row_old"),
    (Defect("upkeep dead", after=lambda day: setattr(day, "tasks_late", True)), "upkeep_late"),
    (Defect("crossed book", changed("orderbook", crossed, most=1)), "book_crossed"),
    (Defect("sequence reset", changed("orderbook", reset)), "book_gap"),
    (Defect("missing klines", without_candles), "kline missing"),
    (Defect("dead letters", during=reject_some), "dead_letters"),
    (Defect("slow rows", during=lambda day: setattr(day, "slow_ns", 200_000_000)), "rows_slow"),
    (Defect("freshness breach", during=lambda day: setattr(day, "looks_away", True)), "freshness_burn"),
    (Defect("shadow mismatch", row=one_flip), "shadow_mismatch"),
    (Defect("queue hole", during=lose_a_queue), "all interruption"),
)


@pytest.mark.soak
def test_a_clean_day_reports_none(tmp_path: Path, kernel: Kernel) -> None:
    assert Day(tmp_path, kernel, Defect("none")).run() == set()


@pytest.mark.soak
@pytest.mark.parametrize(("defect", "name"), DEFECTS, ids=[defect.name for defect, _ in DEFECTS])
def test_a_seeded_defect_is_reported_by_its_name(tmp_path: Path, kernel: Kernel, defect: Defect, name: str) -> None:
    found = Day(tmp_path, kernel, defect).run()
    assert name in found, found


def test_there_are_twenty_and_each_name_is_one_that_the_service_uses() -> None:
    assert len({defect.name for defect, _ in DEFECTS}) == len(DEFECTS) == 20
    streams = {"gap", "silence", "outliers", "clock_jump", "missing", "interruption"}
    assert {name.rpartition(" ")[2] for _, name in DEFECTS} <= RULES.keys() | streams
