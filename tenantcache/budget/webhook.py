"""Tells an HTTP server of each change of band, in the background.

Rules:

* Messages are sent one after the other, in the order of the changes. No request and no change waits for them.
* Only an answer of 200 to 299 counts as received. A redirect is not followed: the body is signed for this server, and
  a POST that is answered by 301 would arrive as a GET. Anything else, and none within `TIMEOUT` seconds, is tried again
  after the `PAUSES`, which are spread by a tenth. After the last one it is given up, and logged. 410 ends it at once.
* Each attempt has its own timestamp and signature, and the id of the message (`core/signature.py`).
* A process that ends does not wait: another one finds that the change was not told of, and takes over (`governor.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from tenantcache.budget.core.signature import signed_headers
from tenantcache.runtime.tasks import stop

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for one attempt, name resolution and TLS included."""

PAUSES = (1.0, 5.0, 20.0, 60.0, 120.0)
"""Seconds between attempts: 206 in all, which is within the time that a process has for it (`BandStore.claim`)."""

MAX_WAITING = 20
"""Messages. The oldest is dropped beyond that: the last one says where the fleet is."""

GONE = 410

Told = Callable[[], Awaitable[None]]


class WebhookError(Exception):
    """The server did not take the message. `is_final`: it wants no more of them."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Message:
    """`data` is ready for JSON. `at`: when it happened, in seconds since the Unix epoch."""

    id: str
    type: str
    at: float
    data: Mapping[str, object]

    @property
    def body(self) -> bytes:
        timestamp = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return json.dumps({"type": self.type, "timestamp": timestamp, "data": self.data}).encode()


class Webhook:
    """`url` is http or https, and `key` signs what is sent. It belongs to one event loop between `open` and `close`."""

    def __init__(self, url: str, key: bytes, *, pauses: Sequence[float] = PAUSES, timeout: float = TIMEOUT) -> None:
        self.sent: int = 0
        self.failed: int = 0
        self._url, self._key = urlsplit(url), key
        self._pauses, self._timeout = pauses, timeout
        self._waiting: list[tuple[Message, Told]] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="tenantcache webhook")

    async def close(self) -> None:
        await stop(self._task)
        self._task = None
        self._waiting.clear()

    def forget(self) -> None:
        """In a forked child: what waits is the parent's to send."""
        self._task = None
        self._waiting.clear()

    def tell(self, message: Message, told: Told) -> None:
        """Send `message` as soon as those before it are done; `told` is awaited when it was received."""
        self._waiting.append((message, told))
        del self._waiting[:-MAX_WAITING]
        self._news.set()

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            message, told = self._waiting.pop(0)
            try:
                if await self._deliver(message):
                    await told()
            except Exception:
                logger.exception("the webhook goes on past what failed")

    async def _deliver(self, message: Message) -> bool:
        for pause in (*self._pauses, None):
            try:
                await self._post(message)
            except WebhookError as error:
                if pause is None or error.is_final:
                    self.failed += 1
                    logger.error("the webhook was not told of %s: %s", message.type, error)
                    return False
                logger.info("the webhook has to be told of %s again: %s", message.type, error)
                await asyncio.sleep(pause * random.uniform(0.9, 1.1))
            else:
                self.sent += 1
                return True
        return False

    async def _post(self, message: Message) -> None:
        """Raises `WebhookError`."""
        try:
            async with asyncio.timeout(self._timeout):
                status = await self._exchange(self._request(message))
        except TimeoutError:
            raise WebhookError(f"no answer within {self._timeout:g} s") from None
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:  # refused, TLS, or not HTTP
            raise WebhookError(f"{type(error).__name__}: {error}") from error
        if not 200 <= status < 300:
            raise WebhookError(f"answered {status}", is_final=status == GONE)

    def _request(self, message: Message) -> bytes:
        body = message.body
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        headers = {
            "host": self._url.netloc.rpartition("@")[2],
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": "tenantcache",
            "connection": "close",
            **self._credentials(),
            **signed_headers(self._key, message.id, int(time.time()), body),
        }
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def _credentials(self) -> dict[str, str]:
        """What the URL has before its host, as every HTTP client sends it."""
        if self._url.username is None:
            return {}
        pair = f"{unquote(self._url.username)}:{unquote(self._url.password or '')}"
        return {"authorization": "Basic " + b64encode(pair.encode()).decode("ascii")}

    async def _exchange(self, request: bytes) -> int:
        """Send `request` over a connection of its own; return the status of the answer, of which no more is read."""
        is_tls = self._url.scheme == "https"
        reader, writer = await asyncio.open_connection(
            self._url.hostname,
            self._url.port or (443 if is_tls else 80),
            ssl=ssl.create_default_context() if is_tls else None,
        )
        try:
            writer.write(request)
            await writer.drain()
            return _status_of(await reader.readline())
        finally:
            writer.transport.abort()


def _status_of(line: bytes) -> int:
    """Raises ValueError if `line` does not begin an answer."""
    version, _, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/") or not rest[:3].isdigit():
        raise ValueError(f"not an HTTP answer: {line[:40]!r}")
    return int(rest[:3])
