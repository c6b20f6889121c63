"""Ready is who can serve a row: every store answers, and late upkeep does not matter."""

from __future__ import annotations

from pathlib import Path

from tests.health_stores import Away, Datasets, Empty, Kept, Served, get
from transforms.status import OK


def test_it_is_ready_once_every_store_answers_and_a_followed_symbol_is_served(tmp_path: Path) -> None:
    empty = get("/ready", tmp_path, online=Empty(), metadata=Datasets())
    assert (empty.status_code, empty.headers["Retry-After"]) == (503, "5")
    assert empty.json() == {
        "ready": False,
        "missing": ["features: must be served for one of BTCUSDT, ETHUSDT, were for none"],
    }
    away = get("/ready", tmp_path, online=Away(), metadata=Datasets())
    assert away.json() == {"ready": False, "missing": ["redis x:1: call failed"]}
    served = get("/ready", tmp_path, online=Served({"ETHUSDT": {"price": OK}}), metadata=Datasets())
    assert (served.status_code, served.json()) == (200, {"ready": True, "missing": []})


def test_late_upkeep_does_not_keep_the_service_from_being_ready(tmp_path: Path) -> None:
    served = Served({"ETHUSDT": {"price": OK}})
    answer = get("/ready", tmp_path, online=served, metadata=Datasets(), upkeep=Kept(1000))
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
