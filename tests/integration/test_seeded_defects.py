"""Twenty defects, each put into a day that is clean without it, are reported by their names; a clean day has none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.messages import TimedMessage
from ingestion.sinks.computations import ComputationTally
from ingestion.sources.gateway.holes import QueueHoles
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.minutes import tape_minutes
from ingestion.worker.status import symbol_status
from market.clock import HOUR_NS, MINUTE_NS, SECOND_NS, floor_to, to_datetime
from quality.drift import USUAL_LIMITS, table_drift, table_sketch
from quality.limits import QualityLimits
from quality.minutes import Carried, judge_minute
from runtime.alerting import thresholds
from runtime.settings import load_settings
from storage.database.freshness import WindowLooks
from storage.database.ingest_workers import IngestWorker
from storage.database.minute_quality import StoredEvent
from storage.database.upkeep import UpkeepState
from storage.online.vector import OnlineVector
from tests.shadowed import ShadowedMarket, flipped
from transforms.kernel import Kernel, compile_kernel
from upkeep.alert_findings import (
    dead_letter_findings,
    freshness_findings,
    quality_findings,
    row_findings,
    upkeep_findings,
    worker_findings,
)
from upkeep.alert_rules import RULES, Finding
from upkeep.disk import watch_disks
from upkeep.drift import look_at_drift
from upkeep.freshness import looks_at
from upkeep.quality import stored_event
from upkeep.tasks import COMPACTION, DISK, DRIFT, PERIODS

SYMBOL = "BTCUSDT"
VERSION = "1.0.0"
BEGIN_NS = floor_to(1_780_000_000 * SECOND_NS, MINUTE_NS)
MINUTES = 5
HARM_NS = BEGIN_NS + 150 * SECOND_NS
"""When the defect begins, in the middle of the third minute."""
LOOK_S = 5
ALERTS_S = 30
LIMITS = thresholds(load_settings({}, env_file=None))
QUALITY = QualityLimits(missing_rate=0.01, anomaly_rate=0.01)

Messages = Iterator[TimedMessage]
Harm = Callable[[Messages], Messages]


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version(VERSION).feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@dataclass
class Defect:
    """How a day goes wrong.

    messages: what becomes of what the exchange sent. row: of each served row. day: of the day as a whole, after it.
    """

    name: str
    messages: Harm = lambda messages: messages
    row: Callable[[OnlineVector], OnlineVector] = lambda vector: vector
    during: Callable[[Day], None] = lambda _day: None
    after: Callable[[Day], None] = lambda _day: None


@dataclass
class Day:
    """A simulated market that is served, and everything that a jobs role would find in it."""

    folder: Path
    kernel: Kernel
    defect: Defect
    found: set[str] = field(default_factory=set)
    rows: list[OnlineVector] = field(default_factory=list)
    slow_ns: int = 0
    looks_away: bool = False
    tasks_late: bool = False
    disk_warn_percent: float = 100.0

    def run(self) -> set[str]:
        """Live through it; the names of what was found: rules, and of streams what is wrong with them."""
        sent = simulate(DEFAULT_SYMBOLS[:1], seed=11, start_ns=BEGIN_NS, duration_ns=HOUR_NS)
        market = ShadowedMarket(self.folder, SYMBOL, self.kernel, self.defect.messages(sent))
        market.harm = self.defect.row
        self.market = market
        with closing(market.pipeline):
            for second in range(LOOK_S, MINUTES * 60 + 1, LOOK_S):
                market.run(LOOK_S)
                if market.tick_ns >= HARM_NS:
                    self.defect.during(self)
                look = market.look()
                self.found |= {"shadow_mismatch" for _ in look.mismatches}
                assert not look.not_compared, look.not_compared
                if second % ALERTS_S == 0:
                    self._judge_now()
            market.run(LOOK_S)
            market.look()
        self.defect.after(self)
        self._judge_streams()
        self._judge_tasks()
        return self.found

    def note(self, found: list[Finding]) -> None:
        assert {each.rule for each in found} <= RULES.keys()
        self.found |= {each.rule for each in found}

    def _judge_now(self) -> None:
        """What the alerts' task looks at."""
        now_ns = self.market.tick_ns + (0 if not self.looks_away else 2 * MINUTE_NS)
        vectors: dict[str, OnlineVector | None] = {SYMBOL: self.market.vectors[-1]}
        self.note(row_findings(vectors, {SYMBOL: 1}, now_ns, LIMITS))
        views = sorted(self.market.vectors[-1].statuses)
        for each in looks_at(vectors, {SYMBOL: 1}, views, now_ns=now_ns):
            # Each look stands for an hour of them.
            minutes = 60.0 * (each.looks - each.covered) / each.looks
            told: dict[str, Any] = {"view": each.view, "tier": 1, "looks": each.looks}
            told |= {"fresh": each.fresh, "covered": each.covered}
            if each.view != "position":
                self.note(freshness_findings([WindowLooks(**told, window="1h", lost_minutes=minutes)], LIMITS))
        self.note(worker_findings([self._worker()], [SYMBOL], to_datetime(now_ns), now_ns, LIMITS))

    def _worker(self) -> IngestWorker:
        pipeline, now_ns = self.market.pipeline, self.market.tick_ns
        tally = ComputationTally(tell=lambda _: None)
        for vector in self.market.vectors[-200:]:
            tally.recent.add((vector.available_ns - vector.row_ns + self.slow_ns) / 1e6, now_ns)
        number, mean_ms = tally.recent.recent(now_ns)
        status = {
            "symbols": {SYMBOL: symbol_status(pipeline, SYMBOL, pipeline.lanes[SYMBOL])},
            "computations_last_5min": {"count": number, "mean_ms": mean_ms},
        }
        moment = to_datetime(now_ns)
        return IngestWorker("w", moment, moment, status)

    def _judge_streams(self) -> None:
        carried = Carried()
        events: list[StoredEvent] = []
        instrument = self.market.pins.get(SYMBOL)
        assert instrument is not None
        scales = 10.0**instrument.price_exponent, 10.0**instrument.quantity_exponent
        minutes = tape_minutes(
            self.folder,
            SYMBOL,
            self.market.source.decoders(SYMBOL),
            begin_ns=BEGIN_NS,
            end_ns=BEGIN_NS + MINUTES * MINUTE_NS,
            seq=None,
        )
        for begin_ns, records, _ in minutes:
            minute = judge_minute(records, begin_ns, carried, scales=scales, limits=QUALITY)
            carried = minute.carried
            events += [stored_event(SYMBOL, each) for each in minute.events]
        self.found |= {f"{each.stream} {each.what}" for each in events}
        self.note(quality_findings(events, [SYMBOL]))

    def _judge_tasks(self) -> None:
        now = to_datetime(self.market.tick_ns)
        disks = watch_disks(
            {"raw": self.folder},
            warn_percent=self.disk_warn_percent,
            caches_percent=100.0,
            remove_caches=lambda: 0,
            reach=lambda _: None,
        )
        drift = look_at_drift(["trained"], lambda _id: {"symbols": {SYMBOL: self._drift()}}, lambda _: None)
        succeeded = now - (timedelta(hours=1) if self.tasks_late else timedelta(seconds=10))
        states = [
            UpkeepState(
                task=task, period=PERIODS[task], registered_at=now, now=now, succeeded_at=succeeded, result=result
            )
            for task, result in ((COMPACTION, {}), (DISK, disks), (DRIFT, drift))
        ]
        limits = replace(LIMITS, disk_warn_percent=self.disk_warn_percent)
        self.note(upkeep_findings(states, limits))
        path = self.folder / "dead_letter.jsonl"
        reasons = [json.loads(line)["reason"] for line in path.read_text().splitlines()] if path.is_file() else []
        self.note(dead_letter_findings(reasons, 10, LIMITS))

    def _drift(self) -> dict[str, Any]:
        """How far the rows of odd seconds are from those of even ones, of which a model was trained."""
        rows = self.market.vectors
        columns = [name for name in rows[0].columns if name in STILL]
        at = [rows[0].columns.index(name) for name in columns]
        values = np.stack([each.values[at] for each in rows])
        is_odd = np.array([is_served_alone(each.row_ns) for each in rows])
        found = table_drift(table_sketch(columns, values[~is_odd]), columns, values[is_odd], USUAL_LIMITS)
        return {"columns": found, "drifted": [name for name, each in found.items() if each["drifted"]]}


STILL = ("spread_rel", "depth_imbalance_top5")


def is_served_alone(row_ns: int) -> bool:
    """Whether a row stands for those that are served, not for those that a model was trained on."""
    return row_ns // SECOND_NS % 2 == 1


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
