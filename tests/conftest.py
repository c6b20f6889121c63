"""What every test may use: the hypothesis profile, recorded data, real servers and a shared kernel cache."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

# Feast's import makes all registries share files of values, here and, by this variable, in the processes that start
# from here: without it, and with prometheus_client imported first, each has its own.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
import prometheus_client  # noqa: F401

from runtime.settings import Settings

if TYPE_CHECKING:
    from tests.s3_server import FaultProxy

# Around the tests may be a deployed service's settings, as in its container: its servers and folders are not for them.
for _name in Settings.model_fields:
    os.environ.pop(_name.upper(), None)
# What a test does not ask for must not be fetched: no test may ask the real exchange.
os.environ["FEATURE_SERVICE_BACKFILL_AUTO"] = "false"

# Started in the background of a shell, a process ignores SIGINT, and so do those that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
DRAWS_EXAMPLES = os.environ.get("FEATURE_SERVICE_TEST_EXAMPLES") == "drawn"
"""Whether hypothesis draws examples by --hypothesis-seed, as `make soak` asks; else they are the same each time."""
MUTATIONS = int(os.environ.get("FEATURE_SERVICE_TEST_MUTATIONS", "100000"))
"""How many faults the soak puts into recorded streams."""
STRICT = os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1"

settings.register_profile(
    "feature_service",
    deadline=None,
    derandomize=not DRAWS_EXAMPLES,
    max_examples=1000 if DRAWS_EXAMPLES else 100,  # of a law that says no number, as examples() has it of the others
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("feature_service")


def missing(what: str) -> None:
    """Skip on a laptop, fail where everything must be there."""
    if STRICT:
        pytest.fail(f"{what} must be there when FEATURE_SERVICE_TEST_STRICT=1")
    pytest.skip(f"{what} is not there")


def not_installed(program: str) -> None:
    """Skip without a program of the system that only root could install; ``missing`` for root."""
    if os.getuid() == 0:
        missing(program)
    pytest.skip(f"no {program}, and who is not root cannot install it")


@pytest.fixture(scope="session")
def kernel_cache() -> Path:
    """Where compiled kernels are kept between test runs."""
    return ROOT / ".cache" / "kernels"


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of real recordings beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        missing("recorded data at ../shared/data")
    return folder


def is_answering(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def s3_server() -> Iterator[FaultProxy]:
    """A real S3 server of this process, with a bucket, behind a proxy that fails when asked."""
    from tests.s3_server import BUCKET, FaultProxy, make_bucket, running_s3

    with running_s3() as port:
        make_bucket(port, BUCKET)
        proxy = FaultProxy(port)
        yield proxy
        proxy.close()


@pytest.fixture
def s3(s3_server: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The server and its proxy, which fails by what a test asks, until the test ends; processes here are let in.

    The bucket is opened anew: a process remembers whose address it was, which may have been a test's own.
    """
    from storage.objects.bucket import Patience, bucket
    from tests.s3_server import BUCKET, endpoint_variables

    assert is_answering("127.0.0.1", s3_server.target), "a test before has ended the S3 server"
    for name, value in endpoint_variables(s3_server.endpoint).items():
        monkeypatch.setenv(name, value)
    bucket.cache_clear()
    bucket(BUCKET).patience = Patience(sleep=lambda _seconds: None)
    yield s3_server
    s3_server.heal()
    bucket.cache_clear()
