"""``pytest tests/golden --record`` writes the golden rows anew instead of comparing them."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", default=False, help="write the golden rows anew")
