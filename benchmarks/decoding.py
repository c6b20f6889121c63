"""Decoding: one message from its bytes to event records, by compiled code and by the typed decoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.measure import REPEATS, Figure
from benchmarks.tape import OneInstrument, messages
from ingestion.venues.bybit.decode import Decoder
from market.clock import MINUTE_NS

MINUTES: Final = 5


def run(_folder: Path) -> Iterator[Figure]:
    """Both read the same minutes by turns; seconds of the processor, so that a busy machine counts less."""
    bodies = [message.body for message in messages(MINUTES * MINUTE_NS)]
    decoder = Decoder(OneInstrument())
    compiled, typed = [], []
    for _ in range(REPEATS):
        compiled.append(_took_us(decoder.decode, bodies))
        typed.append(_took_us(decoder.decode_typed, bodies))
    yield Figure(
        "decoding: one message of the simulated market, as the exchange sends it",
        median(compiled),
        "us",
        "lower",
        yardstick="the typed decoder",
        yardstick_value=median(typed),
        details={"messages": len(bodies), "canonical": decoder.compiled / (REPEATS * len(bodies))},
    )


def _took_us(decode: Callable[[bytes], object], bodies: list[bytes]) -> float:
    begun_s = time.process_time()
    for body in bodies:
        decode(body)
    return (time.process_time() - begun_s) / len(bodies) * 1e6
