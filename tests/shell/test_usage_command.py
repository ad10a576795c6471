"""`tenantcache usage`: by tenant, by day, of some days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import typer

from tenantcache.cli.usage import Days, choose_days
from tests.servers.billing import BilledCommands
from tests.shell.conftest import Run, Sql, unfolded

MARCH = ("--from", "2026-03-01", "--to", "2026-03-31")
ROWS = """
    insert into tenantcache.usage values
        ('acme', '2026-02-28', 1000, '2026-02-28 12:00+00'), ('acme', '2026-03-01', 10, '2026-03-01 12:00+00'),
        ('acme', '2026-03-31', 20, '2026-03-31 13:00+00'), ('globex', '2026-03-31', 69, '2026-03-31 12:00+00'),
        ('deleted', '2026-03-02', 1, '2026-03-02 12:00+00'), ('acme', '2026-04-01', 1000, '2026-04-01 12:00+00')
"""


@pytest.fixture(autouse=True)
def used(run: Run, sql: Sql) -> None:
    sql("insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme'), ('globex', 'G', null)")
    sql(ROWS)


def test_the_busiest_tenants(run: Run, billed_commands: BilledCommands) -> None:
    found = run("usage", *MARCH, "--json").json
    assert (found["from"], found["to"], found["requests"]) == ("2026-03-01", "2026-03-31", 100)
    assert [
        (one["tenant_id"], one["name"], one["requests"], one["share"], one["days"]) for one in found["tenants"]
    ] == [
        ("globex", "G", 69, 0.69, 1),
        ("acme", "Acme", 30, 0.3, 2),
        ("deleted", None, 1, 0.01, 1),
    ]
    assert found["tenants"][1]["last_seen_at"] == "2026-03-31T13:00:00+00:00"
    top = run("usage", *MARCH, "--top", "1", "--json").json
    assert (top["requests"], [one["tenant_id"] for one in top["tenants"]]) == (100, ["globex"])
    assert billed_commands.total() == 0


def test_the_days_of_one_tenant(run: Run) -> None:
    for name in ("acme", "acme.example.com"):
        found = run("usage", name, *MARCH, "--json").json
        assert (found["tenant_id"], found["requests"]) == ("acme", 30)
        assert [(day["day"], day["requests"]) for day in found["days"]] == [("2026-03-01", 10), ("2026-03-31", 20)]
    assert run("usage", "deleted", "--day", "2026-03-02", "--json").json["requests"] == 1
    assert run("usage", "unknown").status == 1


def test_all_tenants_by_day(run: Run) -> None:
    found = run("usage", *MARCH, "--by-day", "--json").json
    assert [(day["day"], day["requests"]) for day in found["days"]] == [
        ("2026-03-01", 10),
        ("2026-03-02", 1),
        ("2026-03-31", 89),
    ]


def test_for_a_person(run: Run) -> None:
    ran = run("usage", *MARCH)
    assert [line.split()[:3] for line in ran.out.splitlines()][1:] == [
        ["globex", "G", "69"],
        ["acme", "Acme", "30"],
        ["deleted", "(deleted)", "1"],
    ]
    assert ran.errors == "2026-03-01 to 2026-03-31: 100 requests of all tenants\n"


def test_by_default_the_last_30_days(run: Run, sql: Sql) -> None:
    today = datetime.now(UTC).date()
    for age in (0, 29, 31):
        sql("insert into tenantcache.usage values ('new', $1, 1, now())", today - timedelta(days=age))
    assert run("usage", "new", "--json").json["requests"] == 2


def test_days() -> None:
    def today() -> date:
        return date(2026, 3, 31)

    assert choose_days(None, None, None, today) == Days(date(2026, 3, 2))
    assert choose_days(date(2026, 1, 1), None, None, today) == Days(date(2026, 1, 1), date(2026, 1, 1))
    assert choose_days(None, None, date(2026, 1, 30), today) == Days(date(2026, 1, 1), date(2026, 1, 30))
    assert choose_days(None, date(2027, 1, 1), None, today) == Days(date(2027, 1, 1))
    assert choose_days(None, None, date(1, 1, 5), today) == Days(date(1, 1, 1), date(1, 1, 5))
    first, second = date(2026, 1, 1), date(2026, 1, 2)
    for day, since, until in ((first, None, first), (first, first, None), (None, second, first)):
        with pytest.raises(typer.BadParameter):
            choose_days(day, since, until, today)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--day", "yesterday"], "is not a date"),
        (["--day", "2026-02-30"], "is not a date"),
        (["--from", "2026-03-31", "--to", "2026-03-01"], "is after --to"),
        (["acme", "--by-day"], "one tenant is shown by day anyway"),
        (["--top", "0"], "top"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, options: list[str], expected: str) -> None:
    ran = run("usage", *options)
    assert (ran.status, ran.out) == (2, "")
    assert expected in unfolded(ran.errors)
