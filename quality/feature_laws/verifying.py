"""A group tried by every law, and how many planted cheats the same laws find on the same stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from quality.feature_laws.cheats import CHEATS, Cheating
from quality.feature_laws.laws import LAWS, Breach, Law
from quality.feature_laws.subject import Stream, Subject

_TRIES: Final = 3
"""Of each law on each stream, with other draws."""
_MOST_SHRINKS: Final = 60
"""Computations spent on a smaller counter-example."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A breach of a law, and of how many messages or rows the smallest stream is that still breaks it."""

    breach: Breach
    stream: str
    parts: int
    of_parts: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was tried. rows: computed on each stream, by its name. known: share of values that are not NaN, by column.

    tried: by law how often. breaches: what broke a law. planted, caught: cheats that changed a value, and those of them
    that a law found, by kind; missed: in words.
    """

    group: str
    rows: Mapping[str, int]
    known: Mapping[str, float]
    tried: Mapping[str, int]
    breaches: tuple[Counterexample, ...]
    planted: Mapping[str, int]
    caught: Mapping[str, int]
    missed: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether no law was broken."""
        return not self.breaches


def verify_group(group: str, subject: Subject, streams: Mapping[str, Stream], *, seed: int, cheats: int) -> Verdict:
    """Try every law on every stream, then ``cheats`` cheats of each kind in columns drawn by the seed."""
    tried = dict.fromkeys(LAWS, 0)
    breaches = []
    rows, known = {}, dict.fromkeys((each.name for each in subject.columns), 0.0)
    for name, stream in streams.items():
        computed = subject.rows(stream)
        rows[name] = len(computed.known_ns)
        for at, column in enumerate(subject.columns):
            share = float(np.mean(~np.isnan(computed.values[:, at]))) if len(computed.known_ns) else 0.0
            known[column.name] = max(known[column.name], share)
        for law_name, law in LAWS.items():
            for attempt in range(1 if law_name in {"range", "again", "elsewhere"} else _TRIES):
                tried[law_name] += 1
                breach = law(subject, stream, np.random.default_rng([seed, attempt]))
                if breach is not None:
                    breaches.append(_smallest(subject, stream, name, law, breach, [seed, attempt]))
                    break
    planted, caught, missed = _plant(subject, streams, seed=seed, count=cheats)
    return Verdict(group, rows, known, tried, tuple(breaches), planted, caught, missed)


def find_breach(subject: Subject, stream: Stream, seed: Sequence[int]) -> Breach | None:
    """The first breach of any law."""
    for name, law in LAWS.items():
        for attempt in range(1 if name in {"range", "again", "elsewhere"} else _TRIES):
            breach = law(subject, stream, np.random.default_rng([*seed, attempt]))
            if breach is not None:
                return breach
    return None


def _plant(
    subject: Subject, streams: Mapping[str, Stream], *, seed: int, count: int
) -> tuple[dict[str, int], dict[str, int], tuple[str, ...]]:
    planted, caught = dict.fromkeys(CHEATS, 0), dict.fromkeys(CHEATS, 0)
    missed = []
    name, stream = next(iter(streams.items()))
    honest = subject.rows(stream)
    for kind, made in CHEATS.items():
        random = np.random.default_rng([seed, len(kind)])
        for column in random.permutation(len(subject.columns)).tolist()[:count]:
            cheating = Cheating(subject, column, made())
            if _agrees(cheating.rows(stream).values[:, 0], honest.values[:, column]):
                continue  # it changes nothing here: there is nothing to find
            planted[kind] += 1
            if find_breach(cheating, stream, [seed, column]) is None:
                missed.append(f"{kind} in {subject.columns[column].name} on {name}")
            else:
                caught[kind] += 1
    return planted, caught, tuple(missed)


def _agrees(
    one: np.ndarray[tuple[int], np.dtype[np.float64]], other: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


def _smallest(
    subject: Subject, stream: Stream, name: str, law: Law, breach: Breach, seed: Sequence[int]
) -> Counterexample:
    """Leave out halves, quarters and so on while the law is still broken."""
    whole = count = len(subject.times(stream))
    spent, size = 0, count // 2
    while size >= 1 and spent < _MOST_SHRINKS:
        first, is_smaller = 0, False
        while first < count and spent < _MOST_SHRINKS:
            less = subject.without(stream, first, min(first + size, count))
            found = None
            if len(subject.times(less)):
                spent += 1
                found = law(subject, less, np.random.default_rng(list(seed)))
            if found is None:
                first += size
                continue
            stream, breach, is_smaller = less, found, True
            count = len(subject.times(stream))
        size = size if is_smaller and size <= count // 2 else size // 2
    return Counterexample(breach, name, count, whole)
