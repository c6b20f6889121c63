"""The laws, each a function that looks for a row that breaks it.

| law | what is tried |
|---|---|
| range | every value that is not NaN is finite and within the declared range |
| again | the same stream a second time: no clock, no chance, nothing kept of the first time |
| elsewhere | the same stream in a new process without the compiler |
| chunk | the stream fed in pieces |
| restart | the same, each piece by an engine that was told the state of the one before |
| start | the stream without its beginning, a horizon before the row |
| future | everything that is known after a row deleted or replaced |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from quality.feature_laws.subject import Rows, Stream, Subject

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Breach:
    """The first value that breaks a law. one: as it should be. other: as it was found."""

    law: str
    column: str
    known_ns: int
    key: str
    one: str
    other: str

    def __str__(self) -> str:
        of_key = f" of {self.key}" if self.key else ""
        return f"{self.column}{of_key} at {format_iso(self.known_ns)}: must be {self.one}, was {self.other}"


_FUTURES: Final = 24
"""Where a tenth of the values is not known, nine times of ten one of so many cuts lies where a back-fill fills it."""

Law = Callable[[Subject, Stream, np.random.Generator], Breach | None]


def keeps_its_range(subject: Subject, stream: Stream, random: np.random.Generator) -> Breach | None:  # noqa: ARG001  # a law
    rows = subject.rows(stream)
    for at, column in enumerate(subject.columns):
        values = rows.values[:, at]
        is_wrong = ~np.isnan(values) & ~((values >= column.low) & (values <= column.high) & np.isfinite(values))
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            must = f"within {column.low:g} and {column.high:g}"
            return Breach("range", column.name, int(rows.known_ns[row]), rows.keys[row], must, repr(float(values[row])))
    return None


def is_the_same_again(subject: Subject, stream: Stream, random: np.random.Generator) -> Breach | None:  # noqa: ARG001  # a law
    return difference("again", subject, subject.rows(stream), subject.rows(stream))


def is_the_same_elsewhere(subject: Subject, stream: Stream, random: np.random.Generator) -> Breach | None:  # noqa: ARG001  # a law
    found = subject.elsewhere(stream)
    if found is None:
        return None
    return difference("elsewhere", subject, subject.rows(stream).until(_last(found)), found)


def does_not_depend_on_chunks(subject: Subject, stream: Stream, random: np.random.Generator) -> Breach | None:
    pieces = subject.in_pieces(stream, drawn_cuts(subject, stream, random, 4), restarts=False)
    return difference("chunk", subject, subject.rows(stream), pieces)


def survives_a_restart(subject: Subject, stream: Stream, random: np.random.Generator) -> Breach | None:
    pieces = subject.in_pieces(stream, drawn_cuts(subject, stream, random, 3), restarts=True)
    return difference("restart", subject, subject.rows(stream), pieces)


def does_not_depend_on_the_start(subject: Subject, stream: Stream, random: np.random.Generator) -> Breach | None:
    whole = subject.rows(stream)
    for start_ns in drawn_cuts(subject, stream, random, 2):
        part, must_agree = subject.from_start(stream, start_ns)
        found = difference("start", subject, whole, part, must_agree)
        if found is not None:
            return found
    return None


def does_not_see_the_future(subject: Subject, stream: Stream, random: np.random.Generator) -> Breach | None:
    whole = subject.rows(stream)
    for at_ns in [*_early_cuts(whole, random), *drawn_cuts(subject, stream, random, _FUTURES)]:
        other = subject.rows(subject.with_another_future(stream, at_ns, random))
        found = difference("future", subject, other.until(at_ns), whole.until(at_ns))
        if found is not None:
            return found
    return None


LAWS: Final[Mapping[str, Law]] = {
    "range": keeps_its_range,
    "again": is_the_same_again,
    "elsewhere": is_the_same_elsewhere,
    "chunk": does_not_depend_on_chunks,
    "restart": survives_a_restart,
    "start": does_not_depend_on_the_start,
    "future": does_not_see_the_future,
}


def difference(law: str, subject: Subject, must: Rows, found: Rows, agrees: Mask | None = None) -> Breach | None:
    """The first value of ``found`` that is another than that of the same row in ``must``, of those that must agree.

    Without ``agrees`` both must have the same rows.
    """
    place = {row: at for at, row in enumerate(zip(must.known_ns.tolist(), must.keys, strict=True))}
    rows = list(zip(found.known_ns.tolist(), found.keys, strict=True))
    for at, row in enumerate(rows):
        if row not in place:
            if agrees is None:
                return Breach(law, subject.columns[0].name, row[0], row[1], "no row", "a row")
            continue
        one, other = must.values[place[row]], found.values[at]
        is_other = one.view(np.int64) != other.view(np.int64)
        is_other &= ~(np.isnan(one) & np.isnan(other))
        if agrees is not None:
            is_other &= agrees[at]
        if is_other.any():
            column = int(np.argmax(is_other))
            name = subject.columns[column].name
            return Breach(law, name, row[0], row[1], repr(float(one[column])), repr(float(other[column])))
    lacking = [] if agrees is not None else [row for row in place if row not in set(rows)]
    return Breach(law, subject.columns[0].name, *lacking[0], "a row", "no row") if lacking else None


def drawn_cuts(subject: Subject, stream: Stream, random: np.random.Generator, count: int) -> list[int]:
    """Times within the stream, ascending, each of a part or shortly before it."""
    times = subject.times(stream)
    if len(times) < 4:
        return []
    inner = times[len(times) // 8 : -1]
    return sorted({int(at) - int(random.integers(0, 2)) for at in random.choice(inner, min(count, len(inner)))})


def _early_cuts(rows: Rows, random: np.random.Generator) -> list[int]:
    """Times of some first rows, of a key and of all: values are not known there, and a back-fill would fill them."""
    of_keys = list({key: int(rows.known_ns[at]) for at, key in reversed(list(enumerate(rows.keys)))}.values())
    early = [*of_keys, *rows.known_ns[: max(1, len(rows.known_ns) // 8)].tolist()]
    return [*of_keys[:2], *(int(each) for each in random.choice(early, 3))] if early else []


def _last(rows: Rows) -> int:
    return int(rows.known_ns[-1]) if len(rows.known_ns) else 0
