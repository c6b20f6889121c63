"""``mcp``: the service as tools for an agent, over standard input and output."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.commands.options import settings_for


def mcp(
    url: Annotated[
        str | None,
        typer.Option("--url", help="URL of the service; default: this machine and the port in the settings."),
    ] = None,
    allow_build: Annotated[
        bool, typer.Option("--allow-build", help="Add a tool that starts builds of training sets.")
    ] = False,
) -> None:
    """Tools for an agent (Model Context Protocol) that use a running service; read-only by default.

    If the service has a key, set FEATURE_SERVICE_API_KEY here too.

    Example: feature-service mcp --url http://127.0.0.1:4900
    """
    import asyncio
    from importlib.util import find_spec

    from market.errors import InvalidRequest

    if find_spec("mcp") is None:
        raise InvalidRequest("mcp: must be installed for this command, was not: pip install 'feature-service[mcp]'")
    asyncio.run(_serve(url, may_build=allow_build))


async def _serve(url: str | None, *, may_build: bool) -> None:
    import httpx

    from runtime.agent_tools import ANSWERS_WITHIN_S, agent_server

    settings = settings_for(None)
    base = url or f"http://127.0.0.1:{settings.feature_service_port}"
    key = settings.feature_service_api_key
    headers = {} if key is None else {"X-API-Key": key.get_secret_value()}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=ANSWERS_WITHIN_S) as client:
        await agent_server(client, may_build=may_build).run_stdio_async()
