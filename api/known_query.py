"""Query parameters that a route does not have are refused: a misspelled one would otherwise count as left out.

So are those given more than once: of two symbols only the last would be answered.
"""

from __future__ import annotations

from collections import Counter

from fastapi import Request

from api.errors import MalformedRequest


async def refuse_unknown_query(request: Request) -> None:
    """A dependency of our own routes. Raises MalformedRequest, with the names that the route has."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    known = {parameter.alias for parameter in route.dependant.query_params}
    if unknown := sorted(request.query_params.keys() - known):
        rule = (
            f"must be one of {', '.join(sorted(known))}" if known else "must be left out, this route has no parameters"
        )
        raise MalformedRequest("; ".join(f"query.{name}: {rule}, was given" for name in unknown))
    given = Counter(name for name, _ in request.query_params.multi_items())
    if repeated := {name: count for name, count in given.items() if count > 1}:
        raise MalformedRequest(
            "; ".join(f"query.{name}: must be given once, was {count} times" for name, count in repeated.items())
        )
