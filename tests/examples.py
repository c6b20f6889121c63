"""How many examples a law is tried on."""

from __future__ import annotations

from tests.conftest import DRAWS_EXAMPLES


def examples(count: int) -> int:
    """``count`` in ``make test``, always the same ones; ten times as many, drawn anew, in ``make soak``."""
    return 10 * count if DRAWS_EXAMPLES else count
