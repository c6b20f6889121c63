"""HEAD is answered as GET is, without content, and what would be read for the content alone is not read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from api.access import Door
from api.errors import install_error_handlers
from api.heads import Heads
from api.metrics import HttpMetrics, Measured
from api.requests import RequestNotes
from market.clock import ManualClock

PIECES = 1000


class Served:
    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.pieces = 0
        app = FastAPI()
        install_error_handlers(app)
        app.add_middleware(Heads)
        app.add_middleware(Door, api_key=None, make_trace_id=lambda: "made", now_s=lambda: 0)
        notes = RequestNotes(ManualClock(0), None)
        app.add_middleware(Measured, metrics=HttpMetrics(self.registry), notes=notes)
        file = folder / "file.bin"
        file.write_bytes(b"x" * (4 << 20))

        @app.get("/number")
        def number(number: int = 7) -> dict[str, int]:
            return {"number": number}

        @app.get("/file", response_class=FileResponse)
        def download() -> FileResponse:
            return FileResponse(file, headers={"Content-Disposition": "attachment"})

        @app.get("/stream", response_class=StreamingResponse)
        def stream() -> StreamingResponse:
            return StreamingResponse(self.read(), media_type="text/event-stream")

        @app.post("/change")
        def change() -> None:
            """Nothing."""

        self.client = TestClient(app)

    async def read(self) -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            self.pieces += 1
            yield b"piece"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


@pytest.mark.parametrize("path", ["/number", "/number?number=x", "/file", "/stream", "/nowhere", "/change"])
def test_a_head_has_the_status_and_the_headers_of_the_get(served: Served, path: str) -> None:
    head, got = served.client.head(path), served.client.get(path)
    assert head.content == b""
    assert (head.status_code, head.headers) == (got.status_code, got.headers)


def test_a_download_states_its_length_and_a_range_is_of_get_alone(served: Served) -> None:
    for headers in ({}, {"Range": "bytes=0-9"}):
        head = served.client.head("/file", headers=headers)
        assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(4 << 20), b"")
        assert head.headers["ETag"]
        assert head.headers["Content-Disposition"] == "attachment"


def test_what_a_stream_would_tell_is_not_made(served: Served) -> None:
    assert served.client.head("/stream").status_code == 200
    assert served.pieces < PIECES / 10
    assert len(served.client.get("/stream").content) == PIECES * len(b"piece")


def test_a_head_is_measured_as_one_of_its_route(served: Served) -> None:
    served.client.head("/number")
    labels = {"method": "HEAD", "route": "/number", "status": "200"}
    assert served.registry.get_sample_value("feature_service_http_request_seconds_count", labels) == 1
