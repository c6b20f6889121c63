"""Shared by the registry commands: the life cycle, the author, and the text about a version or a change."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from runtime.commands.options import settings_for
from runtime.commands.printing import print_document, print_line

if TYPE_CHECKING:
    from registry.life_cycle import RegistryLifeCycle
    from registry.states import Asked, VersionState
    from storage.database.registry_records import VersionRecord


def tell_activation(done: VersionRecord, *, as_json: bool) -> None:
    """Say what was activated and what it breaks."""
    from registry.active import TAKES_EFFECT

    warnings, breaking = list(done.compatibility_warnings or ()), list(done.breaking_changes or ())
    document = {
        "version": done.version,
        "previous_version": done.previous_version,
        "rollback_from": done.rollback_from,
        "activated_by": done.activated_by,
        "activation_reason": done.activation_reason,
        "compatibility_warnings": warnings,
        "breaking_changes": breaking,
        "hot_reload": True,
        "takes_effect": TAKES_EFFECT,
    }
    lines = [*(f"breaking: {text}" for text in breaking), *(f"warning: {text}" for text in warnings)]
    tell(document, "\n".join([*lines, f"{done.version}: active, {TAKES_EFFECT}"]), as_json=as_json)


def tell(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    """The document, or the text for people."""
    if as_json:
        print_document(document, as_json=True)
    else:
        print_line(text)


def asked(by: str | None, reason: str) -> Asked:
    """Who asks, as they say or as this machine knows them."""
    from registry.states import Asked

    user = getpass.getuser()
    return Asked(origin=f"command line of {user} on {socket.gethostname()}", made_by=by or user, reason=reason or None)


@contextmanager
def life_cycle(data: Path | None) -> Iterator[RegistryLifeCycle]:
    """The life cycle on the servers that the settings name."""
    from runtime.servers import running_servers
    from runtime.serving import registry_life_cycle
    from runtime.wiring import metadata_store

    settings = settings_for(data)
    with (
        running_servers(settings) as servers,
        metadata_store(servers) as metadata,
        registry_life_cycle(settings, servers, metadata) as cycle,
    ):
        yield cycle


def tell_synchronised(found: VersionState, *, as_json: bool) -> None:
    """Say what was recorded of a version. Exits 1 when it breaks the rules."""
    text = "\n".join([*found.problems, f"{found.version}: {'recorded' if not found.problems else 'broken'}"])
    tell(found.document(), text, as_json=as_json)
    if found.problems:
        raise typer.Exit(1)


def state_of(row: dict[str, Any]) -> str:
    """A version's state in the list, in words."""
    if row["is_active"]:
        return "active" if row["is_valid"] else "active, broken"
    if row["is_shadow"]:
        return "next to the active one"
    if not row["is_valid"]:
        return "broken"
    return "shipped" if row["is_shipped"] else "candidate"
