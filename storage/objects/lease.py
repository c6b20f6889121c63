"""A lease: who may do a thing alone among machines that share an object store, as a lock is among processes of one.

1. The holder writes its token into the object, by compare-and-swap, and beats: another number every few seconds.
2. Who waits takes it over once it has seen the same for LEASE_S by its own clock: machines' clocks are not compared.
3. Let go, the object says so and stays: a delete could not be held to a condition.

A holder that sleeps longer than LEASE_S has lost it and learns of that late. So nothing rests on a lease alone: names
of files change by compare-and-swap whoever holds it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from market.errors import Conflict, CorruptStore, StoreUnavailable
from storage.objects.path import ObjectPath

LEASE_S: Final = 30.0
"""How long a holder that is not heard of keeps it."""
BEAT_S: Final = 5.0
_POLL_S: Final = 1.0
_log: Final = logging.getLogger(__name__)


class _Held(msgspec.Struct, frozen=True):
    """holder: a token, "" is nobody."""

    holder: str
    beat: int


_HELD: Final = msgspec.json.Decoder(_Held)


@contextmanager
def leased(lock: ObjectPath, *, gives_up: Callable[[], bool] | None = None, lease_s: float = LEASE_S) -> Iterator[None]:
    """Hold the lease while the block lasts; waits for who holds it.

    gives_up: asked while it waits; True ends the waiting by Conflict. Raises Conflict, StoreUnavailable, CorruptStore.
    """
    lock.parent.make_folder()
    holder = uuid.uuid4().hex
    _take(lock, holder, gives_up, lease_s)
    is_over = threading.Event()
    beating = threading.Thread(target=_beat, args=(lock, holder, is_over, lease_s), daemon=True)
    beating.start()
    try:
        yield
    finally:
        is_over.set()
        beating.join()
        _let_go(lock, holder)


def _take(lock: ObjectPath, holder: str, gives_up: Callable[[], bool] | None, lease_s: float) -> None:
    seen: str | None = None
    since_s = time.monotonic()
    while True:
        held, etag = _read(lock)
        if held is not None and held.holder == holder:
            return
        if etag != seen:
            seen, since_s = etag, time.monotonic()
        if held is None or not held.holder or time.monotonic() - since_s >= lease_s:
            lock.bucket.swap(lock.key, _text(_Held(holder, 0)), etag)
            continue  # what stands there now says whether it was taken
        if gives_up is not None and gives_up():
            raise Conflict(f"{lock}: held by another, gave up waiting")
        time.sleep(random.uniform(0.2, 1.0) * min(_POLL_S, lease_s / 4))  # noqa: S311  # no secret


def _beat(lock: ObjectPath, holder: str, is_over: threading.Event, lease_s: float) -> None:
    beat = 0
    while not is_over.wait(min(BEAT_S, lease_s / 6)):
        try:
            held, etag = _read(lock)
            if held is None or held.holder != holder:
                _log.warning("%s: was taken over before the work under it was done", lock)
                return
            beat += 1
            lock.bucket.swap(lock.key, _text(_Held(holder, beat)), etag)
        except (StoreUnavailable, CorruptStore) as error:
            _log.warning("%s: could not be kept: %s", lock, error)


def _let_go(lock: ObjectPath, holder: str) -> None:
    try:
        held, etag = _read(lock)
        while held is not None and held.holder == holder:
            lock.bucket.swap(lock.key, _text(_Held("", 0)), etag)
            held, etag = _read(lock)
    except StoreUnavailable as error:  # the next one waits as for one that died
        _log.warning("%s: could not be let go: %s", lock, error)


def _read(lock: ObjectPath) -> tuple[_Held | None, str | None]:
    try:
        content, etag = lock.bucket.get(lock.key)
    except FileNotFoundError:
        return None, None
    try:
        return _HELD.decode(content), etag
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptStore(f"{lock}: must be a lease, was {error}") from error


def _text(held: _Held) -> bytes:
    return msgspec.json.encode(held)
