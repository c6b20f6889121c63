"""One kernel of every column, compiled once for all laws, and the state of an engine whose every window is full."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from market.clock import SECOND_NS
from tests.laws.columns import every_feature
from tests.laws.markets import WARM_NS, warm_market
from tests.laws.running import begin
from transforms.kernel import Kernel, compile_kernel


@pytest.fixture(scope="session")
def kernel(kernel_cache: Path) -> Kernel:
    """The kernel of every column."""
    kernel = compile_kernel(every_feature(), kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture(scope="session")
def warm_at(kernel: Kernel) -> Callable[[int], bytes]:
    """The same checkpoint on any row grid."""

    @cache
    def checkpoint_at(grid_ns: int) -> bytes:
        events = warm_market()
        engine = begin(kernel, grid_ns=grid_ns)
        engine.feed(events[events["recv_ns"] < WARM_NS])
        engine.advance(WARM_NS)
        return engine.checkpoint()

    return checkpoint_at


@pytest.fixture(scope="session")
def warm_checkpoint(warm_at: Callable[[int], bytes]) -> bytes:
    """The checkpoint at WARM_NS of an engine that was fed the warm market until then."""
    return warm_at(SECOND_NS)


@pytest.fixture(scope="session", params=["fresh", "warm"])
def before_at(request: pytest.FixtureRequest) -> Callable[[int], bytes | None]:
    """What a law's engines of a row grid go on from: nothing, or a state in which every window is full."""
    if request.param == "fresh":
        return lambda _grid_ns: None
    checkpoint_at: Callable[[int], bytes] = request.getfixturevalue("warm_at")
    return checkpoint_at


@pytest.fixture(scope="session", params=["fresh", "warm"])
def before(request: pytest.FixtureRequest) -> bytes | None:
    """What a law's engines go on from: nothing, or a state in which every window is full."""
    if request.param == "fresh":
        return None
    checkpoint: bytes = request.getfixturevalue("warm_checkpoint")
    return checkpoint
