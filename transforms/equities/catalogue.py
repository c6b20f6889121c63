"""The groups of table features, by the name of their Feast view."""

from __future__ import annotations

from typing import Final

from transforms.equities import (
    fundamental_features,
    liquidity_features,
    macro_features,
    momentum_features,
    price_volume_features,
    sentiment_features,
)
from transforms.table_group import TableGroup, table_group

TABLE_GROUPS: Final[dict[str, TableGroup]] = {
    group.name: group
    for group in map(
        table_group,
        (
            price_volume_features,
            momentum_features,
            liquidity_features,
            fundamental_features,
            sentiment_features,
            macro_features,
        ),
    )
}


def groups_over(table: str) -> dict[str, TableGroup]:
    """The groups that read a table, by name."""
    return {name: group for name, group in TABLE_GROUPS.items() if table in group.tables}
