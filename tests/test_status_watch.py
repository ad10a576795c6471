"""`tenantcache status` and `watch`: figures of real servers, for nothing."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import redis
from rich.console import Console

from tenantcache.budget.core.facts import FleetFacts
from tenantcache.budget.core.serverfacts import ServerFacts
from tenantcache.budget.core.traffic import traffic_of
from tenantcache.cli.vitals import Vitals
from tenantcache.cli.watch import line, picture, sparkline
from tenantcache.devservers import RedisServer, free_port
from tenantcache.errors import UnreachableError
from tests.commandline import Run
from tests.servers.billing import BilledCommands
from tests.servers.cluster import RedisCluster
from tests.servers.upstashredis import UpstashServer

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "120")
    return run


def test_status_tells_what_info_does(run: Run, redis_url: str, client: redis.Redis) -> None:
    client.mset({"a:1": 1, "a:2": 2})
    client.expire("a:1", 60)
    for key in ("a:1", "a:2", "a:2", "nowhere"):
        client.get(key)
    status, out, _ = run("status", "--redis-url", redis_url, "--json")
    told = json.loads(out)
    assert status == 0
    assert told == told | {
        "nodes": 1,
        "provider": None,
        "since_start": True,
        "keys": 2,
        "keys_with_ttl": 1,
        "hit_rate": 0.75,
        "evicted": 0,
        "band": None,
        "forecast": None,
        "billed_commands": 0,
    }
    assert told["memory"] > 100_000
    assert told["clients"] >= 1
    assert re.fullmatch(r"(Redis|Valkey) \d+\.\d+\.\d+", told["version"])


def test_status_for_a_person(run: Run, redis_url: str, client: redis.Redis) -> None:
    client.set("a:1", 1, ex=60)
    status, out, errors = run("status", REDIS_URL=redis_url)
    assert status == 0
    assert "costs nothing" in errors
    for told in ("operations/s", "hit rate", "keys          1  ", "100 % expire", "memory", "clients", "evictions"):
        assert told in out
    assert re.search(r"band +not known", out)


def test_a_span_is_measured_without_our_own_commands(run: Run, redis_url: str, billed_commands: BilledCommands) -> None:
    _, out, _ = run("status", "--redis-url", redis_url, "--json", "--seconds", "0.2")
    told = json.loads(out)
    assert (told["since_start"], told["operations_per_second"], told["billed_per_second"]) == (False, 0.0, 0.0)
    assert 0.2 <= told["seconds"] < 10


@pytest.mark.parametrize(
    "arguments", [["status"], ["status", "--seconds", "0.1"], ["watch", "--count", "3", "--interval", "0.1"]]
)
def test_neither_costs_a_billed_command(
    run: Run, redis_url: str, billed_commands: BilledCommands, arguments: list[str]
) -> None:
    assert run(*arguments, "--redis-url", redis_url)[0] == 0
    assert billed_commands.by_command() == {}


def test_watch_prints_a_line_for_each_reading(run: Run, redis_url: str, client: redis.Redis) -> None:
    client.set("a:1", 1)
    status, out, _ = run("watch", "--redis-url", redis_url, "--count", "2", "--interval", "0.1")
    assert status == 0
    assert len(out.splitlines()) == 2
    for told in out.splitlines():
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d  operations/s 0\.0  hits not known  keys 1  memory [\d.]+\w+  clients \d+  evicted 0"
            r"  band not known  forecast not known",
            told,
        )
    _, out, _ = run("watch", "--redis-url", redis_url, "--count", "2", "--interval", "0.1", "--json")
    assert [json.loads(told)["keys"] for told in out.splitlines()] == [1, 1]


def test_watch_goes_on_while_redis_is_away(redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory()
    arguments = ["watch", "--redis-url", server.url, "--interval", "0.1", "--json"]
    process = _start(arguments)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    server.stop()
    for told in process.stderr:
        if "connection refused" in told:
            break
    server.start()
    assert json.loads(process.stdout.readline())["keys"] == 0
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_watch_that_ends_without_an_answer_says_so(redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory()
    process = _start(["watch", "--redis-url", server.url, "--interval", "0.5", "--count", "2", "--json"])
    assert process.stdout is not None
    process.stdout.readline()
    server.stop()
    process.communicate()
    assert process.returncode == 3


def test_watch_in_a_terminal_ends_at_ctrl_c_and_leaves_the_cursor(redis_url: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _code(["watch", "--redis-url", redis_url, "--interval", "0.1"])],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    seen = _read_until(ours, b"up to")
    process.send_signal(signal.SIGINT)
    seen += _read_until(ours, b"\x1b[?25h")
    assert process.wait(10) == 0
    os.close(ours)
    assert b"Traceback" not in seen
    assert b"operations/s" in seen


def _read_until(terminal: int, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        seen += os.read(terminal, 4_096)
    return seen


def _code(arguments: list[str]) -> str:
    return f"from tenantcache.cli.main import main; main({arguments!r})"


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-c", _code(arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_cluster_is_one_redis(run: Run, redis_cluster: RedisCluster) -> None:
    with redis.RedisCluster.from_url(redis_cluster.url) as client:
        for number in range(100):
            client.set(f"user:{number}", "x", ex=60)
    redis_cluster.on_each_master("CONFIG", "RESETSTAT")
    _, out, _ = run("status", "--redis-url", redis_cluster.url, "--json")
    told = json.loads(out)
    assert (told["nodes"], told["keys"], told["keys_with_ttl"]) == (3, 100, 100)
    assert told["billed_commands"] == redis_cluster.billed() == 1


def test_a_server_that_tells_little_is_shown_as_far_as_it_does(run: Run, redis_url: str) -> None:
    with UpstashServer(redis_url) as upstash:
        _, out, _ = run("status", "--redis-url", upstash.url, "--json")
        assert json.loads(out) == json.loads(out) | {"provider": "Upstash", "keys": None, "memory": None, "clients": 3}
        status, out, _ = run("status", "--redis-url", upstash.url)
        assert status == 0
        assert re.search(r"memory +not known", out)
        assert upstash.billed.total() == 0


def test_without_info_nothing_is_known(run: Run, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "few", "on", ">secret", "-@all", "+ping")
    status, out, errors = run("status", "--redis-url", server.url.replace("//", "//few:secret@"))
    assert status == 0
    assert "INFO is refused" in out
    assert out.count("not known") == 8
    assert "secret" not in out + errors


def test_no_server_is_exit_status_3(run: Run) -> None:
    for command in ("status", "watch"):
        status, out, errors = run(command, "--redis-url", f"redis://u:secret@127.0.0.1:{free_port()}")
        assert (status, out) == (3, "")
        assert "connection refused" in errors
        assert "secret" not in errors


# --- the fleet


async def _use(url: str, billed: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "insert into tenantcache.redis_usage (hour, process, purpose, billed)"
        " values (date_trunc('hour', now()), gen_random_uuid(), 'lookup', $1)",
        billed,
    )
    await connection.execute("update tenantcache.counter_store set band = 'thrift'")
    await connection.close()


def test_the_fleet_is_known_if_a_database_is_set(run: Run, redis_url: str, database_url: str) -> None:
    import asyncio

    asyncio.run(_use(database_url, 7_000))
    environ = {"DATABASE_URL": database_url, "TENANTCACHE_REDIS_MONTHLY_BUDGET": "10000"}
    _, out, _ = run("status", "--redis-url", redis_url, "--json", **environ)
    told = json.loads(out)
    assert (told["used"], told["budget"], told["band"]) == (7_000, 10_000, "thrift")
    assert told["forecast"] >= 7_000
    assert told["billed_commands"] == 0
    _, out, _ = run("status", "--redis-url", redis_url)
    assert "7,000 of 10,000 used" in out


def test_a_database_that_cannot_be_read_leaves_the_fleet_unknown(
    run: Run, redis_url: str, empty_database_url: str
) -> None:
    for url in (empty_database_url, f"postgresql://u:secret@127.0.0.1:{free_port()}/d", "nonsense"):
        status, out, errors = run("status", "--redis-url", redis_url, "--json", DATABASE_URL=url)
        assert status == 0
        assert json.loads(out)["band"] is None
        assert "secret" not in out + errors


# --- the picture


def vitals(rate: float, **changed: object) -> Vitals:
    before = ServerFacts(1, processed=0, hits=0, misses=0, evicted=0, uptime=10)
    after = ServerFacts(1, version="Redis 8.0.0", processed=int(rate * 10), hits=90, misses=10, evicted=0, uptime=20)
    fleet = FleetFacts(10, "commands", 100, "normal", 90, (50, 120), None)
    return Vitals("127.0.0.1:6379", after, traffic_of(after, before, seconds=10), fleet)


def rendered(reading: Vitals | UnreachableError, history: list[float]) -> str:
    console = Console(width=100, record=True, force_terminal=True, color_system="standard", file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(picture(reading, deque(history)))
    return console.export_text(styles=True)


def test_the_picture_is_calm_until_something_is_wrong() -> None:
    assert "\x1b[33m" not in rendered(vitals(50), [50.0])
    assert "\x1b[33m500" in rendered(vitals(500), [500.0])
    assert "\x1b[31m5,000" in rendered(vitals(5_000), [5_000.0])
    assert "Redis at h:1 is not running" in rendered(UnreachableError("Redis at h:1 is not running"), [])


def test_the_curve_has_a_bar_for_each_reading() -> None:
    assert sparkline(deque([0.0, 5.0, 10.0])).plain == "▁▅█"
    assert sparkline(deque([0.0])).plain == "▁"


def test_a_line_has_the_same_parts_for_any_server() -> None:
    known, unknown = (
        line(vitals(50), "12:00:00"),
        line(Vitals("h:1", ServerFacts(1), traffic_of(ServerFacts(1))), "12:00:00"),
    )
    names = r"[a-z/]+(?= (?:[\d.]|not known|normal))"
    assert re.findall(names, known)[:2] == ["operations/s", "hits"]
    assert unknown.count("not known") == 8
    assert time.strptime(known[:8], "%H:%M:%S")
