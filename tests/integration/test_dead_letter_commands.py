"""The commands on the dead letter as they are typed: what was rejected, and what a corrected scale can take."""

from __future__ import annotations

from pathlib import Path

from ingestion.messages import TimedMessage
from ingestion.pipeline.dead_letter import DeadLetter
from ingestion.sources.played.recordings import read_recording
from market.instruments import Instrument
from storage.instruments import FILE_NAME, InstrumentPins
from tests.commands import feature_service

AT_NS = 1_772_000_000_000_000_000


def trade(symbol: str, size: str) -> bytes:
    return (
        f'{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":1772000000000,\n"data":[{{"T":1772000000000,'
        f'"s":"{symbol}","S":"Buy","v":"{size}","p":"0.9","i":"1"}}]}}'
    ).encode()


def test_what_a_corrected_scale_can_take_is_told_and_written_to_a_recording(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    good = [trade("XUSDT", "1.25"), trade("XUSDT", "2.5")]
    dead_letter = DeadLetter(raw / "dead_letter.jsonl")
    for number, body in enumerate(good):
        reason = f"XUSDT size: must have at most 0 decimals, was {number}"
        dead_letter.append(recv_ns=AT_NS + number, reason=reason, error="ScaleExceeded", body=body)
    dead_letter.append(recv_ns=AT_NS + 2, reason="message: must be JSON", error="MalformedMessage", body=b"{")
    dead_letter.append(recv_ns=AT_NS + 3, reason="r", error="ScaleExceeded", body=trade("XUSDT", "0.123456789"))
    dead_letter.close()
    data = ("--data", tmp_path)

    code, listed = feature_service("dead-letter", "list", *data)
    assert code == 0
    assert [(each["symbol"], each["error"], each["messages"]) for each in listed] == [
        ("", "MalformedMessage", 1),
        ("XUSDT", "ScaleExceeded", 3),
    ]
    assert listed[1]["last_reason"] == "r"
    InstrumentPins(raw).declare(Instrument("XUSDT", 9, 0))
    none_yet = {"symbol": "XUSDT", "good": 0, "rejected": {"ScaleExceeded": 3}}
    assert feature_service("dead-letter", "replay", "--symbol", "XUSDT", *data) == (0, [none_yet])

    (raw / FILE_NAME).unlink()
    InstrumentPins(raw).declare(Instrument("XUSDT", 4, 5))
    recording = tmp_path / "again.jsonl"
    code, told = feature_service("dead-letter", "replay", "--to", recording, *data)
    assert code == 0
    assert told == [
        {"symbol": "", "good": 0, "rejected": {"MalformedMessage": 1}},
        {"symbol": "XUSDT", "good": 2, "rejected": {"ScaleExceeded": 1}},
    ]
    assert list(read_recording(recording)) == [
        TimedMessage(AT_NS + number, body.replace(b"\n", b" ")) for number, body in enumerate(good)
    ]
    assert feature_service("dead-letter", "list", "--symbol", "BTCUSDT", *data) == (0, [])
