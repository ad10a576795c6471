"""`tenantcache tenants`: what the API does, for a shell."""

from __future__ import annotations

import io
import json
import sys

import pytest
import redis

from tests.servers.billing import BilledCommands
from tests.servers.databases import Databases
from tests.shell.conftest import Run, Sql, unfolded

PLANS = '{"pro": {"per_minute": 50, "per_day": 0}}'
HOSTILE = "\x1b[31mred\u202egnp.exe[bold]x"
ADOPTION = "create table public.orgs (id int primary key, slug text, status text)"


def create(run: Run, tenant_id: str, *options: str) -> None:
    assert run("tenants", "create", tenant_id, "--id", tenant_id, "--subdomain", tenant_id, *options).status == 0


def keys_in(url: str) -> set[str]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return set(client.keys("*"))


class TestCreate:
    def test_each_option_is_a_column(self, run: Run, sql: Sql) -> None:
        ran = run(
            *("tenants", "create", "Acme Inc.", "--id", "acme", "--subdomain", "Acme", "--domain", "b.test"),
            *("--domain", "a.test", "--primary-domain", "b.test", "--status", "maintenance", "--plan", "pro"),
            *("--per-minute", "7", "--per-day", "0", "--time-zone", "Asia/Tokyo"),
            *("--attributes", '{"seats": 5}', "--json"),
            TENANTCACHE_PLANS=PLANS,
        )
        assert ran.status == 0
        assert ran.json == {
            "id": "acme",
            "name": "Acme Inc.",
            "subdomain": "acme",
            "domains": ["a.test", "b.test"],
            "primary_domain": "b.test",
            "status": "maintenance",
            "plan": "pro",
            "limits": {"per_minute": 7, "per_day": None},
            "limits_from": {"per_minute": "tenant", "per_day": "tenant"},
            "time_zone": "Asia/Tokyo",
            "attributes": {"seats": 5},
            "billed_commands": 4,
        }
        [row] = sql("select * from tenantcache.tenants")
        assert (row["id"], row["limit_per_day"], json.loads(row["attributes"])) == ("acme", 0, {"seats": 5})

    def test_it_costs_one_billed_command_for_each_name_and_puts_the_copies_there(
        self, run: Run, redis_url: str, billed_commands: BilledCommands
    ) -> None:
        ran = run("tenants", "create", "Acme", "--id", "acme", "--subdomain", "acme", "--domain", "acme.test", "--json")
        assert ran.json["billed_commands"] == 3
        assert billed_commands.by_command() == {"set": 3}
        names = ("id:acme", "subdomain:acme", "domain:acme.test")
        assert keys_in(redis_url) == {f"tenantcache:tenant:{name}" for name in names}

    def test_without_an_id_it_gets_a_random_one(self, run: Run) -> None:
        assert len(run("tenants", "create", "Acme", "--json").json["id"]) == 36

    def test_attributes_come_from_stdin(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO('{"from": "stdin"}'))
        assert run("tenants", "create", "Acme", "--attributes", "-", "--json").json["attributes"] == {"from": "stdin"}

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--id", "acme"], "id 'acme' is taken by another tenant"),
            (["--subdomain", "www"], "subdomain 'www' is reserved"),
            (["--domain", "shop.example.com"], "lies under a base domain"),
            (["--per-minute", "-1"], "limit_per_minute is -1; give a whole number"),
            (["--attributes", "{"], "--attributes is not JSON"),
            (["--attributes", "[1]"], "attributes are not a JSON object"),
            (["--time-zone", "Nowhere"], "time_zone is 'Nowhere'"),
            (["--status", "asleep"], "asleep"),
        ],
    )
    def test_what_cannot_be_is_refused(self, run: Run, sql: Sql, options: list[str], expected: str) -> None:
        create(run, "acme")
        ran = run("tenants", "create", "New", *options)
        assert (ran.status, ran.out) == (2, "")
        assert expected in ran.errors
        assert [row["id"] for row in sql("select id from tenantcache.tenants")] == ["acme"]

    def test_all_faults_are_told_at_once(self, run: Run) -> None:
        ran = run("tenants", "create", " ", "--subdomain", "a.b", "--per-day", "-1")
        assert len(ran.errors.splitlines()) == 3


class TestUpdate:
    def test_what_is_given_and_nothing_else(self, run: Run, billed_commands: BilledCommands) -> None:
        create(run, "acme", "--plan", "pro", "--per-minute", "7", "--attributes", '{"a": 1}')
        billed_commands.reset()
        options = ("--name", "New", "--unset", "per-minute", "--json")
        ran = run("tenants", "update", "acme", *options, TENANTCACHE_PLANS=PLANS)
        assert (ran.json["name"], ran.json["plan"], ran.json["attributes"]) == ("New", "pro", {"a": 1})
        assert ran.json["limits"] == {"per_minute": 50, "per_day": None}
        assert ran.json["limits_from"] == {"per_minute": "plan", "per_day": "plan"}
        assert ran.json["billed_commands"] == 2
        assert billed_commands.by_command() == {"set": 2}

    def test_each_field_can_be_taken_away(self, run: Run, sql: Sql) -> None:
        create(run, "acme", "--plan", "pro", "--per-minute", "7", "--per-day", "8", "--time-zone", "Asia/Tokyo")
        fields = ("subdomain", "plan", "per-minute", "per-day", "time-zone", "attributes")
        ran = run("tenants", "update", "acme", *(word for field in fields for word in ("--unset", field)), "--json")
        assert ran.status == 0
        [row] = sql("select * from tenantcache.tenants")
        left = {name: value for name, value in row.items() if value is not None}
        assert left == {"id": "acme", "name": "acme", "status": "active", "attributes": "{}"}
        assert ran.json["limits_from"] == {"per_minute": "default", "per_day": "default"}

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ([], "there is nothing to change"),
            (["--unset", "name"], "'name' cannot be taken away"),
            (["--plan", "pro", "--unset", "plan"], "contradict each other"),
            (["--subdomain", "globex"], "subdomain 'globex' is taken by another tenant"),
        ],
    )
    def test_what_cannot_be_is_refused(self, run: Run, options: list[str], expected: str) -> None:
        create(run, "acme")
        create(run, "globex")
        ran = run("tenants", "update", "acme", *options)
        assert (ran.status, ran.out) == (2, "")
        assert expected in unfolded(ran.errors)

    def test_suspend_and_resume(self, run: Run) -> None:
        create(run, "acme")
        assert run("tenants", "suspend", "acme", "--json").json["status"] == "suspended"
        assert run("resolve", "acme.example.com").status == 1
        assert run("tenants", "resume", "acme", "--json").json["status"] == "active"
        assert run("resolve", "acme.example.com").status == 0

    @pytest.mark.parametrize("command", ["show", "suspend", "resume", "delete"])
    @pytest.mark.parametrize("name", ["unknown", "\udcff", "../../etc", HOSTILE, "x" * 5000])
    def test_an_unknown_tenant_is_exit_status_1(self, run: Run, command: str, name: str) -> None:
        options = ["--yes"] if command == "delete" else []
        ran = run("tenants", command, name, *options)
        assert (ran.status, ran.out) == (1, "")
        assert ran.errors.startswith("tenantcache: ")
        assert ran.errors.removesuffix("\n").isprintable()

    def test_a_host_in_place_of_an_id_is_told_whose_it_is(self, run: Run) -> None:
        create(run, "acme")
        ran = run("tenants", "suspend", "acme.example.com")
        assert ran.status == 1
        assert "the host of that name leads to the tenant 'acme'" in ran.errors


class TestDelete:
    def test_it_takes_the_tenant_and_its_copies_away_for_one_command(
        self, run: Run, sql: Sql, redis_url: str, billed_commands: BilledCommands
    ) -> None:
        create(run, "acme", "--domain", "acme.test")
        billed_commands.reset()
        ran = run("tenants", "delete", "acme", "--yes", "--json")
        assert (ran.status, ran.json) == (0, {"deleted": "acme", "billed_commands": 1})
        assert billed_commands.by_command() == {"unlink": 1}
        assert keys_in(redis_url) == set()
        assert sql("select from tenantcache.tenants") == []

    def test_without_a_terminal_it_wants_to_be_told(self, run: Run, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
        create(run, "acme")
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        ran = run("tenants", "delete", "acme")
        assert (ran.status, ran.out) == (2, "")
        assert ran.errors == "tenantcache: this cannot be undone, and there is no terminal to ask on; give --yes\n"
        assert len(sql("select from tenantcache.tenants")) == 1

    @pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1), ("", 1)])
    def test_on_a_terminal_it_asks(
        self, run: Run, sql: Sql, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
    ) -> None:
        class Keyboard(io.StringIO):
            def isatty(self) -> bool:
                return True

        create(run, "acme")
        monkeypatch.setattr(sys, "stdin", Keyboard(answer))
        ran = run("tenants", "delete", "acme", "--json")
        assert "Delete the tenant 'acme' ('acme') with 1 names that lead to it?" in ran.errors
        assert len(sql("select from tenantcache.tenants")) == left
        assert (ran.out == "") == bool(left)


class TestShow:
    def test_by_id_and_by_host(self, run: Run, sql: Sql, billed_commands: BilledCommands) -> None:
        create(run, "acme", "--domain", "acme.test", "--plan", "pro")
        sql("insert into tenantcache.usage values ('acme', '2026-03-31', 5, '2026-03-31 12:00:00+00')")
        billed_commands.reset()
        shown = [run("tenants", "show", name, "--json") for name in ("acme", "ACME.example.com:80", "acme.test")]
        assert shown[0].json["last_seen_at"] == "2026-03-31T12:00:00+00:00"
        assert shown[0].json["limits_from"] == {"per_minute": "default", "per_day": "default"}
        assert [ran.json for ran in shown] == [shown[0].json] * 3
        assert billed_commands.total() == 0

    def test_for_a_person(self, run: Run) -> None:
        create(run, "acme", "--per-minute", "1200", "--plan", "pro")
        ran = run("tenants", "show", "acme", TENANTCACHE_PLANS=PLANS)
        assert ran.out.splitlines()[0].split() == ["id", "acme"]
        assert "1,200 (the tenant's own)" in ran.out
        assert "unlimited (its plan's)" in ran.out


class TestList:
    def test_pages(self, run: Run, billed_commands: BilledCommands) -> None:
        for number in range(5):
            create(run, f"t{number}")
        billed_commands.reset()
        first = run("tenants", "list", "--limit", "2", "--json")
        assert [tenant["id"] for tenant in first.json["tenants"]] == ["t0", "t1"]
        second = run("tenants", "list", "--limit", "3", "--after", first.json["next"], "--json")
        assert [tenant["id"] for tenant in second.json["tenants"]] == ["t2", "t3", "t4"]
        assert second.json["next"] is None
        assert billed_commands.total() == 0

    def test_only_some(self, run: Run) -> None:
        create(run, "acme", "--plan", "pro", "--domain", "shop.test")
        create(run, "globex", "--status", "suspended", "--plan", "pro")
        for options, expected in (
            (["--plan", "pro"], ["acme", "globex"]),
            (["--status", "suspended"], ["globex"]),
            (["--search", "SHOP"], ["acme"]),
            (["--search", "o"], ["acme", "globex"]),
            (["--search", "%"], []),
            (["--search", "o", "--plan", "free"], []),
            (["--search", "\udcff"], []),
        ):
            ran = run("tenants", "list", *options, "--json")
            assert (ran.status, [tenant["id"] for tenant in ran.json["tenants"]]) == (0, expected)

    def test_a_row_is_one_line_into_a_pipe_and_notes_are_on_stderr(self, run: Run) -> None:
        create(run, "acme", "--domain", f"{'a' * 60}.test", "--domain", f"{'b' * 60}.test")
        create(run, "globex")
        ran = run("tenants", "list", "--limit", "1")
        header, row = ran.out.splitlines()
        assert header.split() == ["id", "name", "subdomain", "domains", "status", "plan", "per", "minute", "per", "day"]
        assert row.split()[:3] == ["acme", "acme", "acme"]
        assert row.rstrip().endswith("600  100,000")
        assert ran.errors == "there are more: --after acme\n"

    def test_hostile_names_are_shown_escaped(self, run: Run, sql: Sql) -> None:
        sql("insert into tenantcache.tenants (id, name) values ('x', $1)", HOSTILE)
        for command in (("list",), ("show", "x"), ("list", "--json"), ("show", "x", "--json")):
            ran = run("tenants", *command)
            assert all(line.isprintable() for line in ran.out.splitlines())
            assert "gnp.exe[bold]x" in ran.out
        assert run("tenants", "show", "x", "--json").json["name"] == HOSTILE

    def test_no_tenants(self, run: Run) -> None:
        ran = run("tenants", "list")
        assert (ran.status, ran.out, ran.errors) == (0, "", "no tenants\n")


class TestAdopted:
    @pytest.fixture(autouse=True)
    def adopted(self, run: Run, sql: Sql) -> None:
        sql(ADOPTION)
        sql("insert into orgs values (1, 'acme', 'active'), (2, 'globex', 'suspended'), (3, 'initech', 'active')")
        assert run("init", "--adopt", "orgs", "--subdomain", "slug", "--status", "status").status == 0

    def test_they_are_listed_and_shown(self, run: Run) -> None:
        def ids(*options: str) -> list[str]:
            return [one["id"] for one in run("tenants", "list", *options, "--json").json["tenants"]]

        assert ids() == ["1", "2", "3"]
        assert ids("--status", "suspended") == ["2"]
        assert ids("--search", "ACM") == ["1"]
        assert ids("--after", "1", "--limit", "1") == ["2"]
        assert run("tenants", "show", "globex.example.com", "--json").json["id"] == "2"

    @pytest.mark.parametrize(
        "command", [["create", "New"], ["suspend", "1"], ["update", "1", "--plan", "pro"], ["delete", "1", "--yes"]]
    )
    def test_they_are_not_written(self, run: Run, command: list[str]) -> None:
        ran = run("tenants", *command)
        assert (ran.status, ran.out) == (2, "")
        assert ran.errors == "tenantcache: the tenants are those of public.orgs, which is yours: change them there\n"


class TestServers:
    def test_no_schema(self, run: Run, empty_database_url: str) -> None:
        ran = run("tenants", "list", DATABASE_URL=empty_database_url)
        assert (ran.status, ran.out) == (2, "")
        assert "run `tenantcache init`" in ran.errors

    def test_postgres_is_not_there(self, run: Run) -> None:
        ran = run("tenants", "list", DATABASE_URL="postgresql://u:secret@127.0.0.1:1/d")
        assert (ran.status, ran.out) == (3, "")
        assert ran.errors == (
            "tenantcache: DATABASE_URL: Postgres at 127.0.0.1:1 is not running (connection refused); "
            "start it, or correct host and port\n"
        )

    def test_without_redis_nothing_is_billed(self, run: Run, billed_commands: BilledCommands) -> None:
        ran = run("tenants", "create", "Acme", "--subdomain", "acme", "--json", REDIS_URL="")
        assert (ran.status, ran.json["billed_commands"]) == (0, 0)
        assert billed_commands.total() == 0

    def test_a_redis_that_is_not_there_does_not_keep_a_write_from_being_made(self, run: Run, sql: Sql) -> None:
        ran = run("tenants", "create", "Acme", "--id", "acme", "--json", REDIS_URL="redis://:secret@127.0.0.1:1")
        assert ran.status == 0
        assert len(sql("select from tenantcache.tenants")) == 1
        assert "secret" not in ran.errors

    def test_who_may_only_read_can_read(self, run: Run, sql: Sql, databases: Databases, database_url: str) -> None:
        create(run, "acme")
        databases.execute("CREATE ROLE onlooker LOGIN")
        try:
            sql("grant usage on schema tenantcache to onlooker")
            sql("grant select on all tables in schema tenantcache to onlooker")
            sql("grant execute on all routines in schema tenantcache to onlooker")
            url = database_url.replace("postgres@", "onlooker@")
            for command in (["tenants", "list"], ["tenants", "show", "acme"], ["domains", "list", "acme"], ["usage"]):
                assert run(*command, DATABASE_URL=url).status == 0
            assert run("resolve", "acme.example.com").status == 0
            ran = run("tenants", "suspend", "acme")
            assert (ran.status, ran.out) == (3, "")
            assert "does not let this user do that" in ran.errors
        finally:
            sql("drop owned by onlooker")
            databases.execute("DROP ROLE onlooker")

    def test_a_command_is_no_process_of_the_fleet_and_chooses_no_store(self, run: Run, sql: Sql) -> None:
        before = sql("select * from tenantcache.counter_store")
        sql("create table seen (id text)")
        sql(
            "create function note() returns trigger language plpgsql as"
            " $$ begin insert into public.seen values (new.id::text); return new; end $$"
        )
        sql("create trigger note after insert on tenantcache.processes for each row execute function note()")
        create(run, "acme")
        run("tenants", "list")
        run("resolve", "acme.example.com", "--redis")
        assert sql("select * from seen") == []
        assert sql("select * from tenantcache.counter_store") == before
        assert sql("select * from tenantcache.counter_holders") == []
        assert sql("select * from tenantcache.counters") == []
