"""The command line, `tenantcache`: what sets up and serves, what a shell does to tenants, and what is about Redis.

A fault that a person can mend is one message on stderr and exit status 2, without a traceback.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tenantcache.cli.adopt import app as adopt
from tenantcache.cli.analyze import analyze
from tenantcache.cli.budget import budget
from tenantcache.cli.churn import churn
from tenantcache.cli.clean import clean
from tenantcache.cli.domains import app as domains
from tenantcache.cli.health import doctor, status, watch
from tenantcache.cli.init import init, uninstall
from tenantcache.cli.monitoring import alerts, grafana
from tenantcache.cli.record import record
from tenantcache.cli.resolve import resolve
from tenantcache.cli.tenants import app as tenants
from tenantcache.cli.terminal import Exit
from tenantcache.cli.ttl import ttl
from tenantcache.cli.usage import usage
from tenantcache.cli.visible import visible
from tenantcache.cli.watchtable import watch_table
from tenantcache.errors import StoreError, TenantCacheError, UnknownDomainError, UnknownTenantError, UnreachableError

app: typer.Typer = typer.Typer(
    help="Tenant lookup and rate limits for ASGI apps. Everything is set by environment variables: see `settings`.",
    no_args_is_help=True,
    add_completion=False,
    # The pretty ones show local variables, among them URLs with passwords.
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `arguments`, by default those of the process, and exit."""
    # At its exit Python looks through all modules for garbage three times: a fifth of what a short command takes.
    atexit.register(gc.freeze)
    try:
        app(args=arguments, prog_name="tenantcache")
    except UnreachableError as error:
        _tell(str(error))
        sys.exit(Exit.UNREACHABLE)
    except (UnknownTenantError, UnknownDomainError) as error:
        _tell(str(error))
        sys.exit(Exit.FINDINGS)
    except (TenantCacheError, StoreError) as error:
        _tell(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tenantcache":
            raise  # a fault of the package, not of the installation
        _tell(f"{error.name} is not installed; install tenantcache with its extras: pip install 'tenantcache[demo]'")
    except OSError as error:  # a closed pipe never comes here: click ends silently
        path = f": {error.filename}" if error.filename else ""
        _tell(f"{error.strerror or error}{path}; correct the path, or its permissions")
    sys.exit(Exit.USAGE)


def _tell(text: str) -> None:
    for line in text.splitlines():
        typer.echo(f"tenantcache: {visible(line)}", err=True)


app.command()(init)
app.command()(uninstall)
app.add_typer(adopt, name="adopt")
app.command("watch-table")(watch_table)
app.command()(resolve)
app.add_typer(tenants, name="tenants")
app.add_typer(domains, name="domains")
app.command()(usage)
app.command()(budget)
# What stands behind COMMAND is the program's, whether it looks like an option or not.
app.command(context_settings={"allow_interspersed_args": False})(record)
app.command()(analyze)
app.command()(ttl)
app.command()(churn)
app.command()(clean)
app.command()(status)
app.command()(watch)
app.command()(doctor)
app.command()(alerts)
app.command()(grafana)


@app.command()
def check() -> None:
    """Read the settings, connect to the servers, and report what is wrong."""
    from tenantcache.cli.check import run_checks

    if not asyncio.run(run_checks()):
        raise typer.Exit(Exit.USAGE)


@app.command()
def settings() -> None:
    """Print all variables with default, value in force (passwords masked) and meaning."""
    from tenantcache.cli.variables import print_variables

    print_variables()


@app.command()
def demo(
    target: Annotated[
        str | None,
        typer.Option("--app", help="The app to serve, as uvicorn takes it. (default: the example application)"),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port on 127.0.0.1.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that serve.")] = 2,
    directory: Annotated[Path, typer.Option(help="Directory that keeps the database between runs.")] = Path(".demo"),
    database_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Write the tenants into this Postgres, instead of a new one."),
    ] = None,
    redis_url: Annotated[str | None, typer.Option(metavar="URL", help="Use this Redis, instead of a new one.")] = None,
) -> None:
    """Serve an app with a real Postgres and Redis and fifty made-up tenants, until Ctrl-C.

    DATABASE_URL and REDIS_URL are ignored: other programs may be using the servers that they name.
    """
    from tenantcache.cli.demo import Demo

    Demo(target, port, workers, directory, database_url, redis_url).run()


@app.command()
def loadtest(
    url: Annotated[str, typer.Argument(help="The address of the deployment, like http://127.0.0.1:8000.")],
    hosts: Annotated[
        Path | None, typer.Option(help="A file with one host a line, the busiest first; else from the database.")
    ] = None,
    path: Annotated[str, typer.Option(help="The path to request.")] = "/",
    users: Annotated[int, typer.Option(min=1, help="Requests in flight at once.")] = 20,
    seconds: Annotated[int, typer.Option(min=1, help="Duration.")] = 30,
    skew: Annotated[float, typer.Option(min=0, help="Zipf exponent of the traffic; 0: all hosts alike.")] = 1.0,
    most: Annotated[int, typer.Option(min=1, help="Tenants to take from the database.")] = 10_000,
    processes: Annotated[int, typer.Option(min=1, help="Processes that make the load.")] = 1,
) -> None:
    """Load a deployment with its own tenants' traffic, and report by tenant. Needs the extra `loadtest`."""
    from tenantcache.cli.loadtest import LoadTest

    status = asyncio.run(LoadTest(url, hosts, path, users, seconds, skew, most, processes).run())
    if status:
        raise typer.Exit(status)
