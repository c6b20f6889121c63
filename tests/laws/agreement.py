"""Rows of the engine against those of the oracle: every column, and the status of every group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from market.clock import SECOND_NS, floor_to
from quality.oracle.rows import UNKNOWN, OracleRow
from tests.fed_engine import Messages, fed_engine
from tests.oracle.messages import oracle_rows
from tests.unfinished import oracle_names
from transforms.catalogue import FEATURES, GROUPS, group_horizon_ns, group_source, group_warm_up_ns, stale_after_ns
from transforms.declaration import NOTHING
from transforms.kernel import Kernel
from transforms.rows import FeatureRows
from transforms.status import STATUS_NAMES


def assert_agrees(rows: FeatureRows, index: int, expected: OracleRow) -> None:
    """One row of the engine against the oracle's, every column and every group's status.

    Normalised columns are functions of rows, not of messages, and are compared apart. A feature that the oracle does
    not compute yet is named by tests/unit/test_finished_features.py.
    """
    wrong = []
    for column, name in enumerate(rows.feature_set.columns):
        is_warm = expected.is_warm(FEATURES[name].source.name, FEATURES[name].warm_up_ns) if name in FEATURES else False
        exact = expected.values.get(name, UNKNOWN) if is_warm else UNKNOWN
        value = float(rows.values[index, column])
        if name in oracle_names() and not exact.agrees(value, exactly=FEATURES[name].group == "candles"):
            wrong.append(f"{name}: must be {exact}, was {value!r}")
    for group, status in zip(rows.feature_set.groups, rows.status[index].tolist(), strict=True):
        if group.name not in GROUPS:
            continue
        source = group_source(group.name)
        stated = expected.status(
            source.name,
            horizon_ns=group_horizon_ns(group.name),
            warm_up_ns=group_warm_up_ns(group.name),
            stale_after_ns=stale_after_ns(group.name),
            minutes=GROUPS[group.name][0].window_s // 60,
        )
        if source is not NOTHING and STATUS_NAMES[status] != stated:
            wrong.append(f"status of {group.name}: must be {stated}, was {STATUS_NAMES[status]}")
    assert not wrong, f"row {expected.row_ns}: {'; '.join(wrong)}"


def assert_oracle_agrees(
    kernel: Kernel, messages: Messages, wanted: Callable[[int], bool], *, tail_s: int = 5
) -> list[OracleRow]:
    """Compare the wanted rows, by their number from the first; returns the oracle's."""
    until_ns = max(recv_ns for recv_ns, _ in messages) + tail_s * SECOND_NS
    rows = fed_engine(kernel, messages).advance(until_ns)
    first_ns = floor_to(messages[0][0], SECOND_NS) + SECOND_NS
    assert rows.row_ns.tolist() == list(range(first_ns, until_ns + 1, SECOND_NS)), "a row for every second"
    chosen = [index for index in range(len(rows)) if wanted(index)]
    exact = list(oracle_rows(messages, [int(rows.row_ns[index]) for index in chosen]))
    for index, expected in zip(chosen, exact, strict=True):
        assert_agrees(rows, index, expected)
    return exact


def assert_ticks_agree(kernel: Kernel, messages: Messages, *, grid_ns: int, every: int) -> None:
    """Compare the rows at every so many ticks of the grid."""
    until_ns = floor_to(max(recv_ns for recv_ns, _ in messages) + 5 * SECOND_NS, grid_ns)
    first_ns = floor_to(messages[0][0], grid_ns) + grid_ns
    chosen = np.arange(first_ns, until_ns + 1, max(every, 1) * grid_ns)
    rows = fed_engine(kernel, messages, grid_ns=grid_ns).rows_at(chosen, until_ns)
    assert rows.row_ns.tolist() == chosen.tolist()
    for index, expected in enumerate(oracle_rows(messages, chosen.tolist())):
        assert_agrees(rows, index, expected)
