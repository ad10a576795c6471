"""Records which keys and commands a library gives Redis, by running it: `python -m tests.owners.record`.

Each file in `libraries/` is a small program that uses one library as its documentation does, and prints its version. It
runs against a Redis of its own, whose MONITOR tells the commands, and TYPE the types of their keys. What it finds goes
into `<library>.json`, and tests/owners/test_owners.py holds `owner_of` to it.

The libraries are not needed for anything else. `OWNERS_PYTHON` is the interpreter that has them, `NODE_PATH` the
folder with the packages of Node. Arguments are the libraries to record, by default all.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import redis

from tenantcache.budget.core.keypositions import keys_of, kind_of
from tenantcache.budget.core.prices import FREE
from tenantcache.devservers import RedisServer

HERE = Path(__file__).parent
PROGRAMS = HERE / "libraries"
MAX_KEYS = 60
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)")
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def main(names: list[str]) -> None:
    for program in sorted(PROGRAMS.glob("*.*")):
        if program.stem in names or (not names and program.suffix in (".py", ".cjs", ".rb")):
            found = record(program)
            (HERE / f"{program.stem}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(program.stem, found["version"], len(found["keys"]), "keys", found["commands"])


def record(program: Path) -> dict[str, Any]:
    with RedisServer() as server, rest_bridge(server.url) as rest_url, Monitor(server.url) as monitor:
        done = subprocess.run(
            [*interpreter(program), str(program)],
            env={**os.environ, "REDIS_URL": server.url, "REST_URL": rest_url},
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
            check=True,
        )
        time.sleep(0.3)  # what MONITOR has still to say
    library, version = done.stdout.strip().splitlines()[-1].split()
    return {"library": library, "version": version, "keys": monitor.keys(), "commands": monitor.commands}


def interpreter(program: Path) -> list[str]:
    match program.suffix:
        case ".cjs":
            return ["node"]
        case ".rb":
            return ["ruby"]
    if program.stem == "tenantcache":
        return [sys.executable, "-P"]
    return [os.environ.get("OWNERS_PYTHON", sys.executable), "-P"]  # the program has the name of the library


class Monitor:
    """Hears all commands that a server runs, and asks for the type of each new key at once: some live for a moment."""

    def __init__(self, url: str) -> None:
        self.commands: dict[str, int] = {}
        self._url = url
        self._seen: dict[bytes, dict[str, Any]] = {}
        self._client: Any = redis.Redis.from_url(url, protocol=2, driver_info=None)
        self._own = str(self._client.client_info()["addr"]).encode()
        pool: Any = redis.ConnectionPool.from_url(url, protocol=2, driver_info=None, socket_timeout=None)
        self._connection = pool.make_connection()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Monitor:
        self._connection.connect()
        self._connection.send_command("MONITOR")
        self._connection.read_response()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()
        self._client.close()

    def keys(self) -> list[dict[str, Any]]:
        host = socket.gethostname().encode()
        return [
            {"key": key.replace(host, b"host").decode("latin-1"), "type": found["type"], "commands": found["commands"]}
            for key, found in sorted(self._seen.items())[:MAX_KEYS]
        ]

    def _listen(self) -> None:
        with suppress(redis.RedisError, OSError, ValueError, AttributeError):
            while True:
                self._hear(self._connection.read_response(disable_decoding=True))

    def _hear(self, line: bytes) -> None:
        where, _, quoted = line.partition(b"] ")
        if self._own in where:
            return
        command = [_unescape(word) for word in re.findall(rb'"((?:[^"\\]|\\.)*)"', quoted)]
        name = command[0].decode().upper()
        if name in FREE:
            return
        self.commands[name] = self.commands.get(name, 0) + 1
        for key in keys_of(name, command):
            found = self._seen.setdefault(key, {"type": "", "commands": []})
            if name not in found["commands"]:
                found["commands"].append(name)
            if not found["type"]:
                kind = self._client.type(key).decode()
                found["type"] = kind if kind != "none" else kind_of(name)


def _unescape(word: bytes) -> bytes:
    def plain(match: re.Match[bytes]) -> bytes:
        text = match[1]
        return bytes([int(text[1:], 16)]) if text[:1] == b"x" and len(text) == 3 else _PLAIN.get(text, text)

    return _ESCAPE.sub(plain, word)


@contextmanager
def rest_bridge(url: str) -> Iterator[str]:
    """Redis behind HTTP as Upstash serves it, for clients that speak nothing else."""
    client = redis.Redis.from_url(url, protocol=2, driver_info=None)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            encode = self.headers.get("Upstash-Encoding") == "base64"
            many = self.path.rstrip("/").endswith(("pipeline", "multi-exec"))
            answers = [_run(client, command, encode) for command in (body if many else [body])]
            reply = json.dumps(answers if many else answers[0]).encode()
            self.send_response(200 if many or "error" not in answers[0] else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as bridge:
        threading.Thread(target=bridge.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{bridge.server_address[1]}"
        bridge.shutdown()
    client.close()


def _run(client: redis.Redis, command: list[Any], encode: bool) -> dict[str, Any]:
    connection: Any = client.connection_pool.get_connection()
    try:
        # Redis does not know this flag of Upstash's.
        words = [str(word).replace("flags=allow-key-locking", "") for word in command]
        connection.send_command(*words)
        return {"result": _jsonable(connection.read_response(), encode)}
    except redis.exceptions.NoScriptError:
        return {"error": "NOSCRIPT No matching script. Please use EVAL."}
    except redis.ResponseError as error:
        return {"error": str(error)}
    finally:
        client.connection_pool.release(connection)


def _jsonable(value: Any, encode: bool) -> Any:
    if isinstance(value, list):
        return [_jsonable(part, encode) for part in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode() if encode and value != b"OK" else value.decode()
    return value


if __name__ == "__main__":
    main(sys.argv[1:])
