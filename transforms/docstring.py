"""What a feature's docstring says, by heading."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

HEADINGS: Final = frozenset({"Formula", "NaN", "Source", "Range"})


def read_docstring(function: Callable[..., Any]) -> tuple[str, str, str]:
    """Summary, formula and NaN rule; empty where there is none."""
    summary, _, body = (inspect.getdoc(function) or "").partition("\n")
    parts = {"Formula": "", "NaN": ""}
    heading = ""
    for line in body.splitlines():
        title, colon, rest = line.partition(":")
        if colon and title in HEADINGS:
            heading = title
            parts[heading] = rest.strip()
        elif heading and line.strip():
            parts[heading] += " " + line.strip()
    return summary, parts["Formula"], parts["NaN"]
