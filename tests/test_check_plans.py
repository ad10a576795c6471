"""`tenantcache check` names plans that tenants have and the settings do not, on a real Postgres."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import asyncpg
import pytest

from tenantcache.cli.main import main
from tenantcache.cli.plans import PORTION
from tenantcache.schema.adopt import Adoption, install, prepare

PLANS = {"pro": {"per_minute": 6000}, "basic": {}}

OWN = "insert into tenantcache.tenants (id, name, subdomain, plan, status) select"
THEIRS = """
    create table customers (id int primary key, slug text unique, plan text, state text default 'active');
    insert into customers (id, slug, plan) values (1, 'a', 'pro'), (2, 'b', 'pro2'), (3, 'c', 'pro2'), (4, 'd', null);
"""


def told(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, plans: Mapping[str, object] | None
) -> list[str]:
    """What `check` says of plans; it succeeds all the same."""
    monkeypatch.setenv("DATABASE_URL", url)
    if plans is not None:
        monkeypatch.setenv("TENANTCACHE_PLANS", json.dumps(plans))
    with pytest.raises(SystemExit) as raised:
        main(["check"])
    captured = capsys.readouterr()
    assert not raised.value.code, captured.err
    assert " plans " not in captured.out
    return [line for line in captured.err.splitlines() if " plans " in line]


def execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        pytest.param(["'a', 'A', 'a', 'pro', 'active'", "'b', 'B', 'b', null, 'active'"], [], id="known or none"),
        pytest.param(["'a', 'A', 'a', '', 'active'"], [], id="an empty one"),
        pytest.param(["'a', 'A', 'a', 'old', 'deleted'"], [], id="of a deleted tenant"),
        pytest.param(
            ["'a', 'A', 'a', 'pro2', 'suspended'"],
            ["'pro2' (1 tenant) is not in TENANTCACHE_PLANS, which names basic, pro: the default limits hold for them"],
            id="one",
        ),
        pytest.param(
            [
                f"n::text, n, null, case when n <= {PORTION} then 'Pro' else 'pro ' end, 'active'"
                f" from generate_series(1, {PORTION + 2}) n"
            ],
            [
                f"'Pro' ({PORTION} tenants) and 'pro ' (2 tenants) are not in TENANTCACHE_PLANS, which names basic,"
                " pro: the default limits hold for them"
            ],
            id="many, in several portions",
        ),
        pytest.param(
            ["n::text, n, null, 'p' || n, 'active' from generate_series(1, 7) n"],
            [
                "'p1' (1 tenant), 'p2' (1 tenant), 'p3' (1 tenant), 'p4' (1 tenant), 'p5' (1 tenant) and 2 more are not"
                " in TENANTCACHE_PLANS, which names basic, pro: the default limits hold for them"
            ],
            id="more than can be told",
        ),
    ],
)
def test_plans_of_own_tables(
    statements: list[str],
    expected: list[str],
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execute(database_url, *(f"{OWN} {statement}" for statement in statements))
    assert told(database_url, capsys, monkeypatch, PLANS) == [f"WARN   plans     {line}" for line in expected]


def test_plans_of_adopted_tables(
    empty_database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def adopt() -> None:
        connection = await asyncpg.connect(empty_database_url)
        await connection.execute(THEIRS)
        adoption = Adoption("select id, slug as subdomain, plan from customers")
        assert await install(connection, await prepare(connection, adoption))
        await connection.close()

    asyncio.run(adopt())
    [line] = told(empty_database_url, capsys, monkeypatch, PLANS)
    assert line.startswith("WARN   plans     'pro2' (2 tenants) is not in TENANTCACHE_PLANS")


def test_without_plans_in_the_settings_every_name_is_as_good(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(database_url, f"{OWN} 'a', 'A', 'a', 'pro2', 'active'")
    assert told(database_url, capsys, monkeypatch, None) == []
