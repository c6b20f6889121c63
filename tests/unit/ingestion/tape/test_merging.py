"""Two tapes of one market are one: each message once, in the order in which both have them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.decoding.own import control_message
from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.pipeline.pipeline import Pipeline
from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sources.played.play import play
from ingestion.sources.played.recordings import read_recording
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.merging import Merged, merge_tapes
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import Decoders
from market.clock import MILLISECOND_NS, SECOND_NS, parse_iso_ns
from market.events import START
from storage.instruments import InstrumentPins
from storage.tape import Frame, read_tape
from tests.live import Newest, bits
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import joined_rows

SYMBOL: Final = "BTCUSDT"
START_NS: Final = parse_iso_ns("2026-01-05T12:00:00")


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> InstrumentPins:
    found = InstrumentPins(tmp_path_factory.mktemp("pins"))
    found.pin(SYMBOL, "65000.5")
    return found


def played(kernel: Kernel, folder: Path, messages: list[TimedMessage], pins: InstrumentPins) -> dict[int, bytes]:
    """The rows of the messages, to the bit; their tape is in the folder."""
    sink = Newest()
    pipeline = Pipeline(
        kernel,
        pins,
        raw_folder=folder,
        dead_letter=DeadLetter(folder / "dead_letter.jsonl"),
        sinks=[sink],
        availability=available_as_if_live,
    )
    try:
        play(pipeline, messages)
    finally:
        pipeline.close()
    return bits(joined_rows(sink.rows[SYMBOL]))


def merged(first: list[Frame], second: list[Frame], pins: InstrumentPins) -> tuple[list[TimedMessage], Merged]:
    counted = Merged()
    return [*merge_tapes(iter(first), iter(second), Decoders(BYBIT, pins), counted)], counted


@pytest.fixture(scope="module")
def recorded(recorded_data: Path) -> list[TimedMessage]:
    """What a real recording has of the symbol."""
    read = read_recording(recorded_data / "bybit" / "linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz")
    return [message for message in read if isinstance(message, TimedMessage) and SYMBOL.encode() in message.body]


@pytest.fixture(scope="module")
def market() -> list[TimedMessage]:
    return [*simulate(DEFAULT_SYMBOLS[:1], seed=4, start_ns=START_NS, duration_ns=60 * SECOND_NS)]


@pytest.mark.parametrize("seed", range(3))
def test_what_one_recorder_lost_the_other_has_and_the_features_are_those_of_the_whole_tape(
    kernel: Kernel, pins: InstrumentPins, market: list[TimedMessage], tmp_path: Path, seed: int
) -> None:
    whole = played(kernel, tmp_path / "whole", market, pins)
    frames = [*read_tape(tmp_path / "whole", SYMBOL)]
    random = Random(seed)  # no secret
    # What both lost nobody has.
    lost = random.sample(range(len(frames)), len(frames) // 50)
    first = [frame for at, frame in enumerate(frames) if at not in set(lost[::2])]
    second = [frame for at, frame in enumerate(frames) if at not in set(lost[1::2])]
    found, counted = merged(first, second, pins)
    assert [message.body for message in found] == [message.body for message in market]
    assert played(kernel, tmp_path / "merged", found, pins) == whole
    assert counted.conflicts == []
    assert counted.only_first + counted.only_second > 0


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 100))])
def test_two_recorders_that_each_lost_one_percent_of_a_real_market_give_the_features_of_the_whole_tape(
    kernel: Kernel, pins: InstrumentPins, recorded: list[TimedMessage], tmp_path: Path, seed: int
) -> None:
    whole = played(kernel, tmp_path / "whole", recorded, pins)
    frames = [*read_tape(tmp_path / "whole", SYMBOL)]
    share = len(frames) // 100
    lost = Random(seed).sample(range(len(frames)), 2 * share)  # no secret; what both lost nobody has
    one, other = (
        [frame for at, frame in enumerate(frames) if at not in of_one] for of_one in (lost[:share], lost[share:])
    )
    found, counted = merged(one, other, pins)
    assert [message.body for message in found] == [message.body for message in recorded]
    assert played(kernel, tmp_path / "merged", found, pins) == whole
    assert (counted.conflicts, counted.only_first, counted.only_second) == ([], share, share)
    assert share > 0


@pytest.mark.parametrize("seed", range(2))
def test_what_both_lost_alone_is_missing_from_the_merged_features(
    kernel: Kernel, pins: InstrumentPins, market: list[TimedMessage], tmp_path: Path, seed: int
) -> None:
    random = Random(seed)  # no secret
    lost = [set(random.sample(range(len(market)), len(market) // 100)) for _ in range(2)]
    both = set(random.sample(range(len(market)), 5))
    one, other = ([frame for at, frame in enumerate(frames_of(market)) if at not in of_one | both] for of_one in lost)
    nobody = (lost[0] & lost[1]) | both
    held = [message for at, message in enumerate(market) if at not in nobody]
    found, counted = merged(one, other, pins)
    assert found == held
    assert counted.conflicting == 0
    assert played(kernel, tmp_path / "merged", found, pins) == played(kernel, tmp_path / "held", held, pins)


def frames_of(messages: list[TimedMessage], *, later_ns: int = 0) -> list[Frame]:
    return [Frame(at, message.recv_ns + later_ns, message.body) for at, message in enumerate(messages, start=1)]


def test_a_message_is_received_when_the_first_of_both_had_it(pins: InstrumentPins, market: list[TimedMessage]) -> None:
    later = frames_of(market, later_ns=300 * MILLISECOND_NS)
    found, counted = merged(later, frames_of(market), pins)
    assert found == market
    assert (counted.in_both, counted.only_first, counted.only_second) == (len(market), 0, 0)


def test_what_both_state_otherwise_is_told_and_the_first_is_taken(
    pins: InstrumentPins, market: list[TimedMessage]
) -> None:
    at = next(at for at, message in enumerate(market) if b'"publicTrade.' in message.body)
    document = json.loads(market[at].body)
    document["data"][0]["v"] = "77.777"
    other = [*market]
    other[at] = replace(market[at], body=json.dumps(document).encode())
    found, counted = merged(frames_of(market), frames_of(other), pins)
    assert found == market
    assert counted.conflicting == 1
    [told] = counted.conflicts
    assert "77.777" in told


@pytest.mark.parametrize(("away", "is_kept"), [((20, 40), False), ((10, 25), True), ((5, 15), True)])
def test_a_start_stays_only_where_the_other_recorder_was_away_too(
    pins: InstrumentPins, market: list[TimedMessage], away: tuple[int, int], *, is_kept: bool
) -> None:
    """The first recorder is away from second 5 to 15; the other one at another time, then, or in part of it."""

    def recorded(begin_s: int, end_s: int) -> list[Frame]:
        begin_ns, end_ns = START_NS + begin_s * SECOND_NS, START_NS + end_s * SECOND_NS
        mark = control_message(START, symbol=SYMBOL, event_ns=end_ns, reason="ingest restarted")
        return frames_of(
            [
                *(message for message in market if message.recv_ns < begin_ns),
                TimedMessage(end_ns, mark),
                *(message for message in market if message.recv_ns >= end_ns),
            ]
        )

    found, _ = merged(recorded(5, 15), recorded(*away), pins)
    starts = [message for message in found if b"feature-service.start." in message.body]
    assert [message.recv_ns for message in starts] == [START_NS + 15 * SECOND_NS] * is_kept
    others = [message.body for message in found if message not in starts]
    nobody = [START_NS + second * SECOND_NS for second in (max(5, away[0]), min(15, away[1]))]
    assert others == [message.body for message in market if not (is_kept and nobody[0] <= message.recv_ns < nobody[1])]
