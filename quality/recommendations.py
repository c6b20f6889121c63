"""What an operator should do about what a data quality report found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from market.clock import SECOND_NS
from market.events import KIND_NAMES
from quality.limits import QualityLimits, is_odd

HIGH_UNKNOWN_SHARE: Final = 0.05
HIGH_OFFSET_NS: Final = SECOND_NS


def recommendations(document: Mapping[str, Any], limits: QualityLimits) -> list[str]:
    """What an operator should do, the gravest first; empty when nothing is wrong."""
    if document["held"] is None:
        return [f"No message of {document['symbol']} is stored: check that it is subscribed, or backfill the period."]
    streams, said = document["streams"], []
    if document["missing_rate"] is not None and document["missing_rate"] > limits.missing_rate:
        said.append(
            f"{document['missing_rate']:.2%} of the messages are missing: check the gateway's queue length and its "
            "x-max-length, and backfill the period."
        )
    unrepaired = [hole for hole in document["sequence_gap_details"] if hole["repaired"] is None]
    if unrepaired:
        said.append(
            f"The order book has been broken since {unrepaired[0]['to']}: check that the gateway answers "
            "a subscription with a snapshot."
        )
    elif document["sequence_gaps"]:
        said.append(f"{document['sequence_gaps']} gaps in the order book: check the gateway's connection and its log.")
    if document["interruptions"]:
        seconds, count = sum(span["seconds"] for span in document["interruptions"]), len(document["interruptions"])
        times = "once" if count == 1 else f"{count} times"
        lasted = f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"
        said.append(
            f"Ingest was interrupted {times}, {lasted} in all, and may have missed messages: see its log at "
            f"{document['interruptions'][0]['to']}, and backfill the period."
        )
    if streams["kline"]["missing"]:
        said.append(f"{streams['kline']['missing']} minute candles are missing: backfill them by REST.")
    if streams["trade"]["minutes_that_differ"]:
        said.append(
            f"The trades of {streams['trade']['minutes_that_differ']} minutes do not add up to the candle's volume: "
            "trades are missing or duplicated; backfill them from the archive."
        )
    for name in KIND_NAMES:
        if name in streams and streams[name]["silences"]:
            longest = streams[name]["longest_silences"][0]
            said.append(
                f"The {name} stream was silent {streams[name]['silences']} times, at most {longest['seconds']:.0f} s "
                f"from {longest['from']}: check its subscription."
            )
    said += _of_arrivals(streams, limits)
    said += _of_values(document)
    return said


def _of_arrivals(streams: Mapping[str, Any], limits: QualityLimits) -> list[str]:
    said = []
    for name, stream in streams.items():
        late, again, received = stream["late"], stream["duplicates"], stream["received"]
        if is_odd(late, received, limits.late_rate):
            said.append(
                f"{late} messages of the {name} stream came after their row was closed, by at most "
                f"{stream['most_late_ms']:.0f} ms: check the gateway's and the broker's delays, and the clocks."
            )
        if is_odd(again, received, limits.duplicate_rate):
            said.append(
                f"{again} messages of the {name} stream came again: check for two gateways on one queue, and for "
                "acknowledgements that do not arrive. Each was counted once."
            )
    return said


def _of_values(document: Mapping[str, Any]) -> list[str]:
    said = []
    if document["crossed_book"]:
        said.append(
            f"The order book was crossed or locked {len(document['crossed_book'])} times, first after "
            f"{document['crossed_book'][0]['from']}, and not served until the next snapshot: compare with the "
            "exchange, and check that no other stream is mixed into it."
        )
    if document["frozen_book"]:
        said.append(
            f"The order book was frozen while the symbol traded, first at {document['frozen_book'][0]['from']}: check "
            "the order book's subscription."
        )
    if document["anomaly_details"]:
        first = document["anomaly_details"][0]
        said.append(
            f"{document['anomalies']} outliers among the trades, the first a {first['what']} of {first['value']:g} "
            f"against {first['reference']:g} at {first['time']}: compare with the exchange before training on it."
        )
    offset = document["clock_offset_ms"]
    if offset is not None and offset["jumps"]:
        said.append(f"The clock offset jumps {len(offset['jumps'])} times: check time synchronisation (chrony, NTP).")
    elif offset is not None and abs(offset["median"]) * 1e6 > HIGH_OFFSET_NS:
        said.append(f"The receive clock is {offset['median']:.0f} ms from the exchange's: check time synchronisation.")
    features = document["features"]
    if features is not None:
        lacking = features["expected_rows"] - features["rows"]
        if lacking:
            said.append(f"{lacking} feature rows are missing: run feature-service rebuild for the period.")
        for group, shares in features["status_share"].items():
            bad = {status: share for status, share in shares.items() if status in {"GAP", "STALE", "NO_DATA"}}
            if sum(bad.values()) > HIGH_UNKNOWN_SHARE:
                told = ", ".join(f"{status} in {share:.0%}" for status, share in bad.items())
                said.append(f"The {group} features are {told} of the rows: their source was missing or broken.")
    return said
