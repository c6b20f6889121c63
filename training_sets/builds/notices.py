"""Notices: that a dataset became ready or failed is announced once, even if the process dies before announcing it.

The record of an ended dataset says whether it was announced, and is marked while no other process can take it: a
process that dies between telling and marking lets it be told again, so a receiver may see one twice, with the same id.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

from market.clock import Clock, to_datetime
from storage.database.dataset_records import DatasetRecord
from storage.database.metadata import Metadata
from training_sets.dataset.records import download_urls

DATASET_READY: Final = "features.dataset.ready"
MOST_KEPT: Final = 100

_log = logging.getLogger(__name__)


class DatasetNotices(Protocol):
    """Where notices go."""

    def send(self, notice: Mapping[str, Any]) -> None:
        """Hand one over; it is safe with the receiver when this returns. Raises StoreUnavailable."""


class InProcessNotices:
    """Notices of a process without a message broker: logged, the last MOST_KEPT kept."""

    def __init__(self) -> None:
        self.sent: deque[Mapping[str, Any]] = deque(maxlen=MOST_KEPT)

    def send(self, notice: Mapping[str, Any]) -> None:
        self.sent.append(notice)
        _log.info("%s: %s is %s", DATASET_READY, notice["dataset_id"], notice["status"])


class Announcer:
    """Tells of every dataset that ended and was not announced."""

    def __init__(self, metadata: Metadata, notices: DatasetNotices, clock: Clock) -> None:
        self._metadata = metadata
        self._notices = notices
        self._clock = clock

    def announce(self) -> int:
        """Send due notices, oldest first; returns how many. Raises StoreUnavailable; unsent ones stay due."""
        count = 0
        while self._metadata.announce_next(self._send, to_datetime(self._clock.now_ns())):
            count += 1
        return count

    def _send(self, record: DatasetRecord) -> None:
        self._notices.send(dataset_notice(record))


def dataset_notice(record: DatasetRecord) -> dict[str, Any]:
    """The payload of ``features.dataset.ready``; ``symbols`` names all of them, ``symbol`` the first."""
    notice = {
        "dataset_id": record.dataset_id,
        "symbol": record.symbols[0],
        "symbols": list(record.symbols),
        "status": record.status,
        "splits_info": record.splits_info,
        "train_records": record.train_records,
        "validation_records": record.validation_records,
        "test_records": record.test_records,
        "download_urls": download_urls(record),
        "feature_registry_version": record.feature_registry_version,
        "trace_id": record.trace_id,
    }
    return notice if record.error_message is None else notice | {"error_message": record.error_message}
