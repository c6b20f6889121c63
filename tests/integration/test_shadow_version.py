"""A version is served beside the active one: its rows go to its own log and fields, and no consumer gets one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.pipeline.row_cost import FEWEST_ROWS
from market.errors import Conflict, InvalidRequest
from runtime.servers import Servers
from runtime.settings import Settings
from storage.features.log import FeatureLog
from storage.features.shadow_log import shadow_log_folder
from storage.online.shadow_rows import read_version
from storage.online.store import OnlineStore
from tests.broker import Broker
from tests.changing import BY_ANNA, assert_without_a_hole, life_cycle, parity_of
from tests.integration.test_version_change import AFTER, published, published_from_now, servers, settings
from tests.live import SYMBOLS, eventually, online_store_of, running

__all__ = ["servers", "settings"]  # the fixtures

MARKET_S = 24
"""It goes on for so long; after that rows come too, of a market that is silent."""


def test_a_version_beside_the_active_one_has_its_own_rows_and_nobody_else_gets_them(
    settings: Settings, servers: Servers, broker: Broker, recorded_data: Path
) -> None:
    online = online_store_of(servers)
    shadows = FeatureLog(shadow_log_folder(settings.feature_log_storage_path, "3.1.0"))
    with life_cycle(settings, servers) as cycle:
        cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
        with pytest.raises(Conflict, match="its cost could not be measured: tape"):
            cycle.shadows.begin("3.1.0", BY_ANNA, accepted_ms=100.0)
        with running(settings, servers, version="3.0.0", follows=True) as ingest:
            publishing = published_from_now(broker, recorded_data, speed=1.0, seconds=MARKET_S)
            eventually(lambda: _rows(ingest.status()) > FEWEST_ROWS + 3)
            with pytest.raises(InvalidRequest, match=r"accept_row_cost_ms: must be at least 0\.\d+, .* was not given"):
                cycle.shadows.begin("3.1.0", BY_ANNA, accepted_ms=None)
            begun = cycle.shadows.begin("3.1.0", BY_ANNA, accepted_ms=100.0)
            assert begun.is_shadow
            assert begun.shadow_row_cost_ms is not None
            eventually(lambda: _shadow(ingest.status())["rows"] >= 4 * len(SYMBOLS))
            assert _shadow(ingest.status())["state"] == "serving"
            eventually(lambda: _is_online(online))
            for vector in read_version(online, SYMBOLS, "3.1.0"):
                assert vector is not None
                assert (vector.version, set(vector.columns)) == ("3.1.0", set(AFTER))
            assert {each.version for each in online.read(SYMBOLS) if each is not None} == {"3.0.0"}
            with pytest.raises(Conflict, match=r"9\.9\.9: must be served for BTCUSDT, was not: 3\.0\.0 is"):
                read_version(online, SYMBOLS, "9.9.9")
            assert cycle.usage("3.1.0").why_not == ("it is served next to the active one",)
            cycle.shadows.end("3.1.0", BY_ANNA)
            eventually(lambda: "3.1.0" not in ingest.status()["shadow_versions"])
            with pytest.raises(Conflict, match=r"3\.1\.0: must be served for BTCUSDT, was not"):
                read_version(online, SYMBOLS, "3.1.0")
            publishing.join()
        lines = [(line["action"], line["version"]) for line in cycle.audit(limit=2)]
        assert lines == [("end_shadow", "3.1.0"), ("shadow", "3.1.0")]
    online.close()
    assert {vector["feature_registry_version"] for vector, _ in published(broker)} == {"3.0.0"}
    of_shadow, of_served = parity_of(settings, "3.1.0", log=shadows), parity_of(settings, "3.0.0")
    assert (of_served.mismatched, of_served.missing, of_served.extra, of_served.not_compared) == (0, 0, 0, ())
    assert (of_shadow.mismatched, of_shadow.extra, of_shadow.not_compared) == (0, 0, ())  # the tape began before it
    chosen = load_registry_version("3.1.0", settings.feature_registry_versions_dir).feature_set
    kept = [shadows.read(symbol, chosen, from_ns=None, to_ns=None)[0].row_ns.tolist() for symbol in SYMBOLS]
    assert of_shadow.compared == sum(map(len, kept)) >= 4 * len(SYMBOLS)
    for times in kept:
        assert_without_a_hole(times)


def _is_online(online: OnlineStore) -> bool:
    """Whether the version beside has a row of each symbol; counted rows are written in another thread."""
    try:
        return None not in read_version(online, SYMBOLS, "3.1.0")
    except Conflict:
        return False


def _rows(status: dict[str, Any]) -> int:
    symbols = status.get("symbols", {})
    return min(each["rows"] for each in symbols.values()) if len(symbols) == len(SYMBOLS) else 0


def _shadow(status: dict[str, Any]) -> dict[str, Any]:
    of_version: dict[str, Any] = status["shadow_versions"].get("3.1.0", {"rows": 0, "state": "not begun"})
    assert of_version["state"] != "failed", of_version
    return of_version
