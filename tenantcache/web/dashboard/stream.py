"""Server-sent events: the parts of the page that have changed, every two seconds.

Rules:

* A bounded number of streams in a process. One more gets 503, and its page says that it is not live.
* A stream that does not take what it is sent within `SEND_TIMEOUT` ends. So a slow client holds up nothing but itself.
* Each stream ends after `LIFE`, when the engine closes, and when the server begins to stop. A server waits for open
  requests before it ends the lifespan, and would wait for a stream in vain. Browsers come back by themselves.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import Message, Receive, Send

INTERVAL = 2.0
"""Seconds between two messages."""

LIFE = 20.0
"""Seconds. A server that tells nothing of its stop (granian) waits so long, and Kubernetes kills it after 30."""

SEND_TIMEOUT = 10.0
MAX_STREAMS = 20
RETRY = 1_000
"""Milliseconds after which a browser comes back."""

STEP = 0.25
"""Seconds between looks whether the server stops."""

Parts = Mapping[str, str]


class Streams:
    """The streams of this process. `parts` renders the page's parts, by name; `is_open` says whether the engine is."""

    def __init__(self, is_open: Callable[[], bool]) -> None:
        self.running: int = 0
        self._is_open = is_open

    @property
    def is_full(self) -> bool:
        return self.running >= MAX_STREAMS

    async def serve(
        self,
        receive: Receive,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        parts: Callable[[], Awaitable[Parts]],
    ) -> None:
        """Send one stream until its end."""
        self.running += 1
        gone = asyncio.create_task(_until_disconnected(receive), name="tenantcache stream")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send_all(_within(send), gone, parts)
        except TimeoutError:
            pass  # a client that does not read
        finally:
            self.running -= 1
            gone.cancel()

    async def _send_all(self, send: Send, gone: asyncio.Task[None], parts: Callable[[], Awaitable[Parts]]) -> None:
        clock = asyncio.get_running_loop().time
        ends_at, shown = clock() + LIFE, dict[str, str]()
        await send(_body(f"retry: {RETRY}\n\n"))
        while not self._has_to_end(gone) and clock() < ends_at:
            found = await parts()
            changed = {name: html for name, html in found.items() if shown.get(name) != html}
            shown = dict(found)
            await send(_body(f"data: {json.dumps(changed)}\n\n"))
            due = clock() + INTERVAL
            while clock() < due and not self._has_to_end(gone):
                await asyncio.wait([gone], timeout=STEP)
        if not gone.done():
            await send({"type": "http.response.body", "body": b""})

    def _has_to_end(self, gone: asyncio.Task[None]) -> bool:
        return gone.done() or not self._is_open() or is_stopping()


def is_stopping() -> bool:
    """Whether uvicorn was told to stop: its own handler knows, or a `Drain` before it. hypercorn cancels streams."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _within(send: Send) -> Send:
    async def send_in_time(message: Message) -> None:
        async with asyncio.timeout(SEND_TIMEOUT):
            await send(message)

    return send_in_time


def _body(text: str) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
