"""The groups of table features, by the name of their Feast view."""

from __future__ import annotations

from typing import Final

from transforms.equities import liquidity_features, momentum_features, price_volume_features
from transforms.table_feature import TableFeature, declared_table_features

TABLE_GROUPS: Final[dict[str, tuple[TableFeature, ...]]] = {
    module.__name__.rpartition(".")[2]: declared_table_features(module.__name__.rpartition(".")[2])
    for module in (price_volume_features, momentum_features, liquidity_features)
}


def table_columns(table: str) -> frozenset[str]:
    """Columns of a table that some feature reads."""
    return frozenset(
        name for features in TABLE_GROUPS.values() for each in features if each.table == table for name in each.columns
    )
