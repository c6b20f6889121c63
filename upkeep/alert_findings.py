"""What breaks the rules of alerts now: each one's look at what the service knows of itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isnan
from typing import Any, Final

from feature_repo.freshness import slo_of
from ingestion.sinks.computations import SLOW_MS
from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, format_iso, to_datetime, to_ns
from quality.limits import is_odd
from storage.database.freshness import WindowLooks
from storage.database.ingest_workers import LONGEST_START, IngestWorker
from storage.database.minute_quality import StoredEvent
from storage.database.upkeep import UpkeepState
from storage.online.vector import OnlineVector
from transforms.status import GAP, REASON_NAMES, STALE, UNDEFINED
from upkeep.alert_rules import CRITICAL, WARNING, Finding, Severity
from upkeep.freshness import FIRST_TIER
from upkeep.tasks import DISK, DRIFT, RECONCILIATION

CROSSED_NS: Final = 3 * MINUTE_NS
"""How long a crossed book is reported."""
FEWEST_ROWS: Final = 100
"""From so many rows on their mean says something: the first ones after a start are slow."""
_NO_VALUE: Final = REASON_NAMES[UNDEFINED]
_OF_THE_BOOK: Final = ("orderbook", "price")
"""The groups that read the order book alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From when on something is an alert; the settings give them."""

    row_age_s: int
    silent_s: int
    burn_1h: float
    burn_6h: float
    queue_messages: int
    dead_letters: int
    unknown_share: float
    late_rate: float
    duplicate_rate: float
    disk_warn_percent: float
    disk_critical_percent: float


def freshness_findings(looks: Iterable[WindowLooks], limits: Thresholds) -> list[Finding]:
    """Views whose error budget goes too fast; of the symbols that are not in the first tier it is a warning."""
    most = {"1h": limits.burn_1h, "6h": limits.burn_6h}
    found: dict[str, Finding] = {}
    for each in looks:
        rate = each.burn_rate(slo_of(each.view).coverage)
        if each.window in most and rate >= most[each.window]:
            found.setdefault(
                subject := f"{each.view} tier {each.tier}",
                Finding(
                    "freshness_burn",
                    subject,
                    f"{each.view}: error budget must burn at less than {most[each.window]:g} over {each.window}, "
                    f"was {rate:.1f}: {each.coverage or 0.0:.2%} of checks found it fresh, with its source",
                    CRITICAL if each.tier == FIRST_TIER else WARNING,
                ),
            )
    return list(found.values())


def row_findings(
    vectors: Mapping[str, OnlineVector | None],
    tiers: Mapping[str, int],
    now_ns: int,
    limits: Thresholds,
    *,
    workers: Sequence[IngestWorker] = (),
) -> list[Finding]:
    """Symbols whose newest row is old, and groups whose source broke off.

    A row from before a worker began is not old before that worker had the time for another one.
    """
    found = []
    for symbol, vector in vectors.items():
        if vector is None:
            continue  # never served: symbol_not_followed and ingest_silent say why
        severity: Severity = CRITICAL if tiers[symbol] == FIRST_TIER else WARNING
        age_s = vector.age_ns(now_ns) // SECOND_NS
        if age_s > limits.row_age_s:
            if _is_overdue(vector.row_ns, workers, now_ns, limits):
                text = f"{symbol}: newest row must be at most {limits.row_age_s} s old, was {age_s}"
                found.append(Finding("row_old", symbol, text, severity))
            continue
        # Other groups are GAP until their windows are whole again, which no repair hastens.
        gaps = [group for group in _OF_THE_BOOK if vector.statuses.get(group) == GAP]
        if gaps:
            text = f"{symbol}: order book must be valid, was broken; no values in {', '.join(gaps)}"
            found.append(Finding("book_gap", symbol, text, severity))
        if (unknown := _unknown_share(vector)) >= limits.unknown_share:
            text = f"{symbol}: values with an available source must be known, {unknown:.0%} of the row were not"
            found.append(Finding("values_unknown", symbol, text))
        found += [
            Finding("source_stale", f"{symbol} {group}", f"{symbol} {group}: source must be live, was STALE")
            for group, status in sorted(vector.statuses.items())
            if status == STALE
        ]
    return found


def _is_overdue(row_ns: int, workers: Sequence[IngestWorker], now_ns: int, limits: Thresholds) -> bool:
    """Whether the row after this one should be there by now.

    Of workers that began since, the first counts: one that is started again and again never has a row either.
    """
    began = [worker for worker in workers if to_ns(worker.started_at) > row_ns]
    if not began:
        return True
    now = to_datetime(now_ns)
    since = now - min(worker.started_at for worker in began)
    is_starting = any(worker.is_starting(now) for worker in began)
    return since > (LONGEST_START if is_starting else timedelta(seconds=limits.row_age_s))


def _unknown_share(vector: OnlineVector) -> float:
    """Which part of the row's values is unknown for no reason that a source gives."""
    unknown = [name for name, value in zip(vector.columns, vector.values.tolist(), strict=True) if isnan(value)]
    unexplained = [name for name in unknown if vector.missing.get(name, _NO_VALUE) == _NO_VALUE]
    return len(unexplained) / max(1, len(vector.columns))


def table_findings(newest: Mapping[str, tuple[int, int]], now_ns: int) -> list[Finding]:
    """Tables that stopped growing, a day before the first of their views has no answer any more.

    newest: by table, when its newest row was known, and how long its views answer, ns.
    """
    found = []
    for table, (known_ns, answers_ns) in newest.items():
        most_ns = max(answers_ns - DAY_NS, DAY_NS)
        if now_ns - known_ns > most_ns:
            text = (
                f"{table}: newest row must have been known within {most_ns / DAY_NS:.0f} days, "
                f"was {(now_ns - known_ns) / DAY_NS:.1f} days ago"
            )
            found.append(Finding("table_stopped", table, text))
    return found


def worker_findings(
    workers: Sequence[IngestWorker], symbols: Sequence[str], now: datetime, now_ns: int, limits: Thresholds
) -> list[Finding]:
    """Missing ingest, symbols that no worker follows, and symbols without messages.

    Where no worker ever reported, none is missed.
    """
    if not workers:
        return []
    alive = [worker for worker in workers if worker.is_alive(now)]
    if not alive:
        silent = (now - workers[0].heartbeat_at).total_seconds()
        return [
            Finding("ingest_silent", "ingest", f"ingest: a worker must be alive, the last one was {silent:.0f} s ago")
        ]
    heard: dict[str, int | None] = {}
    for worker in alive:
        heard |= dict.fromkeys(worker.status["starts"] if worker.is_starting(now) else (), None) | heard
        for symbol, figures in (worker.status.get("symbols") or {}).items():
            last_ns = figures.get("last_recv_ns")
            heard[symbol] = max(filter(None, (heard.get(symbol), last_ns)), default=None)
    found = []
    for symbol in symbols:
        if symbol not in heard:
            text = f"{symbol}: must be followed by an ingest worker, was by none of {len(alive)}"
            found.append(Finding("symbol_not_followed", symbol, text))
            continue
        last_ns = heard[symbol]
        age_s = None if last_ns is None else (now_ns - last_ns) // SECOND_NS
        if age_s is not None and age_s > limits.silent_s:
            text = f"{symbol}: a message must come every {limits.silent_s} s, the last was {age_s} s ago"
            found.append(Finding("symbol_silent", symbol, text))
    for worker in alive:
        found += _of_messages(worker, symbols, now_ns, limits)
        if (worker.status.get("worker") or {}).get("log_is_away"):
            text = f"{worker.worker_id}: feature log must be written, its object store is away"
            found.append(Finding("feature_log_away", worker.worker_id, text))
        recent = worker.status.get("computations_last_5min") or {}
        mean_ms = recent.get("mean_ms")
        if mean_ms is not None and mean_ms > SLOW_MS and recent["count"] >= FEWEST_ROWS:
            text = f"rows must be stored within {SLOW_MS:g} ms on average over 5 minutes, was {mean_ms:.0f}"
            found.append(Finding("rows_slow", worker.worker_id, f"{worker.worker_id}: {text}"))
    return found


def _of_messages(worker: IngestWorker, symbols: Collection[str], now_ns: int, limits: Thresholds) -> list[Finding]:
    """What a worker says of the messages of its symbols since it began, and of a crossed book lately."""
    found = []
    for symbol, figures in (worker.status.get("symbols") or {}).items():
        if symbol not in symbols:
            continue
        messages = figures.get("messages", 0)
        repeated = figures.get("redelivered", 0) + figures.get("duplicates", 0)
        for rule, count, rate, word in (
            ("messages_late", figures.get("late", 0), limits.late_rate, "late"),
            ("messages_repeated", repeated, limits.duplicate_rate, "taken before"),
        ):
            if is_odd(count, messages, rate):
                text = f"{symbol}: less than {rate:.2%} of the messages must be {word}, was {count} of {messages}"
                found.append(Finding(rule, symbol, text))
        crossed_ns = figures.get("crossed_ns")
        if crossed_ns is not None and now_ns - crossed_ns <= CROSSED_NS:
            text = f"{symbol}: bids must be below asks, were not at {format_iso(crossed_ns)}"
            found.append(Finding("book_crossed", symbol, text))
    return found


def upkeep_findings(states: Iterable[UpkeepState], limits: Thresholds) -> list[Finding]:
    """Tasks that are late, and what the last runs found: full disks, columns that drifted, days that disagree."""
    found = []
    for state in states:
        if state.is_late:
            since = "never" if state.age is None else f"{state.age.total_seconds():.0f} s ago"
            why = "" if state.error is None else f", since {state.error}"
            text = f"{state.task}: must succeed every {state.period.total_seconds():g} s, last did {since}{why}"
            found.append(Finding("upkeep_late", state.task, text))
        if state.task == DRIFT and state.result is not None:
            found += [_drift_finding(each) for each in state.result.get("drifted", ())]
        if state.task == RECONCILIATION and state.result is not None:
            found += [_reconciliation_finding(each) for each in state.result.get("disagreeing", ())]
        if state.task == DISK and state.result is not None:
            for disk in state.result.get("disks", ()):
                used = disk["used_percent"]
                if used >= limits.disk_warn_percent:
                    names = ", ".join(disk["folders"])
                    text = f"disk of {names}: must be used to less than {limits.disk_warn_percent:g} %, was {used:g} %"
                    is_critical = used >= limits.disk_critical_percent
                    found.append(Finding("disk_filling", names, text, CRITICAL if is_critical else WARNING))
    return found


def _drift_finding(told: Mapping[str, Any]) -> Finding:
    subject = f"{told['symbol']} from dataset {told['dataset_id']}"
    text = (
        f"{subject}: no column may drift, {told['count']} of {told['compared']} did, "
        f"most of all {', '.join(told['columns'])}"
    )
    return Finding("feature_drift", subject, text)


def _reconciliation_finding(told: Mapping[str, Any]) -> Finding:
    subject = f"{told['symbol']} of {told['date']}"
    counts = ", ".join(f"{count} of {check}" for check, count in told["disagreements"].items())
    return Finding("history_disagrees", subject, f"{subject}: live data must agree with the archive, differs: {counts}")


def quality_findings(events: Sequence[StoredEvent], symbols: Collection[str]) -> list[Finding]:
    """What is wrong with the streams of the symbols, the most serious of each kind; mere info is not reported.

    A symbol whose order book and trades are both silent is that of ``symbol_silent``.
    """
    silent = {(each.symbol, each.stream) for each in events if each.what == "silence" and each.end_at is None}
    found: dict[str, Finding] = {}
    for each in sorted(events, key=lambda event: event.severity != CRITICAL):
        is_told = each.severity != "info" and each.symbol in symbols
        if each.what == "silence" and {(each.symbol, "orderbook"), (each.symbol, "trade")} <= silent:
            is_told = False
        if is_told:
            subject = f"{each.symbol} {each.stream} {each.what}"
            until = "and lasts" if each.end_at is None else f"to {each.end_at:%H:%M:%S}"
            text = f"{subject}: {each.detail}, from {each.begin_at:%Y-%m-%d %H:%M:%S} UTC {until}"
            severity: Severity = CRITICAL if each.severity == CRITICAL else WARNING
            found.setdefault(subject, Finding("data_quality", subject, text, severity))
    return list(found.values())


def queue_findings(lengths: Mapping[str, tuple[int, int]], limits: Thresholds) -> list[Finding]:
    """Queues that are not read, or not fast enough. lengths: messages and readers by queue."""
    return [
        Finding(
            "queue_unread",
            queue,
            f"{queue}: must hold fewer than {limits.queue_messages} messages, was {messages} with {readers} readers",
        )
        for queue, (messages, readers) in lengths.items()
        if messages >= limits.queue_messages
    ]


def dead_letter_findings(reasons: Sequence[str], minutes: int, limits: Thresholds) -> list[Finding]:
    """Messages that could not be used, by their reasons, the newest last."""
    if len(reasons) < limits.dead_letters:
        return []
    text = (
        f"dead letter: must get fewer than {limits.dead_letters} messages in {minutes} minutes, "
        f"was {len(reasons)}, the last: {reasons[-1][:200]}"
    )
    return [Finding("dead_letters", "dead letter", text)]
