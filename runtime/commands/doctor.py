"""``doctor``: what keeps the service from running on this machine, and what to do about it."""

from __future__ import annotations

import logging

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document, print_table


def doctor(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Check settings, versions, servers, disk, object stores, clock; say what to fix. Exits 1 when something is wrong.

    Servers that are not configured are started for the check, as run does. Example: feature-service doctor
    """
    from dataclasses import asdict

    from runtime.doctor import examine

    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it would print, the finding says
    found = list(examine(lambda: settings_for(data)))
    if as_json:
        print_document([asdict(each) for each in found], as_json=True)
    else:
        print_table(
            ("subject", "verdict", "seen"),
            [(each.subject, each.verdict, "\n".join(filter(None, (each.seen, each.remedy)))) for each in found],
        )
    if any(each.verdict == "wrong" for each in found):
        raise typer.Exit(1)
