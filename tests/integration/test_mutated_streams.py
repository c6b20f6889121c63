"""Recorded streams with faults in them, played through the real pipeline: no served value is wrong.

A value that is served is that of a plain order book and a plain list of trades, or it is NaN with a reason.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from ingestion.messages import TimedMessage
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sources.played.play import play
from ingestion.sources.played.recordings import read_recording
from market.clock import MILLISECOND_NS, SECOND_NS
from tests.conftest import MUTATIONS
from tests.oracle.asides import SHIFT
from tests.oracle.delivered import Delivered
from tests.oracle.mutations import Mutator
from tests.oracle.referee import Referee
from tests.oracle.shapes import SHAPES, reshaped
from tests.pipelines import pipeline_in
from transforms.catalogue import FEATURES, GROUPS, feature_set
from transforms.declaration import BOOK, TRADES
from transforms.kernel import Kernel, compile_kernel

OFTEN: Final = 8
"""Messages for each fault."""
RARELY: Final = 300
"""Of some replays, in which a book is whole for longer than the windows over it."""
SELDOM: Final = 17
"""Of so many replays one has faults so rarely."""
EVERY_KIND: Final = 2 * SELDOM
"""Replays of a recording: with faults often and rarely, in trades too and only beside them."""
GRID_NS: Final = 100 * MILLISECOND_NS
JUDGED: Final = ("price", "orderbook", "orderflow", "perpetual")
RECORDINGS: Final = {
    "bybit": ("bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz", "ETHUSDT"),
    "midnight": ("reencoded/BTCUSDT_20240718-19.jsonl.gz", "BTCUSDT"),
}
FIRST_SEED: Final = int(os.environ.get("FEATURE_SERVICE_TEST_FIRST_SEED", "0"))
RESTARTS: Final = 2
Recorded = list[tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    names = [declared.name for group in JUDGED for declared in GROUPS[group]]
    kernel = compile_kernel(feature_set("judged", names), kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture(scope="module")
def recorded(recorded_data: Path) -> dict[str, Recorded]:
    found: dict[str, Recorded] = {}
    for name, (path, symbol) in RECORDINGS.items():
        messages = [each for each in read_recording(recorded_data / path) if isinstance(each, TimedMessage)]
        stated = [(each.recv_ns, json.loads(each.body)) for each in messages]
        found[name] = [(recv_ns, said) for recv_ns, said in stated if said["topic"].endswith(symbol)]
    return found


class JudgingSink:
    """Has each row judged when it is closed."""

    def __init__(self, referee: Referee) -> None:
        self.wrong: list[str] = []
        self._referee = referee

    def write(self, served: Sequence[ServedRows]) -> None:
        for each in served:
            self.wrong += self._referee.judge(each.rows)

    def close(self) -> None:
        pass


def played(
    folder: Path, kernel: Kernel, delivered: Sequence[Delivered], restarts: random.Random | None = None
) -> tuple[Referee, list[str]]:
    """restarts: draws when ingest stops and begins again, and what comes while it is away."""
    referee = Referee()
    sink = JudgingSink(referee)
    for read, missed in [(delivered, delivered[:0])] if restarts is None else parted(delivered, restarts):
        pipeline = pipeline_in(folder, kernel, sink, grid_ns=GRID_NS)
        coming = iter(read)
        try:
            play(
                pipeline,
                (TimedMessage(each.recv_ns, each.body) for each in read),
                on_message=lambda _recv_ns, coming=coming: referee.take(next(coming)),  # type: ignore[misc]  # bound now
            )
        finally:
            pipeline.close()
        for each in missed:
            referee.take(replace(each, is_unusable=True))
    return referee, sink.wrong


def parted(
    delivered: Sequence[Delivered], drawn: random.Random
) -> list[tuple[Sequence[Delivered], Sequence[Delivered]]]:
    """What is read at a time, with what is missed after it."""
    ends = sorted(drawn.sample(range(50, len(delivered) - 100), RESTARTS))
    begins = [end + drawn.choice((0, 1, 5, 40)) for end in ends]
    return [
        (delivered[begin:end], delivered[end:following])
        for begin, end, following in zip([0, *begins], [*ends, None], [*begins, None], strict=True)
        if end is None or begin < end
    ]


def can_be_known(name: str, seconds: int) -> bool:
    """Whether a feature of trades or of one moment has its history in so many seconds; books break too often."""
    declared = FEATURES[name]
    return declared.source in (BOOK, TRADES) and declared.window_s * (1 if declared.source is TRADES else 16) < seconds


def judged(
    folder: Path,
    kernel: Kernel,
    recorded: dict[str, Recorded],
    least: int,
    *,
    shift: Decimal = SHIFT,
    restarts: random.Random | None = None,
) -> str:
    """At least so many faults in the recordings, each replay with a new seed; returns the figures.

    More of them where a feature that can be known has not been yet: which is, depends on the first seed.
    """
    begun = time.monotonic()
    mutations: Counter[str] = Counter()
    known_of: Counter[str] = Counter()
    values = known = rows = joined = 0
    seed = FIRST_SEED
    seconds = max((messages[-1][0] - messages[0][0]) // SECOND_NS for messages in recorded.values())
    can_be = [name for name in kernel.feature_set.columns if can_be_known(name, seconds)]

    def never() -> list[str]:
        return [name for name in can_be if not known_of[name]]

    while mutations.total() < least or (never() and seed < FIRST_SEED + EVERY_KIND * len(recorded)):
        name = list(recorded)[seed % len(recorded)]
        every = RARELY if seed % SELDOM == SELDOM - 1 else OFTEN
        mutator = Mutator(recorded[name], seed, every=every, spares_trades=seed // len(recorded) % 2 == 0, shift=shift)
        with tempfile.TemporaryDirectory(dir=folder) as away:
            referee, wrong = played(Path(away), kernel, mutator.delivered, restarts)
        assert not wrong, f"{name} with seed {seed}: {len(wrong)} wrong, first {wrong[:5]}"
        mutations += Counter(mutator.mutations)
        known_of += referee.known_of
        joined += mutator.joined
        values, known, rows = values + referee.values, known + referee.known, rows + referee.rows
        seed += 1
    took_s = time.monotonic() - begun
    assert known > (0.2 if restarts is None else 0.1) * values, "a service that knows nothing is never wrong"
    assert joined > 0, "no message had new trades beside others that had come before"
    assert not never(), f"never known, so never judged: {never()}"
    return (
        f"{mutations.total()} mutations of {len(mutations)} kinds in {took_s:.0f} s, "
        f"{mutations.total() / took_s:.0f} a second, {rows} rows, {known / values:.0%} of {values} values known"
    )


def test_no_fault_of_a_market_makes_a_wrong_number(
    tmp_path: Path, kernel: Kernel, recorded: dict[str, Recorded]
) -> None:
    judged(tmp_path, kernel, {"bybit": recorded["bybit"]}, least=60)


def test_no_fault_makes_a_wrong_number_while_ingest_is_away_and_after_it_has_begun_again(
    tmp_path: Path, kernel: Kernel, recorded: dict[str, Recorded]
) -> None:
    judged(tmp_path, kernel, {"bybit": recorded["bybit"]}, least=60, restarts=random.Random(FIRST_SEED))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] if at else []) for at, name in enumerate(SHAPES)]
)
def test_no_fault_makes_a_wrong_number_in_a_market_of_other_prices_and_sizes(
    tmp_path: Path, kernel: Kernel, recorded: dict[str, Recorded], name: str
) -> None:
    messages = {name: reshaped(recorded["bybit"], SHAPES[name])}
    judged(tmp_path, kernel, messages, least=60, shift=SHIFT * SHAPES[name].price)


@pytest.mark.soak
def test_no_fault_makes_a_wrong_number_in_windows_of_a_minute(
    tmp_path: Path, kernel: Kernel, recorded: dict[str, Recorded]
) -> None:
    first_ns = recorded["midnight"][0][0]
    begun = [each for each in recorded["midnight"] if each[0] < first_ns + 80 * SECOND_NS]
    judged(tmp_path, kernel, {"midnight": begun}, least=60)


@pytest.mark.soak
def test_a_hundred_thousand_faults_make_no_wrong_number(
    tmp_path: Path, kernel: Kernel, recorded: dict[str, Recorded]
) -> None:
    """FEATURE_SERVICE_TEST_MUTATIONS says how many instead, FEATURE_SERVICE_TEST_FIRST_SEED from which seed on."""
    print(judged(tmp_path, kernel, recorded, least=MUTATIONS))
