"""State machines of hypothesis: a few short runs under `make test`, many long ones where examples are drawn."""

from __future__ import annotations

from hypothesis import settings

from tests.conftest import DRAWS_EXAMPLES

_TIMES_MORE = 25


def machine_settings(*, runs: int, steps: int) -> settings:
    """So many runs of so many steps at most; where examples are drawn many more of them."""
    return settings(
        max_examples=runs * (_TIMES_MORE if DRAWS_EXAMPLES else 1),
        stateful_step_count=steps * (2 if DRAWS_EXAMPLES else 1),
    )
