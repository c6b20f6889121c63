"""Recordings: every format gives the same exact bytes, and a broken file gives all that came before the break."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingestion.messages import RejectedLine, TimedMessage
from ingestion.sources.played.recordings import LONGEST_LINE, _read_lines, read_archive, read_recording
from market.errors import UnreadableRecording


def _bodies(count: int) -> tuple[bytes, ...]:
    stream = random.Random(7)
    return tuple(
        b'{"topic": "tickers.BTCUSDT",  "ts":%d, "data":{"x":"\xc3\xa9 \\u00e9 %s"}}'
        % (ts, stream.randbytes(32).hex().encode())
        for ts in range(1, count + 1)
    )


BODIES = _bodies(400)
LINES = tuple(b'{"recv_ns":%d, "msg": %s}\n' % (1000 + index, body) for index, body in enumerate(BODIES))
MESSAGES = [TimedMessage(1000 + index, body) for index, body in enumerate(BODIES)]


def gzip_members(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part) for part in parts)


def zstd_frames(*parts: bytes) -> bytes:
    # Streamed frames do not state their size, as those of a recorder that does not know when it will end.
    compressed = b""
    for part in parts:
        stream = zstandard.ZstdCompressor().compressobj()
        compressed += stream.compress(part) + stream.flush()
    return compressed


PACKED: dict[str, Callable[..., bytes]] = {
    ".jsonl": lambda *parts: b"".join(parts),
    ".jsonl.gz": gzip_members,
    ".jsonl.zst": zstd_frames,
}
formats = pytest.mark.parametrize("suffix", list(PACKED))


@pytest.fixture
def recording(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(suffix: str, content: bytes) -> Path:
        path = tmp_path / f"recording{suffix}"
        path.write_bytes(content)
        return path

    return write


Recording = Callable[[str, bytes], Path]


@formats
def test_every_format_gives_the_bytes_as_they_stand_in_the_file(suffix: str, recording: Recording) -> None:
    assert list(read_recording(recording(suffix, PACKED[suffix](b"".join(LINES))))) == MESSAGES


@formats
def test_members_and_frames_may_end_inside_a_line(suffix: str, recording: Recording) -> None:
    content = b"".join(LINES)
    cuts = (0, 1, 50, 51, 5000, len(content))
    parts = [content[start:end] for start, end in pairwise(cuts)]
    assert list(read_recording(recording(suffix, PACKED[suffix](*parts, b"")))) == MESSAGES


@formats
def test_an_empty_file_yields_nothing(suffix: str, recording: Recording) -> None:
    assert list(read_recording(recording(suffix, b""))) == []
    assert list(read_recording(recording(suffix, PACKED[suffix](b"")))) == []


def test_an_envelope_is_read_as_a_message_is(recording: Recording) -> None:
    path = recording(".jsonl", b'{"envelope": {"payload" : {} }, "recv_ns": 5, "note": "x"}')
    assert list(read_recording(path)) == [TimedMessage(5, b'{"payload" : {} }')]


def test_blank_lines_are_skipped_and_the_last_line_needs_no_end(recording: Recording) -> None:
    content = b"\n  \n" + LINES[0] + b"\r\n" + LINES[1].replace(b"\n", b"\r\n") + LINES[2].rstrip()
    assert list(read_recording(recording(".jsonl", content))) == MESSAGES[:3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "JSON"),
        (b'{"recv_ns":1,"msg":{}', "JSON"),
        (b'{"msg":{}}', "recv_ns"),
        (b'{"recv_ns":"1","msg":{}}', "recv_ns"),
        (b'{"recv_ns":0,"msg":{}}', "recv_ns"),
        (b'{"recv_ns":9223372036854775808,"msg":{}}', "recv_ns"),
        (b'{"recv_ns":1}', "neither"),
        (b'{"recv_ns":1,"msg":{},"envelope":{}}', "both"),
        (b"\xff\xfe", "JSON"),
        (b'{"recv_ns":1,"msg":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "JSON"),
    ],
    ids=range(10),
)
def test_a_line_that_states_no_message_is_handed_over_and_reading_goes_on(
    line: bytes, reason: str, recording: Recording
) -> None:
    first, rejected, last = read_recording(recording(".jsonl", LINES[0] + line + b"\r\n" + LINES[1]))
    assert (first, last) == (MESSAGES[0], MESSAGES[1])
    assert isinstance(rejected, RejectedLine)
    assert (rejected.line_number, rejected.body) == (2, line)
    assert reason in rejected.reason


def _read_until_broken(path: Path) -> tuple[list[TimedMessage | RejectedLine], str]:
    read: list[TimedMessage | RejectedLine] = []
    messages = read_recording(path)
    with pytest.raises(UnreadableRecording) as broken:
        read.extend(iter(lambda: next(messages), None))
    return read, str(broken.value)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("lost", [1, 4, 200, 5000])
def test_a_file_that_breaks_off_gives_everything_before_the_break(suffix: str, lost: int, recording: Recording) -> None:
    packed = PACKED[suffix](b"".join(LINES[:200]), b"".join(LINES[200:]))
    path = recording(suffix, packed[:-lost])
    read, reason = _read_until_broken(path)
    assert len(read) >= 200
    assert read == MESSAGES[: len(read)]
    assert str(path) in reason
    assert f"line {len(read) + 1}" in reason


def test_nothing_is_lost_of_what_a_broken_gzip_still_holds(recording: Recording) -> None:
    # Only the checksum is cut off: every line is there.
    read, reason = _read_until_broken(recording(".jsonl.gz", gzip.compress(b"".join(LINES))[:-8]))
    assert read == MESSAGES
    assert "end-of-stream" in reason


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".data.zip"])
def test_a_file_of_other_bytes_is_unreadable(suffix: str, recording: Recording) -> None:
    read, reason = _read_until_broken(recording(suffix, b"these are no compressed bytes at all"))
    assert read == []
    assert "line 1" in reason


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
@given(where=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), keep=st.floats(0, 1))
def test_a_damaged_file_raises_nothing_but_unreadable(
    suffix: str, where: float, byte: int, keep: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packed = bytearray(PACKED[suffix](b"".join(LINES[:20]), b"".join(LINES[20:40])))
    packed[int(where * len(packed))] = byte
    path = tmp_path_factory.mktemp("damaged") / f"recording{suffix}"
    path.write_bytes(packed[: int(keep * len(packed))])
    try:
        for read in read_recording(path):
            assert isinstance(read, TimedMessage | RejectedLine)
    except UnreadableRecording as broken:
        assert broken.__cause__ is not None  # noqa: PT017  # both outcomes are right


def test_a_missing_file_is_unreadable_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRecording, match="existing file"):
        read_recording(tmp_path / "nothing.jsonl")
    with pytest.raises(UnreadableRecording, match="existing file"):
        read_recording(_made_folder(tmp_path / "folder.jsonl"))


def _made_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("name", ["recording.csv", "recording.zip", "jsonl", "recording.jsonl.bz2"])
def test_an_unknown_ending_is_unreadable_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(LINES[0])
    with pytest.raises(UnreadableRecording, match=r"\.jsonl\.zst"):
        read_recording(path)


def test_a_line_over_the_limit_is_unreadable(tmp_path: Path) -> None:
    def chunks(length: int) -> Iterator[bytes]:
        yield b"a\n"
        for _ in range(length // 2**20):
            yield bytes(2**20)
        yield b"\nb"

    assert [len(line) for line in _read_lines(tmp_path, chunks(LONGEST_LINE))] == [1, LONGEST_LINE, 1]
    with pytest.raises(UnreadableRecording, match="line 2: must be at most"):
        list(_read_lines(tmp_path, chunks(LONGEST_LINE + 2**20)))
    for ending in (b"\n", b""):
        with pytest.raises(UnreadableRecording, match="line 1: must be at most"):
            list(_read_lines(tmp_path, iter([bytes(LONGEST_LINE + 1) + ending])))


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_a_long_recording_is_read_in_bounded_memory(suffix: str, recording: Recording) -> None:
    count = 80_000
    path = recording(suffix, PACKED[suffix](b"".join(b'{"recv_ns":1,"msg":%s}\n' % body for body in _bodies(count))))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_recording(path)) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_an_archive_line_is_received_when_the_exchange_sent_it(tmp_path: Path) -> None:
    path = tmp_path / "2024-12-01_XRPUSDT_ob500.data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.data", BODIES[4] + b"\r\nbroken\r\n" + BODIES[5] + b"\r\n")
    first, rejected, last = read_recording(path)
    assert first == TimedMessage(5_000_000, BODIES[4])
    assert last == TimedMessage(6_000_000, BODIES[5])
    assert isinstance(rejected, RejectedLine)
    assert (rejected.line_number, rejected.body) == (2, b"broken")


def test_an_archive_of_two_files_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "two.data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.data", BODIES[0])
        archive.writestr("b.data", BODIES[1])
    with pytest.raises(UnreadableRecording, match="holds one file"):
        list(read_recording(path))


def test_a_real_recording_and_a_real_archive_are_read_to_the_end(recorded_data: Path) -> None:
    messages = list(read_recording(recorded_data / "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"))
    assert len(messages) == 1298
    assert messages[0].__class__ is TimedMessage
    archive = list(read_recording(recorded_data / "bybit/2024-12-01_XRPUSDT_ob500.data.zip"))
    assert len(archive) == 50
    for message in archive:
        assert isinstance(message, TimedMessage)
        assert json.loads(message.body)["ts"] * 1_000_000 == message.recv_ns


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])
def test_a_damaged_archive_gives_whole_messages_before_it_is_unreadable(method: int, tmp_path: Path) -> None:
    path = tmp_path / "damaged.data.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.data", b"\n".join(BODIES))
    whole = path.read_bytes()
    expected = [TimedMessage(ts * 1_000_000, body) for ts, body in enumerate(BODIES, start=1)]
    assert list(read_recording(path)) == expected
    stream = random.Random(3)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[stream.randrange(100, len(whole) - 200)] ^= 1 << stream.randrange(8)
        path.write_bytes(damaged)
        read: list[object] = []
        with pytest.raises(UnreadableRecording, match="to its end"):
            read.extend(read_recording(path))
    for length in (0, 50, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(UnreadableRecording, match="to its end"):
            list(read_recording(path))


def test_an_archive_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.data", b"".join(b'{"ts":%d,"data":"%s"}\n' % (at, bytes(200)) for at in range(1, 300_000)))
    tracemalloc.start()
    try:
        lines = [block.count(b"\n") for block in read_archive(path)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(lines) == 299_999
    assert peak < 48 * 2**20
