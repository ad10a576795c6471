"""Polar: SQLAlchemy and Alembic. Organisations are customers of the organisation that runs Polar; that gives the plan.

From polarsource/polar, server/migrations/versions/2026-06-17-1455_initial_migration_june_2026_squash.py (tables),
server/polar/models/organization.py (what the states allow), server/polar/integrations/polar/service.py (a customer's
`external_id` is the organisation's id), and the later migrations that are named below.
"""

from __future__ import annotations

from tests.adoption.applications import Application, Migration, Query, Write

SCHEMA = """
create extension if not exists citext;

create table accounts (
    currency varchar(3) not null,
    platform_fee_percent integer,
    billing_name varchar,
    credit_balance bigint not null,
    id uuid not null,
    created_at timestamptz not null,
    modified_at timestamptz,
    deleted_at timestamptz,
    constraint accounts_pkey primary key (id)
);

create table organizations (
    name varchar not null,
    slug citext not null,
    slug_history jsonb default '[]' not null,
    email varchar,
    details jsonb not null,
    status varchar not null,
    status_updated_at timestamptz,
    snoozed_until timestamptz,
    next_review_threshold integer not null,
    support_tier integer,
    total_balance bigint default '0',
    internal_notes text,
    account_id uuid not null,
    capabilities jsonb not null,
    country varchar(2),
    feature_settings jsonb not null,
    customer_invoice_next_number integer not null,
    rate_limit_group varchar(16) not null,
    id uuid not null,
    created_at timestamptz not null,
    modified_at timestamptz,
    deleted_at timestamptz,
    constraint organizations_next_review_threshold_positive_check check (next_review_threshold >= 0),
    constraint organizations_account_id_fkey foreign key (account_id) references accounts (id) on delete restrict,
    constraint organizations_pkey primary key (id),
    constraint organizations_account_id_key unique (account_id),
    constraint organizations_slug_key unique (slug)
);
create index ix_organizations_deleted_at on organizations (deleted_at);

create table customers (
    external_id varchar,
    email varchar(320),
    organization_id uuid not null,
    id uuid not null,
    created_at timestamptz not null,
    modified_at timestamptz,
    deleted_at timestamptz,
    constraint customers_organization_id_fkey foreign key (organization_id) references organizations (id)
        on delete cascade,
    constraint customers_pkey primary key (id),
    constraint customers_organization_id_external_id_key unique (organization_id, external_id)
);

create table products (
    name citext not null,
    is_archived boolean not null,
    organization_id uuid not null,
    user_metadata jsonb not null,
    id uuid not null,
    created_at timestamptz not null,
    modified_at timestamptz,
    deleted_at timestamptz,
    constraint products_organization_id_fkey foreign key (organization_id) references organizations (id)
        on delete cascade,
    constraint products_pkey primary key (id)
);

create table subscriptions (
    status varchar not null,
    current_period_end timestamptz not null,
    cancel_at_period_end boolean not null,
    started_at timestamptz,
    customer_id uuid not null,
    organization_id uuid not null,
    product_id uuid not null,
    id uuid not null,
    created_at timestamptz not null,
    modified_at timestamptz,
    deleted_at timestamptz,
    constraint subscriptions_customer_id_fkey foreign key (customer_id) references customers (id) on delete cascade,
    constraint subscriptions_organization_id_fkey foreign key (organization_id) references organizations (id)
        on delete restrict,
    constraint subscriptions_product_id_fkey foreign key (product_id) references products (id) on delete cascade,
    constraint subscriptions_pkey primary key (id)
);
"""

POLAR = "00000000-0000-4000-8000-000000000001"
ACME = "00000000-0000-4000-8000-000000000002"
LODZ = "00000000-0000-4000-8000-000000000003"
BLOCKED = "00000000-0000-4000-8000-000000000004"
GONE = "00000000-0000-4000-8000-000000000005"
CLOSED = "00000000-0000-4000-8000-000000000006"
GLOBEX = "00000000-0000-4000-8000-000000000007"
DENIED = "00000000-0000-4000-8000-000000000008"
INITECH = "00000000-0000-4000-8000-000000000009"

ALLOWED = '{"api_access": true, "dashboard_access": true, "payouts": true}'
SHUT_OUT = '{"api_access": false, "dashboard_access": false, "payouts": false}'

ROWS = f"""
insert into accounts (id, currency, platform_fee_percent, credit_balance, created_at)
select ('00000000-0000-4000-a000-00000000000' || n)::uuid, 'usd', n, 0, '2026-01-01' from generate_series(1, 9) n;

insert into organizations (id, name, slug, slug_history, details, status, next_review_threshold, account_id,
    capabilities, country, feature_settings, customer_invoice_next_number, rate_limit_group, created_at, deleted_at)
values
    ('{POLAR}', 'Polar', 'polar', '[]', '{{}}', 'active', 0, '00000000-0000-4000-a000-000000000001',
        '{ALLOWED}', 'US', '{{}}', 1, 'elevated', '2026-01-01', null),
    ('{ACME}', 'Acme', 'acme', '[{{"slug": "acme-inc"}}]', '{{"about": "anvils"}}', 'active', 0,
        '00000000-0000-4000-a000-000000000002', '{ALLOWED}', 'US', '{{"sso_enabled": true}}', 7, 'elevated',
        '2026-01-02', null),
    ('{LODZ}', 'Zażółć Gęślą', 'Lodz-Studio', '[]', '{{"about": "żółw 🐢"}}', 'review', 0,
        '00000000-0000-4000-a000-000000000003', '{ALLOWED}', 'PL', '{{}}', 1, 'default', '2026-01-03', null),
    ('{BLOCKED}', 'Blocked', 'blocked-co', '[]', '{{}}', 'blocked', 0, '00000000-0000-4000-a000-000000000004',
        '{SHUT_OUT}', null, '{{}}', 1, 'restricted', '2026-01-04', null),
    ('{GONE}', 'a1b2', '__deleted__-gone-{GONE}', '[{{"slug": "gone", "deleted_at": "2026-02-01T00:00:00+00:00"}}]',
        '{{}}', 'active', 0, '00000000-0000-4000-a000-000000000005', '{ALLOWED}', null, '{{}}', 1, 'default',
        '2026-01-05', '2026-02-01'),
    ('{CLOSED}', 'c3d4', 'closed', '[]', '{{}}', 'active', 0, '00000000-0000-4000-a000-000000000006', '{ALLOWED}',
        null, '{{}}', 1, 'default', '2026-01-06', '2026-02-02'),
    ('{GLOBEX}', 'Globex', 'globex', '[]', '{{}}', 'snoozed', 0, '00000000-0000-4000-a000-000000000007',
        '{ALLOWED}', 'DE', '{{}}', 1, 'web', '2026-01-07', null),
    ('{DENIED}', 'Denied', 'denied', '[]', '{{}}', 'denied', 0, '00000000-0000-4000-a000-000000000008',
        '{SHUT_OUT}', 'FR', '{{}}', 1, 'default', '2026-01-08', null);

insert into products (id, name, is_archived, organization_id, user_metadata, created_at) values
    ('00000000-0000-4000-b000-000000000001', 'Scale', false, '{POLAR}', '{{"level": 4}}', '2026-01-01'),
    ('00000000-0000-4000-b000-000000000002', 'Growth', false, '{POLAR}', '{{"level": 3}}', '2026-01-01'),
    ('00000000-0000-4000-b000-000000000003', 'Anvil of the month', false, '{ACME}', '{{}}', '2026-01-01');

insert into customers (id, external_id, email, organization_id, created_at, deleted_at) values
    ('00000000-0000-4000-c000-000000000001', '{ACME}', 'ap@acme.example', '{POLAR}', '2026-01-02', null),
    ('00000000-0000-4000-c000-000000000002', '{GLOBEX}', null, '{POLAR}', '2026-01-07', null),
    ('00000000-0000-4000-c000-000000000003', '{LODZ}', null, '{POLAR}', '2026-01-03', '2026-01-09'),
    ('00000000-0000-4000-c000-000000000004', 'no-uuid', null, '{POLAR}', '2026-01-03', null),
    ('00000000-0000-4000-c000-000000000005', null, null, '{POLAR}', '2026-01-03', null),
    ('00000000-0000-4000-c000-000000000007', '{BLOCKED}', null, '{POLAR}', '2026-01-04', null),
    ('00000000-0000-4000-c000-000000000006', '{GLOBEX}', 'buyer@anvils.example', '{ACME}', '2026-01-03', null);

insert into subscriptions (id, status, current_period_end, cancel_at_period_end, started_at, customer_id,
    organization_id, product_id, created_at, deleted_at)
values
    ('00000000-0000-4000-d000-000000000001', 'active', '2027-01-01', false, '2026-01-02',
        '00000000-0000-4000-c000-000000000001', '{POLAR}', '00000000-0000-4000-b000-000000000001', '2026-01-02', null),
    ('00000000-0000-4000-d000-000000000002', 'canceled', '2026-02-01', true, '2026-01-01',
        '00000000-0000-4000-c000-000000000001', '{POLAR}', '00000000-0000-4000-b000-000000000002', '2026-01-01', null),
    ('00000000-0000-4000-d000-000000000003', 'trialing', '2027-01-01', false, '2026-01-07',
        '00000000-0000-4000-c000-000000000002', '{POLAR}', '00000000-0000-4000-b000-000000000001', '2026-01-07', null),
    ('00000000-0000-4000-d000-000000000004', 'active', '2027-01-01', false, '2026-01-03',
        '00000000-0000-4000-c000-000000000004', '{POLAR}', '00000000-0000-4000-b000-000000000002', '2026-01-03', null),
    ('00000000-0000-4000-d000-000000000005', 'active', '2027-01-01', false, '2026-01-03',
        '00000000-0000-4000-c000-000000000006', '{ACME}', '00000000-0000-4000-b000-000000000003', '2026-01-03', null);
"""

QUERY = f"""
select
    o.id,
    o.name,
    o.slug as subdomain,
    array(
        select entry ->> 'slug' from jsonb_array_elements(o.slug_history) entry where o.deleted_at is null
    ) as old_names,
    case
        when o.deleted_at is not null then 'deleted'
        when o.status = 'blocked' or not (o.capabilities ->> 'api_access')::boolean then 'suspended'
        else 'active'
    end as status,
    coalesce(bought.name, 'starter') as plan,
    case o.rate_limit_group when 'restricted' then 60 when 'elevated' then 6000 else 600 end as limit_per_minute,
    to_jsonb(o) - '{{slug, slug_history, internal_notes, email, total_balance, customer_invoice_next_number,
        modified_at, next_review_threshold}}'::text[] || jsonb_build_object('currency', a.currency) as attributes
from organizations o
join accounts a on a.id = o.account_id
left join lateral (
    select p.name::text as name
    from customers c
    join subscriptions s on s.customer_id = c.id
    join products p on p.id = s.product_id
    where c.external_id = o.id::text
        and c.organization_id = '{POLAR}'
        and c.deleted_at is null
        and s.deleted_at is null
        and s.status in ('active', 'trialing')
    order by s.created_at desc
    limit 1
) bought on true
"""

APPLICATION = Application(
    name="Polar",
    schema=SCHEMA,
    rows=ROWS,
    queries=[Query("", QUERY, watch={"public.customers": "external_id"})],
    found={
        "subdomain:acme": {
            "id": ACME,
            "name": "Acme",
            "status": "active",
            "plan": "Scale",
            "limit_per_minute": 6000,
            "limit_per_day": None,
            "attributes": {"country": "US", "currency": "usd", "feature_settings": {"sso_enabled": True}},
        },
        "subdomain:acme-inc": {"id": ACME, "moved": True},
        "subdomain:lodz-studio": {
            "id": LODZ,
            "name": "Zażółć Gęślą",
            "status": "active",
            "plan": "starter",
            "limit_per_minute": 600,
            "attributes": {"details": {"about": "żółw 🐢"}},
        },
        "subdomain:blocked-co": {"id": BLOCKED, "status": "suspended", "limit_per_minute": 60},
        "subdomain:denied": {"id": DENIED, "status": "suspended"},
        "subdomain:globex": {"id": GLOBEX, "status": "active", "plan": "Scale"},
        "subdomain:closed": {"id": CLOSED, "status": "deleted"},
        "subdomain:gone": None,
        f"id:{GONE}": {"id": GONE, "status": "deleted"},
        "subdomain:initech": None,
    },
    writes=[
        Write(
            "an organisation signs up",
            f"""
            insert into accounts (id, currency, credit_balance, created_at)
                values ('00000000-0000-4000-a000-000000000010', 'eur', 0, now());
            insert into organizations (id, name, slug, details, status, next_review_threshold, account_id,
                capabilities, feature_settings, customer_invoice_next_number, rate_limit_group, created_at)
            values ('{INITECH}', 'Initech', 'initech', '{{}}', 'created', 0,
                '00000000-0000-4000-a000-000000000010', '{ALLOWED}', '{{}}', 1, 'default', now());
            """,
            frozenset({INITECH}),
            {"subdomain:initech": {"id": INITECH, "status": "active", "plan": "starter"}},
        ),
        Write(
            "the next number of an invoice, on every sale",
            f"update organizations set customer_invoice_next_number = customer_invoice_next_number + 1, "
            f"total_balance = total_balance + 900, modified_at = now() where id = '{ACME}'",
            frozenset(),
            {"subdomain:acme": {"id": ACME}},
        ),
        Write(
            "a review ends with a block",
            f"update organizations set status = 'blocked', capabilities = '{SHUT_OUT}', status_updated_at = now() "
            f"where id = '{LODZ}'",
            frozenset({LODZ}),
            {"subdomain:lodz-studio": {"id": LODZ, "status": "suspended"}},
        ),
        Write(
            "a rename that keeps the old slug",
            f"update organizations set slug = 'acme-labs', "
            f"slug_history = slug_history || jsonb_build_array(jsonb_build_object('slug', slug)) where id = '{ACME}'",
            frozenset({ACME}),
            {
                "subdomain:acme-labs": {"id": ACME, "plan": "Scale"},
                "subdomain:acme": {"id": ACME, "moved": True},
                "subdomain:acme-inc": {"id": ACME, "moved": True},
            },
        ),
        Write(
            "a deletion that releases the slug, and another organisation that takes it",
            f"""
            update organizations set
                slug_history = slug_history || jsonb_build_array(
                    jsonb_build_object('slug', slug, 'deleted_at', '2026-03-01T00:00:00+00:00')),
                slug = '__deleted__-globex-{GLOBEX}', name = 'e5f6', deleted_at = now()
            where id = '{GLOBEX}';
            update organizations set slug = 'globex' where id = '{LODZ}';
            """,
            frozenset({GLOBEX, LODZ}),
            {
                "subdomain:globex": {"id": LODZ},
                "subdomain:lodz-studio": None,
                f"id:{GLOBEX}": {"id": GLOBEX, "status": "deleted"},
            },
        ),
        Write(
            "a present name is one that another had earlier",
            f"update organizations set slug = 'acme-inc' where id = '{GLOBEX}'",
            frozenset({GLOBEX}),
            {"subdomain:acme-inc": {"id": GLOBEX}, "subdomain:globex": None, "subdomain:acme": {"id": ACME}},
        ),
        Write(
            "a product that two organisations have bought is renamed",
            "update products set name = 'Scale 2026' where id = '00000000-0000-4000-b000-000000000001'",
            frozenset({ACME, GLOBEX}),
            {"subdomain:acme": {"plan": "Scale 2026"}, "subdomain:globex": {"plan": "Scale 2026"}},
        ),
        Write(
            "an organisation renames what it sells",
            "update products set name = 'Anvil' where id = '00000000-0000-4000-b000-000000000003'",
            frozenset(),
            {"subdomain:acme": {"plan": "Scale"}, "subdomain:globex": {"plan": "Scale"}},
        ),
        Write(
            "a subscription ends",
            "update subscriptions set status = 'canceled', modified_at = now() "
            "where id = '00000000-0000-4000-d000-000000000003'",
            frozenset({GLOBEX}),
            {"subdomain:globex": {"plan": "starter"}, "subdomain:acme": {"plan": "Scale"}},
        ),
        Write(
            "a subscription moves from one customer to another",
            "update subscriptions set customer_id = '00000000-0000-4000-c000-000000000007' "
            "where id = '00000000-0000-4000-d000-000000000001'",
            frozenset({ACME, BLOCKED}),
            {"subdomain:acme": {"plan": "starter"}, "subdomain:blocked-co": {"plan": "Scale"}},
        ),
        Write(
            "a customer is given to the organisation that it stands for",
            f"update customers set external_id = '{DENIED}' where id = '00000000-0000-4000-c000-000000000004'",
            frozenset({DENIED}),
            {"subdomain:denied": {"id": DENIED, "plan": "Growth", "status": "suspended"}},
        ),
        Write(
            "a customer is deleted, its subscriptions with it",
            "delete from customers where id = '00000000-0000-4000-c000-000000000001'",
            frozenset({ACME}),
            {"subdomain:acme": {"id": ACME, "plan": "starter"}},
        ),
        Write(
            "an account changes its currency",
            "update accounts set currency = 'eur' where id = '00000000-0000-4000-a000-000000000003'",
            frozenset({LODZ}),
            {"subdomain:lodz-studio": {"attributes": {"currency": "eur"}}},
        ),
        Write(
            "a credit balance moves",
            "update accounts set credit_balance = credit_balance + 100",
            frozenset(),
            {"subdomain:acme": {"attributes": {"currency": "usd"}}},
        ),
    ],
    migrations=[
        Migration(
            "2026-07-01-1418: sso_enforced, nullable",
            [
                "SET LOCAL lock_timeout = '5s'",
                "ALTER TABLE organizations ADD COLUMN sso_enforced BOOLEAN",
            ],
            breaks=False,
            becomes={"subdomain:acme": {"attributes": {"sso_enforced": None, "country": "US"}}},
        ),
        Migration(
            "2026-07-01-1418 and -1721: sso_enforced, nullable, filled, then NOT NULL",
            [
                "SET LOCAL lock_timeout = '5s'; ALTER TABLE organizations ADD COLUMN sso_enforced BOOLEAN",
                "SET LOCAL lock_timeout = '5s'; "
                "UPDATE organizations SET sso_enforced = false WHERE sso_enforced IS NULL; "
                "ALTER TABLE organizations ALTER COLUMN sso_enforced SET NOT NULL",
            ],
            breaks=False,
            becomes={
                "subdomain:acme": {"attributes": {"sso_enforced": False}},
                "subdomain:closed": {"status": "deleted", "attributes": {"sso_enforced": False}},
            },
            atomic=False,
        ),
        Migration(
            "2026-07-28-1547 and -1633: embed_hosts, filled and NOT NULL in one transaction after the other",
            [
                "SET LOCAL lock_timeout = '30s'; ALTER TABLE organizations ADD COLUMN embed_hosts JSONB",
                "SET LOCAL lock_timeout = '30s'; "
                "UPDATE organizations SET embed_hosts = '[]' WHERE embed_hosts IS NULL; "
                "ALTER TABLE organizations ALTER COLUMN embed_hosts SET NOT NULL",
            ],
            breaks=False,
            becomes={"subdomain:globex": {"plan": "Scale", "attributes": {"embed_hosts": []}}},
            atomic=False,
        ),
        Migration(
            "the way back from 2026-07-01-1418: the column goes away, which the attributes showed",
            [
                "SET LOCAL lock_timeout = '5s'; ALTER TABLE organizations ADD COLUMN sso_enforced BOOLEAN",
                "SET LOCAL lock_timeout = '5s'; ALTER TABLE organizations DROP COLUMN sso_enforced",
            ],
            breaks=False,
            becomes={"subdomain:acme": {"id": ACME, "attributes": {"country": "US"}}},
            atomic=False,
        ),
        Migration(
            "the rate limit's group moves into the feature settings",
            [
                "SET LOCAL lock_timeout = '30s'",
                "UPDATE organizations SET feature_settings = feature_settings "
                "|| jsonb_build_object('rate_limit_group', rate_limit_group)",
                "ALTER TABLE organizations DROP COLUMN rate_limit_group",
            ],
            breaks=True,
            becomes={},
            theirs=False,
        ),
    ],
    source="polarsource/polar: server/migrations/versions, server/polar/models/organization.py",
)
