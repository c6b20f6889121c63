"""What our API answers as Feast's feature server: the same as Feast's own on the same data, with truer statuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import pytest
from feast import FeatureService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market.clock import SECOND_NS, to_datetime
from tests.feast_served import Served, column
from tests.three_features import OURS, B


def test_an_answer_has_the_keys_first_then_the_features_in_the_order_asked(served: Served) -> None:
    served.put("A", [100.0, None, 0.5], row_ns=B + 123_400_000)
    document = served.ask(entities={"symbol": ["A", "NOSUCH"]}, features=OURS)
    assert document["metadata"] == {"feature_names": ["symbol", "mid_price", "vwap_3s", "spread_abs"]}
    assert column(document, "symbol") == {
        "values": ["A", "NOSUCH"],
        "statuses": ["PRESENT"] * 2,
        "event_timestamps": ["1970-01-01T00:00:00Z"] * 2,
    }
    when = to_datetime(B).strftime("%Y-%m-%dT%H:%M:%S.123400Z")
    assert column(document, "mid_price") == {
        "values": [100.0, None],
        "statuses": ["PRESENT", "NOT_FOUND"],
        "event_timestamps": [when, "1970-01-01T00:00:00Z"],
    }
    assert column(document, "vwap_3s")["statuses"] == ["NULL_VALUE", "NOT_FOUND"]
    named = served.ask(
        entities={"symbol": ["A"]},
        features=OURS[:1],
        full_feature_names=True,
        include_feature_view_version_metadata=True,
    )
    assert named["metadata"] == {
        "feature_names": ["symbol", "price__mid_price"],
        "feature_view_metadata": [{"name": "price"}],
    }
    text = served.ours.post("/get-online-features", json={"entities": {"symbol": ["A"]}, "features": OURS[:1]}).text
    assert "[100.0]" in text


def test_a_value_older_than_its_view_allows_is_not_given_where_feast_calls_it_present(served: Served) -> None:
    request = {"entities": {"symbol": ["OLD", "JUST"]}, "features": OURS[:1]}
    served.put("OLD", [1.0, 2.0, 3.0], row_ns=B + SECOND_NS - 60 * SECOND_NS - 1000)
    served.put("JUST", [1.0, 2.0, 3.0], row_ns=B + SECOND_NS - 60 * SECOND_NS)
    theirs = served.feasts.post("/get-online-features", json=request).json()
    assert column(theirs, "mid_price")["statuses"] == ["PRESENT", "PRESENT"]
    ours = column(served.ask(**request), "mid_price")
    assert (ours["values"], ours["statuses"]) == ([None, 1.0], ["OUTSIDE_MAX_AGE", "PRESENT"])
    assert ours["event_timestamps"] == column(theirs, "mid_price")["event_timestamps"]


VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.tuples(st.sampled_from(["A", "B", "C"]), st.tuples(VALUES, VALUES, VALUES), st.integers(-90, 1)), max_size=6
)
ASKED = st.lists(st.sampled_from(["A", "B", "C", "D"]), min_size=1, max_size=8)
REFERENCES = st.lists(st.sampled_from([*OURS, "sector:beta"]), min_size=1, max_size=4, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, asked=ASKED, references=REFERENCES, betas=st.dictionaries(st.sampled_from("ABCD"), VALUES))
def test_the_answer_is_feasts_own_but_for_truer_statuses(
    served: Served, rows: list[Any], asked: list[str], references: list[str], betas: dict[str, float | None]
) -> None:
    for name in "ABCD":
        served.online._client.delete(served.online.key(name))
    for symbol, values, second in rows:
        served.put(symbol, values, row_ns=B + second * SECOND_NS)
    if known := {symbol: beta for symbol, beta in betas.items() if beta is not None}:
        frame = pd.DataFrame({"symbol": list(known), "beta": list(known.values()), "event_timestamp": to_datetime(B)})
        served.store.write_to_online_store("sector", frame)
    request = {"entities": {"symbol": asked}, "features": references}
    theirs = served.feasts.post("/get-online-features", json=request).json()
    ours = served.ask(**request)
    assert sorted(ours["metadata"]["feature_names"]) == sorted(theirs["metadata"]["feature_names"])
    assert ours["metadata"]["feature_names"] == ["symbol", *(each.partition(":")[2] for each in references)]
    for name in ours["metadata"]["feature_names"]:
        mine, his = column(ours, name), column(theirs, name)
        assert mine["event_timestamps"] == his["event_timestamps"]
        for value, status, feasts, when in zip(
            mine["values"], mine["statuses"], his["values"], his["event_timestamps"], strict=True
        ):
            if status == "PRESENT":
                assert value == feasts
            else:
                assert value is None
                is_old = name != "beta" and datetime.fromisoformat(when) < to_datetime(B - 59 * SECOND_NS)
                is_there = when != "1970-01-01T00:00:00Z"
                expected = "NOT_FOUND" if not is_there else "OUTSIDE_MAX_AGE" if is_old else "NULL_VALUE"
                assert status == expected
                assert feasts is None or status == "OUTSIDE_MAX_AGE"


def test_views_of_ours_that_read_other_keys_answer_each_for_its_own(served: Served) -> None:
    price, orderflow = (served.store.get_feature_view(name) for name in ("price", "orderflow"))
    pair = FeatureService(
        name="pair",
        features=[price.with_join_key_map({"symbol": "base"}), orderflow.with_join_key_map({"symbol": "quote"})],
    )
    served.store.apply(pair)
    served.put("PA", [1.0, 2.0, 3.0])
    served.put("PB", [4.0, 5.0, 6.0])
    request = {"entities": {"base": ["PA", "PB"], "quote": ["PB", "NONE"]}, "feature_service": "pair"}
    ours, theirs = served.ask(**request), served.feasts.post("/get-online-features", json=request).json()
    assert [column(ours, name)["values"] for name in ("mid_price", "vwap_3s")] == [[1.0, 4.0], [5.0, None]]
    for name in ("mid_price", "spread_abs", "vwap_3s"):
        assert column(ours, name)["values"] == column(theirs, name)["values"]


def test_views_of_others_with_keys_and_types_of_their_own_are_pushed_and_served_beside_ours(served: Served) -> None:
    when = to_datetime(B)
    rows = {
        "driver_id": [7, 8],
        "city": ["Rome", "Oslo"],
        "trips": [3, None],
        "rate": [0.5, 1.0],
        "plate": ["x", "y"],
        "last": [[1, 2], [3]],
        "event_timestamp": [when.isoformat(), when.replace(tzinfo=None).isoformat()],
    }
    pushed = served.ours.post("/push", json={"push_source_name": "drives", "df": rows, "to": "online"})
    assert (pushed.status_code, pushed.json()) == (200, None)
    served.put("A", [100.0, 1.0, 0.5])
    request = {
        "entities": {"driver_id": [7, 8, 9], "city": ["Rome", "Oslo", "Rome"], "symbol": ["A", "A", "A"]},
        "features": ["stats:trips", "price:mid_price", "stats:rate", "stats:plate", "stats:last"],
    }
    ours, theirs = served.ask(**request), served.feasts.post("/get-online-features", json=request).json()
    for name in ("trips", "rate", "plate", "last", "mid_price"):
        assert column(ours, name)["values"] == column(theirs, name)["values"]
    assert column(ours, "trips")["values"] == [3, None, None]
    assert column(ours, "trips")["statuses"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]


def test_a_view_that_was_materialized_since_its_rows_were_pushed_answers_with_what_is_newer(served: Served) -> None:
    served.put("M", [1.0, 2.0, 3.0], row_ns=B - 10 * SECOND_NS)
    frame = pd.DataFrame(
        {"symbol": ["M", "N"], "mid_price": [5.0, 6.0], "spread_abs": [7.0, 8.0], "event_timestamp": to_datetime(B)}
    )
    served.store.write_to_online_store("price", frame)  # as `feast materialize` writes
    document = served.ask(entities={"symbol": ["M", "N"]}, features=OURS)
    assert [column(document, name)["values"] for name in ("mid_price", "vwap_3s")] == [[5.0, 6.0], [2.0, None]]
    assert column(document, "vwap_3s")["statuses"] == ["PRESENT", "NOT_FOUND"]


def test_what_feast_computes_is_served_with_truthful_statuses(served: Served) -> None:
    frame = pd.DataFrame({"symbol": ["ODFV"], "beta": [1.5], "event_timestamp": to_datetime(B)})
    served.store.write_to_online_store("sector", frame)
    document = served.ask(entities={"symbol": ["ODFV", "NONE"]}, features=["sector:beta", "doubled:double_beta"])
    assert column(document, "double_beta")["values"] == [3.0, None]
    assert column(document, "beta")["statuses"] == ["PRESENT", "NOT_FOUND"]


def test_a_feature_service_is_served_by_its_name_and_a_batch_is_one_round_trip(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(200):
        served.put(f"S{at}", [float(at), 1.0, 0.5])
    asked: list[int] = []
    read = served.online.fields

    def counted(each: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[list[bytes | None]]:
        asked.append(len(each))
        return read(each)

    monkeypatch.setattr(served.online, "fields", counted)
    for count in (1, 20, 200):
        asked.clear()
        document = served.ask(entities={"symbol": [f"S{at}" for at in range(count)]}, feature_service="model")
        assert column(document, "mid_price")["values"] == [float(at) for at in range(count)]
        assert len(asked) == 1
