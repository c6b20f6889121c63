"""A group of table features: one Feast view, with the tables it reads and how its rows come about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from market.clock import parse_duration_ns
from market.errors import InvalidFeature
from transforms.cross_section import SectionFeature, declared_section_features, of_columns, section_rows
from transforms.known_moments import Place, moment_rows
from transforms.known_rows import ComputedRows, KnownRows, computed_rows
from transforms.table_feature import TableFeature, declared_table_features, table_fingerprint

ALL = ""
"""The key of rows that are the same for every key."""
Tables = Mapping[str, Mapping[str, KnownRows]]
"""Rows by table, then key."""


@dataclass(frozen=True)
class TableGroup:
    """The features of a module that stands on tables."""

    name: str
    features: tuple[TableFeature, ...]
    sections: tuple[SectionFeature, ...]
    freshness_ns: int
    """How long after a row could be known it is online."""
    time_to_live_ns: int
    """How long a row answers."""

    @property
    def columns(self) -> tuple[TableFeature | SectionFeature, ...]:
        """All features, in the order of their values."""
        return (*self.features, *self.sections)

    @property
    def tables(self) -> tuple[str, ...]:
        """All tables that it reads."""
        return tuple(dict.fromkeys(table for each in self.features for table in each.tables))

    @property
    def is_of_rows(self) -> bool:
        """Whether a row is of the newest event of its key's table; else of the moment at which it came about."""
        return all(each.is_of_rows for each in self.features)

    @property
    def is_for_all(self) -> bool:
        """Whether its rows are the same for every key."""
        return all(each.is_for_all for each in self.features)

    @property
    def is_shared(self) -> bool:
        """Whether an answer is made of rows of several keys."""
        return bool(self.sections) or any(window.key for each in self.features for window in each.sees.values())

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when a value of the group could."""
        own = table_fingerprint(self.features)
        if not self.sections:
            return own
        from transforms.fingerprint import code_fingerprint

        identity = [(each.name, each.sees) for each in self.sections]
        code = code_fingerprint([section_rows, *(each.function for each in self.sections)])
        return hashlib.sha256(f"{own} {identity!r} {code}".encode()).hexdigest()[:16]

    def computed(
        self, tables: Tables, *, until_ns: int, after_ns: Mapping[str, int] | None = None
    ) -> dict[str, ComputedRows]:
        """Feature rows by key of what was known until ``until_ns``; of a key in ``after_ns`` those created later."""
        after = after_ns or {}
        if self.is_for_all:
            rows = self._places(tables, ALL)
            return {ALL: moment_rows(rows, self.features, until_ns=until_ns, after_ns=after.get(ALL))}
        keys = dict.fromkeys(key for table, of_table in tables.items() if self._is_own(table) for key in of_table)
        if not self.is_of_rows:
            return {
                key: moment_rows(self._places(tables, key), self.features, until_ns=until_ns, after_ns=after.get(key))
                for key in keys
            }
        rows_of = tables.get(self.tables[0], {})
        features = of_columns(self.features, self.sections, self.tables[0])
        computed = {
            key: computed_rows(
                rows_of[key].until(until_ns), features, after_ns=after.get(key), with_last=bool(self.sections)
            )
            for key in keys
        }
        if not self.sections:
            return computed
        since = max(after.values(), default=None)
        return self._with_sections(computed, [each.name for each in features], since)

    def _with_sections(
        self, computed: Mapping[str, ComputedRows], names: list[str], after_ns: int | None
    ) -> dict[str, ComputedRows]:
        """The columns of the table, which a section may see, are no columns of the group."""
        found = section_rows(computed, names, self.sections, after_ns=after_ns)
        kept = [*range(len(self.features)), *range(len(names), len(names) + len(self.sections))]
        return {key: ComputedRows(of.event_ns, of.created_ns, of.values[:, kept]) for key, of in found.items()}

    def _is_own(self, table: str) -> bool:
        """Whether the keys of a table are those of the group's rows."""
        return any(window.table == table and not window.key for each in self.features for window in each.sees.values())

    def _places(self, tables: Tables, key: str) -> dict[Place, KnownRows]:
        """The rows that a key's answers are made of."""
        wanted = dict.fromkeys((window.table, window.key) for each in self.features for window in each.sees.values())
        return {
            (table, of_key): tables[table][of_key or key]
            for table, of_key in wanted
            if (of_key or key) in tables.get(table, {})
        }


def is_table_module(module: ModuleType) -> bool:
    """Whether a module declares features of tables."""
    return bool(declared_table_features(module.__name__) or declared_section_features(module.__name__))


def table_group(module: ModuleType) -> TableGroup:
    """The group that a module declares; FRESHNESS and TIME_TO_LIVE are durations such as "1h".

    Raises InvalidFeature where the features do not make one view.
    """
    name = module.__name__.rpartition(".")[2]
    lacking = [each for each in ("FRESHNESS", "TIME_TO_LIVE") if not hasattr(module, each)]
    if lacking:
        raise InvalidFeature(name, [f'{each}: must be a duration such as "1h", was not given' for each in lacking])
    group = TableGroup(
        name,
        declared_table_features(module.__name__),
        declared_section_features(module.__name__),
        parse_duration_ns(module.FRESHNESS),
        parse_duration_ns(module.TIME_TO_LIVE),
    )
    names = [each.name for each in group.columns]
    problems = [f"{each}: must be declared once" for each in dict.fromkeys(names) if names.count(each) > 1]
    if not group.features:
        problems.append("table features: must be at least one")
    if group.sections and not (group.is_of_rows and len(group.tables) == 1):
        problems.append("section features: must stand on features of the rows of one table")
    if problems:
        raise InvalidFeature(name, problems)
    return group
