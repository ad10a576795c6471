"""What a monitoring system is fed with: alert rules and a dashboard, as they come with the package."""

from __future__ import annotations

from typing import Annotated

import typer


def alerts(
    runbooks: Annotated[
        str, typer.Option(metavar="URL", help="The page that the alerts link to, if you keep a copy of the runbooks.")
    ] = "docs/runbooks.md",
) -> None:
    """Print the alert rules for Prometheus."""
    from tenantcache.observability import alerts as rules

    typer.echo(rules.alerts(runbooks), nl=False)


def grafana() -> None:
    """Print a dashboard for Grafana, as JSON to import."""
    from tenantcache.observability.grafana import as_json

    typer.echo(as_json(), nl=False)
