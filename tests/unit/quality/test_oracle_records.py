"""The oracle is told the same by event records as by the messages they were made of."""

from __future__ import annotations

import numpy as np
import pytest

from ingestion.venues.bybit.decode import Decoder
from market.clock import MINUTE_NS, SECOND_NS, floor_to
from quality.oracle.market import Oracle
from quality.oracle.records import KINDS, Record, Teller, computed_names
from quality.oracle.rows import OracleRow
from tests.fed_engine import Messages, PinsInMemory
from tests.oracle.hostile import HostileMarket
from tests.oracle.incidents import INCIDENTS, MIDNIGHT_NS, stream_with
from tests.oracle.messages import oracle_rows
from transforms.catalogue import FEATURES


def row_of_records(messages: Messages, row_ns: int) -> OracleRow:
    """The row of the decoded messages before it, each source told by itself."""
    pins = PinsInMemory()
    decoder = Decoder(pins)
    pieces, symbol = [], ""
    for seq, (recv_ns, body) in enumerate(messages):
        message = decoder.decode(body)
        assert message is not None
        symbol = message.symbol
        message.records["recv_ns"], message.records["seq"] = recv_ns, seq
        if recv_ns < row_ns:
            pieces.append(message.records)
    instrument = pins.get(symbol)
    assert instrument is not None
    oracle = Oracle()
    oracle.begin(messages[0][0])
    records = [Record(*fields) for fields in np.concatenate(pieces).tolist()]
    for source in reversed(KINDS):
        Teller(oracle, instrument).tell(source, records)
    return oracle.row(row_ns)


def assert_same(messages: Messages) -> None:
    last_ns = floor_to(messages[-1][0], SECOND_NS)
    wanted = [last_ns - 47 * SECOND_NS, last_ns]
    for row_ns, told in zip(wanted, oracle_rows(messages, wanted), strict=True):
        assert row_of_records(messages, row_ns) == told


@pytest.mark.parametrize("name", INCIDENTS)
def test_records_of_an_incident_tell_what_its_messages_do(name: str) -> None:
    assert_same(stream_with(INCIDENTS[name]))


def test_records_of_a_hostile_market_tell_what_its_messages_do() -> None:
    assert_same(HostileMarket(2, MIDNIGHT_NS - 3 * MINUTE_NS).write(5 * MINUTE_NS))


def test_the_oracle_says_which_features_it_computes() -> None:
    assert computed_names() == FEATURES.keys()
