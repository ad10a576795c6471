"""ASGI lifespan: the engine is open before the application starts, and until it has stopped.

Rules:

* A start that fails is told to the server (`lifespan.startup.failed`) and raised, as Starlette does it: servers want
  the message, and test clients the exception.
* If an application takes no lifespan events (Django raises, others return), they are answered for it. Otherwise the
  server would send none, the engine would never be closed, and an orderly stop would lose usage and unspent tokens.
* What the application itself raises in its own start or stop is passed on.
* Values that are to be written later are written before the application hears of the stop. Their writers use its
  connections, which it closes then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenantcache.engine import TenantCache
from tenantcache.errors import NotOpenError, StoreUnavailableError
from tenantcache.values.writebehind import CLOSE_TIMEOUT

logger = logging.getLogger(__name__)

STARTED = "lifespan.startup.complete"


async def live(
    cache: TenantCache,
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Serve one lifespan of `app`, and of `cache` around it. Raises what `prepare`, `cache.open` and `app` raise."""
    startup = await receive()
    try:
        prepare()
        await cache.open()
    except Exception as error:
        await fail_to_start(error, send)
        raise
    life = _Life(cache, startup, receive, send)
    try:
        await life.of(app, scope)
    finally:
        await cache.close()


async def fail_to_start(error: Exception, send: Send) -> None:
    """Tell the server why the application does not start. The caller raises `error`."""
    await send({"type": "lifespan.startup.failed", "message": f"tenantcache: {error}"})


async def answer(_scope: Scope, receive: Receive, send: Send) -> None:
    """An application that has nothing to do when it starts and stops."""
    kind = None
    while kind != "lifespan.shutdown":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})


class _Life:
    """What the application receives and sends, and how far it has come."""

    def __init__(self, cache: TenantCache, startup: Message, receive: Receive, send: Send) -> None:
        self._cache = cache
        self._startup: Message | None = startup
        self._receive = receive
        self._send = send
        self._sent: str | None = None

    async def of(self, app: ASGIApp, scope: Scope) -> None:
        startup = self._startup
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:
            if self._startup is None or self._sent is not None:
                raise
            logger.info("the application takes no lifespan events (%s): they are answered for it", error)
        if self._sent is None:
            self._startup = startup
        if self._sent in (None, STARTED):
            await answer(scope, self.receive, self.send)

    async def receive(self) -> Message:
        if self._startup is None:
            message = await self._receive()
            if message["type"] == "lifespan.shutdown":
                with suppress(NotOpenError, StoreUnavailableError):  # closing tries again, and reports what is left
                    await self._cache.values.flush_writes(timeout=CLOSE_TIMEOUT)
            return message
        startup, self._startup = self._startup, None
        return startup

    async def send(self, message: Message) -> None:
        self._sent = message["type"]
        if self._sent != STARTED:
            await self._cache.close()  # before the server hears of the end: it may stop the event loop then
        await self._send(message)
