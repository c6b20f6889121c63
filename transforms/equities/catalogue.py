"""The groups of table features, by the name of their Feast view."""

from __future__ import annotations

from typing import Final

from market.errors import InvalidFeature
from transforms.declaration import declared_features
from transforms.equities import (
    fundamental_features,
    liquidity_features,
    macro_features,
    momentum_features,
    price_volume_features,
    sentiment_features,
)
from transforms.outside import outside_modules
from transforms.table_group import TableGroup, is_table_module, table_group

_OURS: Final = (
    price_volume_features,
    momentum_features,
    liquidity_features,
    fundamental_features,
    sentiment_features,
    macro_features,
)


def _groups() -> dict[str, TableGroup]:
    """Ours, then those of other packages. Raises InvalidFeature where two share a name."""
    groups = {group.name: group for group in map(table_group, _OURS)}
    for module in outside_modules():
        if not is_table_module(module):
            continue
        group = table_group(module)
        if group.name in groups:
            raise InvalidFeature(group.name, [f"group: must have a name of its own; rename {module.__name__}"])
        if declared_features(module.__name__):
            raise InvalidFeature(group.name, ["group: must be of a stream or of tables, was of both; make two modules"])
        groups[group.name] = group
    return groups


TABLE_GROUPS: Final[dict[str, TableGroup]] = _groups()


def groups_over(table: str) -> dict[str, TableGroup]:
    """The groups that read a table, by name."""
    return {name: group for name, group in TABLE_GROUPS.items() if table in group.tables}
