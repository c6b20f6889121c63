"""One kernel of the whole catalogue, compiled once for all laws."""

from __future__ import annotations

from pathlib import Path

import pytest

from transforms.catalogue import FEATURES, feature_set
from transforms.plan import Kernel, compile_kernel
from transforms.rows import FeatureSet


@pytest.fixture(scope="session")
def every_feature() -> FeatureSet:
    """Every catalogued feature at once."""
    return feature_set("laws", list(FEATURES))


@pytest.fixture(scope="session")
def kernel(every_feature: FeatureSet, kernel_cache: Path) -> Kernel:
    """The kernel of every feature."""
    return compile_kernel(every_feature, kernel_cache)
