"""The steady clock: a machine whose clock is set moves no row."""

from __future__ import annotations

import itertools

import pytest

from ingestion.worker.steady_clock import SteadyClock
from market.clock import MILLISECOND_NS, SECOND_NS, ManualClock

B = 1_772_000_000 * SECOND_NS


class Machine:
    """A wall clock and a monotonic one."""

    def __init__(self) -> None:
        self.wall = ManualClock(B)
        self.passed_ns = 0
        self.clock = SteadyClock(self.wall, lambda: self.passed_ns)

    def run(self, span_ns: int) -> int:
        """Let time pass on both clocks; the steady one's reading."""
        self.passed_ns += span_ns
        self.wall.set(self.wall.now_ns() + span_ns)
        return self.clock.now_ns()


@pytest.mark.parametrize("step_ns", [-3600 * SECOND_NS, 3600 * SECOND_NS])
def test_a_step_of_the_clock_is_counted_once_and_followed_by_a_tenth_of_the_time_that_passes(step_ns: int) -> None:
    machine = Machine()
    machine.wall.set(B + step_ns)
    readings = [machine.run(100 * MILLISECOND_NS) for _ in range(20)]
    toward = 1 if step_ns > 0 else -1
    assert readings[-1] == B + 2 * SECOND_NS + toward * 200 * MILLISECOND_NS
    assert all(later > earlier for earlier, later in itertools.pairwise(readings))
    assert machine.clock.steps == 1
    assert machine.clock.apart_ns == step_ns - toward * 200 * MILLISECOND_NS


def test_a_small_correction_is_followed() -> None:
    machine = Machine()
    machine.wall.set(B + 3 * MILLISECOND_NS)
    machine.run(100 * MILLISECOND_NS)
    assert machine.clock.apart_ns == 0
    assert machine.clock.steps == 0


def test_a_clock_that_was_set_twice_has_made_two_steps() -> None:
    machine = Machine()
    for _ in range(2):
        machine.wall.set(machine.wall.now_ns() + 5 * SECOND_NS)
        for _ in range(60):
            machine.run(SECOND_NS)
        assert machine.clock.apart_ns == 0
    assert machine.clock.steps == 2


def test_a_span_takes_as_long_on_the_machine() -> None:
    assert Machine().clock.machine_seconds(1_500 * MILLISECOND_NS) == 1.5
