"""Chatwoot: Rails. Limits and plan in JSON, a number as status, and portals whose domains lead to an account.

From chatwoot/chatwoot, db/schema.rb of version 2024_09_23_215335 (tables, a trigger on accounts that makes sequences;
no foreign key from portals to accounts), app/models/account.rb (the numbers of `status`), and db/schema.rb of version
2025_08_16_044639 for what came between. `db/migrate` is in Ruby; the statements here are what Rails sends for it.
"""

from __future__ import annotations

from tests.adoption.applications import Application, Migration, Query, Write

SCHEMA = """
create table accounts (
    id serial primary key,
    name character varying not null,
    created_at timestamp without time zone not null,
    updated_at timestamp without time zone not null,
    locale integer default 0,
    domain character varying(100),
    support_email character varying(100),
    feature_flags bigint default 0 not null,
    auto_resolve_duration integer,
    limits jsonb default '{}',
    custom_attributes jsonb default '{}',
    status integer default 0
);
create index index_accounts_on_status on accounts (status);

create function accounts_after_insert_row_tr() returns trigger language plpgsql as $$
begin
    execute format('create sequence if not exists conv_dpid_seq_%s', new.id);
    return null;
end $$;
create trigger accounts_after_insert_row_tr after insert on accounts
    for each row execute function accounts_after_insert_row_tr();

create table portals (
    id bigserial primary key,
    account_id integer not null,
    name character varying not null,
    slug character varying not null,
    custom_domain character varying,
    color character varying,
    homepage_link character varying,
    page_title character varying,
    created_at timestamp(6) without time zone not null,
    updated_at timestamp(6) without time zone not null,
    config jsonb default '{"allowed_locales": ["en"]}',
    archived boolean default false,
    channel_web_widget_id bigint
);
create unique index index_portals_on_custom_domain on portals (custom_domain);
create unique index index_portals_on_slug on portals (slug);
"""

ROWS = """
insert into accounts (name, created_at, updated_at, domain, feature_flags, auto_resolve_duration, limits,
    custom_attributes, status)
values
    ('Acme', now(), now(), 'mail.acme.example', 5, 14, '{"agents": 25, "inboxes": 100, "emails": 5000}',
        '{"plan_name": "Business", "subscribed_quantity": 25}', 0),
    ('Ｇｌｏｂｅｘ ☎', now(), now(), null, 0, null, '{"agents": "2", "inboxes": ""}',
        '{"plan_name": "Startups"}', 0),
    ('Late payer', now(), now(), null, 0, null, '{}', '{"plan_name": "Business"}', 1),
    ('Nothing set', now(), now(), null, 0, null, null, null, null),
    ('Odd limits', now(), now(), null, 0, null, '{"agents": "many", "emails": null}', '[]', 0),
    ('Marked', now(), now(), null, 0, null, '{}', '{"marked_for_deletion_at": "2026-02-01T00:00:00Z"}', 0);

insert into portals (account_id, name, slug, custom_domain, created_at, updated_at, archived) values
    (1, 'Help', 'acme-help', 'help.acme.example', now(), now(), false),
    (1, 'Docs', 'acme-docs', 'Docs.Acme.example', now(), now(), null),
    (1, 'Old', 'acme-old', 'old.acme.example', now(), now(), true),
    (2, 'Hilfe', 'globex', '', now(), now(), false),
    (3, 'Help', 'late', 'help.late.example', now(), now(), false),
    (99, 'No account', 'orphan', 'help.orphan.example', now(), now(), false),
    (4, 'No domain', 'plain', null, now(), now(), false);
"""

QUERY = r"""
with portal_domains as (
    select p.account_id, array_agg(p.custom_domain::text order by p.id) as domains
    from portals p
    where p.archived is not true and p.custom_domain <> ''
    group by p.account_id
)
select
    a.id,
    a.name,
    a.id::text as slug,
    d.domains as domains,
    d.domains[1] as primary_domain,
    case
        when a.custom_attributes ->> 'marked_for_deletion_at' is not null then 'deleted'
        when a.status = 1 then 'suspended'
        else 'active'
    end as status,
    a.custom_attributes ->> 'plan_name' as plan,
    case when a.limits ->> 'agents' ~ '^[0-9]+$' then (a.limits ->> 'agents')::numeric * 60 end as limit_per_minute,
    (a.limits ->> 'emails')::numeric as limit_per_day,
    json_build_object(
        'features', a.feature_flags,
        'locale', a.locale,
        'auto_resolve_duration', a.auto_resolve_duration
    ) as attributes
from accounts a
left join portal_domains d on d.account_id = a.id
"""

APPLICATION = Application(
    name="Chatwoot",
    schema=SCHEMA,
    rows=ROWS,
    queries=[Query("", QUERY)],
    found={
        "domain:help.acme.example": {
            "id": "1",
            "name": "Acme",
            "status": "active",
            "plan": "Business",
            "limit_per_minute": 1500,
            "limit_per_day": 5000,
            "primary_domain": "help.acme.example",
            "attributes": {"features": 5, "locale": 0, "auto_resolve_duration": 14},
        },
        "domain:docs.acme.example": {"id": "1"},
        "domain:old.acme.example": None,
        "slug:1": {"id": "1"},
        "slug:2": {
            "id": "2",
            "name": "Ｇｌｏｂｅｘ ☎",
            "limit_per_minute": 120,
            "limit_per_day": None,
            "domains": None,
        },
        "domain:help.late.example": {"id": "3", "status": "suspended", "limit_per_minute": None},
        "slug:4": {"id": "4", "status": "active", "plan": None},
        "slug:5": {"id": "5", "limit_per_minute": None, "plan": None},
        "slug:6": {"id": "6", "status": "deleted"},
        "domain:help.orphan.example": None,
    },
    writes=[
        Write(
            "an account signs up; a trigger of theirs makes its sequence in the same transaction",
            "insert into accounts (name, created_at, updated_at) values ('New', now(), now())",
            frozenset({"7"}),
            {"slug:7": {"id": "7", "name": "New", "status": "active", "plan": None}},
        ),
        Write(
            "an account is suspended",
            """update "accounts" set "status" = 1, "updated_at" = now() where "accounts"."id" = 2""",
            frozenset({"2"}),
            {"slug:2": {"status": "suspended"}},
        ),
        Write(
            "an account's support address",
            """update "accounts" set "support_email" = 'x@acme.example', "updated_at" = now() where "id" = 1""",
            frozenset(),
            {"slug:1": {"id": "1"}},
        ),
        Write(
            "a plan and the limits with it",
            """update "accounts" set "custom_attributes" = '{"plan_name": "Enterprise"}', """
            """"limits" = '{"agents": 100, "emails": 90000}' where "id" = 3""",
            frozenset({"3"}),
            {"domain:help.late.example": {"plan": "Enterprise", "limit_per_minute": 6000, "limit_per_day": 90000}},
        ),
        Write(
            "what else the JSON holds",
            """update "accounts" set "custom_attributes" = "custom_attributes" || '{"subscribed_quantity": 26}', """
            """"limits" = "limits" || '{"inboxes": 7}' where "id" = 1""",
            frozenset(),
            {"slug:1": {"plan": "Business", "limit_per_minute": 1500}},
        ),
        Write(
            "an account asks to be deleted",
            """update "accounts" set "custom_attributes" = "custom_attributes" """
            """|| '{"marked_for_deletion_at": "2026-03-01T00:00:00Z"}' where "id" = 1""",
            frozenset({"1"}),
            {"domain:help.acme.example": {"id": "1", "status": "deleted"}},
        ),
        Write(
            "a portal is archived",
            """update "portals" set "archived" = true where "id" = 1""",
            frozenset({"1"}),
            {
                "domain:help.acme.example": None,
                "domain:docs.acme.example": {"id": "1", "primary_domain": "Docs.Acme.example"},
            },
        ),
        Write(
            "a portal comes back",
            """update "portals" set "archived" = false where "id" = 3""",
            frozenset({"1"}),
            {"domain:old.acme.example": {"id": "1"}},
        ),
        Write(
            "a portal without an account gets one",
            """update "portals" set "account_id" = 4 where "id" = 6""",
            frozenset({"4"}),
            {"domain:help.orphan.example": {"id": "4"}},
        ),
        Write(
            "a portal moves from one account to another",
            """update "portals" set "account_id" = 2 where "id" = 2""",
            frozenset({"1", "2"}),
            {"domain:docs.acme.example": {"id": "2"}, "domain:help.acme.example": {"id": "1"}},
        ),
        Write(
            "a portal's colour, and that of one that has no domain",
            """update "portals" set "color" = '#ff0000', "updated_at" = now()""",
            frozenset(),
            {"domain:help.acme.example": {"id": "1"}},
        ),
        Write(
            "an account is deleted, its portals later, by a job",
            """delete from "accounts" where "id" = 3""",
            frozenset({"3"}),
            {"domain:help.late.example": None, "slug:3": None},
        ),
    ],
    migrations=[
        Migration(
            "ssl_settings for portals and internal_attributes for accounts, JSON with a default",
            [
                """ALTER TABLE "portals" ADD "ssl_settings" jsonb DEFAULT '{}' NOT NULL""",
                """ALTER TABLE "accounts" ADD "internal_attributes" jsonb DEFAULT '{}' NOT NULL""",
            ],
            breaks=False,
            becomes={"domain:help.acme.example": {"id": "1", "plan": "Business"}},
        ),
        Migration(
            "feature_flags grows from a bigint to a numeric; the attributes show it",
            ["""ALTER TABLE "accounts" ALTER COLUMN "feature_flags" TYPE numeric"""],
            breaks=False,
            becomes={"domain:help.acme.example": {"attributes": {"features": 5}}},
            theirs=False,
        ),
        Migration(
            "settings for auto_resolve_duration: the new column, filled in batches, the old one still there",
            [
                """ALTER TABLE "accounts" ADD "settings" jsonb DEFAULT '{}'""",
                """UPDATE "accounts" SET "settings" = jsonb_build_object('auto_resolve_after', """
                """"auto_resolve_duration" * 1440) WHERE "id" IN (1, 2, 3) AND "auto_resolve_duration" IS NOT NULL""",
                """UPDATE "accounts" SET "settings" = jsonb_build_object('auto_resolve_after', """
                """"auto_resolve_duration" * 1440) WHERE "id" IN (4, 5, 6) AND "auto_resolve_duration" IS NOT NULL""",
            ],
            breaks=False,
            becomes={"slug:1": {"attributes": {"auto_resolve_duration": 14}}},
            atomic=False,
        ),
        Migration(
            "and the old column dropped at the end",
            [
                """ALTER TABLE "accounts" ADD "settings" jsonb DEFAULT '{}'""",
                """UPDATE "accounts" SET "settings" = jsonb_build_object('auto_resolve_after', """
                """"auto_resolve_duration" * 1440) WHERE "auto_resolve_duration" IS NOT NULL""",
                """ALTER TABLE "accounts" DROP COLUMN "auto_resolve_duration\"""",
            ],
            breaks=True,
            becomes={},
            atomic=False,
            theirs=False,
        ),
        Migration(
            "an index made without a lock, outside a transaction",
            ["""CREATE INDEX CONCURRENTLY "index_portals_on_account_id" ON "portals" ("account_id")"""],
            breaks=False,
            becomes={"domain:docs.acme.example": {"id": "1"}},
            atomic=False,
            theirs=False,
        ),
    ],
    source="chatwoot/chatwoot: db/schema.rb, app/models/account.rb",
)
