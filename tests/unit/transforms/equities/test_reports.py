"""Fundamentals by hand: what is known of a company between its reports, their restatements and its splits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from transforms.equities.catalogue import TABLE_GROUPS
from transforms.known_rows import KnownRows

GROUP = TABLE_GROUPS["fundamental_features"]
NAMES = [each.name for each in GROUP.columns]
REPORTS = pd.DataFrame(
    [
        # quarter, published, revenue, net income, equity, assets, debt, shares
        ("2023-03-31", "2023-05-02", 100.0, 10.0, 90.0, 200.0, 50.0, 10.0),
        ("2023-06-30", "2023-08-01", 110.0, 11.0, 95.0, 210.0, 50.0, 10.0),
        ("2023-09-30", "2023-11-01", 120.0, 12.0, 100.0, 220.0, 40.0, 10.0),
        ("2023-12-31", "2024-02-01", 130.0, 13.0, 105.0, 230.0, 40.0, 10.0),
        ("2024-03-31", "2024-05-01", 125.0, 14.0, 110.0, 240.0, 44.0, 10.0),
        ("2024-03-31", "2024-06-10", 125.0, -4.0, 92.0, 222.0, 44.0, 10.0),  # restated
    ],
    columns=[
        "quarter", "published", "revenue", "net_income", "equity", "total_assets", "total_debt", "shares_outstanding"
    ],
)  # fmt: skip


def times(texts: pd.Series[str]) -> npt.NDArray[np.int64]:
    return pd.to_datetime(texts, utc=True).dt.tz_localize(None).dt.as_unit("ns").to_numpy().astype(np.int64)


def reports(until: int = 6) -> KnownRows:
    held = REPORTS[:until]
    return KnownRows(
        times(held["quarter"]),
        times(held["published"]),
        {name: held[name].to_numpy() for name in held.columns[2:]},
    )


def bars(*rows: tuple[str, float, float]) -> KnownRows:
    """Day, close and split ratio, known 21 hours after the day began."""
    event = times(pd.Series([row[0] for row in rows]))
    columns = {"close": np.array([row[1] for row in rows]), "split_ratio": np.array([row[2] for row in rows])}
    return KnownRows(event, event + 21 * 3600 * 10**9, columns)


def as_of(moment: str, *days: tuple[str, float, float], until: int = 6) -> dict[str, float]:
    tables = {"reports": {"A": reports(until)}, "daily_bars": {"A": bars(*days)}}
    rows = GROUP.computed(tables, until_ns=pd.Timestamp(moment, tz="UTC").value)["A"]
    return dict(zip(NAMES, rows.values[-1].tolist(), strict=True))


def test_ratios_are_of_the_reports_that_were_published() -> None:
    before = as_of("2024-04-30 23:00", ("2024-04-30", 20.0, 1.0))
    assert before["pe_ratio"] == pytest.approx(20 * 10 / (10 + 11 + 12 + 13))
    assert before["pb_ratio"] == pytest.approx(20 * 10 / 105)
    assert np.isnan([before[name] for name in ("roe", "roa", "revenue_growth", "earnings_growth")]).all()
    assert (before["debt_to_equity"], before["debt_to_assets"]) == pytest.approx((40 / 105, 40 / 230))
    after = as_of("2024-05-01 12:00", ("2024-04-30", 20.0, 1.0))
    assert after["pe_ratio"] == pytest.approx(200 / (11 + 12 + 13 + 14))
    assert after["roe"] == pytest.approx((11 + 12 + 13 + 14) / ((90 + 110) / 2))
    assert after["roa"] == pytest.approx((11 + 12 + 13 + 14) / ((200 + 240) / 2))
    assert (after["revenue_growth"], after["earnings_growth"]) == pytest.approx((0.25, 0.4))


def test_a_restatement_counts_from_when_it_was_published() -> None:
    day = ("2024-06-07", 20.0, 1.0)
    assert as_of("2024-06-09", day)["earnings_growth"] == pytest.approx(0.4)
    restated = as_of("2024-06-10", day)
    assert restated["earnings_growth"] == pytest.approx(-1.4)
    assert restated["pe_ratio"] == pytest.approx(200 / (11 + 12 + 13 - 4))


def test_a_split_after_the_quarter_is_in_the_price_and_in_the_shares() -> None:
    split = as_of("2024-05-07", ("2024-05-03", 20.0, 1.0), ("2024-05-06", 10.0, 2.0))
    assert split["pe_ratio"] == pytest.approx(10 * 20 / 50)
    before_the_quarter = as_of("2024-05-07", ("2024-03-28", 10.0, 2.0), ("2024-05-06", 10.0, 1.0))
    assert before_the_quarter["pe_ratio"] == pytest.approx(10 * 10 / 50)


def test_an_old_price_an_old_report_and_a_quarter_left_out_give_no_ratio() -> None:
    day = ("2024-05-02", 20.0, 1.0)
    assert as_of("2024-05-08 23:00", day)["pe_ratio"] == pytest.approx(4.0)
    stale = as_of("2024-05-09", day)
    assert np.isnan([stale["pe_ratio"], stale["pb_ratio"]]).all()
    assert stale["roe"] == pytest.approx(0.5)
    assert all(np.isnan(value) for value in as_of("2024-10-17", day).values())
    held, kept = reports(), [0, 1, 2, 4]
    columns = {name: column[kept] for name, column in held.columns.items()}
    gap = {"reports": {"A": KnownRows(held.event_ns[kept], held.known_ns[kept], columns)}}
    rows = GROUP.computed(gap | {"daily_bars": {"A": bars(day)}}, until_ns=pd.Timestamp("2024-05-03", tz="UTC").value)
    assert np.isnan(rows["A"].values[-1][NAMES.index("pe_ratio")])


def test_a_company_that_lost_has_no_price_for_its_earnings() -> None:
    held = reports()
    losses = KnownRows(held.event_ns, held.known_ns, {**held.columns, "net_income": -held.columns["net_income"]})
    tables = {"reports": {"A": losses}, "daily_bars": {"A": bars(("2024-05-02", 20.0, 1.0))}}
    values = GROUP.computed(tables, until_ns=pd.Timestamp("2024-05-03", tz="UTC").value)["A"].values[-1]
    found = dict(zip(NAMES, values.tolist(), strict=True))
    assert np.isnan([found["pe_ratio"], found["earnings_growth"]]).all()
    assert found["roe"] == pytest.approx(-0.5)
