"""Groups that are withheld: whole seconds and the ticks before them alike, nothing else, until they are released."""

from __future__ import annotations

import numpy as np

from ingestion.worker.withheld import WithheldGroups
from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import StoreUnavailable
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from transforms.status import OK, QUARANTINED

SET = FeatureSet(
    "1", ("a", "b", "c"), (FeatureGroup("x", "", ("a", "c"), (0, 2)), FeatureGroup("y", "", ("b",), (1,))), "f"
)
B = 1_780_000_000 * SECOND_NS
TICKS = B + np.arange(0, 40) * 100 * MILLISECOND_NS


def rows(symbol: str = "AUSDT") -> FeatureRows:
    n = len(TICKS)
    return FeatureRows(symbol, SET, TICKS, np.ones((n, 3)), np.zeros((n, 2), np.int8), np.zeros((n, 3), np.int8))


def test_a_group_is_withheld_between_whole_seconds_and_the_rows_given_are_not_changed() -> None:
    groups = WithheldGroups()
    given = rows()
    assert groups.apply(given) is given
    groups.update({("AUSDT", "x")}, now_ns=B + 130 * MILLISECOND_NS)
    groups.update({("AUSDT", "x")}, now_ns=B + 500 * MILLISECOND_NS)
    groups.update(set(), now_ns=B + 1_950 * MILLISECOND_NS)
    found = groups.apply(given)
    is_withheld = (TICKS > B + SECOND_NS) & (TICKS <= B + 2 * SECOND_NS)
    assert is_withheld.sum() == 10
    assert np.array_equal(np.isnan(found.values[:, [0, 2]]).all(axis=1), is_withheld)
    assert np.array_equal(found.status[:, 0] == QUARANTINED, is_withheld)
    assert found.reasons is not None
    assert set(found.reasons[is_withheld][:, [0, 2]].ravel().tolist()) == {QUARANTINED}
    assert (found.values[:, 1] == 1).all()
    assert (found.status[:, 1] == OK).all()
    assert (given.values == 1).all()
    assert groups.apply(rows("BUSDT")).values.all()


def test_while_the_database_is_away_what_is_withheld_stays_so() -> None:
    groups = WithheldGroups()
    groups.update({("AUSDT", "y")}, now_ns=B)

    def away() -> set[tuple[str, str]]:
        raise StoreUnavailable("database: away")

    groups.keep(away, now_ns=lambda: B + 2 * SECOND_NS)
    groups.close()
    assert np.isnan(groups.apply(rows()).values[-1, 1])
