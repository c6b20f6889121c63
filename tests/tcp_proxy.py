"""A TCP proxy that can be cut, in the middle of a message too, and that can be away for a while."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from tests.killed_senders import KilledSenders


class TcpProxy:
    """Passes bytes between a port of its own and another one, or the socket at a path.

    kills: of clients, by what they send, which is SQL.
    """

    def __init__(self, target: tuple[str, int] | Path, kills: KilledSenders | None = None) -> None:
        self._target = target
        self._kills = kills
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._is_away = False
        self._left: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int) -> None:
        """Cut every connection once so many bytes more have come from the target."""
        with self._lock:
            self._left = count

    def was_cut(self) -> bool:
        """Whether the cut that was asked for has happened."""
        return self._left is None

    def cut(self) -> None:
        """Cut every connection now, without a farewell."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
            self._left = None
            self.cuts += 1
        for each in sockets:
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def go_away(self) -> None:
        """Cut every connection and refuse new ones until ``come_back``."""
        self._is_away = True
        self.cut()

    def come_back(self) -> None:
        self._is_away = False

    def close(self) -> None:
        self._listener.close()
        self.go_away()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_away:
                    client.close()
                    continue
                target = self._connect()
                with self._lock:
                    self._sockets |= {client, target}
                for source, sink, is_counted in ((client, target, False), (target, client, True)):
                    threading.Thread(target=self._pass, args=(source, sink, is_counted), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, Path):
            target = socket.socket(socket.AF_UNIX)
            target.connect(str(self._target))
            return target
        return socket.create_connection(self._target)

    def _pass(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:  # noqa: FBT001
        with suppress(OSError):
            while chunk := source.recv(65536):
                if is_counted and self._is_cut_within(sink, chunk):
                    return
                if not is_counted and self._is_killed_at(sink, chunk):
                    break
                sink.sendall(chunk)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # or the other side, which another thread reads, would stay open
            each.close()

    def _is_killed_at(self, sink: socket.socket, chunk: bytes) -> bool:
        if self._kills is None:
            return False
        killing = self._kills.of("SQL", chunk.decode("latin-1").replace("\n", " "))
        if killing is None:
            return False
        killing.carry_out(lambda share: sink.sendall(chunk[: int(len(chunk) * share)]))
        sink.shutdown(socket.SHUT_RDWR)
        return True

    def _is_cut_within(self, sink: socket.socket, chunk: bytes) -> bool:
        with self._lock:
            if self._left is None:
                return False
            left = self._left
            self._left = left - len(chunk)
            if left > len(chunk):
                return False
        sink.sendall(chunk[:left])
        self.cut()
        return True
