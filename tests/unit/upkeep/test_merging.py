"""A served day is merged once it is over: today's parts and damaged ones are left, and the others done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, utc_date
from market.errors import CorruptStore
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.parts import PART
from training_sets.provenance import feature_partitions
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from upkeep.merging import DAYS, merge_served_days

TODAY_NS = 20_000 * DAY_NS
GROUP = FeatureGroup("price", "aaaa", ("mid",), (0,))
SET = FeatureSet("2.0.0", ("mid",), (GROUP,), "cccc")


def serve(root: Path, symbol: str, day_ns: int, *, minutes: int = 3) -> None:
    """A part a minute from midnight on."""
    for minute in range(minutes):
        row_ns = np.array([day_ns + minute * MINUTE_NS], np.int64)
        with FeatureLogWriter(root) as log:
            log.append(FeatureRows(symbol, SET, row_ns, np.ones((1, 1)), np.zeros((1, 1), np.int8)), row_ns)


def parts(root: Path, symbol: str, day_ns: int) -> list[Path]:
    return sorted(Path(str(FeatureLog(root).of_date(GROUP, symbol, utc_date(day_ns)))).glob(f"{PART}-*.parquet"))


def test_days_that_are_over_become_one_part_each(tmp_path: Path) -> None:
    days = [TODAY_NS - days * DAY_NS for days in range(DAYS + 2)]
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for day_ns in days:
            serve(tmp_path, symbol, day_ns)
    now_ns = TODAY_NS + 2 * HOUR_NS
    shares: list[float] = []
    done = merge_served_days(tmp_path, shares.append, now_ns=now_ns)
    assert done == {"days": 2 * DAYS, "parts": 2 * DAYS * 3}
    assert shares == [0.0, 0.5]
    merge_served_days(tmp_path, shares.append, now_ns=now_ns + 6 * HOUR_NS)
    found = [len(parts(tmp_path, "BTCUSDT", day_ns)) for day_ns in days]
    assert found == [3, *[1] * DAYS, 3]  # today, and what is left to the command
    assert merge_served_days(tmp_path, shares.append, now_ns=now_ns + 12 * HOUR_NS) == {"days": 0, "parts": 0}


def test_a_dataset_is_made_of_the_merged_part_before_and_after_the_others_are_removed(tmp_path: Path) -> None:
    day_ns = TODAY_NS - DAY_NS
    serve(tmp_path, "BTCUSDT", day_ns)

    def made_of() -> list[str]:
        found = feature_partitions(FeatureLog(tmp_path), [GROUP], ["BTCUSDT"], from_ns=day_ns, to_ns=TODAY_NS)
        return [entry["sha256"] for entry in found]

    served = made_of()
    merge_served_days(tmp_path, lambda _share: None, now_ns=TODAY_NS + HOUR_NS)
    merged = made_of()
    assert (len(served), len(merged), len(parts(tmp_path, "BTCUSDT", day_ns))) == (3, 1, 4)
    merge_served_days(tmp_path, lambda _share: None, now_ns=TODAY_NS + 7 * HOUR_NS)
    assert made_of() == merged
    assert len(parts(tmp_path, "BTCUSDT", day_ns)) == 1


def test_yesterday_waits_an_hour_for_its_last_parts(tmp_path: Path) -> None:
    serve(tmp_path, "BTCUSDT", TODAY_NS - DAY_NS)
    early = merge_served_days(tmp_path, lambda _share: None, now_ns=TODAY_NS + HOUR_NS - 1)
    assert early["days"] == 0
    assert merge_served_days(tmp_path, lambda _share: None, now_ns=TODAY_NS + HOUR_NS)["days"] == 1


def test_a_damaged_part_leaves_the_other_days_to_be_merged(tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        serve(tmp_path, symbol, TODAY_NS - DAY_NS)
    damaged = parts(tmp_path, "BTCUSDT", TODAY_NS - DAY_NS)[1]
    damaged.write_bytes(b"no Parquet")
    with pytest.raises(CorruptStore, match=f"symbol=BTCUSDT.*{damaged.name}"):
        merge_served_days(tmp_path, lambda _share: None, now_ns=TODAY_NS + HOUR_NS)
    assert len(parts(tmp_path, "BTCUSDT", TODAY_NS - DAY_NS)) == 3
    assert len(parts(tmp_path, "ETHUSDT", TODAY_NS - DAY_NS)) == 4  # those it was merged of stay for an hour


def test_an_empty_log_has_nothing_to_merge(tmp_path: Path) -> None:
    assert merge_served_days(tmp_path / "features", lambda _share: None, now_ns=TODAY_NS) == {"days": 0, "parts": 0}
