"""Which Redis a command looks at, and what it may spend there: the options that those commands share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tenantcache.cli.terminal import Terminal
from tenantcache.errors import ConfigurationError
from tenantcache.settings.checks import read_redis_url
from tenantcache.settings.urls import REDIS_PORT, address

if TYPE_CHECKING:
    from tenantcache.stores.anyredis import AnyRedis

VARIABLES = ("TENANTCACHE_REDIS_URL", "REDIS_URL")

RedisUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The Redis to look at. (default: TENANTCACHE_REDIS_URL, or REDIS_URL)"),
]
MaxCommands = Annotated[int, typer.Option(min=1, help="Billed commands that are never passed.")]
DEFAULT_MAX_COMMANDS = 2_000


def find_redis_url(option: str | None, environ: Mapping[str, str] | None = None) -> str:
    """The URL of --redis-url, or of the environment, as redis-py takes it. Raises ConfigurationError."""
    environ = os.environ if environ is None else environ
    given = {"--redis-url": option or "", **{name: environ.get(name, "").strip() for name in VARIABLES}}
    for name, url in given.items():
        if url:
            try:
                return read_redis_url(url) or url
            except ValueError as error:
                raise ConfigurationError("\n".join(f"{name} {line}" for line in str(error).splitlines())) from None
    raise ConfigurationError(f"there is no Redis to look at; give --redis-url, or set {' or '.join(VARIABLES)}")


@asynccontextmanager
async def open_redis(
    option: str | None, terminal: Terminal, *, at_most: int, max_commands: int
) -> AsyncIterator[AnyRedis]:
    """Connect, after saying which server it is and that at most `at_most` billed commands will be sent to it.

    Raises ConfigurationError, `UnreachableError` and `OverQuotaError`.
    """
    from tenantcache.stores.anyredis import AnyRedis  # redis-py takes a while to import

    url = find_redis_url(option)
    where = address(url, REDIS_PORT)
    most = min(at_most, max_commands)
    cost = (
        f"at most {most:,} billed commands"
        if most
        else "costs nothing (INFO is free; to find a cluster's nodes takes 1)"
    )
    terminal.say(f"{where}: {cost}")
    async with await AnyRedis.connect(url, where, max_commands=max_commands) as redis:
        yield redis
