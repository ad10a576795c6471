"""`tenantcache demo`: an app, its workers, a Postgres and a Redis, all started and all stopped.

Rules:

* Things stop in the opposite order of their start: the workers give back what they hold while the stores still run.
* SIGINT, SIGTERM and SIGHUP mean the same. One that comes while we stop is ignored.
* Everything that can be checked beforehand is checked before anything starts (`preflight.py`).
* Tenants are written only into a database that the command line names, never into one that a variable names.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import typer

from tenantcache.cli import preflight
from tenantcache.cli.connections import postgres, try_redis
from tenantcache.cli.schema import install_at
from tenantcache.cli.seeds import PLANS, seed
from tenantcache.devservers import HOST, DevServer, DevServerError, PostgresServer, RedisServer, spawn
from tenantcache.settings.urls import POSTGRES_PORT, REDIS_PORT, address

OURS = "X-Demo-Run"
"""The header that tells our answers from those of a server that has taken the port meanwhile."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Demo:
    """One run of the demo. `directory` keeps the database between runs; the URLs are those of the command line."""

    target: str | None
    port: int
    workers: int
    directory: Path
    database_url: str | None = None
    redis_url: str | None = None

    def run(self) -> None:
        """Serve until a stop signal. Raises DevServerError, ServerError or ConfigurationError."""
        database_url, redis_url = preflight.check_settings(self.database_url, self.redis_url)
        preflight.check_installed(
            brings_postgres=database_url is None, brings_redis=redis_url is None, brings_app=self.target is None
        )
        preflight.check_port(self.port)
        if database_url is None:
            preflight.check_directory(self.directory)
        if line := preflight.ignored(os.environ):
            typer.echo(line)
        try:
            with ExitStack() as stack:
                _on_stop_signals(_interrupt)
                self._serve(stack, database_url, redis_url)
        except KeyboardInterrupt:
            typer.echo("\nStopped everything that was started here.")

    def _serve(self, stack: ExitStack, database_url: str | None, redis_url: str | None) -> None:
        urls = {
            "TENANTCACHE_DATABASE_URL": self._find_postgres(stack, database_url),
            "TENANTCACHE_REDIS_URL": self._find_redis(stack, redis_url),
        }
        environment = preflight.without_urls(os.environ) | urls
        environment.setdefault("TENANTCACHE_PLANS", json.dumps(PLANS))
        environment.setdefault("TENANTCACHE_BASE_DOMAINS", "localhost")
        target, place = (self.target, None) if self.target else preflight.example_app()
        if place is not None:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(place), environment.get("PYTHONPATH"))))
        asyncio.run(_prepare(environment["TENANTCACHE_DATABASE_URL"]))
        _check_import(target, environment)
        website = stack.enter_context(Website(target, self.port, self.workers, environment))
        typer.echo(_greeting(self.port))
        raise DevServerError(f"uvicorn ended by itself (status {website.wait()}); its messages are above")

    def _find_postgres(self, stack: ExitStack, url: str | None) -> str:
        if url is not None:
            typer.echo(f"Postgres: {address(url, POSTGRES_PORT)}, from --database-url")
            return url
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]  # drivers read them, and they are about another server
        server = stack.enter_context(PostgresServer(self.directory / "postgres", durable=True))
        typer.echo(f"Postgres: our own, {server.url}")
        return server.url

    def _find_redis(self, stack: ExitStack, url: str | None) -> str:
        if url is not None:
            asyncio.run(try_redis(url, "--redis-url"))
            typer.echo(f"Redis:    {address(url, REDIS_PORT)}, from --redis-url")
            return url
        server = stack.enter_context(RedisServer())
        typer.echo(f"Redis:    our own, {server.url}")
        return server.url


class Website(DevServer):
    """uvicorn with its workers. Its output is ours."""

    name = "uvicorn"

    def __init__(self, target: str, port: int, workers: int, environment: Mapping[str, str]) -> None:
        super().__init__(port)
        self._target = target
        self._token = secrets.token_hex(4)
        self._workers = workers
        self._environment = environment

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit status."""
        return self.process.wait() if self.process else 0

    def stop(self, signal_number: int | None = None) -> None:
        process = self.process
        super().stop(signal_number)
        if process is not None:
            # Its workers share its process group. They outlive it only if it was killed.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = {"--host": HOST, "--port": str(self.port), "--workers": str(self._workers), "--log-level": "warning"}
        options["--header"] = f"{OURS}:{self._token}"
        words = [word for option in options.items() for word in option]
        return spawn([sys.executable, "-m", "uvicorn", self._target, *words], env=self._environment)

    def _is_ready(self, pid: int) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return answer.status < 500 and answer.getheader(OURS) == self._token
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        return "its messages are above"


async def _prepare(database_url: str) -> None:
    await install_at(database_url, "--database-url")
    async with postgres(database_url, "--database-url") as connection:
        await seed(connection)


def _check_import(target: str, environment: Mapping[str, str]) -> None:
    """Raise DevServerError if the app cannot be imported: uvicorn would start such a worker again and again."""
    code = "import sys; from uvicorn.importer import import_from_string; import_from_string(sys.argv[1])"
    if subprocess.run([sys.executable, "-c", code, target], env=environment, check=False).returncode:
        raise DevServerError(f"the app {target!r} cannot be imported; the reason is above")


def _on_stop_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _on_stop_signals(signal.SIG_IGN)
    raise KeyboardInterrupt


def _greeting(port: int) -> str:
    # With a Host line of its own: not every resolver knows *.localhost (RFC 6761 6.3), and none knows *.test.
    base = f"http://{HOST}:{port}/api/whoami"
    status = "curl -s -o /dev/null -w '%{http_code}\\n'"
    return f"""
Open  http://acme.localhost:{port}   (also globex, initech, and 47 more)

See   http://localhost:{port}/dashboard/   (how the fleet is doing)

Try   curl -i -H 'Host: acme.localhost' {base}
      curl -i -H 'Host: shop.acme.test' {base}
      for i in $(seq 70); do {status} -H 'Host: initech.localhost' {base}; done | sort | uniq -c

Ctrl-C stops everything.
"""
