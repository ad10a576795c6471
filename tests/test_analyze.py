"""`analyze`, `ttl` and `churn` as a person or a pipeline calls them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.cluster import RedisCluster as ClusterClient

from tenantcache.devservers import free_port
from tests.commandline import Run
from tests.servers.billing import BilledCommands
from tests.servers.cluster import RedisCluster

COMMANDS = ("analyze", "ttl", "churn")


def fill(client: Any) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(400):
        pipeline.set(f"ratelimit:{number}:daily", number)
        pipeline.set(f"user:{number}:session", "x" * 40, ex=290)
        pipeline.hset(f"board:{number}", mapping={"a": 1})
    pipeline.set("LIMITS:LIMITER/127.0.0.1/hello/10/1/minute", 1, ex=60)
    pipeline.set("export", "x" * 200_000)
    pipeline.execute()


def test_the_json_of_analyze(run: Run, client: Any, redis_url: str, billed_commands: BilledCommands) -> None:
    fill(client)
    billed_commands.reset()
    status, out, errors = run("analyze", "--redis-url", redis_url, "--json")
    found = json.loads(out)
    assert status == 0
    assert "at most 2,000 billed commands" in errors.splitlines()[0]
    assert found["billed_commands"] == billed_commands.total() <= 2_000
    assert (found["keys"], found["keys_interval"], found["sampled"]) == (1_202, [1_202, 1_202], 1_202)
    patterns = {pattern.pop("pattern"): pattern for pattern in found["patterns"]}
    assert patterns.keys() == {
        "ratelimit:{id}:daily",
        "user:{id}:session",
        "board:{id}",
        "LIMITS:LIMITER/{ip}/hello/{id}/{id}/minute",
        "export",
    }
    session = patterns["user:{id}:session"]
    assert session["keys_interval"] == [400, 400]
    assert session["bytes_interval"][0] <= session["bytes"] <= session["bytes_interval"][1]
    assert (session["ttl"], session["types"], session["owner"]) == ({"<=5m": 1.0}, {"string": 1.0}, None)
    assert patterns["ratelimit:{id}:daily"]["ttl"] == {"none": 1.0}
    assert patterns["board:{id}"]["types"] == {"hash": 1.0}
    assert patterns["LIMITS:LIMITER/{ip}/hello/{id}/{id}/minute"]["owner"] == "limits"
    assert found["largest"][0]["key"] == "export"
    assert found["largest"][0]["bytes"] > 200_000
    assert found["notes"] == []


def test_the_table_of_analyze(run: Run, client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    fill(client)
    status, out, _ = run("analyze", "--redis-url", redis_url)
    assert status == 0
    assert out.startswith("1,202 keys, ")
    [line] = [line for line in out.splitlines() if line.startswith("ratelimit:{id}:daily")]
    assert line.split()[1:3] == ["400", "exact"]
    assert "never 100%" in line
    assert "\x1b" not in out


def test_ttl_names_what_never_expires(run: Run, client: Any, redis_url: str) -> None:
    fill(client)
    status, out, _ = run("ttl", "--redis-url", redis_url, "--json")
    found = json.loads(out)
    assert status == 1
    first = found["patterns"][0]
    assert (first["pattern"], first["severity"], first["without_expiry"]) == ("ratelimit:{id}:daily", "crit", 1.0)
    by_pattern = {pattern["pattern"]: pattern for pattern in found["patterns"]}
    assert by_pattern["user:{id}:session"]["severity"] == "ok"
    assert by_pattern["user:{id}:session"]["guide_ttl"] == [300, 300]


def test_ttl_fails_from_the_severity_that_it_is_told(run: Run, client: Any, redis_url: str) -> None:
    for number in range(20):
        client.set(f"tenant:{number}:settings", 1)
    assert run("ttl", "--redis-url", redis_url)[0] == 0
    assert run("ttl", "--redis-url", redis_url, "--fail-on", "warn")[0] == 1
    assert run("ttl", "--redis-url", redis_url, "--fail-on", "worse")[0] == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_redis(run: Run, redis_url: str, command: str) -> None:
    arguments = ("--seconds", "0.1") if command == "churn" else ()
    status, out, _ = run(command, "--redis-url", redis_url, "--json", *arguments)
    assert (status, json.loads(out)["patterns"]) == (0, [])
    assert run(command, "--redis-url", redis_url, *arguments)[0] == 0


@pytest.mark.parametrize("command", [*COMMANDS, "clean"])
def test_a_redis_that_is_not_there(run: Run, command: str) -> None:
    pattern = ("temp:*",) if command == "clean" else ()
    port = free_port()
    status, out, errors = run(command, *pattern, "--redis-url", f"redis://u:secret@127.0.0.1:{port}")
    assert (status, out) == (3, "")
    assert f"Redis at 127.0.0.1:{port} is not running (connection refused)" in errors
    assert "secret" not in errors


@pytest.mark.parametrize("command", [*COMMANDS, "clean"])
def test_no_url_and_wrong_urls(run: Run, command: str) -> None:
    pattern = ("temp:*",) if command == "clean" else ()
    status, _, errors = run(command, *pattern)
    assert (status, "there is no Redis to look at; give --redis-url" in errors) == (2, True)
    assert run(command, *pattern, "--redis-url", "http://127.0.0.1")[0] == 2


@pytest.fixture
def over_quota() -> Iterator[str]:
    """A server that refuses whatever it is asked, as Upstash does behind the quota."""
    started = threading.Event()
    port = free_port()
    loop = asyncio.new_event_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(10_000):
            writer.write(b"-ERR max requests limit exceeded. Limit: 500000, Usage: 500000.\r\n")

    async def serve() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            started.set()
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait(10)
    yield f"redis://127.0.0.1:{port}/0"
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize("command", [*COMMANDS, "clean"])
def test_an_account_past_its_quota(run: Run, over_quota: str, command: str) -> None:
    pattern = ("temp:*",) if command == "clean" else ()
    status, _, errors = run(command, *pattern, "--redis-url", over_quota)
    assert (status, "refuses this account: max requests limit exceeded" in errors) == (3, True)


RIGHTS = {
    "without memory": ("-memory", "MEMORY USAGE is refused, so sizes are not known"),
    "without ttl": ("-ttl", "TTL is refused, so the time to live is not known"),
    "without type": ("-type", "TYPE is refused, so types are not known"),
    "without dbsize": ("-dbsize", "DBSIZE is refused"),
    "without info": ("-info", ""),
    "without config": ("-config", ""),
}


@pytest.mark.parametrize(("right", "note"), RIGHTS.values(), ids=RIGHTS)
def test_without_a_right_it_goes_on(run: Run, client: Any, redis_url: str, right: str, note: str) -> None:
    fill(client)
    client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "+@all", right)
    url = redis_url.replace("redis://", "redis://few:pw@")
    try:
        status, out, errors = run("analyze", "--redis-url", url, "--json")
        assert run("ttl", "--redis-url", url)[0] in (0, 1)
        assert run("churn", "--redis-url", url, "--seconds", "0.1", "--json")[0] == 0
    finally:
        client.execute_command("ACL", "DELUSER", "few")
    found = json.loads(out)
    assert (status, found["keys"], len(found["patterns"])) == (0, 1_202, 5)
    assert note in errors
    assert bool(note) == bool(found["notes"])


def test_without_scan_nothing_can_be_said(run: Run, client: Any, redis_url: str) -> None:
    fill(client)
    client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "+@all", "-scan")
    try:
        status, out, errors = run("analyze", "--redis-url", redis_url.replace("redis://", "redis://few:pw@"), "--json")
    finally:
        client.execute_command("ACL", "DELUSER", "few")
    assert (status, out) == (3, "")
    assert "refuses SCAN to this user" in errors


def test_names_that_would_steer_a_terminal(run: Run, client: Any, redis_url: str) -> None:
    client.set(b"\x1b[31m[red]evil[/red]\x07", "x" * 1_000)
    client.set("[bold]markup[/bold]", 1)
    client.set(b"m" * 1_000_000, 1)
    client.set("bidi\u202egpj", 1)
    for command in ("analyze", "ttl"):
        status, out, errors = run(command, "--redis-url", redis_url)
        assert status == 0
        assert not set("\x1b\x07\u202e") & set(out + errors)
        assert "[bold]markup[/bold]" in out
        assert len(out) < 10_000
    _, out, _ = run("analyze", "--redis-url", redis_url, "--json")
    assert r"\x1b[31m[red]evil[/red]\x07" in [key["key"] for key in json.loads(out)["largest"]]


def test_keys_of_other_databases_are_mentioned(run: Run, client: Any, redis_url: str) -> None:
    with Redis.from_url(redis_url.removesuffix("/0") + "/3", protocol=2, driver_info=None) as other:
        other.mset({f"user:{number}": 1 for number in range(7)})
    fill(client)
    _, out, errors = run("analyze", "--redis-url", redis_url, "--json")
    found = json.loads(out)
    assert found["keys"] == 1_202
    assert found["notes"] == ["db3 has 7 more keys, which were not looked at; give /3 in the URL"]
    assert found["notes"][0] in errors
    _, out, _ = run("analyze", "--redis-url", redis_url.removesuffix("/0") + "/3", "--json")
    assert json.loads(out)["keys"] == 7


def test_a_reader_that_leaves(client: Any, redis_url: str) -> None:
    """`tenantcache analyze | head -1` ends without a traceback."""
    fill(client)
    program = "from tenantcache.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "analyze", "--redis-url", redis_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in errors


def test_a_cluster(run: Run, redis_cluster: RedisCluster) -> None:
    with ClusterClient.from_url(redis_cluster.url) as client:
        for number in range(300):
            client.set(f"user:{number}:session", 1, ex=290)
    status, out, _ = run("analyze", "--redis-url", redis_cluster.url, "--json")
    found = json.loads(out)
    assert (status, found["keys"], found["patterns"][0]["keys_interval"]) == (0, 300, [300, 300])
    assert found["billed_commands"] <= 2_000


# --- churn


@pytest.fixture
def traffic(client: Any) -> Iterator[None]:
    """Writes `poll:` keys again and again, and reads `good:` keys each time."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            for number in range(10):
                client.set(f"poll:{number}", 1, ex=60)
                client.set(f"good:{number}", 1, ex=60)
                client.get(f"good:{number}")
            time.sleep(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    done.set()
    thread.join(10)


@pytest.mark.usefixtures("traffic")
def test_monitor_sees_what_is_not_read(run: Run, redis_url: str) -> None:
    status, out, errors = run("churn", "--redis-url", redis_url, "--monitor", "--seconds", "2", "--json")
    found = json.loads(out)
    patterns = {pattern["pattern"]: pattern for pattern in found["patterns"]}
    poll, good = patterns["poll:{id}"], patterns["good:{id}"]
    assert (status, found["method"], found["billed_commands"]) == (1, "monitor", 1)
    assert poll["wasted"] == poll["rewrites"] > 0
    assert (poll["reads"], poll["severity"]) == (0, "crit")
    assert (good["wasted"], good["severity"]) == (0, "ok")
    assert good["reads"] > 0
    assert "MONITOR for 2 s: 1 billed commands" in errors


@pytest.mark.usefixtures("traffic")
def test_events_are_heard_if_they_are_on(run: Run, client: Any, redis_url: str) -> None:
    client.config_set("notify-keyspace-events", "E$hxe")
    try:
        status, out, errors = run("churn", "--redis-url", redis_url, "--seconds", "1", "--json")
    finally:
        client.config_set("notify-keyspace-events", "")
    found = json.loads(out)
    assert (status, found["method"], found["billed_commands"]) == (0, "events", 1)
    assert {pattern["pattern"] for pattern in found["patterns"]} == {"poll:{id}", "good:{id}"}
    assert all(pattern["rewrites"] > 0 and pattern["wasted"] is None for pattern in found["patterns"])
    assert "they tell of writes, but not of reads" in errors


def test_a_user_without_the_right_to_listen(run: Run, client: Any, redis_url: str) -> None:
    fill(client)
    client.config_set("notify-keyspace-events", "E$hxe")
    client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "&*", "+@all", "-monitor", "-psubscribe")
    url = redis_url.replace("redis://", "redis://few:pw@")
    try:
        status, out, errors = run("churn", "--redis-url", url, "--seconds", "0.1", "--json")
        assert (status, json.loads(out)["method"]) == (0, "samples")
        assert "keyspace events are refused" in errors
        status, out, errors = run("churn", "--redis-url", url, "--seconds", "0.1", "--monitor")
        assert (status, out) == (3, "")
        assert "refuses MONITOR" in errors
    finally:
        client.config_set("notify-keyspace-events", "")
        client.execute_command("ACL", "DELUSER", "few")


def test_without_events_keys_are_looked_at_twice(
    run: Run, client: Any, redis_url: str, billed_commands: BilledCommands
) -> None:
    for number in range(100):
        client.set(f"user:{number}:session", 1, ex=290)
    events = client.config_get("notify-keyspace-events")
    billed_commands.reset()
    status, out, errors = run("churn", "--redis-url", redis_url, "--seconds", "0.1", "--json", "--max-commands", "300")
    found = json.loads(out)
    assert (status, found["method"], found["patterns"]) == (0, "samples", [])
    assert found["billed_commands"] == billed_commands.total() <= 300
    assert "set notify-keyspace-events E$hxe" in errors
    assert client.config_get("notify-keyspace-events") == events
    assert "config|set" not in billed_commands.by_command()


def test_a_hundred_databases_take_few_notes(run: Run, client: Any, redis_url: str) -> None:
    for number in range(1, 10):
        with Redis.from_url(f"{redis_url.removesuffix('/0')}/{number}", protocol=2, driver_info=None) as other:
            other.set("key", 1)
    _, out, _ = run("analyze", "--redis-url", redis_url, "--json")
    assert json.loads(out)["notes"][-1] == "6 more databases have 6 keys, which were not looked at"
    assert len(json.loads(out)["notes"]) == 4


def test_a_limit_of_one_command_does_not_blame_the_cursors(run: Run, client: Any, redis_url: str) -> None:
    fill(client)
    _, out, _ = run("analyze", "--redis-url", redis_url, "--max-commands", "1", "--json")
    [note] = json.loads(out)["notes"]
    assert "too few commands are left" in note


def test_churn_of_a_user_who_may_not_scan_is_no_finding(run: Run, client: Any, redis_url: str) -> None:
    fill(client)
    client.acl_setuser("blind", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-scan"])
    try:
        url = redis_url.replace("redis://", "redis://blind:any@")
        status, out, errors = run("churn", "--redis-url", url, "--seconds", "0.1")
    finally:
        client.acl_deluser("blind")
    assert (status, out) == (3, "")
    assert "refuses SCAN to this user" in errors


def test_keys_that_a_user_may_not_read_do_not_hide_the_others(run: Run, client: Any, redis_url: str) -> None:
    client.mset({f"{name}:{number}": 1 for name in ("their", "ours") for number in range(300)})
    client.acl_setuser("few", enabled=True, nopass=True, keys=["ours:*"], commands=["+@all"])
    try:
        url = redis_url.replace("redis://", "redis://few:any@")
        _, out, _ = run("analyze", "--redis-url", url, "--json")
    finally:
        client.acl_deluser("few")
    found = json.loads(out)
    assert found["notes"] == ["this user may not read some of the keys: of those nothing but the name is known"]
    types = {pattern["pattern"]: pattern["types"] for pattern in found["patterns"]}
    assert types["ours:{id}"] == {"string": 1.0}
    assert not types["their:{id}"]
