"""What tests of restarts share: the messages of a stream, and a kernel of two features with a short horizon."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import SECOND_NS
from tests.restarted import BEGIN_NS, SHORT
from transforms.kernel import Kernel, compile_kernel


@pytest.fixture(scope="module")
def messages() -> list[TimedMessage]:
    return list(simulate(DEFAULT_SYMBOLS[:1], seed=4, start_ns=BEGIN_NS, duration_ns=100 * SECOND_NS))


@pytest.fixture(scope="module")
def short(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(SHORT, kernel_cache)
    kernel.warm_up()
    return kernel
