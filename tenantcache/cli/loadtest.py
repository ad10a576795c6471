"""`tenantcache loadtest`: finds hosts to request, and runs locust in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import typer

from tenantcache.errors import StoreError, StoreUnavailableError, TenantCacheError
from tenantcache.settings.model import Settings, variable_of
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.tenant import Row

BATCH = 1_000
LOCUSTFILE = Path(__file__).with_name("locustfile.py")


class LoadTestError(TenantCacheError):
    """A load test cannot begin."""


@dataclass(frozen=True)
class LoadTest:
    """`hosts` is a file with one host a line; without it they come from the database, at most `most` of them."""

    url: str
    hosts: Path | None
    path: str
    users: int
    seconds: int
    skew: float
    most: int
    processes: int

    async def run(self) -> int:
        """Return locust's exit status: 0, or 1 if a request failed. Raises TenantCacheError."""
        if importlib.util.find_spec("locust") is None:
            raise LoadTestError("a load test needs locust: pip install 'tenantcache[loadtest]'")
        if not self.url.startswith(("http://", "https://")):
            raise LoadTestError(f"{self.url!r} is not a URL of a deployment; give one like http://127.0.0.1:8000")
        if self.hosts is not None and not self.hosts.is_file():
            raise LoadTestError(f"there is no file {self.hosts}; give one with one host a line, the busiest first")
        if self.hosts is not None:
            return self._load(self.hosts)
        found = await hosts_in_database(Settings(), self.most)
        if not found:
            raise LoadTestError("the database holds no active tenant with a host; give a file of hosts with --hosts")
        typer.echo(f"{len(found):,} active tenants in the database, {found[0]} the one seen last")
        with tempfile.TemporaryDirectory(prefix="tenantcache-loadtest-") as directory:
            file = Path(directory) / "hosts"
            file.write_text("\n".join(found), encoding="utf-8")
            return self._load(file)

    def _load(self, hosts: Path) -> int:
        environment = os.environ | {
            "LOADTEST_HOSTS": str(hosts),
            "LOADTEST_PATH": self.path,
            "LOADTEST_SKEW": str(self.skew),
        }
        options = {
            "--host": self.url,
            "--users": str(self.users),
            "--spawn-rate": str(self.users),
            "--run-time": f"{self.seconds}s",
            "--loglevel": "WARNING",
        }
        if self.processes > 1:
            options["--processes"] = str(self.processes)
        words = [word for option in options.items() for word in option]
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", *words]
        return subprocess.run(command, env=environment, check=False).returncode


async def hosts_in_database(settings: Settings, most: int) -> list[str]:
    """A host of each active tenant, those seen last first. Raises StoreUnavailableError, SchemaMissingError."""
    postgres = PostgresTenants(settings.database_url, timeout=5.0)
    hosts: list[str] = []
    try:
        await postgres.open()
        async with postgres.stream_rows(BATCH, most) as stream:
            async for rows in stream.batches:
                active = (row for row, _ in rows if row["status"] == "active")
                hosts += [host for row in active if (host := _host(row, settings))]
    except StoreError as error:
        raise StoreUnavailableError(f"{variable_of('database_url')}: {error}") from error
    finally:
        await postgres.close()
    return hosts


def _host(row: Row, settings: Settings) -> str | None:
    if row["subdomain"] and settings.base_domains:
        return f"{row['subdomain']}.{settings.base_domains[0]}"
    return row["primary_domain"] or next(iter(row["domains"]), None)
