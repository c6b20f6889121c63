"""What the online store writes: Feast's format to the byte, and a packed vector that comes back bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
import redis
from feast.infra.online_stores.helpers import _mmh3

from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import CorruptStore
from storage.online.scripts import WriteResult
from storage.online.store import OnlineStore
from storage.online.vector import NEWEST_FIELD, VECTOR_FIELD
from storage.online.vector import vector_of as remembered_vector
from tests.online_rows import NAN, TWO_GROUPS, TWO_VIEWS, B, feature_set, online_row, same_value, vector_of
from tests.online_servers import RawClient
from tests.pushed_rows import Repository, feast_online, push
from transforms.status import NO_DATA, OK, REASON_NAMES, UNDEFINED, WARMUP

# Feast's format


def test_feasts_sdk_reads_what_was_written(store: OnlineStore, repository: Repository) -> None:
    values = {"mid_price": 64000.5, "spread_abs": 0.1, "microprice": 0.0, "vwap_3s": -1.5e-300, "volume_3s": np.inf}
    assert store.write([online_row(values)], now_ns=B) == WriteResult(written=1, superseded=0, refused=0)
    assert feast_online(repository(TWO_VIEWS), TWO_VIEWS) == values


def test_an_unknown_value_is_none_to_feast(store: OnlineStore, repository: Repository) -> None:
    store.write([online_row(same_value(1.0))], now_ns=B)
    store.write([online_row({**same_value(2.0), "vwap_3s": NAN}, row_ns=B + SECOND_NS)], now_ns=B)
    assert feast_online(repository(TWO_VIEWS), TWO_VIEWS) == {**same_value(2.0), "vwap_3s": None}


def test_every_byte_is_the_one_that_feasts_push_writes(
    store: OnlineStore, repository: Repository, client: RawClient, project: str
) -> None:
    views = {view: [f"{view}_{i}" for i in range(64)] for view in ("price", "orderflow")}
    columns = feature_set(views)
    special = [0.0, -0.0, np.inf, -np.inf, NAN, 5e-324, -5e-324, np.finfo(float).max, np.finfo(float).tiny, 1.0]
    random_bits = np.random.default_rng(1).integers(0, 2**64, (3, 128), np.uint64).view(np.float64)
    all_unknown = np.full(128, NAN)
    rows = [
        online_row(dict(zip(columns.columns, values, strict=True)), symbol=symbol, row_ns=time_ns, columns=columns)
        for symbol, time_ns, values in (
            ("BTCUSDT", B, np.resize(special, 128)),
            ("É/USDT-ß", 0, random_bits[0]),
            ("1000PEPEUSDT", 127 * SECOND_NS, random_bits[1]),
            ("", B + 1 * SECOND_NS, random_bits[2]),
            ("ETHUSDT", B + 2 * SECOND_NS, all_unknown),
        )
    ]
    push(repository(views, project=f"{project}_feast"), rows)
    store.write(rows, now_ns=B)

    hashes = {key: client.hgetall(key) for key in client.scan_iter(f"*{project}*")}
    ours = {key + b"_feast": fields for key, fields in hashes.items() if key.endswith(project.encode())}
    feasts = {key: fields for key, fields in hashes.items() if key.endswith(b"_feast")}
    for fields in ours.values():
        del fields[VECTOR_FIELD], fields[NEWEST_FIELD]
    assert len(feasts) == len(rows)
    assert ours == feasts


def test_a_set_wider_than_a_script_can_unpack_at_once_is_written_whole(
    store: OnlineStore, client: redis.Redis, project: str
) -> None:
    wide = feature_set({"price": [f"f{i}" for i in range(4500)]})
    store.write([online_row(columns=wide)], now_ns=B)
    (key,) = client.scan_iter(f"*{project}")
    assert client.hlen(key) == 4500 + len(["_ts:price", VECTOR_FIELD, NEWEST_FIELD])
    assert client.hget(key, _mmh3("price:f4499")) is not None


def test_feast_gives_two_colliding_features_one_value(repository: Repository) -> None:
    views = {"fv0": ("ob_imb_l61300", "ob_imb_l183962")}
    repo = repository(views)
    push(repo, [online_row({"ob_imb_l61300": 1.0, "ob_imb_l183962": 2.0}, columns=feature_set(views))])
    assert feast_online(repo, views) == {"ob_imb_l61300": 2.0, "ob_imb_l183962": 2.0}


# The packed vector


def test_the_vector_comes_back_bit_for_bit_with_its_names_and_reasons(store: OnlineStore) -> None:
    values = {"mid_price": NAN, "spread_abs": 0.1 + 0.2, "microprice": 5e-324, "vwap_3s": NAN, "volume_3s": -np.inf}
    reasons = {"mid_price": REASON_NAMES[WARMUP], "vwap_3s": REASON_NAMES[UNDEFINED]}
    row = online_row(values, reasons=reasons, status=[WARMUP, OK])
    store.write([row], now_ns=B)
    vector = vector_of(store)
    assert (vector.symbol, vector.row_ns, vector.available_ns) == ("BTCUSDT", B, B + 20 * MILLISECOND_NS)
    assert (vector.version, vector.fingerprint, vector.columns) == ("2.0.0", "f00d", TWO_GROUPS.columns)
    assert vector.values.tobytes() == row.values.tobytes()
    assert vector.statuses == {"price": WARMUP, "orderflow": OK}
    assert vector.missing == reasons


def test_a_vector_from_memory_is_the_one_that_is_read_once_it_is_stored(store: OnlineStore) -> None:
    row = online_row({"vwap_3s": NAN}, reasons={"vwap_3s": "WARMUP"}, status=[OK, WARMUP])
    store.write([row], now_ns=row.row_ns)
    stored, remembered = vector_of(store), remembered_vector(row)
    assert remembered.values.tobytes() == stored.values.tobytes()
    without_values = [dataclasses.replace(vector, values=np.empty(0)) for vector in (stored, remembered)]
    assert repr(without_values[0]) == repr(without_values[1])


def test_many_symbols_are_read_in_the_order_asked_and_an_unknown_one_is_none(store: OnlineStore) -> None:
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    rows = [online_row(same_value(float(i)), symbol=symbol) for i, symbol in enumerate(symbols)]
    assert store.write(rows, now_ns=B).written == 3
    answers = store.read(["SOLUSDT", "NOSUCH", "BTCUSDT", "SOLUSDT"])
    assert [None if a is None else (a.symbol, a.values[0]) for a in answers] == [
        ("SOLUSDT", 2.0),
        None,
        ("BTCUSDT", 0.0),
        ("SOLUSDT", 2.0),
    ]


def test_nothing_to_write_and_nothing_to_read_are_no_errors(store: OnlineStore) -> None:
    assert store.write([], now_ns=B) == WriteResult(0, 0, 0)
    assert store.read([]) == []


def test_each_row_is_stored_under_the_columns_of_its_own_feature_set(store: OnlineStore) -> None:
    narrow = feature_set({"price": ("mid_price",)}, fingerprint="beef")
    store.write(
        [
            online_row(symbol="BTCUSDT"),
            online_row({"mid_price": 7.0}, symbol="ETHUSDT", columns=narrow, status=[NO_DATA]),
            online_row(symbol="SOLUSDT"),
        ],
        now_ns=B,
    )
    assert vector_of(store, "SOLUSDT").columns == TWO_GROUPS.columns
    eth = vector_of(store, "ETHUSDT")
    assert (eth.fingerprint, eth.columns, eth.values.tolist()) == ("beef", ("mid_price",), [7.0])
    assert eth.statuses == {"price": NO_DATA}


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda packed: packed[:-1],
        lambda packed: msgspec.msgpack.encode([2, *msgspec.msgpack.decode(packed)[1:]]),
        lambda packed: packed.replace(msgspec.msgpack.encode(bytes(40)), msgspec.msgpack.encode(bytes(32))),
        lambda packed: packed.replace(msgspec.msgpack.encode(b"\x01\x02"), msgspec.msgpack.encode(b"\x01")),
    ],
    ids=["empty", "cut short", "of another layout", "a value too few", "a status too few"],
)
def test_a_vector_that_is_not_what_was_written_is_corrupt(
    store: OnlineStore, client: RawClient, project: str, damage: Callable[[bytes], bytes]
) -> None:
    store.write([online_row(same_value(0.0), status=[1, 2])], now_ns=B)
    (key,) = client.scan_iter(f"*{project}")
    whole = client.hget(key, VECTOR_FIELD)
    assert damage(whole) != whole
    client.hset(key, VECTOR_FIELD, damage(whole))
    with pytest.raises(CorruptStore, match="online vector of BTCUSDT: must"):
        store.read(["BTCUSDT"])
