"""Dispatch: SQLAlchemy and Alembic. Names are made with `_` between words, and stand in the path: no host has them.

From Netflix/dispatch, src/dispatch/organization/models.py and src/dispatch/project/models.py (tables; an organisation's
slug is neither unique nor NOT NULL), src/dispatch/models.py (what a slug may be), src/dispatch/database/revisions
(core and tenant), and src/dispatch/database/core.py: each organisation has a schema of its own, of which the first,
`dispatch_organization_default`, is adopted here. The search index of each table is left out.
"""

from __future__ import annotations

from tests.adoption.applications import Application, Migration, Query, Write

SCHEMA = """
create schema dispatch_core;
create schema dispatch_organization_default;

create table dispatch_core.organization (
    id serial not null,
    name varchar,
    slug varchar,
    "default" boolean,
    description varchar,
    banner_enabled boolean,
    banner_color varchar,
    banner_text varchar,
    constraint organization_pkey primary key (id),
    constraint organization_name_key unique (name)
);

create table dispatch_core.dispatch_user (
    id serial not null,
    email varchar,
    last_mfa_time timestamp,
    constraint dispatch_user_pkey primary key (id),
    constraint dispatch_user_email_key unique (email)
);

create table dispatch_core.dispatch_user_organization (
    dispatch_user_id integer not null,
    organization_id integer not null,
    role varchar,
    constraint dispatch_user_organization_pkey primary key (dispatch_user_id, organization_id),
    constraint dispatch_user_organization_dispatch_user_id_fkey foreign key (dispatch_user_id)
        references dispatch_core.dispatch_user (id),
    constraint dispatch_user_organization_organization_id_fkey foreign key (organization_id)
        references dispatch_core.organization (id)
);

create table dispatch_organization_default.project (
    id serial not null,
    name varchar,
    display_name varchar default '' not null,
    description varchar,
    "default" boolean,
    color varchar,
    annual_employee_cost integer,
    owner_email varchar,
    organization_id integer,
    enabled boolean default 't',
    allow_self_join boolean default 't',
    constraint project_pkey primary key (id),
    constraint project_organization_id_fkey foreign key (organization_id) references dispatch_core.organization (id)
);

create table dispatch_organization_default.service (
    id serial not null,
    name varchar,
    constraint service_pkey primary key (id)
);
"""

ROWS = """
insert into dispatch_core.organization (name, slug, "default", banner_enabled, banner_color, banner_text) values
    ('default', 'default', true, false, null, null),
    ('My Org', 'my_org', false, true, 'rgb(0, 0, 0)', 'Drill today'),
    ('my-org', 'my_org', false, null, null, null),
    ('Größe & Söhne', 'größe_söhne', false, null, null, '🔥'),
    ('Never slugged', null, null, null, null, null),
    ('Upper', 'Upper_Case', false, null, null, null),
    (null, 'no_name', null, null, null, null);

insert into dispatch_core.dispatch_user (email) values ('a@netflix.example'), ('b@netflix.example');
insert into dispatch_core.dispatch_user_organization (dispatch_user_id, organization_id, role)
    values (1, 1, 'Owner'), (2, 1, 'Member'), (1, 2, 'Admin');

insert into dispatch_organization_default.project (name, display_name, "default", organization_id, enabled, color)
values
    ('default', '', true, 1, true, '#111'),
    ('My Org', 'Security', false, 1, true, null),
    ('Frozen Project', 'Frozen', false, 1, false, null),
    ('Without owner', '', false, null, true, null),
    ('Cloud Ops', '☁️ Ops', false, 2, null, '#222');
"""

ORGANIZATIONS = """
select
    o.id,
    o.name,
    o.slug,
    jsonb_build_object(
        'default', coalesce(o."default", false),
        'banner', case when o.banner_enabled then o.banner_text end,
        'description', o.description
    ) as attributes
from dispatch_core.organization o
where o.slug is not null
"""

PROJECTS = """
select
    p.id,
    coalesce(nullif(p.display_name, ''), p.name) as name,
    trim('-' from lower(regexp_replace(p.name, '[^[:alnum:]]+', '-', 'g'))) as slug,
    case when p.enabled is false then 'suspended' end as status,
    json_build_object('organization', o.slug, 'color', p.color) as attributes
from dispatch_organization_default.project p
join dispatch_core.organization o on o.id = p.organization_id
"""

APPLICATION = Application(
    name="Dispatch",
    schema=SCHEMA,
    rows=ROWS,
    queries=[Query("organization", ORGANIZATIONS), Query("project", PROJECTS)],
    found={
        "organization:slug:default": {
            "id": "1",
            "kind": "organization",
            "name": "default",
            "status": "active",
            "plan": None,
            "attributes": {"default": True, "banner": None},
        },
        "organization:slug:my_org": None,
        "organization:id:3": {"id": "3", "name": "my-org"},
        "organization:slug:größe_söhne": {"id": "4", "name": "Größe & Söhne"},
        "organization:slug:Upper_Case": {"id": "6"},
        "organization:slug:no_name": {"id": "7", "name": None},
        "organization:id:5": None,
        "subdomain:default": None,
        "project:slug:default": {
            "id": "1",
            "kind": "project",
            "name": "default",
            "attributes": {"organization": "default", "color": "#111"},
        },
        "project:slug:my-org": {"id": "2", "name": "Security", "status": "active"},
        "project:slug:frozen-project": {"id": "3", "status": "suspended"},
        "project:slug:without-owner": None,
        "project:slug:cloud-ops": {"id": "5", "name": "☁️ Ops", "attributes": {"organization": "my_org"}},
    },
    writes=[
        Write(
            "an organisation of two words",
            """insert into dispatch_core.organization (name, slug, "default", banner_enabled) """
            """values ('New Org', 'new_org', false, false)""",
            frozenset({"organization:8"}),
            {"organization:slug:new_org": {"id": "8", "name": "New Org"}},
        ),
        Write(
            "a slug that another row has too goes with the first; the second has it then",
            """
            delete from dispatch_core.dispatch_user_organization where organization_id = 2;
            update dispatch_organization_default.project set organization_id = null where organization_id = 2;
            delete from dispatch_core.organization where id = 2;
            """,
            frozenset({"organization:2", "project:5"}),
            {
                "organization:slug:my_org": {"id": "3", "name": "my-org"},
                "organization:id:2": None,
                "project:slug:cloud-ops": None,
            },
        ),
        Write(
            "a row gets its slug, and enters",
            "update dispatch_core.organization set slug = 'never_slugged' where id = 5",
            frozenset({"organization:5"}),
            {"organization:slug:never_slugged": {"id": "5", "name": "Never slugged"}},
        ),
        Write(
            "an organisation is renamed: its own name and its projects' attributes",
            "update dispatch_core.organization set name = 'Main', slug = 'main' where id = 1",
            frozenset({"organization:1", "project:1", "project:2", "project:3"}),
            {
                "organization:slug:main": {"id": "1"},
                "organization:slug:default": None,
                "project:slug:default": {"id": "1", "attributes": {"organization": "main"}},
            },
        ),
        Write(
            "a banner's colour",
            "update dispatch_core.organization set banner_color = 'rgb(9, 9, 9)' where id = 2",
            frozenset(),
            {"organization:slug:my_org": None},
        ),
        Write(
            "a banner that is not shown gets another text",
            "update dispatch_core.organization set banner_text = 'Later' where id = 1",
            frozenset(),
            {"organization:slug:default": {"attributes": {"banner": None}}},
        ),
        Write(
            "a banner is shown",
            "update dispatch_core.organization set banner_enabled = true where id = 4",
            frozenset({"organization:4"}),
            {"organization:slug:größe_söhne": {"attributes": {"banner": "🔥"}}},
        ),
        Write(
            "a project is disabled",
            "update dispatch_organization_default.project set enabled = false where id = 2",
            frozenset({"project:2"}),
            {"project:slug:my-org": {"status": "suspended"}},
        ),
        Write(
            "what a project's employees cost",
            "update dispatch_organization_default.project set annual_employee_cost = 60000",
            frozenset(),
            {"project:slug:my-org": {"id": "2"}},
        ),
        Write(
            "a project without an organisation gets one",
            "update dispatch_organization_default.project set organization_id = 4 where id = 4",
            frozenset({"project:4"}),
            {"project:slug:without-owner": {"id": "4", "attributes": {"organization": "größe_söhne"}}},
        ),
        Write(
            "a project moves to another organisation",
            "update dispatch_organization_default.project set organization_id = 1 where id = 5",
            frozenset({"project:5"}),
            {"project:slug:cloud-ops": {"id": "5", "attributes": {"organization": "default"}}},
        ),
        Write(
            "a user joins an organisation",
            "insert into dispatch_core.dispatch_user_organization values (2, 2, 'Member')",
            frozenset(),
            {"organization:slug:my_org": None},
        ),
    ],
    migrations=[
        Migration(
            "tenant 2024-08-26_d6b3853be8e4: a column with a default",
            [
                "SET search_path TO dispatch_organization_default; "
                "ALTER TABLE project ADD COLUMN select_commander_visibility BOOLEAN DEFAULT 't'; RESET search_path"
            ],
            breaks=False,
            becomes={"project:slug:my-org": {"id": "2", "name": "Security"}},
        ),
        Migration(
            "tenant 2025-03-28_bccbf255d6d1: a column that refers to another table",
            [
                "SET search_path TO dispatch_organization_default; "
                "ALTER TABLE project ADD COLUMN snooze_extension_oncall_service_id INTEGER; "
                "ALTER TABLE project ADD FOREIGN KEY(snooze_extension_oncall_service_id) REFERENCES service (id); "
                "RESET search_path"
            ],
            breaks=False,
            becomes={"project:slug:default": {"id": "1"}},
        ),
        Migration(
            "core 2021-07-22_c0bc938b058e as it would run now: slugs made anew, row by row, and names unique",
            [
                "ALTER TABLE dispatch_core.organization DROP CONSTRAINT organization_name_key",
                "ALTER TABLE dispatch_core.organization ADD UNIQUE (name)",
                "update dispatch_core.organization set slug = 'default' where id = 1",
                "update dispatch_core.organization set slug = 'my_org' where id = 2",
                "update dispatch_core.organization set slug = 'my_org' where id = 3",
                "update dispatch_core.organization set slug = 'grosse_sohne' where id = 4",
                "update dispatch_core.organization set slug = 'never_slugged' where id = 5",
            ],
            breaks=False,
            becomes={
                "organization:slug:grosse_sohne": {"id": "4"},
                "organization:slug:größe_söhne": None,
                "organization:slug:never_slugged": {"id": "5"},
            },
        ),
        Migration(
            "projects move to the core schema, as organisations and users did",
            ["ALTER TABLE dispatch_organization_default.project SET SCHEMA dispatch_core"],
            breaks=True,
            becomes={},
            theirs=False,
        ),
        Migration(
            "a wider text for names that the query reads as text",
            [
                "ALTER TABLE dispatch_core.organization ALTER COLUMN slug TYPE TEXT",
                "ALTER TABLE dispatch_core.organization ALTER COLUMN name TYPE TEXT",
            ],
            breaks=False,
            becomes={"organization:slug:my_org": None},
            theirs=False,
        ),
    ],
    source="Netflix/dispatch: src/dispatch/organization/models.py, project/models.py, database/revisions",
)
