"""`tenantcache domains`: asking for a domain, proving it with a real nameserver, and taking it away."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.servers.billing import BilledCommands
from tests.servers.nameserver import Nameserver
from tests.shell.conftest import Ran, Run, Sql, unfolded

SHOP = "shop.acme.test"


@pytest.fixture(autouse=True)
def tenants(run: Run) -> None:
    for tenant_id in ("acme", "globex"):
        assert run("tenants", "create", tenant_id, "--id", tenant_id, "--subdomain", tenant_id).status == 0


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


@pytest.fixture
def ask(run: Run, nameserver: Nameserver) -> Callable[..., Ran]:
    """Run a command that asks the DNS, as JSON."""
    options = ("--nameserver", "127.0.0.1", "--nameserver-port", str(nameserver.port), "--json")
    return lambda *words: run("domains", *words, *options)


def prove(run: Run, ask: Callable[..., Ran], nameserver: Nameserver, domain: str = SHOP) -> None:
    claim = run("domains", "add", "acme", domain, "--json").json
    nameserver.records[claim["record_name"]] = [claim["record_value"]]
    assert ask("verify", domain).status == 0


def test_a_domain_is_asked_for_proven_and_served(
    run: Run, ask: Callable[..., Ran], nameserver: Nameserver, billed_commands: BilledCommands
) -> None:
    billed_commands.reset()
    claim = run("domains", "add", "acme", "SHOP.acme.test", "--json").json
    assert (claim["domain"], claim["served"], claim["proof"], claim["billed_commands"]) == (SHOP, False, "missing", 0)
    text = run("domains", "add", "acme", SHOP)
    assert claim["record_name"] in text.out and claim["record_value"] in text.out
    failed = ask("verify", SHOP)
    assert (failed.status, failed.json["outcome"]) == (1, "failed")
    nameserver.records[claim["record_name"]] = [claim["record_value"]]
    assert billed_commands.total() == 0
    verified = ask("verify", SHOP)
    assert (verified.status, verified.json["tenant_id"], verified.json["billed_commands"]) == (0, "acme", 3)
    assert billed_commands.by_command() == {"set": 3}
    assert run("resolve", SHOP).status == 0


def test_the_dns_that_does_not_answer_is_exit_status_3(
    run: Run, ask: Callable[..., Ran], nameserver: Nameserver
) -> None:
    run("domains", "add", "acme", SHOP)
    nameserver.rcode = "SERVFAIL"
    ran = ask("verify", SHOP)
    assert (ran.status, ran.json["outcome"]) == (3, "unreachable")


def test_listing(run: Run, ask: Callable[..., Ran], nameserver: Nameserver, sql: Sql) -> None:
    prove(run, ask, nameserver)
    sql("insert into tenantcache.tenant_domains values ('own.test', 'acme', true)")
    run("domains", "add", "acme", "wanted.test")
    run("domains", "add", "globex", "wanted.test")
    found = run("domains", "list", "acme", "--json").json["domains"]
    shown = [(one["domain"], one["served"], one["proof"], one["primary"]) for one in found]
    assert shown == [
        ("own.test", True, "none needed", True),
        (SHOP, True, "seen", False),
        ("wanted.test", False, "missing", False),
    ]
    found = run("domains", "list", "--domain", "Wanted.Test", "--json").json["domains"]
    assert [one["tenant_id"] for one in found] == ["acme", "globex"]
    found = run("domains", "list", "--domain", "own.test", "--json").json["domains"]
    assert [(one["tenant_id"], one["primary"]) for one in found] == [("acme", True)]
    ran = run("domains", "list", "acme")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["domain", "own.test", SHOP, "wanted.test"]
    assert "wanted.test waits for a TXT record _tenantcache-challenge.wanted.test = tenantcache-verify=" in ran.errors


def test_the_primary_domain(run: Run, sql: Sql, billed_commands: BilledCommands) -> None:
    sql("insert into tenantcache.tenant_domains values ('a.test', 'acme', true), ('b.test', 'acme', false)")
    billed_commands.reset()
    found = run("domains", "make-primary", "acme", "b.test", "--json").json
    assert found == {"tenant_id": "acme", "primary_domain": "b.test", "billed_commands": 4}
    assert billed_commands.total() == 4
    assert run("domains", "make-primary", "globex", "b.test").status == 1


def test_removing(run: Run, sql: Sql, billed_commands: BilledCommands, monkeypatch: pytest.MonkeyPatch) -> None:
    sql("insert into tenantcache.tenant_domains values ('a.test', 'acme', true), ('b.test', 'acme', false)")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run("domains", "remove", "acme", "a.test").status == 2
    assert run("domains", "remove", "globex", "a.test", "--yes").status == 1
    billed_commands.reset()
    ran = run("domains", "remove", "acme", "a.test", "--yes", "--json")
    assert (ran.status, ran.json["billed_commands"]) == (0, 1)
    assert billed_commands.by_command() == {"unlink": 1}
    assert run("domains", "remove", "b.test", "--from-every-tenant", "--yes", "--json").json["tenant_id"] is None
    assert sql("select from tenantcache.tenant_domains") == []


def test_checking_again(run: Run, ask: Callable[..., Ran], nameserver: Nameserver, sql: Sql) -> None:
    prove(run, ask, nameserver)
    assert ask("recheck").status == 0
    nameserver.records.clear()
    ran = ask("recheck")
    assert (ran.status, [one["outcome"] for one in ran.json["domains"]]) == (1, ["failed"])
    assert run("resolve", SHOP).status == 0
    sql("update tenantcache.domain_challenges set failing_since = failing_since - interval '8 days'")
    assert ask("recheck").json["domains"][0]["removed"] is True
    assert run("resolve", SHOP).status == 1


@pytest.mark.parametrize(
    ("command", "status", "expected"),
    [
        (["add", "acme", "shop.example.com"], 2, "lies under a base domain"),
        (["add", "acme", "\x1b[31m.test"], 2, "is not a host name"),
        (["add", "unknown", "a.test"], 1, "there is no tenant with the id 'unknown'"),
        (["verify", "a.test"], 1, "no tenant has asked for the domain"),
        (["verify", "a.test", "--nameserver", "dns.test"], 2, "does not appear to be an IPv4 or IPv6 address"),
        (["list"], 2, "give the id of a tenant, or --domain"),
        (["list", "unknown"], 1, "there is no tenant with the id 'unknown'"),
        (["remove", "a.test", "--yes"], 2, "--from-every-tenant"),
        (["remove", "a.test", "--from-every-tenant", "--yes"], 1, "no tenant has the domain 'a.test'"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, command: list[str], status: int, expected: str) -> None:
    ran = run("domains", *command)
    assert (ran.status, ran.out) == (status, "")
    assert expected in unfolded(ran.errors)
    assert all(line.isprintable() for line in ran.errors.splitlines())


def test_adopted_tenants(run: Run, sql: Sql) -> None:
    sql("create table public.orgs (id int primary key, slug text, host text)")
    sql("insert into orgs values (1, 'acme', 'acme.test')")
    assert run("init", "--adopt", "orgs", "--subdomain", "slug", "--custom-domain", "host").status == 0
    found = run("domains", "list", "1", "--json").json["domains"]
    assert [(one["domain"], one["served"]) for one in found] == [("acme.test", True)]
    assert run("domains", "list", "--domain", "acme.test", "--json").json["domains"][0]["tenant_id"] == "1"
    ran = run("domains", "add", "1", "new.test")
    assert (ran.status, "change them there" in ran.errors) == (2, True)
