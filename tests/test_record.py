"""`tenantcache record`: what it counts is what the server counts, and the program notices nothing."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tenantcache.budget.core.keytext import visible as printable
from tenantcache.cli.main import main
from tenantcache.cli.recordedurl import RecordedUrl, find_urls
from tenantcache.devservers import DevServerError, RedisServer, free_port
from tenantcache.errors import ConfigurationError
from tests.servers.billing import BilledCommands
from tests.servers.certificates import make_certificate
from tests.servers.cluster import RedisCluster

ROOT = Path(__file__).parent.parent
CODE = "import sys; from tenantcache.cli.main import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Run:
    status: int
    out: str
    errors: str
    found: dict[str, Any]

    @property
    def commands(self) -> dict[str, int]:
        commands: dict[str, int] = self.found["commands"]
        return commands

    @property
    def patterns(self) -> dict[str, int]:
        return {line["pattern"]: line["billed_commands"] for line in self.found["patterns"]}


Record = Callable[..., Run]


def start(arguments: list[str], environ: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "record", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def record(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, commands: None
) -> Record:
    """Record a program of Python, or a command, from this process. The password must not be seen in what was found.

    `into_file=False` leaves `--out` away, and the `--` before the command.
    """

    def run(program: str | list[str], *options: str, into_file: bool = True, **environ: str) -> Run:
        command = program if isinstance(program, list) else [sys.executable, "-c", textwrap.dedent(program)]
        file = tmp_path / "found.json"
        file.unlink(missing_ok=True)
        words = ["--out", str(file), *options, "--"] if into_file else options
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as raised:
            for name, value in {"COLUMNS": "200", **environ}.items():
                patch.setenv(name, value)
            main(["record", *words, *command])
        out, errors = capfd.readouterr()
        assert "Traceback" not in errors
        assert "secret" not in out + errors
        text = file.read_text("utf-8") if file.exists() else ""
        assert "secret" not in text
        return Run(int(raised.value.code or 0), out, errors, json.loads(text or "{}"))

    return run


CLIENT = """
    import os, socket
    from urllib.parse import urlsplit

    def connect(port=urlsplit(os.environ["REDIS_URL"]).port):
        return socket.create_connection(("127.0.0.1", port))

    def send(connection, *words):
        lines = [f"${len(word)}".encode() + b"\\r\\n" + word + b"\\r\\n" for word in words]
        connection.sendall(f"*{len(words)}".encode() + b"\\r\\n" + b"".join(lines))
        return connection.recv(1000)
"""
"""What a program sends Redis, if it is not about redis-py: that alone takes a sixth of a second to load."""


def by_name(billed: BilledCommands) -> dict[str, int]:
    """The server's count, subcommands together."""
    counts: Counter[str] = Counter()
    for name, calls in billed.by_command().items():
        counts[name.partition("|")[0].upper()] += calls
    return dict(counts)


def assert_equal(run: Run, billed: BilledCommands) -> None:
    assert run.commands == by_name(billed)
    assert run.found["billed_commands"] == billed.total() == sum(run.patterns.values())


SYNC = """
    import os, redis
    client = redis.Redis.from_url(os.environ["REDIS_URL"], protocol={protocol})
    client.set("user:1:name", "x" * 3_000_000)
    assert len(client.get("user:1:name")) == 3_000_000
    client.mget("user:2:name", "user:3:name")
    with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.incr(f"hits:{{number}}")
        pipe.execute()
    with client.pipeline() as pipe:
        pipe.set("a", 1).get("a").execute()
    with client.pipeline() as pipe:
        pipe.watch("a")
        client.set("a", 2)
        pipe.multi()
        pipe.set("a", 3)
        try:
            pipe.execute()
        except redis.WatchError:
            print("conflict")
    try:
        client.execute_command("NOSUCH", "a")
    except redis.ResponseError:
        pass
    try:
        client.incr("user:1:name")
    except redis.ResponseError:
        pass
    client.eval("redis.call('set', KEYS[1], 1) redis.call('expire', KEYS[1], 9)", 1, "scripted")
    listener = client.pubsub()
    listener.subscribe("news")
    listener.get_message(timeout=5)
    client.publish("news", "hello")
    assert listener.get_message(timeout=5)["data"] == b"hello"
    client.rpush("queue", "job")
    client.blpop(["queue", "other"], timeout=1)
"""


@pytest.mark.parametrize("protocol", [2, 3])
def test_it_equals_the_server(record: Record, redis_url: str, billed_commands: BilledCommands, protocol: int) -> None:
    run = record(SYNC.format(protocol=protocol), REDIS_URL=redis_url)
    assert (run.status, run.out) == (0, "conflict\n")
    assert_equal(run, billed_commands)
    assert run.found["inside_scripts"] == {"EXPIRE": 1, "SET": 1}
    assert run.patterns["hits:{id}"] == 1000


def test_it_equals_the_server_for_asyncio_and_forks(
    record: Record, redis_url: str, billed_commands: BilledCommands
) -> None:
    program = """
        import asyncio, os, redis.asyncio as redis
        async def main():
            async with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
                for _ in range(4):
                    await asyncio.gather(*(client.incr(f"n:{number}") for number in range(50)))
                await client.xadd("events", {"a": 1})
                await client.xread({"events": "0"}, block=100)
        first, second = os.fork(), os.fork()
        asyncio.run(main())
        if second:
            os.waitpid(second, 0)
            if first:
                os.waitpid(first, 0)
    """
    run = record(program, REDIS_URL=redis_url)
    assert run.status == 0
    assert_equal(run, billed_commands)
    assert run.commands["INCRBY"] == 800  # of four processes


@pytest.mark.parametrize(
    ("name", "module", "inside"),
    [
        pytest.param("slowapi", "slowapi", {"INCRBY", "EXPIRE"}, marks=pytest.mark.slow),
        ("limits", "limits", {"INCRBY", "EXPIRE", "LINDEX", "LPUSH", "LTRIM", "GET", "PTTL", "EXISTS", "SET"}),
        ("fastapi-redis-sdk", "redis_fastapi", {"INCRBY", "EXPIRE", "GET", "HSET", "PTTL", "SCAN", "UNLINK"}),
    ],
)
def test_it_equals_the_server_for_applications(
    record: Record, redis_url: str, billed_commands: BilledCommands, name: str, module: str, inside: set[str]
) -> None:
    pytest.importorskip(module)
    run = record([sys.executable, "-P", str(ROOT / "tests/owners/libraries" / f"{name}.py")], REDIS_URL=redis_url)
    assert run.status == 0, run.errors
    assert_equal(run, billed_commands)
    assert run.found["inside_scripts"].keys() <= inside
    assert {"slowapi": "limits"}.get(name, name) in {line["owner"] for line in run.found["patterns"]}


def test_it_equals_the_server_for_redis_cli(record: Record, redis_url: str, billed_commands: BilledCommands) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("there is no redis-cli on the PATH")
    script = (
        'printf "set a 1\\nget a\\nmset b 1 c 2\\n" | redis-cli -u "$REDIS_URL"; redis-cli -3 -u "$REDIS_URL" get a'
    )
    run = record(["sh", "-c", script], REDIS_URL=redis_url)
    assert run.out.split() == ["OK", "1", "OK", "1"]
    assert_equal(run, billed_commands)
    assert {"GET": 2, "SET": 1, "MSET": 1}.items() <= run.commands.items()


def test_inline_commands_and_a_half_closed_connection(
    record: Record, redis_url: str, billed_commands: BilledCommands
) -> None:
    program = """
        import os, socket
        from urllib.parse import urlsplit
        with socket.create_connection(("127.0.0.1", urlsplit(os.environ["REDIS_URL"]).port)) as connection:
            connection.sendall(b"SET a 1\\r\\nGET a\\r\\n")
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while data := connection.recv(100):
                answer += data
            print(answer)
    """
    run = record(program, REDIS_URL=redis_url)
    assert run.out == "b'+OK\\r\\n$1\\r\\n1\\r\\n'\n"
    assert_equal(run, billed_commands)


def test_the_last_words_of_a_program_are_counted(
    record: Record, redis_url: str, billed_commands: BilledCommands
) -> None:
    program = """
        import os, socket
        from urllib.parse import urlsplit
        connection = socket.create_connection(("127.0.0.1", urlsplit(os.environ["REDIS_URL"]).port))
        connection.sendall(b"INCR a\\r\\n" * 10_000)
        os._exit(0)
    """
    run = record(program, REDIS_URL=redis_url)
    assert run.commands == {"INCR": 10_000} == by_name(billed_commands)


def test_a_process_that_lives_on_is_told_of(record: Record, redis_url: str) -> None:
    program = """
    import time
    client = connect()
    send(client, b"SET", b"a", b"1")
    if os.fork():
        os._exit(0)
    os.close(1), os.close(2)
    try:
        while send(client, b"PING"):  # until the proxy is gone
            time.sleep(0.05)
    except OSError:
        pass
    """
    run = record(CLIENT + program, REDIS_URL=redis_url)
    assert (run.status, run.commands) == (0, {"SET": 1})
    assert "some processes of the program still run" in run.errors


def test_monitor_passes_through(record: Record, redis_url: str) -> None:
    program = """
        import os, redis
        client = redis.Redis.from_url(os.environ["REDIS_URL"])
        with client.monitor() as monitor:
            client.set("a", 1)
            while (seen := monitor.next_command())["command"] != "SET a 1":
                pass
        print("seen")
    """
    run = record(program, REDIS_URL=redis_url)
    assert run.out == "seen\n"
    assert run.commands["MONITOR"] == 1


# --- the exit status ---


def test_the_status_of_the_program_is_kept(record: Record, redis_url: str) -> None:
    assert record(["sh", "-c", "exit 3"], REDIS_URL=redis_url).status == 3
    assert record(["sh", "-c", "kill -TERM $$"], REDIS_URL=redis_url).status == 128 + signal.SIGTERM


def test_more_than_the_limit_fails_a_program_that_succeeded(record: Record, redis_url: str) -> None:
    program = CLIENT + '    send(connect(), b"GET", b"a")\n'
    assert record(program, "--fail-over", "1", REDIS_URL=redis_url).status == 0
    failed = record(program, "--fail-over", "0", REDIS_URL=redis_url)
    assert failed.status == 1
    assert "1 commands were billed, more than 0" in failed.errors
    assert record(program + "    os._exit(5)\n", "--fail-over", "0", REDIS_URL=redis_url).status == 5


def test_a_program_that_cannot_be_run(record: Record, redis_url: str, tmp_path: Path) -> None:
    missing = record(["no-such-program"], REDIS_URL=redis_url)
    assert (missing.status, missing.errors) == (
        127,
        "tenantcache: no-such-program cannot be found; correct the name, or the PATH\n",
    )
    text = tmp_path / "text"
    text.write_text("hello", encoding="utf-8")
    assert record([str(text)], REDIS_URL=redis_url).status == 126


def test_a_server_that_cannot_be_reached(record: Record, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    run = record(["touch", str(mark)], REDIS_URL=f"redis://:secret@127.0.0.1:{free_port()}")
    assert run.status == 3
    assert "is not running (connection refused)" in run.errors
    assert not mark.exists()


def test_no_url(record: Record) -> None:
    run = record(["true"])
    assert (run.status, "there is no Redis to record" in run.errors) == (2, True)
    run = record(["true"], "--env", "BROKER_URL")
    assert (run.status, "BROKER_URL is not set" in run.errors) == (2, True)
    assert record(["true"], REDIS_URL="http://:secret@x/").status == 2


def test_a_file_that_cannot_be_written_is_told_first(record: Record, redis_url: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    run = record(["touch", str(mark)], "--out", str(tmp_path / "no/such/file"), REDIS_URL=redis_url)
    assert run.status == 2
    assert "No such file or directory" in run.errors
    assert not mark.exists()


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGHUP))],
)
def test_signals_are_passed_on(redis_url: str, number: signal.Signals) -> None:
    program = f"""
        import signal, sys, time
        signal.signal({int(number)}, lambda *_: sys.exit(7))
        print("ready", flush=True)
        time.sleep(60)
    """
    process = start(["--", sys.executable, "-c", textwrap.dedent(program)], {"REDIS_URL": redis_url})
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(timeout=30) == 7
    process.communicate()


def test_a_terminals_interrupt_comes_once(redis_url: str) -> None:
    """A terminal sends it to the program as well. With stderr elsewhere too."""
    program = """if True:
        import signal, time
        caught = []
        signal.signal(signal.SIGINT, lambda *_: caught.append(1))
        print("ready", flush=True)
        while not caught:
            time.sleep(0.01)
        time.sleep(0.5)
        print("caught", len(caught), flush=True)
    """
    child, terminal = pty.fork()
    if not child:
        os.environ.update(REDIS_URL=redis_url, PYTHONPATH=str(ROOT))
        os.execv("/bin/sh", ["sh", "-c", 'exec "$@" 2>/dev/null', "sh", sys.executable, "-c", CODE, "record", "--",
                             sys.executable, "-c", program])  # fmt: skip
    read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    assert b"caught 1" in read_until(terminal, b"caught 1")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)


def read_until(terminal: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen and (data := os.read(terminal, 1024)):
        seen += data
    return seen


# --- servers ---


def test_a_server_with_a_password(record: Record, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory({"requirepass": "secret"})
    program = """
        import os, redis
        assert "hidden" not in os.environ["REDIS_URL"]
        client = redis.Redis.from_url(os.environ["REDIS_URL"], driver_info=None{})
        client.set("a", 1)
        client.eval("return redis.call('get', KEYS[1])", 1, "a")
        assert client.connection_pool.connection_kwargs.get("db", 0) == {}
    """
    url = f"redis://:secret@127.0.0.1:{server.port}/3"
    run = record(program.format("", 3), REDIS_URL=url)
    assert (run.status, run.commands) == (0, {"SET": 1, "EVAL": 1, "GET": 1})
    wrong = record(program.format("", 3), REDIS_URL=url.replace("secret", "wrong"))
    assert (wrong.status, "refuses this user or password" in wrong.errors) == (3, True)
    # The program may have the password elsewhere. Then the server's own count cannot be read.
    elsewhere = record(program.format(", password='sec' + 'ret'", 0), REDIS_URL=f"redis://127.0.0.1:{server.port}/0")
    assert (elsewhere.status, elsewhere.commands) == (0, {"SET": 1, "EVAL": 1})
    assert elsewhere.found["inside_scripts"] is None
    assert "does not give its own count" in elsewhere.errors


def test_a_server_with_tls(
    record: Record, redis_factory: Callable[..., RedisServer], tmp_path: Path, billed_commands: BilledCommands
) -> None:
    certificate, port = make_certificate(tmp_path, "localhost"), free_port()
    try:
        server = redis_factory(
            {
                "tls-port": str(port),
                "tls-cert-file": str(certificate.file),
                "tls-key-file": str(certificate.key),
                "tls-ca-cert-file": str(certificate.file),
                "tls-auth-clients": "no",
            }
        )
    except DevServerError:
        if os.environ.get("REQUIRE_SERVERS"):
            raise
        pytest.skip("this Redis was built without TLS")
    program = CLIENT + '    send(connect(), b"SET", b"a", b"1")\n'
    url = f"rediss://localhost:{port}/0"
    run = record(program, REDIS_URL=f"{url}?ssl_ca_certs={certificate.file}")
    assert (run.status, run.commands) == (0, {"SET": 1})
    untrusted = record(program, REDIS_URL=url)
    assert (untrusted.status, "certificate that is not trusted" in untrusted.errors) == (3, True)
    plain = record(program, REDIS_URL=url.replace("rediss", "redis"))
    assert (plain.status, "TLS" in plain.errors) == (3, True)
    with Redis(port=server.port) as client:
        assert client.get("a") == b"1"


def test_a_unix_socket(record: Record, redis_factory: Callable[..., RedisServer], tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    redis_factory({"unixsocket": str(path)})
    program = """
        import os, redis
        redis.Redis.from_url(os.environ["REDIS_URL"], driver_info=None).set("a", 1)
    """
    run = record(program, REDIS_URL=f"unix://{path}?db=2")
    assert (run.status, run.commands) == (0, {"SET": 1})
    with Redis(unix_socket_path=str(path), db=2) as client:
        assert client.get("a") == b"1"


def test_several_variables(
    record: Record, redis_url: str, redis_factory: Callable[..., RedisServer], billed_commands: BilledCommands
) -> None:
    other = redis_factory()
    program = """
        import os, redis
        for name in ("BROKER_URL", "CACHE_URL", "OTHER_URL"):
            redis.Redis.from_url(os.environ[name], driver_info=None).set(name, 1)
    """
    urls = {"BROKER_URL": redis_url, "CACHE_URL": redis_url.replace("/0", "/1"), "OTHER_URL": other.url}
    run = record(program, *(word for name in urls for word in ("--env", name)), **urls)
    assert run.commands == {"SET": 3}
    assert billed_commands.total() == 2
    with Redis.from_url(other.url) as client:
        assert client.get("OTHER_URL") == b"1"


def test_a_cluster_is_refused(record: Record, redis_cluster: RedisCluster) -> None:
    run = record(["true"], REDIS_URL=redis_cluster.url)
    assert (run.status, "is a node of a cluster" in run.errors) == (2, True)


SCRIPT = (
    CLIENT
    + """
    client = connect()
    send(client, b"EVAL", b"return redis.call('get', KEYS[1])", b"1", b"a")
"""
)


def test_other_clients_are_told_of(record: Record, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory()
    assert record(SCRIPT, REDIS_URL=server.url).found["notes"] == []
    with Redis.from_url(server.url) as other:
        other.get("b")
        run = record(SCRIPT, REDIS_URL=server.url)
    assert run.found["inside_scripts"] == {"GET": 1}
    assert "1 other clients were connected to the server" in run.errors
    new = SCRIPT + '    send(connect(int(os.environ["PORT"])), b"SET", b"a", b"1")\n'
    run = record(new, REDIS_URL=server.url, PORT=str(server.port))
    assert run.found["inside_scripts"] == {"GET": 1, "SET": 1}
    assert "1 other clients were connected to the server" in run.errors


def test_a_user_without_info(record: Record, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory()
    with Redis.from_url(server.url) as client:
        client.execute_command("ACL SETUSER app on >secret ~* +@all -info")
    program = """
        import os, redis
        redis.Redis.from_url(os.environ["REDIS_URL"], driver_info=None).eval("return redis.call('get', 'a')", 0)
    """
    run = record(program, REDIS_URL=f"redis://app:secret@127.0.0.1:{server.port}/0")
    assert (run.status, run.commands) == (0, {"EVAL": 1})
    assert "does not give its own count" in run.errors


def test_a_server_that_goes_away(record: Record, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory()
    program = """
        import os, redis
        client = redis.Redis.from_url(os.environ["REDIS_URL"], driver_info=None, retry=None)
        client.set("a", 1)
        try:
            client.shutdown(nosave=True)
            client.get("a")
        except redis.ConnectionError:
            print("gone")
    """
    run = record(program, REDIS_URL=server.url)
    assert (run.status, run.out) == (0, "gone\n")
    assert run.commands["SET"] == 1


# --- what is printed ---


def test_the_table_goes_to_stderr_and_json_to_stdout(record: Record, redis_url: str) -> None:
    program = CLIENT + '    send(connect(), b"GET", b"a\\x1b[31m\\xff")\n'
    run = record(program, REDIS_URL=redis_url, into_file=False)
    assert (run.status, run.out) == (0, "")
    assert "1 billed commands" in run.errors
    assert "\x1b" not in run.errors
    run = record(program, "--json", REDIS_URL=redis_url, into_file=False)
    assert (run.status, run.errors) == (0, "")
    assert json.loads(run.out)["commands"] == {"GET": 1}
    assert "\x1b" not in run.out


def test_control_characters_are_shown_as_such() -> None:
    assert printable("a\x1b[31m\n\x9b\udcff é") == "a\\x1b[31m\\n\\x9b\\udcff é"


def test_options_of_the_program_are_its_own(record: Record, redis_url: str) -> None:
    program = [sys.executable, "-c", "import sys; print(sys.argv)", "--json", "--out", "x"]
    run = record(program, REDIS_URL=redis_url, into_file=False)
    assert run.out == "['-c', '--json', '--out', 'x']\n"


# --- URLs ---


# fmt: off
GIVEN = [
    ("redis://cache.example.com", "redis://127.0.0.1:7000"),
    ("redis://user:p%40ss@h:6380/4?client_name=app", "redis://user:p%40ss@127.0.0.1:7000/4?client_name=app"),
    ("rediss://:p@h/0?ssl_cert_reqs=none&family=0", "redis://:p@127.0.0.1:7000/0?family=0"),
    ("rediss://h?ssl_cert_reqs=CERT_NONE", "redis://127.0.0.1:7000"),
    ("valkeys://h:6380/1", "valkey://127.0.0.1:7000/1"),
    ("async+redis://h/2", "async+redis://127.0.0.1:7000/2"),
    ("unix:///run/redis.sock?db=3", "redis://127.0.0.1:7000/3"),
    ("redis+socket:///run/redis.sock?virtual_host=5", "redis://127.0.0.1:7000/5"),
]
# fmt: on


@pytest.mark.parametrize(("url", "given"), GIVEN)
def test_the_program_gets_the_same_url_at_another_place(url: str, given: str) -> None:
    assert RecordedUrl.read("REDIS_URL", url).at(7000) == given


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("redis://cache.example.com", "cache.example.com", 6379, ""),
        ("redis://[::1]:6380/1", "::1", 6380, ""),
        ("async+redis://h:1/2?db=4", "h", 1, ""),
        ("unix:///run/redis.sock?db=3", "", 0, "/run/redis.sock"),
        ("redis+socket:///run/redis.sock?virtual_host=5", "", 0, "/run/redis.sock"),
    ],
)
def test_the_server_behind_a_url(url: str, host: str, port: int, path: str) -> None:
    upstream = RecordedUrl.read("REDIS_URL", url).upstream()
    assert (upstream.host, upstream.port, upstream.path, upstream.tls) == (host, port, path, None)


def test_tls_is_that_of_redis_py() -> None:
    tls = RecordedUrl.read("REDIS_URL", "rediss://h").upstream().tls
    assert tls is not None and tls.check_hostname
    tls = RecordedUrl.read("REDIS_URL", "rediss://h?ssl_cert_reqs=none").upstream().tls
    assert tls is not None and not tls.check_hostname


@pytest.mark.parametrize("url", ["sentinel://:secret@h", "http://:secret@h", "redis://:secret@a,b", "h:6379", "secret"])
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^BROKER ") as caught:
        RecordedUrl.read("BROKER", url)
    assert "secret" not in str(caught.value)


def test_which_variables_are_replaced() -> None:
    environ = {"REDIS_URL": "redis://a", "TENANTCACHE_REDIS_URL": " ", "OTHER": "redis://b"}
    assert [(url.name, url.address) for url in find_urls([], None, environ)] == [("REDIS_URL", "a:6379")]
    assert [(url.name, url.address) for url in find_urls(["OTHER"], None, environ)] == [("OTHER", "b:6379")]
    both = find_urls([], "redis://c", environ)
    assert {(url.name, url.address) for url in both} == {("REDIS_URL", "c:6379"), ("TENANTCACHE_REDIS_URL", "c:6379")}
