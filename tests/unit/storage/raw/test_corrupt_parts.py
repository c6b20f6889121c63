"""Raw Parquet that lies is corrupt and named: readers believe the manifest, and no file that says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market.errors import CorruptStore
from market.events import Events
from market.instruments import Instrument
from storage.raw.events import read_events, stream_events
from storage.raw.manifest import entry_path
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from tests.raw_events import ALL_KINDS, BTC, EVER, same


def test_parts_of_another_scale_are_corrupt(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path, BTC, tape[:1], part="0")
    write_events(tmp_path, Instrument("BTCUSDT", 2, 6), tape[1:], part="1")
    with pytest.raises(CorruptStore, match="scale must be that of"):
        RawData(tmp_path).instrument("BTCUSDT")
    with pytest.raises(CorruptStore, match="scale must be that of"):
        read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER)


def test_a_message_in_two_parts_is_corrupt(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path, BTC, tape, part="0")
    write_events(tmp_path, BTC, tape, part="1")
    with pytest.raises(CorruptStore, match="seq must be in one part, was 1 in 0 and 1"):
        read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER)


def cut_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_bit(path: Path) -> None:
    """One bit inside the last page of the first column."""
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_end, flip_bit])
def test_damaged_bytes_are_corrupt_and_name_the_file(
    tmp_path: Path, tape: Events, damage: Callable[[Path], None]
) -> None:
    path = write_events(tmp_path, BTC, tape, part="0")[1]
    damage(path)
    with pytest.raises(CorruptStore, match=f"{path}: must be whole Parquet"):
        read_events(RawData(tmp_path), "BTCUSDT", kinds=(), **EVER)


def test_a_file_of_another_symbol_or_shape_is_corrupt(tmp_path: Path, tape: Events) -> None:
    path = write_events(tmp_path, BTC, tape[:1], part="0")[0]
    table = pq.read_table(path)
    for content, rule in (
        (
            table.replace_schema_metadata({**table.schema.metadata, b"symbol": b"ETHUSDT"}),
            "must hold 1 records of BTCUSDT, was 1 of ETHUSDT",
        ),
        (table.replace_schema_metadata({b"symbol": b"BTCUSDT"}), "bytes of its manifest"),
        (pa.concat_tables([table, table]), "must hold 1 records of BTCUSDT, was 2"),
        (table.drop_columns(["px"]), "columns must be"),
        (table.set_column(4, "px", table["px"].cast(pa.float64())), "columns must be"),
    ):
        pq.write_table(content, path)
        with pytest.raises(CorruptStore, match=rule):
            read_events(RawData(tmp_path), "BTCUSDT", kinds=(), **EVER)


def test_readers_believe_the_manifest_alone(tmp_path: Path, tape: Events) -> None:
    paths = write_events(tmp_path, BTC, tape, part="0")
    stray = paths[1].with_name("part-stray.parquet")
    stray.write_bytes(b"half of a Parquet")
    assert same(read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER), tape)
    pieces = list(stream_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER))
    assert same(np.concatenate([events for events, _ in pieces]), tape)
    paths[1].unlink()
    with pytest.raises(CorruptStore, match=str(paths[1])):
        read_events(RawData(tmp_path), "BTCUSDT", kinds=ALL_KINDS, **EVER)


def test_every_changed_byte_of_a_manifest_entry_is_corrupt_and_named(tmp_path: Path, tape: Events) -> None:
    write_events(tmp_path, BTC, tape, part="0")
    path = entry_path(tmp_path, "BTCUSDT", "0")
    whole = path.read_bytes()
    for position in range(len(whole) - 1):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CorruptStore, match=str(path)):
            RawData(tmp_path).parts("BTCUSDT")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptStore, match=str(path)):
        RawData(tmp_path).parts("BTCUSDT")
