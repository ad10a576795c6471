"""The webhook against a real HTTP server, and against what goes wrong with one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tenantcache.budget.core.signature import key_of
from tenantcache.budget.webhook import MAX_WAITING, PAUSES, TIMEOUT, Message, Webhook
from tenantcache.settings.checks import read_webhook_url
from tests.fakes import until

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
KEY = bytes(range(32))


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """An HTTP server. `answers` are the next ones: a status, or seconds to wait before none at all; then 204."""

    answers: list[int | float] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    port: int = 0
    ends: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/hooks?team=7") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.received.append(Received(self.path, dict(self.headers.items()), body))
            answer = receiver.answers.pop(0) if receiver.answers else 204
            if isinstance(answer, float):
                receiver.ends.wait(answer)
                self.close_connection = True
                return
            self.send_response(answer)
            if 300 <= answer < 400:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield receiver
    receiver.ends.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Webhook]]:
    webhooks: list[Webhook] = []

    def make(url: str, **options: object) -> Webhook:
        webhook = Webhook(url, KEY, **{"pauses": (0.01, 0.01, 0.01), **options})  # type: ignore[arg-type]
        webhook.open()
        webhooks.append(webhook)
        return webhook

    yield make
    for webhook in webhooks:
        await webhook.close()


def message(number: int = 1) -> Message:
    return Message(f"id-{number}", "redis_budget.band_changed", 1_700_000_000.5, {"to": "thrift", "number": number})


class Told:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


async def test_a_message_arrives_signed_as_standard_webhooks_says(
    receiver: Receiver, opened: Callable[..., Webhook]
) -> None:
    webhook, told = opened(receiver.url()), Told()
    webhook.tell(message(), told)
    await until(lambda: told.count == 1)
    [got] = receiver.received
    assert got.path == "/hooks?team=7"
    headers = {name.lower(): value for name, value in got.headers.items()}
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "id-1"
    signed = b"id-1." + headers["webhook-timestamp"].encode() + b"." + got.body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert json.loads(got.body) == {
        "type": "redis_budget.band_changed",
        "timestamp": "2023-11-14T22:13:20Z",
        "data": {"to": "thrift", "number": 1},
    }
    assert (webhook.sent, webhook.failed) == (1, 0)


async def test_credentials_in_the_url_are_sent(receiver: Receiver, opened: Callable[..., Webhook]) -> None:
    webhook, told = opened(receiver.url().replace("://", "://ops:p%40ss@")), Told()
    webhook.tell(message(), told)
    await until(lambda: told.count == 1)
    headers = {name.lower(): value for name, value in receiver.received[0].headers.items()}
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"ops:p@ss"
    assert "@" not in headers["host"]


def test_the_vector_of_the_specification() -> None:
    """From its reference libraries' tests."""
    from tenantcache.budget.core.signature import signed_headers

    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("fault", [500, 503, 404, 301, 307, 199 + 200, 0.0])
async def test_anything_but_success_is_tried_again(
    fault: int | float, receiver: Receiver, opened: Callable[..., Webhook]
) -> None:
    receiver.answers = [fault, fault]
    webhook, told = opened(receiver.url()), Told()
    webhook.tell(message(), told)
    await until(lambda: told.count == 1)
    assert [got.path for got in receiver.received] == ["/hooks?team=7"] * 3  # a redirect is not followed
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
    assert (webhook.sent, webhook.failed) == (1, 0)


async def test_it_gives_up_after_the_last_attempt_and_goes_on_with_the_next_message(
    receiver: Receiver, opened: Callable[..., Webhook], caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500] * 4
    webhook, first, second = opened(receiver.url()), Told(), Told()
    webhook.tell(message(1), first)
    webhook.tell(message(2), second)
    await until(lambda: second.count == 1)
    assert first.count == 0
    assert [json.loads(got.body)["data"]["number"] for got in receiver.received] == [1, 1, 1, 1, 2]
    assert (webhook.sent, webhook.failed) == (1, 1)
    assert "the webhook was not told of redis_budget.band_changed: answered 500" in caplog.text


async def test_410_ends_it_at_once(receiver: Receiver, opened: Callable[..., Webhook]) -> None:
    receiver.answers = [410]
    webhook, told = opened(receiver.url()), Told()
    webhook.tell(message(1), told)
    webhook.tell(message(2), told)
    await until(lambda: told.count == 1)
    assert [json.loads(got.body)["data"]["number"] for got in receiver.received] == [1, 2]


async def test_a_slow_server_is_given_up_and_tried_again(receiver: Receiver, opened: Callable[..., Webhook]) -> None:
    receiver.answers = [30.0]
    webhook, told = opened(receiver.url(), timeout=0.2), Told()
    webhook.tell(message(), told)
    await until(lambda: told.count == 1)
    assert len(receiver.received) == 2


async def test_a_server_that_refuses_connections(opened: Callable[..., Webhook]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        webhook, told = opened(f"http://127.0.0.1:{taken.getsockname()[1]}/"), Told()
        webhook.tell(message(), told)
        await until(lambda: webhook.failed == 1)
    assert told.count == 0


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n", b"HTTP/1.1 \r\n", b"HTTP/1.1 2", b"\x00" * 100_000])
async def test_what_is_not_http_is_a_failure(answer: bytes, opened: Callable[..., Webhook]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        webhook = opened(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        webhook.tell(message(), Told())
        await until(lambda: webhook.failed == 1)
    assert webhook.sent == 0


async def test_tls_that_is_not_trusted_is_a_failure(receiver: Receiver, opened: Callable[..., Webhook]) -> None:
    webhook = opened(f"https://127.0.0.1:{receiver.port}/")
    webhook.tell(message(), Told())
    await until(lambda: webhook.failed == 1)
    assert receiver.received == []


async def test_close_does_not_wait_for_the_server(receiver: Receiver) -> None:
    receiver.answers = [30.0]
    webhook = Webhook(receiver.url(), KEY)
    webhook.open()
    webhook.tell(message(), Told())
    await until(lambda: len(receiver.received) == 1)
    async with asyncio.timeout(5):
        await webhook.close()


async def test_old_messages_make_room_for_new_ones(receiver: Receiver) -> None:
    webhook, told = Webhook(receiver.url(), KEY), Told()
    for number in range(MAX_WAITING + 2):
        webhook.tell(message(number), told)
    webhook.open()
    await until(lambda: told.count == MAX_WAITING)
    await webhook.close()
    numbers = [json.loads(got.body)["data"]["number"] for got in receiver.received]
    assert numbers == list(range(2, MAX_WAITING + 2))


def test_all_attempts_fit_into_the_time_that_a_process_has_for_them() -> None:
    assert sum(PAUSES) * 1.1 + TIMEOUT * (len(PAUSES) + 1) < 300


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("secret", "does not begin with whsec_"),
        ("whsec_!!", "is not base64 after whsec_"),
        ("whsec_c2hvcnQ=", "has a key of 5 bytes"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "has a key of 65 bytes"),
    ],
)
def test_a_secret_that_is_none(secret: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        key_of(secret)


def test_a_secret_is_a_key() -> None:
    assert key_of(SECRET) == KEY


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "https:///hooks",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://ops:hidden/2@example.com/",
        "https://[::1/",
        "https://example.com/a b",
        "https://example.com/ü",
    ],
)
def test_a_url_that_cannot_be_told_is_refused_at_once(url: str) -> None:
    """Not at the first change of band, months later."""
    with pytest.raises(ValueError, match=r"is not an http|has characters") as refused:
        read_webhook_url(url)
    assert "hidden" not in str(refused.value)
