"""A bucket: whole objects read, written once, swapped and deleted; the one module that knows obstore and Arrow's S3.

Credentials, region and endpoint come from the environment or the machine's role, as the libraries look for them; none
is shown or logged. A request is tried again, after waits that grow and are drawn, as long as patience lasts, unless
the store refuses it for what another attempt would not change.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from market.errors import StoreRefused, StoreUnavailable
from storage.objects.refusals import is_final, next_step, told_answer

if TYPE_CHECKING:
    import pyarrow as pa

Answer = TypeVar("Answer")

_CONNECT_S: Final = 5
_REQUEST_S: Final = 60
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is tried, and how long is waited in between: anything up to a bound that doubles."""

    attempts: int = 9
    first_s: float = 0.05
    most_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int) -> None:
        """Wait after the attempt of this number, from 0."""
        self.sleep(random.uniform(0, min(self.most_s, self.first_s * 2**attempt)))  # noqa: S311  # no secret


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing has it. written_s: seconds since 1970, by the store's clock."""

    key: str
    size: int
    written_s: float


class Bucket:
    """The objects of one bucket, by key.

    Every method raises StoreUnavailable when the store does not answer, StoreRefused when it refuses who asks.
    """

    def __init__(self, name: str, patience: Patience | None = None) -> None:
        from obstore.store import S3Store

        self.name = name
        self.patience = patience or Patience()
        try:
            self._store = S3Store(
                name,
                client_options={
                    "allow_http": True,  # where the endpoint is named by http://, it is meant
                    "connect_timeout": timedelta(seconds=_CONNECT_S),
                    "timeout": timedelta(seconds=_REQUEST_S),
                },
                retry_config={"max_retries": 0},
            )
        except Exception as error:
            raise StoreUnavailable(f"s3://{name}: cannot be opened: {told_answer(error)}") from error
        self._files: Any = None

    def get(self, key: str) -> tuple[bytes, str]:
        """An object and its ETag. Raises FileNotFoundError."""
        import obstore

        def read() -> tuple[bytes, str]:
            found = obstore.get(self._store, key)
            return bytes(found.bytes()), found.meta["e_tag"] or ""

        return self._tried(key, "read", read)

    def ask(self, key: str) -> None:
        """Whether the store answers, in one attempt; there need be no object of this key."""
        import obstore

        with suppress(FileNotFoundError):
            self._tried(key, "read", lambda: obstore.head(self._store, key), attempts=1)

    def digest(self, key: str) -> tuple[int, str]:
        """Bytes and SHA-256 of an object, read in pieces. Raises FileNotFoundError."""
        import obstore

        def read() -> tuple[int, str]:
            size, digest = 0, hashlib.sha256()
            for chunk in obstore.get(self._store, key).stream(min_chunk_size=_CHUNK):
                size += len(chunk)
                digest.update(chunk)
            return size, digest.hexdigest()

        return self._tried(key, "read", read)

    def part(self, key: str, start: int, length: int) -> bytes:
        """Bytes of an object from ``start``, as many of ``length`` as it has. Raises FileNotFoundError."""
        import obstore

        return self._tried(key, "read", lambda: bytes(obstore.get_range(self._store, key, start=start, length=length)))

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object under a key that nobody else writes to: so it may be written twice."""
        import obstore

        self._tried(key, "written", lambda: obstore.put(self._store, key, content))

    def swap(self, key: str, content: bytes, etag: str | None) -> bool:
        """Write an object where it has this ETag, None is where there is none; False where it has not.

        False too where the answer to a first attempt was lost and it had been made: who asks looks again.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def write() -> bool:
            try:
                obstore.put(self._store, key, content, mode="create" if etag is None else {"e_tag": etag})
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        return self._tried(key, "written", write)

    def listed(self, folder: str, is_wanted: Callable[[str], bool]) -> list[StoredObject]:
        """The wanted objects below a folder, "" is all, as the store tells: some may be gone, some missing."""
        import obstore

        def read() -> list[StoredObject]:
            return [
                StoredObject(each["path"], each["size"], each["last_modified"].timestamp())
                for some in obstore.list(self._store, folder or None, chunk_size=1000)
                for each in some
                if is_wanted(each["path"])
            ]

        return self._tried(folder, "listed", read)

    def now_s(self, probe: str) -> float:
        """What the store's clock says, seconds since 1970: of an object written under a key that nobody else has."""
        import obstore

        self.put(probe, b"")
        try:
            return self._tried(probe, "read", lambda: obstore.head(self._store, probe))["last_modified"].timestamp()
        finally:
            self.delete(probe)

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        import obstore

        with suppress(FileNotFoundError):
            self._tried(key, "deleted", lambda: obstore.delete(self._store, key))

    def open(self, key: str) -> pa.NativeFile:
        """An object to read in ranges, by pyarrow. Raises OSError, FileNotFoundError."""
        if self._files is None:
            from pyarrow.fs import FileSystem

            # By its address: what it is made of otherwise does not look for an endpoint in the environment.
            self._files, _ = FileSystem.from_uri(f"s3://{self.name}")
        opened: pa.NativeFile = self._files.open_input_file(f"{self.name}/{key}")
        return opened

    def _tried(self, key: str, done: str, request: Callable[[], Answer], *, attempts: int | None = None) -> Answer:
        """done: what the request asks to have done with the key. attempts: None is as many as patience has.

        Raises FileNotFoundError, StoreUnavailable, StoreRefused.
        """
        from obstore.exceptions import BaseError

        most = self.patience.attempts if attempts is None else attempts

        address, told, step = f"s3://{self.name}/{key}", "", ""
        for attempt in range(most):
            try:
                return request()
            except (BaseError, OSError) as error:
                told, step = told_answer(error), next_step(error)
                if is_final(error):
                    raise StoreRefused(f"{address}: must be {done}, was refused: {told}; {step}") from None
                if isinstance(error, FileNotFoundError):
                    raise
            if attempt + 1 < most:
                self.patience.wait(attempt)
        raise StoreUnavailable(f"{address}: no answer in {most} attempts: {told}; {step}")


@cache
def bucket(name: str) -> Bucket:
    """The bucket of a name, opened once a process. Raises StoreUnavailable."""
    return Bucket(name)
