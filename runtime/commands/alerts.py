"""``alerts``: what is wrong, what to do about it, and muting alerts for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document, print_line, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from storage.database.alerts import Alert, AlertStore

app = typer.Typer(help="What is wrong, and what to do about it.", no_args_is_help=True)


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Include closed alerts that are still kept.")] = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """The open alerts, each with what to do. Exits 1 when one is critical and not silenced."""
    from market.clock import SystemClock, to_datetime

    now = to_datetime(SystemClock().now_ns())
    with _store(data) as store:
        found = store.since(to_datetime(0), now) if everything else store.open_alerts(now)
    if as_json:
        print_document([alert.document() for alert in found], as_json=True)
    else:
        print_alerts(found)
    if any(alert.closed_at is None and alert.severity == "critical" and not alert.silenced_until for alert in found):
        raise typer.Exit(1)


@app.command("silence")
def silence(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule; '*' for every rule.")],
    subject: Annotated[str, typer.Option("--subject", help="Subject, e.g. BTCUSDT; * and ? are wildcards.")] = "*",
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long, e.g. 30m, 8h or 7d.")] = "1h",
    reason: Annotated[str, typer.Option("--reason", help="Reason.")] = "",
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Mute an alert for a while; it is still listed. Silencing again replaces the period.

    Example: feature-service alerts silence symbol_silent --subject XRPUSDT --for 8h --reason "halted by the exchange"
    """
    from market.clock import SystemClock, format_iso, parse_duration_ns, to_datetime
    from storage.database.alerts import ANY
    from upkeep.alert_rules import RULES

    if rule not in {ANY, *RULES}:
        raise typer.BadParameter(f"must be one of {', '.join(RULES)} or '*', was {rule!r}", param_hint="RULE")
    try:
        until_ns = SystemClock().now_ns() + parse_duration_ns(span)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from None
    with _store(data) as store:
        store.silence(rule=rule, subject=subject, until=to_datetime(until_ns), reason=reason)
    until = format_iso(until_ns)
    if as_json:
        silenced = {"rule": rule, "subject": subject, "silenced_until": until, "reason": reason}
        print_document(silenced, as_json=True)
    else:
        print_line(f"{rule} of {subject}: silenced until {until}")


def print_alerts(alerts: list[Alert]) -> None:
    """A table, and below it what to do."""
    if not alerts:
        print_line("No alert is open.")
        return
    print_table(
        ("id", "severity", "rule", "subject", "since", "state"),
        [
            (
                alert.alert_id,
                alert.severity,
                alert.rule,
                alert.subject,
                f"{alert.opened_at:%Y-%m-%d %H:%M:%S}",
                f"silenced until {alert.silenced_until:%Y-%m-%d %H:%M}" if alert.silenced_until else alert.state,
            )
            for alert in alerts
        ],
    )
    for alert in alerts:
        print_line(f"{alert.alert_id}: {alert.summary}. {alert.action}")


@contextmanager
def _store(data: Path | None) -> Iterator[AlertStore]:
    from contextlib import closing

    from runtime.servers import running_servers
    from runtime.wiring import metadata_store
    from storage.database.alerts import AlertStore

    with (
        running_servers(settings_for(data)) as servers,
        metadata_store(servers),
        closing(AlertStore(servers.postgres_url)) as store,
    ):
        yield store
