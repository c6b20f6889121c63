"""``pytest tests/golden --record`` writes golden rows of groups whose fingerprint is new; others must be the same."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", default=False, help="write golden rows of changed groups")
