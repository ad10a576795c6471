"""Tables that were there before: what is served from them, by which index, and what is logged, on a real Postgres."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import asyncpg
import pytest
import redis.asyncio

from tenantcache import Settings, TenantCache
from tenantcache.schema import install as schema
from tenantcache.schema.adopt import Adoption, AdoptionError, TableOptions, find_warnings, install, prepare, write_query

ACME = "11111111-1111-4111-8111-111111111111"
GLOBEX = "22222222-2222-4222-8222-222222222222"

PLAIN = "create table tenants (id integer primary key, subdomain text unique, custom_domain text unique"


@pytest.fixture
async def db(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Connection]:
    """With our schema, which costs as much as adopting, so that it is not installed again.

    Some classes of tests begin without it.
    """

    async def is_there(connection: asyncpg.Connection) -> None:
        assert await connection.fetchval("select to_regclass('tenantcache.adoptions') is not null")

    monkeypatch.setattr(schema, "install", is_there)
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def adopt(db: asyncpg.Connection, table: str = "tenants", /, **options: Any) -> Sequence[str]:
    """Adopt, by subdomain unless told otherwise; return the warnings, those of capitals aside (`TestCapitals`)."""
    if not options.keys() & {"subdomain", "custom_domain", "domains_table"}:
        options["subdomain"] = "subdomain"
    written = await write_query(db, TableOptions(table, **options))
    plan = await prepare(db, Adoption(written.sql))
    warnings = [*written.warnings, *await find_warnings(db, plan)]
    assert await install(db, plan)
    return [warning for warning in warnings if "differ in capitals only" not in warning]


async def find(
    db: asyncpg.Connection, *, subdomains: Sequence[str] = (), domains: Sequence[str] = (), ids: Sequence[str] = ()
) -> dict[str, Any]:
    """The tenants that these names lead to, by alias; a name without one is left out."""
    asked = [f"subdomain:{name}" for name in subdomains]
    asked += [f"domain:{name}" for name in domains] + [f"id:{name}" for name in ids]
    rows = await db.fetch("select * from tenantcache.find_tenants($1)", asked)
    assert {row["state"] for row in rows} <= {"found", "conflict"}
    assert all((row["tenant"] is None) == (row["state"] == "conflict") for row in rows)
    return {
        row["alias"]: json.loads(row["tenant"]) | {"attributes": json.loads(row["attributes"] or "{}")}
        for row in rows
        if row["tenant"] is not None
    }


async def served(db: asyncpg.Connection, tenant_id: str = "1") -> dict[str, Any]:
    """The one tenant of that id."""
    found = await find(db, ids=[tenant_id])
    assert found.keys() == {f"id:{tenant_id}"}
    row: dict[str, Any] = found[f"id:{tenant_id}"]
    return row


async def publish(db: asyncpg.Connection) -> None:
    while await db.fetchval("select tenantcache.publish(1000)") == "more":
        pass


async def logged(db: asyncpg.Connection, statement: str) -> set[tuple[str | None, frozenset[str] | None]]:
    """The entries of the log that `statement` makes."""
    await publish(db)
    before = await db.fetchval("select max(seq) from tenantcache.change_log")
    await db.execute(statement)
    await publish(db)
    rows = await db.fetch("select tenant_id, hosts from tenantcache.change_log where seq > $1", before)
    return {(row["tenant_id"], None if row["hosts"] is None else frozenset(row["hosts"])) for row in rows}


def change(tenant_id: str, *hosts: str) -> tuple[str, frozenset[str]]:
    return tenant_id, frozenset(hosts)


class TestWhatIsServed:
    async def test_a_table_with_all_columns(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""
            {PLAIN}, title text, state text, tier text, rpm smallint, rpd numeric, settings jsonb, zone text);
            insert into tenants
                values (1, 'acme', 'shop.acme.io', 'Acme', 'maintenance', 'pro', 60, 5000, '{{"a": [1]}}',
                    'Asia/Tokyo');
        """)
        await adopt(
            db,
            subdomain="subdomain",
            custom_domain="custom_domain",
            name="title",
            status="state",
            plan="tier",
            per_minute="rpm",
            per_day="rpd",
            time_zone="zone",
            attributes=["settings"],
        )
        assert await served(db) == {
            "id": "1",
            "name": "Acme",
            "subdomain": "acme",
            "domains": ["shop.acme.io"],
            "primary_domain": "shop.acme.io",
            "status": "maintenance",
            "plan": "pro",
            "limit_per_minute": 60,
            "limit_per_day": 5000,
            "time_zone": "Asia/Tokyo",
            "attributes": {"a": [1]},
            "subdomains": ["acme"],
            "kind": "",
            "names": [],
            "old_names": [],
            "old_slugs": [],
        }
        found = await find(db, subdomains=["acme"], domains=["shop.acme.io"])
        assert {alias: row["id"] for alias, row in found.items()} == {
            "subdomain:acme": "1",
            "domain:shop.acme.io": "1",
        }

    async def test_the_least_that_can_be_adopted(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}); insert into tenants values (1, 'acme')")
        await adopt(db)
        assert await served(db) == {
            "id": "1",
            "name": "1",
            "subdomain": "acme",
            "domains": [],
            "primary_domain": None,
            "status": "active",
            "plan": None,
            "limit_per_minute": None,
            "limit_per_day": None,
            "time_zone": None,
            "attributes": {},
            "subdomains": ["acme"],
            "kind": "",
            "names": [],
            "old_names": [],
            "old_slugs": [],
        }

    async def test_columns_that_hold_nothing(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}, title text, rpm int, settings json); insert into tenants values (1, '', '')")
        await adopt(
            db,
            subdomain="subdomain",
            custom_domain="custom_domain",
            name="title",
            per_minute="rpm",
            attributes=["settings"],
        )
        row = await served(db)
        assert (row["name"], row["subdomain"], row["domains"], row["primary_domain"]) == ("1", None, [], None)
        assert (row["limit_per_minute"], row["attributes"]) == (None, {})
        assert await find(db, subdomains=[""], domains=[""]) == {}

    @pytest.mark.parametrize(
        ("value", "per_minute", "per_day"),
        [
            ("null", None, None),
            ("0", 0, 0),
            ("-1", 0, 0),
            ("1e30", 2**31 - 1, 2**53 - 1),
            ("'NaN'", 2**31 - 1, 2**53 - 1),
        ],
    )
    async def test_a_limit_out_of_range_is_cut(
        self, db: asyncpg.Connection, value: str, per_minute: int | None, per_day: int | None
    ) -> None:
        await db.execute(f"{PLAIN}, quota float8); insert into tenants values (1, 'acme', null, {value})")
        await adopt(db, per_minute="quota", per_day="quota")
        row = await served(db)
        assert (row["limit_per_minute"], row["limit_per_day"]) == (per_minute, per_day)

    @pytest.mark.parametrize(
        ("column", "options", "expected"),
        [
            (
                "state text",
                {},
                {"active": "active", "maintenance": "maintenance", "odd": "suspended", None: "suspended"},
            ),
            ("state text", {"live": "active", "odd": "maintenance"}, {"live": "active", "odd": "maintenance"}),
            ("state text", {"": "active", "active": "suspended"}, {None: "active", "active": "suspended"}),
            ("state boolean", {}, {True: "active", False: "suspended", None: "suspended"}),
            ("state boolean", {"true": "suspended", "false": "active"}, {True: "suspended", False: "active"}),
            ("state date", {}, {None: "active"}),
            ("state int", {"1": "active", "7": "maintenance"}, {1: "active", 7: "maintenance", 2: "suspended"}),
        ],
    )
    async def test_a_status_is_mapped(
        self, db: asyncpg.Connection, column: str, options: dict[str, str], expected: dict[Any, str]
    ) -> None:
        await db.execute(f"{PLAIN}, {column})")
        await adopt(db, status="state", status_map=options)
        for value, status in expected.items():
            await db.execute("delete from tenants")
            await db.execute("insert into tenants (id, state) values (1, $1)", value)
            assert (await served(db))["status"] == status

    @pytest.mark.parametrize("given", [{"t": "suspended"}, {"True": "suspended", "false": "active"}, {"1": "active"}])
    async def test_a_boolean_has_three_values_to_map(self, db: asyncpg.Connection, given: dict[str, str]) -> None:
        await db.execute(f"{PLAIN}, live boolean)")
        options = TableOptions("tenants", subdomain="subdomain", status="live", status_map=given)
        with pytest.raises(AdoptionError, match=f"is a boolean and never has '{next(iter(given))}'"):
            await write_query(db, options)

    @pytest.mark.parametrize("column", ["deactivated", "is_archived", "suspended", "deleted", "disabled"])
    async def test_a_boolean_that_sounds_like_the_opposite_is_told(self, db: asyncpg.Connection, column: str) -> None:
        await db.execute(f"{PLAIN}, {column} boolean); insert into tenants values (1, 'a', null, true)")
        opposite = f"public.tenants.{column} sounds as if true meant that a tenant is not active"
        warnings = await adopt(db, status=column)
        assert [warning for warning in warnings if warning.startswith(opposite)] == warnings != []
        mapped = await adopt(db, status=column, status_map={"true": "suspended", "false": "active"})
        assert mapped == ["1 of 1 tenants count as suspended"]

    async def test_how_many_count_as_suspended(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""{PLAIN}, state text);
            insert into tenants select i, 't' || i, null, case when i > 3 then 'live' else 'active' end
                from generate_series(1, 8) i;""")
        assert await adopt(db, status="state") == ["5 of 8 tenants count as suspended"]

    async def test_a_time_of_deletion_suspends(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}, deleted_at timestamptz); insert into tenants values (1, 'acme', null, now())")
        await adopt(db, status="deleted_at")
        assert (await served(db))["status"] == "suspended"

    async def test_everything_but_secrets_as_attributes(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""{PLAIN}, colour text, seats int, "o'dd $body$ ""name" text, api_key text, settings json);
            insert into tenants values (1, 'acme', null, 'red', 5, 'x', 'sesame', '{{"k": 1}}');
        """)
        options = {"subdomain": "subdomain", "custom_domain": "custom_domain", "attributes": ["*"]}
        assert await adopt(db, **options, exclude=["api_key"]) == []
        row = await served(db)
        assert row["attributes"] == {"colour": "red", "seats": 5, "o'dd $body$ \"name": "x", "settings": {"k": 1}}
        # No column is named, so that the application may drop or retype any: then each change of a row is logged.
        assert await logged(db, "update tenants set api_key = 'changed'") == {change("1", "subdomain:acme")}
        assert await logged(db, "update tenants set api_key = 'changed'") == set()
        await db.execute("alter table tenants add column token text default 'sesame'")
        assert "sesame" not in json.dumps(await served(db)), "a column that came later"
        assert [warning.partition(" looks like")[0] for warning in await adopt(db, **options)] == [
            "public.tenants.api_key",
            "public.tenants.token",
        ]
        assert (await served(db))["attributes"]["api_key"] == "changed"

    async def test_sixty_attributes(self, db: asyncpg.Connection) -> None:
        columns = ", ".join(f"c{number} int default {number}" for number in range(60))
        await db.execute(f"{PLAIN}, {columns}); insert into tenants (id) values (1)")
        await adopt(db, attributes=["*"], exclude=["custom_domain"])
        assert (await served(db))["attributes"] == {f"c{number}": number for number in range(60)}

    async def test_one_that_is_no_object_counts_as_none(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}, settings jsonb); insert into tenants values (1, 'acme', null, '[1, 2]')")
        await adopt(db, attributes=["settings"])
        assert (await served(db))["attributes"] == {}

    async def test_only_verified_domains(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""{PLAIN}, checked_at timestamptz);
            create table domains (domain text unique, tenant_id int, verified boolean);
            insert into tenants values (1, 'acme', 'a.io', null), (2, 'globex', 'g.io', now());
            insert into domains values ('one.io', 1, true), ('two.io', 1, false), ('three.io', 1, null);
        """)
        await adopt(
            db,
            custom_domain="custom_domain",
            custom_domain_verified="checked_at",
            domains_table="domains",
            domains_verified="verified",
        )
        assert [(await served(db, key))["domains"] for key in "12"] == [["one.io"], ["g.io"]]
        asked = ["a.io", "g.io", "one.io", "two.io", "three.io"]
        assert (await find(db, domains=asked)).keys() == {"domain:g.io", "domain:one.io"}
        names = ["domain:one.io", "domain:two.io"]
        assert await logged(db, "update domains set verified = true where domain = 'two.io'") == {change("1", *names)}
        assert await logged(db, "update tenants set checked_at = now() where id = 1") == {
            change("1", *names, "domain:a.io")
        }
        assert (await find(db, domains=asked)).keys() == {f"domain:{name}" for name in asked} - {"domain:three.io"}

    async def test_a_table_of_domains_beside_a_column(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""{PLAIN});
            create table domains (name text primary key, owner bigint, main boolean);
            insert into tenants values (1, 'acme', null), (2, 'globex', 'G.io');
            insert into domains values ('b.io', 1, true), ('A.io', 1, null), ('z.io', 2, true), ('orphan.io', 9, true);
        """)
        await adopt(
            db,
            subdomain="subdomain",
            custom_domain="custom_domain",
            domains_table="domains",
            domains_column="name",
            domains_tenant_column=["owner"],
            domains_primary="main",
        )
        rows = [await served(db, key) for key in "12"]
        assert [(row["domains"], row["primary_domain"]) for row in rows] == [
            (["b.io", "a.io"], "b.io"),
            (["g.io", "z.io"], "g.io"),
        ]
        found = await find(db, domains=["a.io", "b.io", "g.io", "z.io", "orphan.io"])
        assert {alias: row["id"] for alias, row in found.items()} == {
            "domain:a.io": "1",
            "domain:b.io": "1",
            "domain:g.io": "2",
            "domain:z.io": "2",
        }

    @pytest.mark.parametrize("definition", ["int", "jsonb", "text"])
    @pytest.mark.parametrize("option", ["domains_verified", "custom_domain_verified"])
    async def test_a_flag_is_a_boolean_a_time_or_a_value(
        self, db: asyncpg.Connection, definition: str, option: str
    ) -> None:
        await db.execute(f"""{PLAIN}, flag {definition});
            create table domains (domain text unique, tenant_id int, flag {definition})""")
        options: dict[str, Any] = {"custom_domain": "custom_domain", "domains_table": "domains", option: "flag"}
        with pytest.raises(AdoptionError, match=r"give a boolean, a time, or a value: --\S+ flag=ACTIVE"):
            await write_query(db, TableOptions("tenants", **options))

    async def test_verified_by_value(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""{PLAIN}, proof text);
            create table domains (domain text unique, tenant_id int, state text);
            insert into tenants values (1, 'acme', 'a.io', 'o''k'), (2, 'globex', 'g.io', 'ok');
            insert into domains values ('one.io', 1, 'ACTIVE'), ('two.io', 1, 'pending'), ('three.io', 1, null);
        """)
        options = {"custom_domain": "custom_domain", "custom_domain_verified": "proof=o'k"}
        await adopt(db, **options, domains_table="domains", domains_verified="state=ACTIVE")
        asked = ["a.io", "g.io", "one.io", "two.io", "three.io"]
        assert (await find(db, domains=asked)).keys() == {"domain:a.io", "domain:one.io"}

    async def test_of_two_with_one_name_the_active_one_is_served(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            create table tenants (id int primary key, subdomain text, deleted_at timestamptz);
            insert into tenants values (1, 'acme', now()), (2, 'ACME', null), (3, 'acme', now()), (4, 'other', null);
        """)
        await adopt(db, status="deleted_at")
        assert (await find(db, subdomains=["acme"]))["subdomain:acme"]["id"] == "2"

    async def test_a_name_of_two_active_ones_is_served_for_neither(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            create table tenants (id int primary key, subdomain text unique, custom_domain text);
            insert into tenants values (1, 't8', 't8.io'), (2, 't9', 't9.io');
        """)
        assert await adopt(db, custom_domain="custom_domain", subdomain="subdomain") == []
        await db.execute("insert into tenants values (3, 'T8', 't9.IO')")
        for _ in ("before it is published", "after it"):
            asked = ["subdomain:t8", "domain:t8.io", "subdomain:t9", "domain:t9.io"]
            rows = await db.fetch("select alias, tenant ->> 'id', state from tenantcache.find_tenants($1)", asked)
            assert sorted(rows) == [
                ("domain:t8.io", "1", "found"),
                ("domain:t9.io", None, "conflict"),
                ("subdomain:t8", None, "conflict"),
                ("subdomain:t9", "2", "found"),
            ]
            await publish(db)
        assert [(await served(db, key))["subdomain"] for key in "123"] == ["t8", "t9", "t8"], "by id each is served"
        await db.execute("delete from tenants where id = 1")
        assert (await find(db, subdomains=["t8"]))["subdomain:t8"]["id"] == "3"

    async def test_a_name_of_two_active_ones_is_told(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            create table tenants (id int primary key, subdomain text unique);
            insert into tenants values (1, 't8'), (2, 'T8');
        """)
        assert await adopt(db) == ["several active tenants have the subdomain 't8': it is served for none of them"]


class TestKeys:
    @pytest.mark.parametrize(
        "type_name", ["integer", "smallint", "bigint", "text", "varchar(10)", "char(4)", "numeric"]
    )
    async def test_one_column(self, db: asyncpg.Connection, type_name: str) -> None:
        await db.execute(f"""
            create table tenants (id {type_name} primary key, subdomain text unique);
            insert into tenants values ('1', 'acme'), ('22', 'globex');
        """)
        await adopt(db)
        odd = ["1", "22", "3", "01", "+1", " 1", "1.0", "x", "", "-", "9" * 19, "9" * 40, "1'; drop table tenants --"]
        assert {alias: row["subdomain"] for alias, row in (await find(db, ids=odd)).items()} == {
            "id:1": "acme",
            "id:22": "globex",
        }

    async def test_the_largest_bigint(self, db: asyncpg.Connection) -> None:
        await db.execute("create table tenants (id bigint primary key, subdomain text unique)")
        ids = [str(2**63 - 1), str(-(2**63) + 1), "0", "-5"]
        await db.executemany("insert into tenants values ($1, $2)", [(int(key), f"t{n}") for n, key in enumerate(ids)])
        await adopt(db)
        assert (await find(db, ids=[*ids, str(2**63)])).keys() == {f"id:{key}" for key in ids}

    async def test_a_uuid_has_one_spelling(self, db: asyncpg.Connection) -> None:
        await db.execute("create table tenants (id uuid primary key, subdomain text unique)")
        await db.execute(f"insert into tenants values ('{ACME}', 'acme')")
        await adopt(db)
        asked = [ACME, f"{{{ACME}}}", ACME.replace("-", ""), GLOBEX, "acme"]
        assert (await find(db, ids=asked)).keys() == {f"id:{ACME}"}

    async def test_two_columns_are_joined_without_ambiguity(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            create table tenants (region text, number int, subdomain text unique, primary key (region, number));
            create table domains (domain text primary key, region text, number int);
            insert into tenants values ('eu', 1, 'a'), ('eu/1', 1, 'b'), ('%2F', 2, 'c'), ('/', 2, 'd'), ('', 3, 'e');
            insert into domains values ('b.io', 'eu/1', 1);
        """)
        options = {"domains_table": "domains", "domains_tenant_column": ["region", "number"]}
        await adopt(db, subdomain="subdomain", id=["region", "number"], **options)
        ids = {"eu/1": "a", "eu%2F1/1": "b", "%252F/2": "c", "%2F/2": "d", "/3": "e"}
        for key, subdomain in ids.items():
            assert (await served(db, key))["subdomain"] == subdomain
        assert await find(db, ids=["eu", "eu/", "eu/x", "eu/1/1", "/eu/1", ""]) == {}
        found = await find(db, subdomains=["b"], domains=["b.io"])
        assert {alias: row["id"] for alias, row in found.items()} == {
            "subdomain:b": "eu%2F1/1",
            "domain:b.io": "eu%2F1/1",
        }
        assert (await served(db, "eu%2F1/1"))["domains"] == ["b.io"]
        assert await logged(db, "update domains set region = 'eu'") == {
            change("eu/1", "subdomain:a", "domain:b.io"),
            change("eu%2F1/1", "subdomain:b", "domain:b.io"),
        }
        assert await logged(db, "delete from tenants where region = '/'") == {change("%2F/2", "subdomain:d")}

    async def test_names_that_need_quoting(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            create schema "My App";
            create table "My App"."Tenant's" ("Id" int primary key, "Sub ""Domain" varchar(63) unique, "select" text);
            create table "My App"."Domains" ("Id" int primary key, "Name" text unique, "Tenant Id" int);
            insert into "My App"."Tenant's" values (1, 'acme', 'pro');
            insert into "My App"."Domains" values (1, 'acme.io', 1);
        """)
        await adopt(
            db,
            '"My App"."Tenant\'s"',
            id=["Id"],
            subdomain='Sub "Domain',
            plan='"select"',
            domains_table="My App.Domains",
            domains_column="Name",
            domains_tenant_column=['"Tenant Id"'],
        )
        row = await served(db)
        assert (row["subdomain"], row["plan"], row["domains"]) == ("acme", "pro", ["acme.io"])
        both = change("1", "subdomain:acme", "domain:acme.io")
        assert await logged(db, """update "My App"."Tenant's" set "select" = 'free'""") == {both}
        assert await logged(db, 'delete from "My App"."Domains"') == {both}

    async def test_a_row_without_a_key_is_not_served_and_may_be_written(self, db: asyncpg.Connection) -> None:
        await db.execute(
            "create table tenants (id int unique, subdomain text unique); insert into tenants values (1, 'a')"
        )
        await adopt(db, id=["id"])
        assert await logged(db, "insert into tenants values (null, 'b')") == set()
        assert await find(db, subdomains=["a", "b"]) == {"subdomain:a": await served(db)}
        assert await logged(db, "update tenants set id = 2 where id is null") == {change("2", "subdomain:b")}


class TestCapitals:
    @pytest.mark.parametrize(
        "definition",
        [
            "subdomain text unique",
            "subdomain varchar(63) unique",
            "subdomain char(20) unique",
            "subdomain label unique",
            "subdomain citext unique",
            "subdomain text); create unique index on tenants (lower(subdomain)",
            "subdomain varchar); create unique index on tenants (lower(subdomain)",
        ],
    )
    async def test_a_name_is_found_however_it_is_stored(self, db: asyncpg.Connection, definition: str) -> None:
        await db.execute("create extension citext; create domain label as varchar check (length(value) < 64)")
        await db.execute(f"create table tenants (id int primary key, {definition})")
        await db.execute("insert into tenants values (1, 'acme'), (2, 'GloBex')")
        await adopt(db)
        await db.execute(
            "insert into tenants values (3, 'INITECH'); update tenants set subdomain = 'Acme2' where id = 1"
        )
        found = await find(db, subdomains=["acme", "acme2", "globex", "initech", "INITECH"])
        assert {alias: (row["id"], row["subdomain"]) for alias, row in found.items()} == {
            "subdomain:acme2": ("1", "acme2"),
            "subdomain:globex": ("2", "globex"),
            "subdomain:initech": ("3", "initech"),
        }
        assert await logged(db, "update tenants set subdomain = 'HOOLI' where id = 2") == {
            change("2", "subdomain:globex", "subdomain:hooli")
        }

    async def test_a_domain_too(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}); insert into tenants values (1, 'acme', 'Shop.Acme.IO')")
        await adopt(db, custom_domain="custom_domain")
        assert (await find(db, domains=["shop.acme.io"]))["domain:shop.acme.io"]["domains"] == ["shop.acme.io"]

    async def test_what_is_longer_than_any_name_can_still_be_written(self, db: asyncpg.Connection) -> None:
        await db.execute("create table tenants (id int primary key, subdomain text)")
        await adopt(db)
        assert await logged(db, "insert into tenants values (1, repeat('Long', 100000))") == {change("1")}
        assert (await served(db))["subdomains"] == []

    @pytest.mark.parametrize(
        ("definition", "warned"),
        [
            ("subdomain text unique", True),
            ("subdomain text); create unique index on tenants (lower(subdomain)", False),
            ("subdomain varchar); create unique index on tenants (lower(subdomain)", False),
            ("subdomain citext unique", False),
        ],
    )
    async def test_an_index_that_knows_capitals_is_a_warning(
        self, db: asyncpg.Connection, definition: str, warned: bool
    ) -> None:
        await db.execute(f"create extension citext; create table tenants (id int primary key, {definition})")
        written = await write_query(db, TableOptions("tenants", subdomain="subdomain"))
        warnings = await find_warnings(db, await prepare(db, Adoption(written.sql)))
        assert [warning.partition(":")[0] for warning in warnings] == ["public.tenants.subdomain"] * warned


class TestTheLog:
    @pytest.fixture(autouse=True)
    async def _acme(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""{PLAIN}, title text, visits int, settings json);
            insert into tenants values (1, 'acme', 'acme.io', 'Acme', 0, '{{}}');
            insert into tenants values (2, 'globex', null, 'Globex', 0, '{{}}');
        """)
        names = {"subdomain": "subdomain", "custom_domain": "custom_domain", "name": "title"}
        await adopt(db, **names, attributes=["settings"])

    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            ("insert into tenants values (3, 'New', 'new.io')", {change("3", "subdomain:new", "domain:new.io")}),
            ("insert into tenants values (3)", {change("3")}),
            ("delete from tenants where id = 1", {change("1", "subdomain:acme", "domain:acme.io")}),
            (
                "update tenants set subdomain = 'acme2' where id = 1",
                {change("1", "subdomain:acme", "subdomain:acme2", "domain:acme.io")},
            ),
            ("update tenants set title = 'Other' where id = 2", {change("2", "subdomain:globex")}),
            ("update tenants set settings = '{\"a\": 1}' where id = 2", {change("2", "subdomain:globex")}),
            (
                "update tenants set id = 7 where id = 2",
                {change("2", "subdomain:globex"), change("7", "subdomain:globex")},
            ),
            ("truncate tenants", {(None, None)}),
            ("update tenants set visits = visits + 1", set()),
            ("update tenants set title = title, settings = settings", set()),
        ],
    )
    async def test_names_what_changed(self, db: asyncpg.Connection, statement: str, expected: set[Any]) -> None:
        assert await logged(db, statement) == expected

    async def test_is_written_for_replicated_writes(self, db: asyncpg.Connection) -> None:
        await db.execute("set session_replication_role = replica")
        assert await logged(db, "delete from tenants where id = 2") == {change("2", "subdomain:globex")}
        assert await logged(db, "truncate tenants") == {(None, None)}

    @pytest.mark.parametrize("statement", ["alter table tenants add z int", "create index on tenants (title)"])
    async def test_leaves_nothing_pending_in_a_transaction(self, db: asyncpg.Connection, statement: str) -> None:
        async with db.transaction():
            await db.execute("update tenants set title = 'Other' where id = 1")
            await db.execute("delete from tenants where id = 2; insert into tenants values (3, 'new')")
            await db.execute(statement)
        assert await logged(db, "select 1") == set(), "it is published already"

    async def test_is_published_after_the_commit(self, db: asyncpg.Connection, database_url: str) -> None:
        other = await asyncpg.connect(database_url)
        async with db.transaction():
            await db.execute("update tenants set title = 'Other'")
            assert await other.fetchval("select tenantcache.publish(1000)") == "nothing"
        assert await other.fetchval("select tenantcache.publish(1000)") == "published"
        await other.close()

    @pytest.mark.parametrize(
        "statement",
        [
            "alter table tenants rename subdomain to handle",
            "alter table tenants drop subdomain cascade",
            "alter table tenants rename id to key",
            "alter table tenants alter id type bigint",
            "alter table tenants alter id type text using 'k' || id",
            "alter table tenants drop settings",
            "alter table tenants alter settings type text",
            "alter table tenants rename to organisations",
            "drop table tenants cascade",
        ],
    )
    async def test_never_makes_the_applications_statements_fail(self, db: asyncpg.Connection, statement: str) -> None:
        await db.execute(statement)
        assert await db.fetchval("select tenantcache.fault() is not null")
        if not statement.startswith("drop table"):
            table = "organisations" if "organisations" in statement else "tenants"
            await db.execute(f"update {table} set title = 'Other', visits = 7; delete from {table} where title = 'x'")
            assert await db.fetchval(f"select sum(visits) from {table}") == 14
        await publish(db)

    async def test_costs_a_writer_no_rights(self, db: asyncpg.Connection) -> None:
        async with db.transaction():
            await db.execute("create role adoptwriter; grant select, update on tenants to adoptwriter")
            await db.execute("set local role adoptwriter; update tenants set subdomain = 'ACME' where id = 1")
            await db.execute("set constraints all immediate; reset role")
            assert await find(db, subdomains=["acme"]) == {"subdomain:acme": await served(db)}
            await db.execute("drop owned by adoptwriter; drop role adoptwriter")


class TestReaders:
    async def test_a_process_may_look_up_what_is_adopted_later(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}); create table domains (domain text, tenant_id int)")
        await schema.install(db)
        async with db.transaction():
            await db.execute("create role adoptreader; call tenantcache.give_rights('adoptreader')")
            await adopt(db, subdomain="subdomain", domains_table="domains")
            await adopt(db, custom_domain="custom_domain", domains_table="domains")
            await db.execute("set local role adoptreader")
            assert await find(db, subdomains=["acme"], domains=["acme.io"], ids=["1"]) == {}
            await db.execute("reset role; drop owned by adoptreader; drop role adoptreader")


class TestIndexes:
    """A look-up reads what it finds, by our index of aliases and the key's own, and never a table to its end."""

    COUNT = 2_000
    KEYS: ClassVar = {
        "integer": "i",
        "uuid": "md5(i::text)::uuid",
        "text": "'key-' || i",
        "char(12)": "'key-' || i",
        "citext": "'key-' || i",
        "our_number": "i",
    }
    LIKE_ANOTHER: ClassVar = {
        "smallint": "i % 30000",
        "numeric": "i",
        "bigint": "i",
        "varchar(20)": "'key-' || i",
        "our_text": "'key-' || i",
    }

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *(pytest.param(*pair, id=pair[0]) for pair in KEYS.items()),
            *(pytest.param(*pair, id=pair[0], marks=pytest.mark.slow) for pair in LIKE_ANOTHER.items()),
        ],
    )
    async def test_a_look_up_uses_the_keys_own(self, db: asyncpg.Connection, key: str, value: str) -> None:
        await db.execute(f"""
            create extension citext; create domain our_number as integer; create domain our_text as text;
            create table tenants (id {key} primary key, subdomain varchar(63), custom_domain text);
            create table domains (domain text, tenant_id {key} references tenants);
            create index on domains (tenant_id);
            insert into tenants select {value}, 't' || i, 'd' || i || '.io' from generate_series(1, {self.COUNT}) i;
            insert into domains select 'x' || i || '.io', {value} from generate_series(1, {self.COUNT}) i;
            analyze;
        """)
        await adopt(db, subdomain="subdomain", custom_domain="custom_domain", domains_table="domains")
        tenant_id = await db.fetchval(f"select ({value})::text from generate_series(5, 5) i")
        for asked in ("subdomain:t5", "domain:d5.io", "domain:x5.io", f"id:{tenant_id}", "id:abc", "subdomain:none"):
            found, read = await self._look_up(db, asked)
            assert found == ([] if asked in ("id:abc", "subdomain:none") else [tenant_id])
            assert read == {"tenants": 0, "domains": 0}, asked

    async def test_a_key_of_two_columns(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""
            create type region as enum ('eu', 'us');
            create table tenants (region region, number bigint, subdomain text, primary key (number, region));
            create table domains (domain text primary key, region region, number bigint);
            create index on domains (number);
            insert into tenants select 'eu', i, 't' || i from generate_series(1, {self.COUNT}) i;
            insert into domains select 'x' || i || '.io', 'eu', i from generate_series(1, {self.COUNT}) i;
            analyze;
        """)
        owner = ["number", "region"]
        await adopt(db, subdomain="subdomain", domains_table="domains", domains_tenant_column=owner)
        for asked in ("subdomain:t5", "domain:x5.io", "id:5/eu", "id:abc", "id:5/xx", "id:5"):
            found, read = await self._look_up(db, asked)
            assert found == (["5/eu"] if asked in ("subdomain:t5", "domain:x5.io", "id:5/eu") else [])
            assert read == {"tenants": 0, "domains": 0}, asked

    async def _look_up(self, db: asyncpg.Connection, asked: str) -> tuple[list[str], dict[str, int]]:
        """The ids that are found, and how often each table was read from one end to the other."""
        await self._count_anew(db)
        async with db.transaction():
            rows = await db.fetch("select tenant ->> 'id' as id from tenantcache.find_tenants($1)", [asked])
            scans = await db.fetch(
                "select relname::text, seq_scan from pg_stat_xact_user_tables where relname in ('tenants', 'domains')"
                " and schemaname = 'public'"
            )
        return [row["id"] for row in rows], {row["relname"]: row["seq_scan"] for row in scans}

    async def _count_anew(self, db: asyncpg.Connection) -> None:
        """Postgres reports scans once a second at most: those of the adoption would be counted with what follows."""
        await db.execute("select pg_stat_force_next_flush()")

    @pytest.mark.parametrize(
        ("owner", "key", "value"),
        [
            ("integer", "integer", "i"),
            pytest.param("integer", "bigint", "i", marks=pytest.mark.slow),
            ("varchar(20)", "text", "'key-' || i"),
            ("citext", "citext", "'key-' || i"),
            pytest.param("our_number", "our_number", "i", marks=pytest.mark.slow),
        ],
    )
    async def test_a_change_over_two_hops(self, db: asyncpg.Connection, owner: str, key: str, value: str) -> None:
        await db.execute(f"""
            create extension citext; create domain our_number as integer;
            create table tenants (id {key} primary key, subdomain text);
            create table projects (id {key} primary key, tenant_id {owner});
            create index on projects (tenant_id);
            create table domains (domain text primary key, project_id {owner});
            create index on domains (project_id);
            insert into tenants select {value}, 't' || i from generate_series(1, {self.COUNT}) i;
            insert into projects select id, id from tenants;
            insert into domains select 'x' || subdomain || '.io', id from tenants;
            analyze;
        """)
        query = """
            select t.id, t.subdomain, array(select d.domain from domains d join projects p on p.id = d.project_id
                where p.tenant_id = t.id) as domains
            from tenants t
        """
        assert await install(db, await prepare(db, Adoption(query)))
        await db.execute("update domains set domain = 'new.io' where domain = 'xt5.io'")
        await self._count_anew(db)
        async with db.transaction():
            assert await db.fetchval("select tenantcache.publish(10)") == "published"
            scans = await db.fetchval("select sum(seq_scan) from pg_stat_xact_user_tables where schemaname = 'public'")
        assert scans == 0
        assert (await find(db, domains=["new.io"]))["domain:new.io"]["subdomain"] == "t5"

    async def test_of_many_ids_that_are_none_the_others_are_found(self, db: asyncpg.Connection) -> None:
        await db.execute("create table tenants (id int primary key, subdomain text)")
        await db.execute("insert into tenants select i, 't' || i from generate_series(1, 50) i")
        await adopt(db)
        odd = ["abc", "9" * 40, "1.5", "", "-", "\u00e9", "1' or true --"]
        found = await find(db, ids=[*odd, *(str(number) for number in range(1, 51))])
        assert found.keys() == {f"id:{number}" for number in range(1, 51)}


class TestFaults:
    @pytest.fixture
    async def db(self, empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(empty_database_url)
        yield connection
        await connection.close()

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (
                {"subdomain": "subdomian", "plan": "tier", "attributes": ["colour"]},
                "--subdomain: public.tenants has no column 'subdomian'; it has id, subdomain, \"Plan\", owner, made\n"
                "--plan: public.tenants has no column 'tier'; it has id, subdomain, \"Plan\", owner, made\n"
                "--attributes: public.tenants has no column 'colour'; it has id, subdomain, \"Plan\", owner, made",
            ),
            (
                {"subdomain": "subdomain", "id": ["key"]},
                "--id: public.tenants has no column 'key'; it has id, subdomain, \"Plan\", owner, made",
            ),
            ({}, "no host leads to a tenant: give --subdomain, --custom-domain or --domains-table"),
            ({"subdomain": "id"}, "--subdomain: public.tenants.id is of type int4; host names are texts"),
            (
                {"subdomain": "made"},
                "--subdomain: public.tenants.made is a virtual generated column, which triggers cannot read; "
                "make it STORED, or name the column that it is made from",
            ),
            (
                {"subdomain": "subdomain", "per_day": "Plan"},
                '--per-day: public.tenants."Plan" is of type text; a limit is a number',
            ),
            (
                {"subdomain": "subdomain", "status": "Plan", "status_map": {"x": "off"}},
                "--status-map: 'x' is mapped to 'off'; there are active, suspended, maintenance, deleted",
            ),
            ({"subdomain": "subdomain", "status_map": {"x": "active"}}, "--status-map goes with --status"),
            (
                {"subdomain": "subdomain", "custom_domain_verified": "id"},
                "--custom-domain-verified goes with --custom-domain",
            ),
            (
                {"subdomain": "subdomain", "attributes": ["Plan"], "exclude": ["Plan"]},
                '--exclude: "Plan" is named by --attributes as well; leave one of them out',
            ),
            (
                {"subdomain": "subdomain", "id": ["owner"]},
                "two rows of the query have the id '7'; a tenant is one row: join what has several rows by an"
                " aggregate, or give a key that tells all rows apart",
            ),
            (
                {"domains_table": "tenants", "domains_column": "subdomain", "domains_tenant_column": ["id"]},
                "--domains-table is the table of the tenants; name the column with --custom-domain instead",
            ),
            (
                {"domains_table": "names", "domains_tenant_column": ["tenant"], "domains_primary": "domain"},
                "--domains-tenant-column: public.names.tenant is of type text, and public.tenants.id of type int4\n"
                "--domains-primary: public.names.domain is of type text; a flag is a boolean",
            ),
            (
                {"domains_table": "names", "domains_tenant_column": ["tenant", "domain"]},
                "--domains-tenant-column: give one column for each of the tenant's key (id), in its order\n"
                "--domains-tenant-column: public.names.tenant is of type text, and public.tenants.id of type int4",
            ),
        ],
    )
    async def test_all_are_told_at_once(self, db: asyncpg.Connection, options: dict[str, Any], expected: str) -> None:
        await db.execute("""
            create table tenants (id int primary key, subdomain text unique, "Plan" text, owner int,
                made text generated always as (subdomain || 'x') virtual);
            create table names (domain text primary key, tenant text);
            insert into tenants values (1, 'a', null, 7), (2, 'b', null, 7);
        """)
        with pytest.raises(AdoptionError) as raised:
            written = await write_query(db, TableOptions("tenants", **options))
            await find_warnings(db, await prepare(db, Adoption(written.sql)))
        assert str(raised.value) == expected
        assert await db.fetchval("select to_regnamespace('tenantcache') is null"), "something was changed"

    @pytest.mark.parametrize(
        ("table", "expected"),
        [
            ("tenantz", "there is no table 'tenantz'; there are public.tenants"),
            ("a.b.c.d", "'a.b.c.d' is not a table name; give one like public.tenants or public.\"Tenants\""),
            ("everyone", "public.everyone is a view; only an ordinary table can be followed by triggers"),
            ("parted", "public.parted is a partitioned table; only an ordinary table can be followed by triggers"),
            ("child", "public.child has parent or child tables; triggers would miss what is written to those"),
            ("unkeyed", "public.unkeyed has no primary key; name the column that identifies a tenant with --id"),
            (
                "tenantcache.tenants",
                "tenantcache.tenants is tenantcache's own and is served without --adopt; name a table of yours",
            ),
        ],
    )
    async def test_a_table_that_cannot_be_followed(self, db: asyncpg.Connection, table: str, expected: str) -> None:
        await db.execute(f"""{PLAIN});
            create view everyone as select * from tenants;
            create table parted (id int, subdomain text) partition by list (id);
            create table child (id int) inherits (tenants);
            create table unkeyed (subdomain text);
        """)
        await schema.install(db)
        with pytest.raises(AdoptionError) as raised:
            await write_query(db, TableOptions(table, subdomain="subdomain"))
        assert str(raised.value).startswith(expected)

    async def test_what_will_surprise_is_a_warning(self, db: asyncpg.Connection) -> None:
        await db.execute("""
            create table tenants (id numeric, sub text, custom_domain text, state text);
            create table domains (domain text primary key, tenant_id numeric);
            insert into tenants values (1, 'Bü ro', 'https://a.io', 'odd'), (2, 'acme', 'acme', null);
        """)
        names = {"subdomain": "sub", "custom_domain": "custom_domain", "domains_table": "domains"}
        assert await adopt(db, id=["id"], status="state", **names) == [
            "no host can be 'bü ro', given as subdomain; path and header strategies can",
            "no host can be 'acme', 'https://a.io', given as domain; write them as ASCII host names",
            "2 of 2 tenants count as suspended",
            "a lookup of one tenant reads public.domains from one end to the other; an index on what joins it helps",
            "a lookup of one tenant reads public.tenants from one end to the other; an index on what joins it helps",
        ]

    async def test_zones_that_are_none_are_a_warning(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""{PLAIN}, zone text); insert into tenants
            values (1, 'a', null, 'Europe/Berlin'), (2, 'b', null, 'Berlin'), (3, 'c', null, null)""")
        assert await adopt(db, time_zone="zone") == [
            "'Berlin' are not time zones; the days of these tenants end in UTC"
        ]

    async def test_row_security_is_a_warning(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}); alter table tenants enable row level security, force row level security")
        assert await adopt(db) == [
            "public.tenants: row security hides rows from this user, and what it cannot see is not served"
        ]

    async def test_a_table_in_use_is_not_waited_for(self, db: asyncpg.Connection, empty_database_url: str) -> None:
        await db.execute(f"{PLAIN})")
        written = await write_query(db, TableOptions("tenants", subdomain="subdomain"))
        plan = await prepare(db, Adoption(written.sql))
        other = await asyncpg.connect(empty_database_url)
        async with other.transaction():
            await other.execute("update tenants set id = id")
            with pytest.raises(AdoptionError, match="in use by a long transaction; nothing was changed"):
                await install(db, plan)
        await other.close()
        assert await db.fetchval("select to_regnamespace('tenantcache') is null")


class TestAgain:
    @pytest.fixture
    async def db(self, empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(empty_database_url)
        yield connection
        await connection.close()

    async def test_the_same_changes_nothing(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN})")
        await adopt(db)
        before = await db.fetchval("select max(seq) from tenantcache.change_log")
        written = await write_query(db, TableOptions("public.tenants", subdomain="SUBDOMAIN"))
        assert not await install(db, await prepare(db, Adoption(written.sql)))
        assert await db.fetchval("select max(seq) from tenantcache.change_log") == before

    async def test_of_four_at_once_one_does_it(self, db: asyncpg.Connection, empty_database_url: str) -> None:
        await db.execute(f"{PLAIN}); insert into tenants values (1, 'acme')")

        async def deploy() -> bool:
            connection = await asyncpg.connect(empty_database_url)
            written = await write_query(connection, TableOptions("tenants", subdomain="subdomain"))
            changed = await install(connection, await prepare(connection, Adoption(written.sql)))
            await connection.close()
            return changed

        assert sum(await asyncio.gather(*(deploy() for _ in range(4)))) == 1
        assert await logged(db, "delete from tenants") == {change("1", "subdomain:acme")}

    async def test_a_trigger_that_was_lost_comes_back(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN})")
        await adopt(db)
        for damage in ("drop trigger {} on tenants", "alter table tenants disable trigger all"):
            found = await db.fetchval(r"select tgname from pg_trigger where tgname like 'tenantcache\_written\_%'")
            await db.execute(damage.format(found))
            await adopt(db)
        assert await logged(db, "insert into tenants values (1, 'a')") == {change("1", "subdomain:a")}

    async def test_another_table_replaces_the_first(self, db: asyncpg.Connection) -> None:
        await db.execute(f"""{PLAIN}); insert into tenants values (1, 'old');
            create table customers (id uuid primary key, subdomain text unique);
            create table domains (domain text primary key, tenant_id int);
            insert into customers values ('{ACME}', 'new');
        """)
        await adopt(db, subdomain="subdomain", domains_table="domains")
        assert await logged(db, "select 1") == set()
        await adopt(db, "customers", subdomain="subdomain")
        assert (await find(db, subdomains=["old", "new"])).keys() == {"subdomain:new"}
        statement = "insert into tenants values (2, 'x'); insert into domains values ('x.io', 2)"
        assert await logged(db, statement) == set()
        assert await logged(db, "delete from customers") == {change(ACME, "subdomain:new")}

    async def test_the_schema_can_be_installed_over_it(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}); insert into tenants values (1, 'acme')")
        await adopt(db)
        await schema.install(db)
        assert (await served(db))["subdomain"] == "acme"

    async def test_the_table_itself_is_not_changed(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN}); insert into tenants values (1, 'ACME')")
        before = await shape(db)
        await adopt(db)
        assert await shape(db) == before
        assert await db.fetch("select * from tenants") == [(1, "ACME", None)]

    async def test_everybody_hears_of_it(self, db: asyncpg.Connection) -> None:
        await db.execute(f"{PLAIN})")
        await schema.install(db)
        before = await db.fetchval("select max(seq) from tenantcache.change_log")
        await adopt(db)
        rows = await db.fetch("select tenant_id, hosts from tenantcache.change_log where seq > $1", before)
        assert rows and set(rows) == {(None, None)}


async def shape(db: asyncpg.Connection) -> list[Any]:
    """Columns, indexes and constraints of the table `tenants`."""
    queries = (
        "select attname, atttypid, attnotnull from pg_attribute where attrelid = 'tenants'::regclass order by attnum",
        "select indexdef from pg_indexes where tablename = 'tenants' and schemaname = 'public' order by 1",
        "select conname, pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = 'tenants'::regclass and contype <> 't' order by 1",
    )
    return [[tuple(row) for row in await db.fetch(query)] for query in queries]


async def test_what_is_excluded_never_leaves_postgres(
    db: asyncpg.Connection, database_url: str, redis_url: str
) -> None:
    await db.execute(f"""
        create table customers (id uuid primary key, slug text unique, domain text unique, colour text,
            password_hash text, api_key bytea, "Card Number" text);
        insert into customers values ('{ACME}', 'acme', 'acme.io', 'crimson', 'sesame', 'sesame', 'sesame');
    """)
    excluded = ["password_hash", "api_key", '"Card Number"']
    names = {"subdomain": "slug", "custom_domain": "domain", "attributes": ["*"], "exclude": excluded}
    assert await adopt(db, "customers", **names) == []
    settings = Settings(database_url=database_url, redis_url=redis_url, base_domains=["example.com"], warm_up=False)
    async with TenantCache(settings) as cache:
        tenants = [await cache.resolve("acme.example.com"), await cache.resolve("acme.io")]
        tenants += (await cache.get_many([ACME])).values()
        await db.execute("update customers set colour = 'scarlet', password_hash = 'sesame2'")
        await cache.sync()
        tenants.append(await cache.resolve("acme.example.com"))
        while cache.resolver.sharing.is_writing:  # the copies on their way into Redis
            await asyncio.sleep(0.005)
        in_memory = repr([asdict(tenant) for tenant in tenants if tenant is not None])
    async with redis.asyncio.from_url(redis_url) as client:
        parts = [part for key in await client.keys() for part in (key, await client.get(key)) if part is not None]
        in_redis = b" ".join([part for part in parts if isinstance(part, bytes)])
    assert len(tenants) == 4
    assert "crimson" in in_memory and "scarlet" in in_memory and b"scarlet" in in_redis, "this is how one looks"
    secrets = ("sesame", b"sesame".hex(), "password_hash", "api_key", "Card")
    for secret in secrets:
        assert secret not in in_memory
        assert secret.encode() not in in_redis
    told = await db.fetchval(
        "select string_agg(s::text, '') from (select l::text from tenantcache.change_log l"
        " union all select a::text from tenantcache.aliases a"
        " union all select f::text from tenantcache.find_tenants('{subdomain:acme,domain:acme.io}') f) as parts (s)"
    )
    assert "scarlet" in told and not any(secret in told for secret in secrets)


async def test_an_engine_serves_an_adopted_table(db: asyncpg.Connection, database_url: str, redis_url: str) -> None:
    await db.execute(f"""
        create table customers (id uuid primary key, slug varchar(63) unique, domain text unique, live boolean,
            quota int, password_hash text, colour text);
        insert into customers values ('{ACME}', 'Acme', 'shop.acme.io', true, 7, 'sesame', 'red');
    """)
    names = {"subdomain": "slug", "custom_domain": "domain", "status": "live", "per_minute": "quota"}
    await adopt(db, "customers", **names, attributes=["*"], exclude=["password_hash"])
    settings = Settings(database_url=database_url, redis_url=redis_url, base_domains=["example.com"])
    async with TenantCache(settings) as cache:
        tenant = await cache.resolve("acme.example.com")
        assert tenant is not None
        assert (tenant.id, tenant.limits.per_minute, tenant.attributes) == (ACME, 7, {"colour": "red"})
        assert await cache.resolve("shop.acme.io") == tenant
        assert await cache.get_many([ACME, GLOBEX, "x"]) == {ACME: tenant}
        assert await cache.resolve("globex.example.com") is None
        await db.execute(f"insert into customers values ('{GLOBEX}', 'GLOBEX', null, false)")
        await db.execute("update customers set slug = 'Acme2', domain = null where slug = 'Acme'")
        await cache.sync()
        renamed = await cache.resolve("acme2.example.com")
        assert renamed is not None and renamed.id == ACME and renamed.domains == ()
        assert [await cache.resolve(host) for host in ("acme.example.com", "shop.acme.io")] == [None, None]
        suspended = await cache.resolve("globex.example.com")
        assert suspended is not None and suspended.status == "suspended"
