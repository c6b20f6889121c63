"""Kills by what the sender of a request is doing: a proxy asks at each request whether its sender dies of it."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

Moment = Literal["before", "during", "after", "late"]
MOMENTS: Final[tuple[Moment, ...]] = ("before", "during", "after", "late")
"""Of the request: it never arrives; half of it does; it is done and not answered; it arrives in the midst of what the
next senders do."""
_MOST_LATE: Final = 60
_DEADLINE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Killing:
    """A kill that is due. forward: sends this share of the request on to the server."""

    owner: KilledSenders
    moment: Moment
    kill: Callable[[], None]

    def carry_out(self, forward: Callable[[float], object]) -> None:
        if self.moment == "after":
            forward(1.0)
        self.kill()
        if self.moment == "during":
            forward(0.5)
        if self.moment == "late":
            self.owner.wait_in_flight()
            forward(1.0)
        self.owner.arrived()


class KilledSenders:
    """The kills of a test: which request of which kind the next is at."""

    def __init__(self, seed: int) -> None:
        self.drawn = random.Random(seed)
        self.count: Counter[tuple[str, Moment]] = Counter()
        """Kills by step and moment."""
        self._changed = threading.Condition()
        self._seen = self._in_flight = 0
        self._is_over = False
        self._next: tuple[str, re.Pattern[str], int, Moment, Callable[[], None]] | None = None

    def draw(self, steps: Mapping[str, str], kill: Callable[[], None], *, most: int) -> None:
        """Draw the next kill: at the first request of a step, or one of those up to the one numbered ``most``.

        steps: by name, what ``METHOD /path`` of its requests matches. One that asks and changes nothing is done.
        A statement of SQL, which may wait for another, is not late.
        """
        step = self.drawn.choice([*steps])
        moments = {"GET": MOMENTS[2:3], "SQL": MOMENTS[:3]}.get(steps[step][:3], MOMENTS)
        number = self.drawn.randint(1, most)
        self.plan(step, steps[step], self.drawn.choice(moments), kill, number=number)

    def plan(self, step: str, pattern: str, moment: Moment, kill: Callable[[], None], *, number: int = 1) -> None:
        """The next kill: at the request of this number that matches the pattern of the step."""
        with self._changed:
            self._next = step, re.compile(pattern), number, moment, kill

    def spare(self) -> bool:
        """Kill nobody any more; whether the kill that was drawn has happened."""
        with self._changed:
            was_killed, self._next = self._next is None, None
        return was_killed

    def settle(self) -> None:
        """Have what is still in flight arrive."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._in_flight == 0, _DEADLINE_S)
            self._is_over = False

    def of(self, method: str, path: str) -> Killing | None:
        """The kill that is due at this request; of SQL the path is the text that is sent."""
        with self._changed:
            self._seen += 1
            self._changed.notify_all()
            if self._next is None or self._next[1].match(f"{method} {unquote(path)}") is None:
                return None
            step, pattern, left, moment, kill = self._next
            if left > 1:
                self._next = step, pattern, left - 1, moment, kill
                return None
            self._next = None
            self.count[step, moment] += 1
            self._in_flight += 1
        return Killing(self, moment, kill)

    def wait_in_flight(self) -> None:
        """Wait until so many requests of others have come, or everything settles."""
        with self._changed:
            due = self._seen + self.drawn.randint(1, _MOST_LATE)
            assert self._changed.wait_for(lambda: self._seen >= due or self._is_over, _DEADLINE_S)

    def arrived(self) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    @property
    def total(self) -> int:
        return sum(self.count.values())

    def table(self) -> str:
        """The kills by step and moment, a line each step."""
        steps = sorted({step for step, _ in self.count})
        lines = [f"{'':32}" + "".join(f"{moment:>8}" for moment in MOMENTS)]
        lines += [f"{step:32}" + "".join(f"{self.count[step, moment]:8}" for moment in MOMENTS) for step in steps]
        return "\n".join(lines)
