"""A day of a simulated market with a defect in it, and the names of what a jobs role finds there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ingestion.messages import TimedMessage
from ingestion.sinks.computations import ComputationTally
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
from tests.shadowed import ShadowedMarket
from transforms.kernel import Kernel
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
