"""Query parameters that a route does not have are refused: a misspelled one would otherwise count as left out."""

from __future__ import annotations

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
