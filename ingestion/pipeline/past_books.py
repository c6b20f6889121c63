"""The order books of a lane at moments of its past, where an engine of another version may begin.

Exchanges send a whole book when a stream begins, and then changes alone: without these, such an engine would have to
go through hours of the tape to know the book of three minutes ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from market.clock import MINUTE_NS, SECOND_NS
from transforms.engine import Engine
from transforms.known_book import KnownBook

EVERY_NS: Final = MINUTE_NS
KEPT_TIMES: Final = 8
"""The book of a minute that a power of two divides is kept for so many times that many minutes: of any age, of
some seven hours at most, there is one that is older by a minute, or by two sevenths of it."""
LARGEST_STEP: Final = 64


@dataclass(frozen=True, slots=True)
class PastBook:
    """A book, and the seq from which on the tape has every message that it lacks."""

    book: KnownBook
    first_seq: int


class PastBooks:
    """Keeps them for one lane, whose thread notes them; some 36 of some kilobytes, of eight hours."""

    def __init__(self) -> None:
        self._books: dict[int, PastBook] = {}
        self._due_ns = 0

    def note(self, engine: Engine, closed_ns: int, last_seq: int) -> None:
        """Take the book, if it is due. closed_ns: before it everything is closed. last_seq: where the tape ends."""
        if closed_ns < self._due_ns or closed_ns % SECOND_NS:  # histories begin at whole seconds
            return
        now = closed_ns // EVERY_NS
        self._due_ns = (now + 1) * EVERY_NS
        kept = {at: each for at, each in self._books.items() if now - at <= KEPT_TIMES * min(at & -at, LARGEST_STEP)}
        if (book := engine.known_book()) is not None:
            waiting = engine.waiting["seq"]
            kept[now] = PastBook(book, int(waiting.min()) if len(waiting) else last_seq + 1)
        self._books = kept  # as a whole: another thread may look at it

    @property
    def books(self) -> tuple[PastBook, ...]:
        """Oldest first; from any thread."""
        return tuple(self._books.values())


def newest_before(books: tuple[PastBook, ...], at_ns: int) -> PastBook | None:
    """The newest that is no newer than ``at_ns``."""
    return max(
        (each for each in books if each.book.closed_ns <= at_ns), key=lambda each: each.book.closed_ns, default=None
    )
