"""A stand-in for Upstash's Developer API, over HTTP on loopback: `GET /redis/stats/{id}`."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

EMAIL, API_KEY, DATABASE_ID = "ops@example.com", "secret-key", "96ad0856"

STATS = {
    "daily_net_commands": 7,
    "total_monthly_requests": 123_456,
    "total_monthly_read_requests": 100_000,
    "total_monthly_write_requests": 23_456,
    "total_monthly_billing": 0.25,
    "command_counts": [{"metric_identifier": "GET", "data_points": [{"x": "2026-11-26 10:00:00 +0000 UTC", "y": 7}]}],
}
"""As the documentation has it, shortened."""


class FakeUpstash:
    """`with FakeUpstash() as api`; `api.url` is what the client is given.

    `status`, `body` and `delay` (seconds) make it answer otherwise; `location` has it redirect. `requests` are the
    paths that it was asked for.
    """

    def __init__(self) -> None:
        self.status, self.delay = 200, 0.0
        self.body: bytes = json.dumps(STATS).encode()
        self.location: str | None = None
        self.requests: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api._answer(self)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        expected = "Basic " + b64encode(f"{EMAIL}:{API_KEY}".encode()).decode()
        status, body = self.status, self.body
        if handler.headers["Authorization"] != expected:
            status, body = 401, b'"unauthorized"'
        elif handler.path != f"/redis/stats/{DATABASE_ID}":
            status, body = 404, b'"database not found"'
        time.sleep(self.delay)
        handler.send_response(status)
        if self.location is not None:
            handler.send_header("Location", self.location)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
