"""Every check for leakage that could not be made is a warning."""

from __future__ import annotations

from training_sets.checks.search import leakage_warnings


def test_each_check_that_could_not_be_made_is_one_line() -> None:
    leakage = {
        "rows_rebuilt_from_their_past": 60,
        "rows_not_checked": {"BTCUSDT: no raw data": 30},
        "log_days_not_checked": ["BTCUSDT 2026-01-05: no raw data"],
        "all_rows": {"block_rows": 500, "rows_judged": 900, "rows_too_few_to_judge": 100},
    }
    too_few = (
        "leakage: 100 of 1000 rows were not searched for columns that know labels or next values, fewer than 500 of a "
        "symbol and file"
    )
    assert leakage_warnings(leakage) == [
        "leakage: 30 of 90 rows were not checked, BTCUSDT: no raw data",
        "leakage: the feature log was not checked, BTCUSDT 2026-01-05: no raw data",
        too_few,
    ]


def test_a_search_that_was_whole_is_no_warning() -> None:
    leakage = {
        "rows_rebuilt_from_their_past": 90,
        "rows_not_checked": {},
        "log_days_not_checked": [],
        "all_rows": {"block_rows": 500, "rows_judged": 900, "rows_too_few_to_judge": 0},
    }
    assert leakage_warnings(leakage) == []
