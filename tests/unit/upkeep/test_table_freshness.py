"""A look at views of tables: late is what could be known and is not online, and a table that stopped covers nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from feature_repo.freshness import slo_of, time_to_live
from market.clock import DAY_NS, HOUR_NS, MINUTE_NS
from storage.database.freshness import Looks
from storage.online.table_row import TableRow
from storage.tables.newest_rows import NewestRow
from transforms.table_group import ALL
from upkeep.freshness import symbol_tiers
from upkeep.table_freshness import WatchedView, lost_views, table_looks

VIEW = "price_volume_features"
NOW_NS = 1_780_000_000_000_000_000
DAY = NewestRow(NOW_NS - DAY_NS, NOW_NS - 6 * MINUTE_NS)
"""A bar of yesterday that could be known six minutes ago."""


def online(row: NewestRow) -> TableRow:
    return TableRow(row.event_ns, -(-row.created_ns // 1000) * 1000, {}, frozenset())


def look(newest: NewestRow, row: TableRow | None, **changes: int) -> tuple[int, int, int] | None:
    view = WatchedView(VIEW, {"AAPL": newest}, changes.get("waits_since_ns"))
    found = table_looks([view], lambda _view, _keys: [row], lambda keys: dict.fromkeys(keys, 1), now_ns=NOW_NS)
    return None if not found else (found[0].looks, found[0].fresh, found[0].covered)


@pytest.mark.parametrize(
    ("view", "promised"),
    [
        (VIEW, timedelta(minutes=5)),
        ("momentum_features", timedelta(hours=1)),
        ("liquidity_features", timedelta(minutes=15)),
        ("fundamental_features", timedelta(days=1)),
        ("sentiment_features", timedelta(hours=4)),
        ("macro_features", timedelta(hours=1)),
    ],
)
def test_each_view_of_tables_promises_how_soon_it_is_online(view: str, promised: timedelta) -> None:
    assert (slo_of(view).freshness, slo_of(view).coverage) == (promised, 0.99)


def test_the_newest_row_that_could_be_known_is_fresh_and_covers() -> None:
    assert look(DAY, online(DAY)) == (1, 1, 1)
    to_the_nanosecond = NewestRow(DAY.event_ns, DAY.created_ns + 1)
    assert look(to_the_nanosecond, online(to_the_nanosecond)) == (1, 1, 1)


def test_a_row_that_waits_longer_than_promised_is_late_and_one_that_does_not_is_fresh() -> None:
    before = online(NewestRow(DAY.event_ns - DAY_NS, DAY.created_ns - DAY_NS))
    promised_ns = slo_of(VIEW).freshness_ns
    assert look(DAY, before) == (1, 0, 0)
    assert look(NewestRow(DAY.event_ns, NOW_NS - promised_ns), before) == (1, 1, 1)
    assert look(NewestRow(DAY.event_ns, NOW_NS - promised_ns - 1), before) == (1, 0, 0)


def test_a_key_that_is_not_online_is_judged_once_its_row_should_be() -> None:
    assert look(DAY, None) == (1, 0, 0)
    assert look(NewestRow(DAY.event_ns, NOW_NS - MINUTE_NS), None) is None


def test_a_file_that_is_not_computed_makes_its_views_late_when_it_waits_longer_than_promised() -> None:
    promised_ns = slo_of(VIEW).freshness_ns
    assert look(DAY, online(DAY), waits_since_ns=NOW_NS - promised_ns) == (1, 1, 1)
    assert look(DAY, online(DAY), waits_since_ns=NOW_NS - promised_ns - 1) == (1, 0, 0)


def test_a_row_that_answers_no_more_is_fresh_and_does_not_cover() -> None:
    answers_ns = int(time_to_live(VIEW).total_seconds()) * 10**9
    old = NewestRow(NOW_NS - answers_ns, NOW_NS - answers_ns + HOUR_NS)
    assert look(old, online(old)) == (1, 1, 1)
    older = NewestRow(old.event_ns - 1, old.created_ns)
    assert look(older, online(older)) == (1, 1, 0)


def test_a_share_that_was_delisted_is_not_judged_and_tiers_are_added_up() -> None:
    gone = NewestRow(DAY.event_ns - 8 * DAY_NS, DAY.created_ns - 8 * DAY_NS)
    view = WatchedView(VIEW, {"AAPL": DAY, "GONE": gone, "MSFT": DAY})

    def read(_view: str, keys: Sequence[str]) -> list[TableRow | None]:
        return [online(DAY) if key == "AAPL" else None for key in keys]

    found = table_looks([view], read, lambda keys: symbol_tiers(keys, ["AAPL"]), now_ns=NOW_NS)
    assert found == [
        Looks(view=VIEW, tier=1, looks=1, fresh=1, covered=1),
        Looks(view=VIEW, tier=2, looks=1, fresh=0, covered=0),
    ]


def test_what_is_the_same_for_all_is_looked_at_once_and_an_empty_log_never() -> None:
    macro = WatchedView("macro_features", {ALL: DAY})
    found = table_looks(
        [macro, WatchedView(VIEW, {})],
        lambda _v, keys: [online(DAY)] * len(keys),
        lambda k: dict.fromkeys(k, 1),
        now_ns=NOW_NS,
    )
    assert [(each.view, each.looks) for each in found] == [("macro_features", 1)]


@pytest.mark.parametrize(
    ("row", "until_ns", "lost"),
    [
        (online(DAY), DAY.created_ns, []),
        (None, DAY.created_ns, [VIEW]),
        (online(NewestRow(DAY.event_ns, DAY.created_ns - HOUR_NS)), DAY.created_ns, [VIEW]),
        (None, DAY.created_ns - 1, []),  # the next run brings it
    ],
)
def test_a_row_that_was_materialized_and_is_not_online_was_lost(
    row: TableRow | None, until_ns: int, lost: list[str]
) -> None:
    gone = NewestRow(NOW_NS - int(time_to_live(VIEW).total_seconds()) * 10**9, DAY.created_ns)
    views = [WatchedView(VIEW, {"AAPL": DAY, "GONE": gone}), WatchedView("macro_features", {ALL: DAY})]

    def read(view: str, keys: Sequence[str]) -> list[TableRow | None]:
        assert view == VIEW
        assert "GONE" not in keys  # what answers no more is not missed
        return [row]

    assert lost_views(views, read, {VIEW: until_ns}, now_ns=NOW_NS) == lost
