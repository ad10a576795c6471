"""`tenantcache settings`."""

from __future__ import annotations

import typer

from tenantcache.errors import ConfigurationError
from tenantcache.settings.model import Settings, Variable, variables


def print_variables() -> None:
    """Print every variable. Raises ConfigurationError, after the table, if the settings have faults."""
    try:
        settings = Settings()
    except ConfigurationError:
        # The table is what a person needs to mend them.
        _print(variables())
        raise
    _print(variables(settings))


def _print(rows: list[Variable]) -> None:
    for row in rows:
        if row.value and row.value != row.default:
            state = f"{row.value}  (default: {row.default})" if row.default != "required" else row.value
        else:
            state = row.default
        typer.echo(f"{row.name} = {state}\n    {row.meaning}")
