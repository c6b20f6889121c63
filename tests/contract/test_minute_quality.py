"""Minutes of a real tape are judged once, from behind, into the embedded PostgreSQL and a server alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.venues.bybit.decode import Decoder
from market.clock import MINUTE_NS, SECOND_NS, to_datetime
from market.errors import StoreUnavailable
from market.events import ORDERBOOK
from quality.limits import QualityLimits
from storage.database.figures import drop_figures
from storage.database.minute_quality import MinuteQualityStore, StoredEvent
from storage.instruments import InstrumentPins
from storage.tape import TapeWriter
from tests.postgres_servers import empty_tables, run
from upkeep.quality import MOST_MINUTES, SETTLED_NS, judge_minutes

SYMBOL = "BTCUSDT"
NOON_NS = 1_780_000_020 * SECOND_NS
assert NOON_NS % MINUTE_NS == 0
LIMITS = QualityLimits(missing_rate=0.001, anomaly_rate=0.01)
LOST = slice(40, 50)
"""Order book messages of the second minute that never arrived."""


@pytest.fixture
def store(url: str) -> Iterator[MinuteQualityStore]:
    empty_tables(url)
    with closing(MinuteQualityStore(url)) as found:
        yield found


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> InstrumentPins:
    pins = InstrumentPins(tmp_path_factory.mktemp("pins"))
    pins.pin(SYMBOL, "65000.5")
    return pins


def write_tape(root: Path, pins: InstrumentPins, *, minutes: int, begin_ns: int = NOON_NS) -> None:
    """A market in which some order book messages of the second minute are lost."""
    decoder = Decoder(pins)
    books = 0
    with TapeWriter(root, SYMBOL, segment_ns=3600 * SECOND_NS) as writer:
        for message in simulate(DEFAULT_SYMBOLS[:1], seed=5, start_ns=begin_ns, duration_ns=minutes * MINUTE_NS):
            decoded = decoder.decode(message.body)
            is_book = decoded is not None and decoded.kind == ORDERBOOK
            if is_book and message.recv_ns >= NOON_NS + MINUTE_NS:
                books += 1
                if LOST.start <= books < LOST.stop:
                    continue
            writer.append(message.recv_ns, message.body)


def judge(root: Path, pins: InstrumentPins, store: MinuteQualityStore, minute: int) -> dict[str, object]:
    """As a process does that looks just after the minute has settled."""
    now_ns = NOON_NS + minute * MINUTE_NS + SETTLED_NS
    return dict(judge_minutes(root, pins, store, LIMITS, symbols={SYMBOL}, now_ns=now_ns, reach=lambda _: None))


def rows(url: str) -> list[tuple[object, ...]]:
    return run(
        url,
        "SELECT metric_timestamp, sequence_gaps_count, missing_rate > 0, received->>'orderbook', next_seq"
        " FROM data_quality_metrics ORDER BY metric_timestamp",
    )


def test_each_minute_is_judged_once_and_alike_whoever_goes_on(
    tmp_path: Path, pins: InstrumentPins, store: MinuteQualityStore, url: str
) -> None:
    write_tape(tmp_path, pins, minutes=4)
    assert judge(tmp_path, pins, store, 1)["minutes"] == 1
    assert judge(tmp_path, pins, store, 1)["minutes"] == 0
    assert judge(tmp_path, pins, store, 3)["minutes"] == 2
    one_by_one = rows(url)
    assert [(row[0], *row[1:3]) for row in one_by_one] == [
        (to_datetime(NOON_NS), 0, False),
        (to_datetime(NOON_NS + MINUTE_NS), 1, True),
        (to_datetime(NOON_NS + 2 * MINUTE_NS), 0, False),
    ]
    events = store.events(to_datetime(NOON_NS))
    assert {(each.what, each.stream) for each in events} == {("gap", "orderbook"), ("missing", "orderbook")}
    (gap,) = [each for each in events if each.what == "gap"]
    assert gap.detail == f"{LOST.stop - LOST.start} messages are missing"

    run(url, f"DELETE FROM data_quality_metrics WHERE metric_timestamp > '{to_datetime(NOON_NS).isoformat()}'")  # noqa: S608  # the test's own
    judge(tmp_path, pins, store, 3)
    assert rows(url) == one_by_one
    assert store.events(to_datetime(NOON_NS)) == events, "judged again, an event is the same one"


def test_what_begins_and_what_is_over_is_one_line_of_the_log_each(
    tmp_path: Path, pins: InstrumentPins, store: MinuteQualityStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="upkeep.quality")
    write_tape(tmp_path, pins, minutes=1)
    for minute in (1, 2, 3):
        judge(tmp_path, pins, store, minute)
    write_tape(tmp_path, pins, minutes=1, begin_ns=NOON_NS + 3 * MINUTE_NS)
    judge(tmp_path, pins, store, 4)
    since = f"{SYMBOL} ticker silence since "
    begin, end = (line for line in caplog.messages if line.startswith(since))
    assert begin.endswith("+00:00: no message arrived")
    assert "+00:00 is over, 12" in end
    assert begin.removesuffix(": no message arrived") == end.partition(" is over")[0]


def test_what_is_long_past_is_left_out_and_a_silent_tape_tells_of_its_silence(
    tmp_path: Path, pins: InstrumentPins, store: MinuteQualityStore
) -> None:
    write_tape(tmp_path, pins, minutes=1)
    judge(tmp_path, pins, store, 1)
    assert judge(tmp_path, pins, store, 3)["minutes"] == 2
    open_events = {each.stream for each in store.events(to_datetime(NOON_NS)) if each.end_at is None}
    assert {"orderbook", "trade", "ticker"} <= open_events
    assert judge(tmp_path, pins, store, 100 + MOST_MINUTES)["minutes"] == 1


def test_events_that_ended_go_when_they_are_old_and_what_lasts_stays(store: MinuteQualityStore, url: str) -> None:
    noon = to_datetime(NOON_NS)

    def event(what: str, *, ends: bool) -> StoredEvent:
        return StoredEvent(
            symbol=SYMBOL,
            stream="trade",
            what=what,
            severity="warning",
            begin_at=noon,
            end_at=noon if ends else None,
            detail="",
        )

    store.add([], [event("outliers", ends=True), event("silence", ends=False)])
    assert drop_figures(url, to_datetime(NOON_NS + 1000))["data_quality_events"] == 1
    assert [each.what for each in store.events(noon)] == ["silence"]


def test_without_a_database_the_store_is_unavailable() -> None:
    with (
        closing(MinuteQualityStore("postgresql+psycopg://postgres@127.0.0.1:1/none")) as found,
        pytest.raises(StoreUnavailable),
    ):
        found.reached()
