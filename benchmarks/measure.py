"""Measuring: a figure and its JSON line, interleaved timings, and work in a process of its own."""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

REPEATS: Final = 5
KERNEL_CACHE: Final = Path(__file__).resolve().parent.parent / ".cache" / "kernels"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with its yardstick, both in ``unit`` and measured in the same run."""

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    yardstick: str | None = None
    yardstick_value: float | None = None
    goal: str = "-"
    required: str = "-"
    details: Mapping[str, Any] = field(default_factory=dict)

    def line(self, *, date: str, machine: str) -> dict[str, Any]:
        """What is printed; ``ratio`` is value / yardstick_value."""
        ratio = None if self.yardstick_value is None else rounded(self.value / self.yardstick_value)
        return {
            "figure": self.name,
            "value": rounded(self.value),
            "unit": self.unit,
            "better": self.better,
            "yardstick": self.yardstick,
            "yardstick_value": None if self.yardstick_value is None else rounded(self.yardstick_value),
            "ratio": ratio,
            "goal": self.goal,
            "required": self.required,
            "date": date,
            "machine": machine,
            **{name: rounded(value) if isinstance(value, float) else value for name, value in self.details.items()},
        }


def rounded(value: float) -> float:
    """Four significant digits: more is noise."""
    if value == 0 or not math.isfinite(value):
        return value
    digits = 3 - math.floor(math.log10(abs(value)))
    return round(value, digits) if digits > 0 else float(round(value))


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def median_seconds(*actions: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Median time of each action; one call of each makes a round, after an unmeasured first round."""
    for action in actions:
        action()
    rounds = [[seconds(action) for action in actions] for _ in range(repeats)]
    return [median(times) for times in zip(*rounds, strict=True)]


def percentile(times: Sequence[float], percent: int) -> float:
    """The smallest time that ``percent`` of the times do not exceed."""
    return sorted(times)[math.ceil(len(times) * percent / 100) - 1]


def in_child(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a call in a fresh process, whose memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def peak_rss_mb() -> float:
    """The most memory this process has held; not getrusage's, which a child inherits from its parent."""
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None, "Linux states VmHWM"
    return int(peak[1]) / 1024


def use_one_core() -> None:
    """Bind this process, with all its threads to come, to one of its cores."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def machine() -> str:
    """Processor, cores, Python and how busy the machine was before the run."""
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    name = "unknown processor" if model is None else model[1]
    python = f"Python {platform.python_version()}"
    return f"{name}, {os.cpu_count()} cores, {python}, load {os.getloadavg()[0]:.1f}"
