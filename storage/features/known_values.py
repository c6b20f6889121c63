"""Known values: whether the feature log may hold a value of a group in a period, by what footers of its parts say."""

from __future__ import annotations

from storage.features.log import FeatureLog
from storage.features.parts import parts_in_order, read_listed, row_groups_of_period
from storage.parquet_files import opened_parquet
from storage.places import Place
from transforms.rows import FeatureGroup


def may_know(log: FeatureLog, symbol: str, group: FeatureGroup, *, from_ns: int, to_ns: int) -> bool:
    """Whether a column of the group may have a value, which is not NaN, in a row of [from_ns, to_ns).

    False is certain: the footers state of every column of every row group there that it has no least and no greatest
    value. A hundredth of the rows is read to find their days. Raises CorruptStore, InvalidRequest when the symbol
    cannot name a folder.
    """
    folder = log.of_symbol(group, symbol)
    return any(
        read_listed(lambda: parts_in_order(folder, from_ns, to_ns), lambda path: _may_know(path, group, from_ns, to_ns))
    )


def _may_know(path: Place, group: FeatureGroup, from_ns: int, to_ns: int) -> bool:
    with opened_parquet(path, is_checked=False) as file:
        columns = [at for name in group.columns if (at := file.schema_arrow.get_field_index(name)) >= 0]
        for number in row_groups_of_period(file, from_ns, to_ns):
            footer = file.metadata.row_group(number)
            for at in columns:
                stated = footer.column(at).statistics
                if stated is None or stated.has_min_max:
                    return True
    return False
