"""`tenantcache budget`: the fleet's use as Postgres has it, for nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tenantcache.budget.core.meter import Meter
from tenantcache.budget.fleetuse import FleetUse
from tenantcache.cli.budget import severity_of
from tests.servers.billing import BilledCommands
from tests.servers.databases import Databases
from tests.shell.conftest import Run, Sql

ONE, OTHER = UUID(int=1), UUID(int=2)
MONTH = "TENANTCACHE_REDIS_MONTHLY_BUDGET"
INSERT = "insert into tenantcache.redis_usage (hour, process, purpose, billed) values ($1, $2, $3, $4)"


@pytest.fixture
def this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def used(sql: Sql, this_hour: datetime) -> None:
    """Two processes have used 2,000 commands in this hour, half of them for copies; and much in an earlier month."""
    for process, purpose, billed in ((ONE, "lookup", 600), (OTHER, "fill", 400), (OTHER, "reservation", 1_000)):
        sql(INSERT, this_hour, process, purpose, billed)
    sql(INSERT, this_hour - timedelta(days=40), ONE, "lookup", 1_000_000)


def test_what_the_fleet_has_used(run: Run, billed_commands: BilledCommands) -> None:
    ran = run("budget", "--json", TENANTCACHE_REDIS_PRICE="100", REDIS_URL="")
    found = ran.json
    assert ran.status == 0
    assert (found["used"], found["cost"], found["limit"], found["share"]) == (2_000, 2.0, None, None)
    by_purpose = {one["purpose"]: (one["billed"], one["cost"]) for one in found["by_purpose"] if one["billed"]}
    assert by_purpose == {"lookup": (600, 0.6), "fill": (400, 0.4), "reservation": (1_000, 1.0)}
    assert found["bands_ahead"] == []
    assert billed_commands.total() == 0


@pytest.mark.parametrize(
    ("budget", "severity", "status", "status_on_warn"),
    [("100", "crit", 1, 1), ("2000", "crit", 1, 1), ("999999999999", "ok", 0, 0)],
)
def test_a_budget_that_is_used_up_is_a_finding(
    run: Run, budget: str, severity: str, status: int, status_on_warn: int
) -> None:
    ran = run("budget", "--json", **{MONTH: budget})
    assert (ran.json["severity"], ran.status) == (severity, status)
    assert run("budget", "--fail-on", "warn").status == status_on_warn


@pytest.mark.parametrize(
    ("exhausted_at", "exhausted_from", "severity"),
    [(None, None, "ok"), (None, 5.0, "warn"), (9.0, 5.0, "crit")],
)
def test_how_bad_a_forecast_is(exhausted_at: float | None, exhausted_from: float | None, severity: str) -> None:
    budget = FleetUse(None, Meter(), server_now=lambda: 0.0).summary()
    expected = replace(budget.forecast, exhausted_at=exhausted_at, exhausted_from=exhausted_from)
    assert severity_of(replace(budget, forecast=expected)) == severity


def test_the_bands_ahead(run: Run, sql: Sql) -> None:
    found = run("budget", "--json", **{MONTH: "1000000000"}).json
    assert found["band"] == "normal"
    rest = found["forecast"]["expected"] - found["used"]
    saves = {one["band"]: one["saves"] for one in found["bands_ahead"]}
    assert (saves["thrift"], saves["no Redis"]) == (None, rest)
    assert abs(saves["no copies"] - rest / 2) <= 1
    sql("update tenantcache.counter_store set band = 'no copies'")
    found = run("budget", "--json").json
    assert (found["band"], [one["band"] for one in found["bands_ahead"]]) == ("no copies", ["no Redis"])


def test_what_the_provider_has_said_counts(run: Run, sql: Sql, this_hour: datetime) -> None:
    month = this_hour.replace(day=1, hour=0)
    sql(
        "update tenantcache.redis_bill set read_at = now(), period_start = $1, billed = 4000, counted = 2000",
        month,
    )
    asked_before = sql("select asked_at from tenantcache.redis_bill")
    found = run("budget", "--json").json
    assert (found["used"], found["counted"], found["provider"]["billed"]) == (4_000, 2_000, 4_000)
    [line] = [line for line in run("budget").out.splitlines() if line.startswith("the provider")]
    assert line.removeprefix("the provider").lstrip().startswith("4,000 on ")
    assert line.rstrip().endswith("2,000 counted here")
    assert sql("select asked_at from tenantcache.redis_bill") == asked_before


def test_for_a_person(run: Run) -> None:
    ran = run("budget", **{MONTH: "1000000000"})
    names = ("period", "used", "forecast", "interval", "a day", "budget", "used up", "band")
    lines = ran.out.splitlines()
    assert [line[: len(name)] for line, name in zip(lines, names, strict=False)] == list(names)
    assert "2,000 commands, $0.00, 0.0% of the budget" in lines[1]
    assert lines[6].rstrip().endswith("not in this period")
    assert ran.errors.startswith("commands of other clients of this Redis are not in these figures")


def test_it_writes_nothing_and_may_be_asked_by_who_may_only_read(
    run: Run, sql: Sql, databases: Databases, database_url: str
) -> None:
    before = sql("select * from tenantcache.redis_usage order by 1, 2, 3")
    databases.execute("CREATE ROLE accountant LOGIN")
    try:
        sql("grant usage on schema tenantcache to accountant")
        sql("grant select on all tables in schema tenantcache to accountant")
        ran = run("budget", "--json", DATABASE_URL=database_url.replace("postgres@", "accountant@"))
        assert (ran.status, ran.json["used"]) == (0, 2_000)
    finally:
        sql("drop owned by accountant")
        databases.execute("DROP ROLE accountant")
    assert sql("select * from tenantcache.redis_usage order by 1, 2, 3") == before


def test_what_commands_send_is_part_of_it(run: Run) -> None:
    assert (
        run("tenants", "create", "Acme", "--id", "acme", "--subdomain", "acme", "--json").json["billed_commands"] == 2
    )
    found = run("budget", "--json").json
    assert found["used"] == 2_002


def test_a_day_and_a_flat_price(run: Run) -> None:
    found = run("budget", "--json", TENANTCACHE_REDIS_DAILY_BUDGET="5000", TENANTCACHE_REDIS_PRICING="flat").json
    assert found["period_end"] - found["period_start"] == 86_400
    assert (found["limit"], found["cost"], found["note"]) == (
        5_000,
        0.0,
        "commands cost nothing with this provider; the memory of the plan does",
    )


def test_no_schema(run: Run, empty_database_url: str) -> None:
    ran = run("budget", DATABASE_URL=empty_database_url)
    assert (ran.status, ran.out) == (2, "")
    assert "run `tenantcache init`" in ran.errors
