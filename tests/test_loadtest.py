"""`tenantcache loadtest`: hosts from the database or a file, traffic by Zipf's law, a report that counts 429s apart."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import asyncpg
import pytest

from benchmarks.bench.contenders import by_name
from benchmarks.bench.http import Worker
from benchmarks.bench.stores import Env, seed
from tenantcache import Settings
from tenantcache.cli.loadreport import LoadReport, Zipf
from tenantcache.cli.loadtest import hosts_in_database

HEADERS = {"ratelimit": '"minute";r=7;t=31, "day";r=90;t=40210'}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from tenantcache.cli.main import main; main()"
    command = [sys.executable, "-c", code, "loadtest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_limits_reached_are_no_failures() -> None:
    report = LoadReport()
    assert report.note("acme.example.com", 200, HEADERS)
    assert report.note("acme.example.com", 429, {"ratelimit": '"minute";r=0;t=3', "retry-after": "3"})
    assert not report.note("acme.example.com", 503, {})
    assert not report.note("globex.example.com", 0, {})
    acme = report.hosts["acme.example.com"]
    assert (acme.requests, acme.limited, acme.failed, acme.least) == (3, 1, 1, {"minute": 0, "day": 90})
    assert report.failed == 2
    assert "2 requests failed" in report.text(1.0)


def test_missing_headers_are_told() -> None:
    report = LoadReport()
    report.note("acme.example.com", 200, {})
    report.note("acme.example.com", 429, HEADERS)
    text = report.text(2.0)
    assert "1 answers had no RateLimit header." in text
    assert "1 answers of 429 had no Retry-After." in text


def test_what_one_process_drained_another_merges() -> None:
    ours, theirs = LoadReport(), LoadReport()
    ours.note("a", 200, HEADERS)
    theirs.note("a", 429, {"ratelimit": '"minute";r=3;t=1', "retry-after": "1"})
    theirs.note("b", 500, {})
    ours.merge(theirs.drain())
    assert theirs.requests == 0
    assert ours.statuses == {200: 1, 429: 1, 500: 1}
    assert ours.hosts["a"].least == {"minute": 3, "day": 90}
    assert ours.hosts["b"].failed == 1


@pytest.mark.parametrize(("skew", "expected"), [(1.0, [6000, 3000, 2000]), (0.0, [3667, 3667, 3667])])
def test_traffic_falls_off_with_the_rank(skew: float, expected: list[int]) -> None:
    draw = Zipf(["a", "b", "c"], skew, Random(1).random)
    counts = Counter(draw() for _ in range(11_000))
    assert [counts[host] for host in "abc"] == pytest.approx(expected, rel=0.05)


async def test_hosts_come_from_the_database_those_seen_last_first(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain, status) values ('1', 'A', 'acme', 'active'),
            ('2', 'B', null, 'active'), ('3', 'C', 'off', 'suspended'), ('4', 'D', null, 'active');
        insert into tenantcache.tenant_domains values ('b.example.net', '2', true);
        insert into tenantcache.usage values ('1', current_date, 1, now() - interval '1 hour'),
            ('2', current_date, 1, now());
    """)
    await connection.close()
    settings = Settings(_environ={}, database_url=database_url, base_domains=["example.com"])
    assert await hosts_in_database(settings, 10) == ["b.example.net", "acme.example.com"]


@pytest.mark.slow
def test_a_real_run_counts_what_the_server_admits(database_url: str, redis_url: str, tmp_path: Path) -> None:
    asyncio.run(seed(database_url, 3))
    hosts = tmp_path / "hosts"
    hosts.write_text("tenant-0.example.com\ntenant-1.example.com\n")
    # 40 a day: no minute that ends meanwhile lets more through.
    with Worker(by_name("tenantcache"), Env(database_url, redis_url, 1_000_000, 40), None) as worker:
        worker.wait()
        done = run(f"http://127.0.0.1:{worker.port}", "--hosts", str(hosts), "--seconds", "5", "--users", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    for host in ("tenant-0.example.com", "tenant-1.example.com"):
        requests, limited, failed = (int(lines[host][number].replace(",", "")) for number in (1, 3, 4))
        assert requests - limited == 40, done.stdout
        assert failed == 0
    assert "Every answer was one of the application, or 429 with Retry-After." in done.stdout


@pytest.mark.slow
def test_failures_are_the_exit_status(database_url: str, redis_url: str, tmp_path: Path) -> None:
    asyncio.run(seed(database_url, 1))
    hosts = tmp_path / "hosts"
    hosts.write_text("nobody.example.com\n")
    with Worker(by_name("tenantcache"), Env(database_url, redis_url), None) as worker:
        worker.wait()
        done = run(f"http://127.0.0.1:{worker.port}", "--hosts", str(hosts), "--seconds", "5", "--users", "2")
    assert done.returncode == 1
    assert "requests failed" in done.stdout


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:1", "--hosts", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "there is no file" in done.stderr
