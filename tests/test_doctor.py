"""`tenantcache doctor` on real servers: what it finds, what it costs, and what it says if a server hides something."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenantcache.budget.core.finding import EVERY, Severity
from tenantcache.budget.core.serverfacts import ServerFacts
from tenantcache.budget.core.traffic import traffic_of
from tenantcache.cli.doctor import run_doctor
from tenantcache.cli.examination import Wanted, find_quota
from tenantcache.cli.main import main
from tenantcache.devservers import RedisServer, free_port
from tests.servers.billing import BilledCommands
from tests.servers.cluster import RedisCluster
from tests.servers.upstashredis import UpstashServer

ROOT = Path(__file__).parent.parent
HOSTILE = [b"", b"\x1b[31mred", b"[bold]x[/bold]", b"a\nb\rc", b"\xff\xfe", b"%s{}", b"\x00", "ключ:日本".encode()]


class Run:
    """Runs commands as a person does, and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.out = self.errors = ""

    def __call__(self, *arguments: str, **environ: str) -> int:
        for name, value in environ.items():
            self._monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        self.out, self.errors = self._capsys.readouterr()
        return int(raised.value.code or 0)

    def doctor(self, url: str, *arguments: str) -> dict[str, dict[str, Any]]:
        """The findings of `doctor --json`, by id."""
        self("doctor", "--redis-url", url, "--json", *arguments)
        self.report = json.loads(self.out)
        return {finding["id"]: finding for finding in self.report["findings"]}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "120")
    return Run(capsys, monkeypatch)


@pytest.fixture
def quiet_redis_url(redis_factory: Callable[..., RedisServer]) -> str:
    """A server of its own: the rate just now is not that of the test before."""
    return redis_factory().url


def make_sick(client: redis.Redis) -> None:
    """Most of what the guide warns of."""
    pipe = client.pipeline(transaction=False)
    for number in range(900):
        pipe.set(f"@upstash/ratelimit:{number:032x}:{number}", 1)
        pipe.get(f"nowhere:{number}")
    for number in range(200):
        pipe.set(f"session_{number}", "x")
        for part in ("name", "email", "age"):
            pipe.set(f"user:{number}:{part}", "x", ex=1_800)
    pipe.set("transactions:all", "x" * (11 << 20), ex=3_600)
    pipe.keys("nothing*")
    pipe.execute()


def test_a_sick_redis_is_told_so(run: Run, redis_url: str, client: redis.Redis) -> None:
    make_sick(client)
    findings = run.doctor(redis_url)
    severities = {name: finding["severity"] for name, finding in findings.items()}
    assert severities == severities | {
        "hit-rate": "crit",
        "large-values": "crit",
        "expiry": "warn",
        "who-spends": "warn",
        "key-names": "warn",
        "objects": "warn",
        "persistence": "warn",
        "slow-commands": "warn",
        "key-count": "ok",
        "memory": "ok",
        "unused-keys": "ok",
        "blind-spots": "ok",
    }
    assert "0 of 900 lookups found their key since the start" in findings["hit-rate"]["evidence"]
    assert findings["expiry"]["evidence"].startswith(
        "1,100 of 1,701 keys have no TTL: most of them @upstash/ratelimit:"
    )
    assert findings["who-spends"]["evidence"].startswith("upstash-ratelimit has 5")
    assert findings["large-values"]["evidence"].startswith("transactions:all (1")
    assert findings["objects"]["evidence"] == "user:{id}:age|email|name"


def test_the_json_is_as_documented_and_alone_on_stdout(run: Run, redis_url: str, client: redis.Redis) -> None:
    make_sick(client)
    run.doctor(redis_url)
    assert run.report.keys() == {"findings", "billed_commands"}
    for finding in run.report["findings"]:
        assert finding.keys() == {"id", "severity", "title", "evidence", "why", "fix", "link"}
        assert finding["severity"] in ("ok", "warn", "crit")
        assert all(isinstance(value, str) and value for value in finding.values())
    assert "at most" in run.errors


def test_the_exit_status_follows_the_worst_finding(run: Run, quiet_redis_url: str) -> None:
    assert run("doctor", "--redis-url", quiet_redis_url) == 0
    assert run("doctor", "--redis-url", quiet_redis_url, "--fail-on", "warn") == 0
    client = redis.Redis.from_url(quiet_redis_url)
    client.set("stays", 1)  # without expiry, on a server that saves nothing
    assert run("doctor", "--redis-url", quiet_redis_url) == 0
    assert run("doctor", "--redis-url", quiet_redis_url, "--fail-on", "warn") == 1
    client.set("large", "x" * (11 << 20))
    assert run("doctor", "--redis-url", quiet_redis_url) == 1
    assert run("doctor", "--redis-url", quiet_redis_url, "--daily") == 0
    client.close()


def test_an_empty_redis_is_fine_and_costs_nothing(run: Run, quiet_redis_url: str) -> None:
    findings = run.doctor(quiet_redis_url)
    assert {finding["severity"] for finding in findings.values()} == {"ok"}
    billing = BilledCommands(quiet_redis_url)
    assert run.report["billed_commands"] == billing.total() == 0
    billing.close()


# --- what it costs


@pytest.mark.parametrize("arguments", [["--daily"], ["--free"], ["--daily", "--seconds", "0.1"]])
def test_the_daily_list_is_free(
    run: Run, redis_url: str, client: redis.Redis, billed_commands: BilledCommands, arguments: list[str]
) -> None:
    client.set("a:1", 1)
    billed_commands.reset()
    run.doctor(redis_url, *arguments)
    assert billed_commands.by_command() == {}
    assert run.report["billed_commands"] == 0
    assert "costs nothing" in run.errors


def test_what_it_says_that_it_billed_is_what_the_server_counted(
    run: Run, redis_url: str, client: redis.Redis, billed_commands: BilledCommands
) -> None:
    make_sick(client)
    billed_commands.reset()
    run.doctor(redis_url)
    assert run.report["billed_commands"] == billed_commands.total() > 0
    assert not {"set", "del", "unlink", "expire", "keys", "monitor"} & billed_commands.by_command().keys()


@given(most=st.integers(1, 700))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_limit_is_never_passed(redis_url: str, billed_commands: BilledCommands, most: int) -> None:
    with redis.Redis.from_url(redis_url, protocol=2, driver_info=None) as client:
        client.mset({f"user:{number}:profile": number for number in range(300)})
    billed_commands.reset()
    asyncio.run(
        run_doctor(
            redis_url,
            EVERY,
            seconds=0,
            plan=None,
            quota=None,
            is_free=False,
            fail_on=Severity.CRIT,
            max_commands=most,
            as_json=True,
        )
    )
    assert billed_commands.total() <= most


def test_what_it_says_beforehand_is_not_passed(
    run: Run, redis_url: str, client: redis.Redis, billed_commands: BilledCommands
) -> None:
    client.mset({f"user:{number}:profile": number for number in range(5_000)})
    billed_commands.reset()
    run.doctor(redis_url)
    said = int(run.errors.partition("at most ")[2].split()[0].replace(",", ""))
    assert 0 < billed_commands.total() <= said


# --- servers that hide something


def forbid(client: redis.Redis, *rules: str) -> None:
    arguments = ["SETUSER", "few", "on", ">hunter2", "~*", "+@all", *rules]
    client.execute_command("ACL", *arguments)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("rules", "told", "unknown"),
    [
        (["-config"], "CONFIG GET (this user may not run it) is refused", "persistence"),
        (["-memory"], "MEMORY USAGE is refused, so sizes are not known", "large values"),
        (["-object"], "OBJECT IDLETIME (this user may not run it) is refused", "unused keys"),
        (["-info"], "INFO does not tell operations a second, hits and misses", "the hit rate"),
        (["-@all", "+ping"], "CONFIG GET (this user may not run it) is refused", "names of keys"),
        (["-scan", "-randomkey"], "RANDOMKEY (this user may not run it) is refused", "names of keys"),
    ],
    ids=["config", "memory", "object", "info", "everything", "scan"],
)
def test_a_user_with_few_rights(
    run: Run, redis_factory: Callable[..., RedisServer], rules: list[str], told: str, unknown: str
) -> None:
    server = redis_factory()
    with redis.Redis.from_url(server.url) as client:
        client.mset({f"user:{number}:profile": "x" for number in range(100)})
        forbid(client, *rules)
    url = server.url.replace("//", "//few:hunter2@")
    assert run("doctor", "--redis-url", url) == 0
    assert f"? {unknown}: " in run.out
    assert "Keys expire" not in run.out or "-@all" not in rules
    assert told in " ".join(run.out.split())
    assert "hunter2" not in run.out + run.errors


def test_commands_that_were_renamed_are_told_as_missing(run: Run, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory(options={"rename-command OBJECT": "hidden"})
    with redis.Redis.from_url(server.url) as client:
        client.set("a:1", 1)
    findings = run.doctor(server.url)
    assert findings["blind-spots"]["evidence"] == "OBJECT IDLETIME is refused"
    assert "unused-keys" not in findings


def test_an_lfu_policy_hides_how_long_keys_are_unused(run: Run, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory(options={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lfu"})
    with redis.Redis.from_url(server.url) as client:
        client.mset({f"user:{number}:profile": number for number in range(100)})
    findings = run.doctor(server.url)
    assert "unused-keys" not in findings
    assert findings["eviction-policy"]["severity"] == "warn"


def test_a_full_memory_is_critical(run: Run, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory(options={"maxmemory": "3mb", "maxmemory-policy": "noeviction"})
    with redis.Redis.from_url(server.url) as client, pytest.raises(redis.exceptions.OutOfMemoryError):
        for number in range(100):
            client.set(f"page:{number}", "x" * 100_000)
    assert run.doctor(server.url, "--daily")["memory-limit"]["severity"] == "crit"


def test_a_save_that_failed_is_critical(run: Run, redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory()
    with redis.Redis.from_url(server.url) as client:
        client.set("a:1", 1)
        Path(client.config_get("dir")["dir"], "dump.rdb").mkdir()  # in the place of the file
        with pytest.raises(redis.ResponseError):
            client.save()
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            pass
    assert run.doctor(server.url)["persistence"]["severity"] == "crit"


def test_a_cluster_is_examined_as_one(run: Run, redis_cluster: RedisCluster) -> None:
    with redis.RedisCluster.from_url(redis_cluster.url) as client:
        for number in range(300):
            client.set(f"user:{number}:profile", "x")
    redis_cluster.on_each_master("CONFIG", "RESETSTAT")
    findings = run.doctor(redis_cluster.url)
    assert findings["key-count"]["title"] == "300 keys"
    assert findings["expiry"]["evidence"].startswith("300 of 300 keys have no TTL: most of them user:{id}:profile")
    assert run.report["billed_commands"] == redis_cluster.billed()


@pytest.mark.parametrize("most", [1, 4, 30, 300])
def test_the_limit_holds_for_all_nodes_together(run: Run, redis_cluster: RedisCluster, most: int) -> None:
    with redis.RedisCluster.from_url(redis_cluster.url) as client:
        for number in range(300):
            client.set(f"user:{number}:profile", "x")
    redis_cluster.on_each_master("CONFIG", "RESETSTAT")
    run.doctor(redis_cluster.url, "--max-commands", str(most))
    assert run.report["billed_commands"] == redis_cluster.billed() <= most


@pytest.fixture
def upstash(redis_url: str) -> Iterator[UpstashServer]:
    with UpstashServer(redis_url) as server:
        yield server


def test_a_provider_that_tells_little(run: Run, upstash: UpstashServer, client: redis.Redis) -> None:
    client.mset({f"user:{number}:profile": "x" for number in range(200)})
    findings = run.doctor(upstash.url)
    assert findings["blind-spots"]["title"] == "Upstash does not tell everything"
    evidence = findings["blind-spots"]["evidence"]
    for told in ("CONFIG GET is refused", "OBJECT IDLETIME is refused", "MEMORY USAGE is refused", "hits and misses"):
        assert told in evidence
    assert findings["key-count"]["title"] == "200 keys"
    assert findings["expiry"]["severity"] == "warn"
    assert not {"hit-rate", "memory", "unused-keys", "large-values", "eviction-policy"} & findings.keys()
    assert run.report["billed_commands"] == upstash.billed.total()
    # How long this server has been counting is not told either.
    run("doctor", "--redis-url", upstash.url, "--daily")
    assert "? the quota: INFO does not tell since when it counts; measure with --seconds" in run.out
    assert run.doctor(upstash.url, "--daily", "--seconds", "0.1")["suspension"]["severity"] == "ok"


def test_the_date_of_the_suspension_and_the_cheaper_plan(run: Run, upstash: UpstashServer) -> None:
    upstash.info = (
        "# Server\r\nupstash_version:1.15.2\r\nuptime_in_seconds:2592000\r\n"
        "# Stats\r\ntotal_commands_processed:42000000\r\nkeyspace_hits:0\r\n# Memory\r\nused_memory:350000\r\n"
    )
    findings = run.doctor(upstash.url, "--plan", "upstash-payg")
    assert findings["plan"]["title"] == "Fixed 250MB saves $74.00 a month"
    assert findings["suspension"]["severity"] == "ok"
    findings = run.doctor(upstash.url, "--plan", "upstash-free")
    assert findings["suspension"]["severity"] == "crit"
    assert findings["suspension"]["title"].startswith("The quota is used up")
    # The plan is not known, so it may be any.
    assert run.doctor(upstash.url)["suspension"]["severity"] == "warn"
    assert run.doctor(upstash.url, "--quota", "100000000")["suspension"]["severity"] == "ok"


@pytest.mark.parametrize(
    ("a_second", "used", "by_the_end", "day"),
    [
        (1.0, 345_600, 2_592_000, "2026-11-06"),  # 154,400 seconds after the 5th began
        (0.1, 34_560, 259_200, None),
        (2.0, 691_200, 5_184_000, "2026-11-05"),  # used up already
    ],
)
def test_the_rate_is_projected_on_the_month(a_second: float, used: int, by_the_end: int, day: str | None) -> None:
    now = datetime(2026, 11, 5, tzinfo=UTC).timestamp()
    server = ServerFacts(1, provider="Upstash", uptime=1_000, processed=int(1_000 * a_second))
    found = find_quota(server, traffic_of(server), Wanted(keys=False), now)
    assert found is not None
    assert found.outlook.used == pytest.approx(used)
    assert found.outlook.full_month == pytest.approx(by_the_end)
    assert (found.day, found.name, found.assumed) == (day, "the plan Free", True)


def test_an_account_over_its_quota_is_examined_as_far_as_it_answers(
    run: Run, upstash: UpstashServer, client: redis.Redis
) -> None:
    client.set("a:1", 1)
    upstash.over_quota = True
    assert run("doctor", "--redis-url", upstash.url, "--json") == 3
    [finding] = [one for one in json.loads(run.out)["findings"] if one["id"] == "suspension"]
    assert finding["severity"] == "crit"
    assert "max requests limit exceeded" in finding["evidence"]
    upstash.info_fails_too = True
    assert run("doctor", "--redis-url", upstash.url, "--json") == 3
    assert run.out == ""
    assert "refuses this account" in run.errors


# --- what a person sees


def test_hostile_names_are_shown_and_not_obeyed(run: Run, quiet_redis_url: str) -> None:
    with redis.Redis.from_url(quiet_redis_url) as client:
        for name in HOSTILE:
            client.set(name, "x" * (2 << 20))
    assert run("doctor", "--redis-url", quiet_redis_url) == 0
    assert "\x1b" not in run.out
    assert "\x00" not in run.out
    assert "\\x1b[31mred" in run.out
    assert {finding["severity"] for finding in run.doctor(quiet_redis_url, "--max-commands", "200").values()} <= {
        "ok",
        "warn",
    }


def test_unknown_plan_and_no_server(run: Run, redis_url: str) -> None:
    assert run("doctor", "--redis-url", redis_url, "--plan", "gold") == 2
    assert "--plan: there is no plan 'gold'; give one of upstash-free, upstash-payg" in run.errors
    assert run("doctor") == 2
    assert run("doctor", "--redis-url", f"redis://u:hunter2@127.0.0.1:{free_port()}") == 3
    assert "hunter2" not in run.errors
    assert run("doctor", "--redis-url", redis_url, "--fail-on", "never") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor"],
        ["watch", "--count", "3"],
        *(pytest.param(each, marks=pytest.mark.slow) for each in (["doctor", "--json"], ["status"])),
    ],
)
def test_a_closed_pipe_is_no_error(redis_url: str, arguments: list[str]) -> None:
    code = f"from tenantcache.cli.main import main; main({[*arguments, '--redis-url', redis_url]!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert "Traceback" not in errors
    assert "Exception" not in errors


def test_colours_are_left_out_if_they_are_not_wanted(run: Run, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for environ, coloured in (
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({}, False),
    ):
        for name in ("FORCE_COLOR", "NO_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        assert run("doctor", "--redis-url", redis_url, **environ) == 0
        assert ("\x1b[32m" in run.out) is coloured


# --- Postgres


def test_the_postgres_side_is_examined(run: Run, quiet_redis_url: str, database_url: str) -> None:
    assert run("doctor", "--redis-url", quiet_redis_url, "--json", DATABASE_URL=database_url) == 0
    findings = {finding["id"]: finding for finding in json.loads(run.out)["findings"]}
    assert {findings[name]["severity"] for name in ("postgres", "log-size", "follower-lag", "budget")} == {"ok"}
    assert findings["follower-lag"]["evidence"] == "0 changes are not published, 0 processes are alive"
    assert findings["budget"]["title"] == "The fleet has no budget"


async def test_changes_that_wait_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], redis_url: str, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (name) select 't' || n from generate_series(1, 3) n")
    await connection.close()
    monkeypatch.setenv("DATABASE_URL", database_url)
    status = await run_doctor(
        redis_url,
        EVERY,
        seconds=0,
        plan=None,
        quota=None,
        is_free=True,
        fail_on=Severity.WARN,
        max_commands=1,
        as_json=True,
    )
    findings = {finding["id"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert status == 1
    assert findings["follower-lag"]["title"] == "Changes wait, and no process is there to publish them"
    assert findings["follower-lag"]["evidence"].startswith("3 changes are not published")


def test_a_database_that_cannot_be_used_is_a_finding_and_not_the_end(
    run: Run, redis_url: str, empty_database_url: str
) -> None:
    for url, told in (
        (empty_database_url, "the database has no tenantcache schema"),
        (f"postgresql://u:hunter2@127.0.0.1:{free_port()}/d", "is not running"),
        ("mysql://h/d", "DATABASE_URL"),
    ):
        assert run("doctor", "--redis-url", redis_url, "--json", DATABASE_URL=url) == 1
        findings = {finding["id"]: finding for finding in json.loads(run.out)["findings"]}
        assert findings["postgres"]["severity"] == "crit"
        assert told in findings["postgres"]["evidence"]
        assert "hunter2" not in run.out + run.errors


def test_one_time_keys_and_secrets_are_found_and_not_shown(
    run: Run, redis_url: str, client: redis.Redis, billed_commands: BilledCommands
) -> None:
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
    client.set("x", '{"tenantcache":1,"epoch":"e","value":{"name":"Ann","password":"hunter2"}}')
    payload = client.dump("x")
    assert payload is not None
    client.delete("x")
    for number in range(60):
        left = 60 + 59 * number  # of an hour
        key = f"tenantcache:value:acme:reset:{uuid.UUID(int=number)}"
        client.restore(key, 1_000 * left, payload, idletime=3_600 - left)
    found = run.doctor(redis_url, "--weekly")
    assert found["one-time-keys"]["severity"] == "warn"
    assert found["one-time-keys"]["evidence"].startswith("tenantcache:value:acme:reset:{uuid}: ")
    assert found["secrets"]["evidence"] == "a field of tenantcache:value:acme:reset:{uuid} (password)"
    assert "tenantcache has 100 % of the keys" in found["who-spends"]["evidence"]
    client.set(f"session:{jwt}", "1", ex=60)
    found = run.doctor(redis_url, "--weekly")
    assert found["secrets"]["severity"] == "warn"
    assert found["secrets"]["evidence"].startswith("session:{secret} (a JWT), a field of tenantcache:value")
    assert not [part for part in (jwt, jwt.rpartition(".")[2], "hunter2", "Ann") if part in run.out]
    billed_commands.reset()
    run.doctor(redis_url, "--weekly")
    assert run.report["billed_commands"] == billed_commands.total()
