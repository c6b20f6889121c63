"""The worker on a real broker: what is on features.live, in Redis and in the feature log is what a replay computes."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from market.clock import SECOND_NS, parse_iso_ns
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel
from storage.features.log import FeatureLog
from storage.tape import read_tape
from tests.broker import Broker
from tests.gateway import QUEUES, Passed, envelopes, publish_in_time, recorded
from tests.live import SYMBOLS, VERSION, bits, eventually, online_store_of, replayed, running
from tests.live_market import rows_pass
from tests.served_proofs import recomputed
from transforms.rows import FeatureRows

RECORDING = "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"
MINUTE_S = 60


@pytest.fixture
def passed(recorded_data: Path) -> list[Passed]:
    """Some seconds of the recording, received from two seconds from now on."""
    messages = recorded(recorded_data / RECORDING, seconds=32)
    return envelopes(messages, begin_ns=time.time_ns() + 2 * SECOND_NS, speed=4)


def test_rows_on_the_queue_in_redis_and_in_the_log_are_those_of_a_replay_bit_for_bit(
    ingest_settings: Settings, live_servers: Servers, broker: Broker, passed: list[Passed], tmp_path: Path
) -> None:
    settings = ingest_settings
    with running(settings, live_servers) as ingest:
        publish_in_time(broker, passed)
        taken = sum(each.queue in QUEUES.values() for each in passed)
        eventually(lambda: sum(each["messages"] for each in ingest.status().get("symbols", {}).values()) == taken)
        late = {symbol: each["late"] for symbol, each in ingest.status()["symbols"].items()}
        # Silent seconds are rows too.
        rows_pass(ingest, max(each.recv_ns for each in passed) + 2 * SECOND_NS)
    assert [broker.waiting(queue) for queue in QUEUES.values()] == [0] * len(QUEUES)

    kernel = compiled_kernel(settings, VERSION)
    vectors = [(json.loads(body), headers) for body, headers in broker.take_all("features.live")]
    store = online_store_of(live_servers)
    for symbol in SYMBOLS:
        served, available_ns = FeatureLog(settings.feature_log_storage_path).read(
            symbol, kernel.feature_set, from_ns=None, to_ns=None
        )
        assert len(served) >= 10
        assert (available_ns >= served.row_ns).all()
        expected = replayed(settings.raw_folder, symbol, kernel, tmp_path / "replay", until_ns=int(served.row_ns[-1]))
        assert bits(served) == bits(expected)
        given = [
            (frame.recv_ns, parse_iso_ns(json.loads(frame.body)["received_at"]))
            for frame in read_tape(settings.raw_folder, symbol)
            if b'"received_at"' in frame.body  # what the service says itself has none
        ]
        assert all(stamped_ns >= received_ns for stamped_ns, received_ns in given)
        assert sum(stamped_ns > received_ns for stamped_ns, received_ns in given) == late[symbol] < len(given)
        assert np.isfinite(expected.values).any(axis=0).sum() > 15

        published = {
            parse_iso_ns(vector["timestamp"]): vector
            for vector, headers in vectors
            if headers["symbol"] == symbol and headers["interval"] == "1s"
        }
        assert published.keys() == set(served.row_ns.tolist())
        for vector in published.values():
            check_vector(vector, served)
        for interval, step_s in (("3s", 3), ("15s", 15), ("1m", MINUTE_S)):
            times = [
                parse_iso_ns(vector["timestamp"]) // SECOND_NS
                for vector, headers in vectors
                if (headers["symbol"], headers["interval"]) == (symbol, interval)
            ]
            assert times == [b // SECOND_NS for b in served.row_ns.tolist() if b // SECOND_NS % step_s == 0]

        [vector] = store.read([symbol])
        assert vector is not None
        assert vector.row_ns >= int(served.row_ns[-1])
        newest = recomputed(settings.raw_folder, symbol, kernel, {vector.row_ns})[vector.row_ns]
        assert vector.values.tobytes() == newest.values[0].tobytes()
    store.close()


def check_vector(vector: dict[str, object], served: FeatureRows) -> None:
    """A published document holds the row's values to the last bit, and a reason for each that is unknown."""
    at = int(np.searchsorted(served.row_ns, parse_iso_ns(str(vector["timestamp"]))))
    features, unknown = vector["features"], vector["missing"]
    assert isinstance(features, dict)
    assert isinstance(unknown, dict)
    for name, value in zip(served.feature_set.columns, served.values[at].tolist(), strict=True):
        assert (name in unknown) == math.isnan(value)
        assert name in unknown or features[name] == value
    assert vector["feature_registry_version"] == VERSION
