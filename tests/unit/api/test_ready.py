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
        "oldest_row_age_s": None,
    }
    away = get("/ready", tmp_path, online=Away(), metadata=Datasets())
    assert away.json() == {"ready": False, "missing": ["redis x:1: call failed"], "oldest_row_age_s": None}
    served = get("/ready", tmp_path, online=Served({"ETHUSDT": {"price": OK}}), metadata=Datasets())
    assert (served.status_code, served.json()) == (200, {"ready": True, "missing": [], "oldest_row_age_s": 1.0})


def test_late_upkeep_does_not_keep_the_service_from_being_ready(tmp_path: Path) -> None:
    served = Served({"ETHUSDT": {"price": OK}})
    answer = get("/ready", tmp_path, online=served, metadata=Datasets(), upkeep=Kept(1000))
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


def test_old_rows_keep_it_from_being_ready_only_for_who_asks_for_newer_ones(tmp_path: Path) -> None:
    """Routing by it would take history, datasets and the console away with the rows; a script that waits asks."""
    caught_up = {"BTCUSDT": {"price": OK}, "ETHUSDT": {"price": OK}}

    def asked(query: str, *, age_s: int) -> tuple[int, dict[str, object]]:
        answer = get(f"/ready{query}", tmp_path, online=Served(caught_up, age_s=age_s), metadata=Datasets())
        return answer.status_code, answer.json()

    assert asked("", age_s=240) == (200, {"ready": True, "missing": [], "oldest_row_age_s": 240.0})
    assert asked("?max_age_s=240", age_s=240)[0] == 200
    missing = [f"{symbol}: newest row must be at most 30 s old, was 240" for symbol in caught_up]
    assert asked("?max_age_s=30", age_s=240) == (503, {"ready": False, "missing": missing, "oldest_row_age_s": 240.0})
    assert asked("?max_age_s=0", age_s=1)[0] == 422
    assert get("/ready?max_age_s=30", tmp_path, online=Empty(), metadata=Datasets()).status_code == 503
