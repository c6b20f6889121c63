"""Which versions of Feast the stores were tested with: they rely on its formats, and on names it does not document."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Final

TESTED: Final = ("0.67.0",)


def warn_of_others(installed: str) -> None:
    """Warn where this is no version that the stores were tested with."""
    if installed not in TESTED:
        warnings.warn(
            f"feast: must be {' or '.join(TESTED)}, which the stores were tested with, was {installed}; "
            f"what they rely on in it may have changed",
            stacklevel=3,
        )


warn_of_others(version("feast"))
