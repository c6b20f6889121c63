"""Names in a query, separated by commas."""

from __future__ import annotations

from market.errors import InvalidRequest


def listed_names(text: str, thing: str) -> list[str]:
    """Each name once, in order. Raises InvalidRequest for an empty one: to name nothing is not to choose everything."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InvalidRequest(f"{thing}: must be names separated by commas, none of them empty, was {text!r}")
    return list(dict.fromkeys(names))
