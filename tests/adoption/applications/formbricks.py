"""Formbricks: Prisma. The plan is in the JSON of a joined table; an environment leads to its tenant over two hops.

From formbricks/formbricks, packages/database/schema.prisma as of 2026-03-19 (tables), packages/types/organizations.ts
(what the billing JSON holds), and the migrations of packages/database/migration that are named below, 2026-03 to
2026-08. `BEFORE_BILLING` is the state that 20260305102749 found: the plan in a JSON column of the tenant's own.

No table of theirs holds a host. `ProjectDomain` is what a self-hosted installation would add that serves each project
at a host of its own; all other tables are theirs.
"""

from __future__ import annotations

from tests.adoption.applications import Application, Migration, Query, Write

PROJECTS = """
create type "EnvironmentType" as enum ('production', 'development');

create table "Project" (
    "id" text not null,
    "created_at" timestamp(3) not null default current_timestamp,
    "updated_at" timestamp(3) not null,
    "name" text not null,
    "organizationId" text not null,
    "styling" jsonb not null default '{"allowStyleOverwrite":true}',
    "config" jsonb not null default '{}',
    "recontactDays" integer not null default 7,
    "logo" jsonb,
    "customHeadScripts" text,
    constraint "Project_pkey" primary key ("id")
);
create unique index "Project_organizationId_name_key" on "Project" ("organizationId", "name");
alter table "Project" add constraint "Project_organizationId_fkey" foreign key ("organizationId")
    references "Organization" ("id") on delete cascade on update cascade;

create table "Environment" (
    "id" text not null,
    "created_at" timestamp(3) not null default current_timestamp,
    "updated_at" timestamp(3) not null,
    "type" "EnvironmentType" not null,
    "projectId" text not null,
    "appSetupCompleted" boolean not null default false,
    constraint "Environment_pkey" primary key ("id")
);
create index "Environment_projectId_idx" on "Environment" ("projectId");
alter table "Environment" add constraint "Environment_projectId_fkey" foreign key ("projectId")
    references "Project" ("id") on delete cascade on update cascade;

create table "ProjectDomain" (
    "domain" text not null,
    "projectId" text not null,
    "verified" boolean not null default false,
    constraint "ProjectDomain_pkey" primary key ("domain")
);
alter table "ProjectDomain" add constraint "ProjectDomain_projectId_fkey" foreign key ("projectId")
    references "Project" ("id") on delete cascade on update cascade;
"""

SCHEMA = (
    """
create table "Organization" (
    "id" text not null,
    "created_at" timestamp(3) not null default current_timestamp,
    "updated_at" timestamp(3) not null,
    "name" text not null,
    "whitelabel" jsonb not null default '{}',
    "isAIEnabled" boolean not null default false,
    constraint "Organization_pkey" primary key ("id")
);

create table "OrganizationBilling" (
    "organization_id" text not null,
    "stripe_customer_id" text,
    "limits" jsonb not null,
    "usage_cycle_anchor" timestamp(3),
    "stripe" jsonb,
    "created_at" timestamp(3) not null default current_timestamp,
    "updated_at" timestamp(3) not null,
    constraint "OrganizationBilling_pkey" primary key ("organization_id")
);
create unique index "OrganizationBilling_stripe_customer_id_key" on "OrganizationBilling" ("stripe_customer_id");
alter table "OrganizationBilling" add constraint "OrganizationBilling_organization_id_fkey"
    foreign key ("organization_id") references "Organization" ("id") on delete cascade on update cascade;
"""
    + PROJECTS
)

PROJECT_ROWS = """
insert into "Project" ("id", "updated_at", "name", "organizationId") values
    ('prj_acme_web', now(), 'Website', 'org_acme'),
    ('prj_acme_app', now(), 'App', 'org_acme'),
    ('prj_globex', now(), 'Website', 'org_globex'),
    ('prj_unicode', now(), 'Сайт', 'org_unicode');

insert into "Environment" ("id", "updated_at", "type", "projectId", "appSetupCompleted") values
    ('env_aw_prod', now(), 'production', 'prj_acme_web', true),
    ('env_aw_dev', now(), 'development', 'prj_acme_web', false),
    ('env_aa_prod', now(), 'production', 'prj_acme_app', false),
    ('env_gx_prod', now(), 'production', 'prj_globex', true),
    ('env_uc_prod', now(), 'production', 'prj_unicode', false);

insert into "ProjectDomain" ("domain", "projectId", "verified") values
    ('ask.acme.example', 'prj_acme_web', true),
    ('App.Acme.example', 'prj_acme_app', true),
    ('ask.globex.example', 'prj_globex', true),
    ('later.globex.example', 'prj_globex', false);
"""

ROWS = (
    """
insert into "Organization" ("id", "updated_at", "name", "whitelabel", "isAIEnabled") values
    ('org_acme', now(), 'Acme', '{"logoUrl": "https://acme.example/logo.png"}', true),
    ('org_globex', now(), 'Globex', '{}', false),
    ('org_unicode', now(), 'Ромашка', '{"faviconUrl": null}', false),
    ('org_empty', now(), 'No project yet', '{}', false),
    ('org_free', now(), 'No billing row', '{}', false);

insert into "OrganizationBilling" ("organization_id", "stripe_customer_id", "limits", "usage_cycle_anchor", "stripe",
    "updated_at")
values
    ('org_acme', 'cus_1', '{"projects": null, "monthly": {"responses": 60000}}', '2026-03-01',
        '{"plan": "scale", "subscriptionStatus": "active", "features": ["quotas"]}', now()),
    ('org_globex', 'cus_2', '{"projects": 3, "monthly": {"responses": 1500}}', null,
        '{"plan": "pro", "subscriptionStatus": "unpaid"}', now()),
    ('org_unicode', null, '{"projects": 1, "monthly": {"responses": null}}', null, 'null', now()),
    ('org_empty', null, '{}', null, null, now());
"""
    + PROJECT_ROWS
)

QUERY = """
select
    o."id" as id,
    o."name" as name,
    (select array_agg(d."domain" order by d."domain")
        from "Project" p join "ProjectDomain" d on d."projectId" = p."id"
        where p."organizationId" = o."id" and d."verified") as domains,
    (select array_agg(e."id" order by e."id")
        from "Project" p join "Environment" e on e."projectId" = p."id"
        where p."organizationId" = o."id") as slugs,
    case b."stripe" ->> 'subscriptionStatus'
        when 'unpaid' then 'suspended' when 'paused' then 'suspended' when 'past_due' then 'maintenance'
    end as status,
    coalesce(b."stripe" ->> 'plan', 'hobby') as plan,
    ceil((b."limits" -> 'monthly' ->> 'responses')::numeric / 30) as limit_per_day,
    to_jsonb(o) - '{id, name, updated_at}'::text[]
        || jsonb_build_object('features', coalesce(b."stripe" -> 'features', '[]')) as attributes
from "Organization" o
left join "OrganizationBilling" b on b."organization_id" = o."id"
"""

RENAMED = """
    ALTER TABLE "Project" RENAME TO "Workspace";
    ALTER TABLE "Workspace" RENAME CONSTRAINT "Project_pkey" TO "Workspace_pkey";
    ALTER TABLE "Workspace" RENAME CONSTRAINT "Project_organizationId_fkey" TO "Workspace_organizationId_fkey";
    ALTER INDEX "Project_organizationId_name_key" RENAME TO "Workspace_organizationId_name_key";
    ALTER TABLE "Environment" RENAME COLUMN "projectId" TO "workspaceId";
    ALTER TABLE "Environment" RENAME CONSTRAINT "Environment_projectId_fkey" TO "Environment_workspaceId_fkey";
    ALTER INDEX "Environment_projectId_idx" RENAME TO "Environment_workspaceId_idx";
    UPDATE "OrganizationBilling"
        SET limits = jsonb_set(limits::jsonb - 'projects', '{workspaces}', limits::jsonb->'projects')
        WHERE limits::jsonb->'projects' IS NOT NULL;
"""

AI_SWITCHES = """
    ALTER TABLE "Organization" ADD COLUMN "isAISmartToolsEnabled" BOOLEAN NOT NULL DEFAULT false;
    ALTER TABLE "Organization" ADD COLUMN "isAIDataAnalysisEnabled" BOOLEAN NOT NULL DEFAULT false;
    UPDATE "Organization"
        SET "isAISmartToolsEnabled" = "isAIEnabled", "isAIDataAnalysisEnabled" = "isAIEnabled";
    ALTER TABLE "Organization" DROP COLUMN "isAIEnabled";
"""

APPLICATION = Application(
    name="Formbricks",
    schema=SCHEMA,
    rows=ROWS,
    queries=[Query("", QUERY)],
    found={
        "domain:ask.acme.example": {
            "id": "org_acme",
            "name": "Acme",
            "status": "active",
            "plan": "scale",
            "limit_per_day": 2000,
            "attributes": {
                "isAIEnabled": True,
                "whitelabel": {"logoUrl": "https://acme.example/logo.png"},
                "features": ["quotas"],
            },
        },
        "domain:app.acme.example": {"id": "org_acme"},
        "slug:env_aw_prod": {"id": "org_acme"},
        "slug:env_aw_dev": {"id": "org_acme"},
        "slug:env_aa_prod": {"id": "org_acme"},
        "slug:env_gx_prod": {"id": "org_globex", "status": "suspended", "plan": "pro", "limit_per_day": 50},
        "domain:later.globex.example": None,
        "slug:env_uc_prod": {"id": "org_unicode", "name": "Ромашка", "plan": "hobby", "limit_per_day": None},
        "id:org_empty": {"id": "org_empty", "plan": "hobby", "status": "active"},
        "id:org_free": {"id": "org_free", "plan": "hobby", "limit_per_day": None},
    },
    writes=[
        Write(
            "an organisation signs up, with a project and its two environments",
            """
            insert into "Organization" ("id", "updated_at", "name") values ('org_new', now(), 'New');
            insert into "OrganizationBilling" ("organization_id", "limits", "updated_at")
                values ('org_new', '{"projects": 1, "monthly": {"responses": 250}}', now());
            insert into "Project" ("id", "updated_at", "name", "organizationId")
                values ('prj_new', now(), 'New', 'org_new');
            insert into "Environment" ("id", "updated_at", "type", "projectId")
                values ('env_n_prod', now(), 'production', 'prj_new'), ('env_n_dev', now(), 'development', 'prj_new');
            """,
            frozenset({"org_new"}),
            {"slug:env_n_dev": {"id": "org_new", "plan": "hobby", "limit_per_day": 9}},
        ),
        Write(
            "an organisation's name and logo",
            """update "Organization" set "name" = 'ACME', "whitelabel" = '{}', "updated_at" = now() """
            """where "id" = 'org_acme'""",
            frozenset({"org_acme"}),
            {"slug:env_aw_prod": {"name": "ACME", "attributes": {"whitelabel": {}, "isAIEnabled": True}}},
        ),
        Write(
            "the payment service says that a plan has changed",
            """update "OrganizationBilling" set "stripe" = "stripe" || '{"plan": "pro"}', "updated_at" = now() """
            """where "organization_id" = 'org_acme'""",
            frozenset({"org_acme"}),
            {"domain:ask.acme.example": {"id": "org_acme", "plan": "pro", "limit_per_day": 2000}},
        ),
        Write(
            "the payment service says the same again",
            """update "OrganizationBilling" set "stripe" = coalesce(nullif("stripe", 'null'), '{}') """
            """|| '{"lastSyncedEventId": "evt_9"}', "updated_at" = now()""",
            frozenset(),
            {"slug:env_uc_prod": {"plan": "hobby"}, "domain:ask.acme.example": {"plan": "scale"}},
        ),
        Write(
            "the first billing row of an organisation",
            """insert into "OrganizationBilling" ("organization_id", "limits", "stripe", "updated_at") """
            """values ('org_free', '{}', '{"plan": "pro", "subscriptionStatus": "past_due"}', now())""",
            frozenset({"org_free"}),
            {"id:org_free": {"plan": "pro", "status": "maintenance"}},
        ),
        Write(
            "a project moves to another organisation, its domain and environments with it",
            """update "Project" set "organizationId" = 'org_free' where "id" = 'prj_acme_web'""",
            frozenset({"org_acme", "org_free"}),
            {
                "domain:ask.acme.example": {"id": "org_free"},
                "slug:env_aw_prod": {"id": "org_free"},
                "slug:env_aa_prod": {"id": "org_acme"},
                "domain:app.acme.example": {"id": "org_acme"},
            },
        ),
        Write(
            "a project's styling",
            """update "Project" set "styling" = '{}', "updated_at" = now() where "id" = 'prj_acme_web'""",
            frozenset(),
            {"domain:ask.acme.example": {"id": "org_acme"}},
        ),
        Write(
            "an environment moves to a project of another organisation",
            """update "Environment" set "projectId" = 'prj_globex' where "id" = 'env_aw_dev'""",
            frozenset({"org_acme", "org_globex"}),
            {"slug:env_aw_dev": {"id": "org_globex"}, "slug:env_aw_prod": {"id": "org_acme"}},
        ),
        Write(
            "an environment's first event",
            """update "Environment" set "appSetupCompleted" = true, "updated_at" = now()""",
            frozenset(),
            {"slug:env_aa_prod": {"id": "org_acme"}},
        ),
        Write(
            "a domain is verified",
            """update "ProjectDomain" set "verified" = true where "domain" = 'later.globex.example'""",
            frozenset({"org_globex"}),
            {"domain:later.globex.example": {"id": "org_globex", "status": "suspended"}},
        ),
        Write(
            "a domain goes to a project of another organisation",
            """update "ProjectDomain" set "projectId" = 'prj_unicode' where "domain" = 'ask.globex.example'""",
            frozenset({"org_globex", "org_unicode"}),
            {"domain:ask.globex.example": {"id": "org_unicode"}},
        ),
        Write(
            "a project is deleted, two levels below it as well",
            """delete from "Project" where "id" = 'prj_acme_web'""",
            frozenset({"org_acme"}),
            {"domain:ask.acme.example": None, "slug:env_aw_prod": None, "slug:env_aa_prod": {"id": "org_acme"}},
        ),
        Write(
            "an organisation is deleted, three levels at once",
            """delete from "Organization" where "id" = 'org_globex'""",
            frozenset({"org_globex"}),
            {"domain:ask.globex.example": None, "slug:env_gx_prod": None, "id:org_globex": None},
        ),
    ],
    migrations=[
        Migration(
            "20260302000000_replace_is_ai_enabled_with_dual_toggles: two columns come, the one that was shown goes",
            [AI_SWITCHES],
            breaks=False,
            becomes={
                "domain:ask.acme.example": {
                    "id": "org_acme",
                    "plan": "scale",
                    "attributes": {
                        "isAIEnabled": "not there",
                        "isAISmartToolsEnabled": True,
                        "isAIDataAnalysisEnabled": True,
                    },
                }
            },
        ),
        Migration(
            "20260521000000_remove_is_ai_data_analysis_enabled, ten weeks after that",
            [
                AI_SWITCHES,
                """ALTER TABLE "Organization" DROP COLUMN IF EXISTS "isAIDataAnalysisEnabled";""",
            ],
            breaks=False,
            becomes={
                "domain:ask.acme.example": {
                    "attributes": {"isAISmartToolsEnabled": True, "isAIDataAnalysisEnabled": "not there"}
                }
            },
            atomic=False,
        ),
        Migration(
            "20260330000000_rename_project_to_workspace",
            [RENAMED],
            breaks=True,
            becomes={},
        ),
        Migration(
            "20260401000000 and 20260403000000_remove_environment_model: the middle table goes, its ids move up",
            [
                RENAMED,
                """
                ALTER TABLE "Workspace" ADD COLUMN "appSetupCompleted" BOOLEAN NOT NULL DEFAULT false;
                UPDATE "Workspace" w SET "appSetupCompleted" = e."appSetupCompleted" FROM "Environment" e
                    WHERE e."workspaceId" = w."id" AND e."type" = 'production' AND e."appSetupCompleted" = true;
                """,
                """
                ALTER TABLE "Workspace" ADD COLUMN "legacyEnvironmentId" TEXT;
                UPDATE "Workspace" w SET "legacyEnvironmentId" = e."id" FROM "Environment" e
                    WHERE e."workspaceId" = w."id" AND e."type" = 'production';
                CREATE UNIQUE INDEX "Workspace_legacyEnvironmentId_key" ON "Workspace"("legacyEnvironmentId");
                DROP INDEX IF EXISTS "Environment_workspaceId_idx";
                DROP TABLE IF EXISTS "Environment";
                DROP TYPE IF EXISTS "EnvironmentType";
                """,
            ],
            breaks=True,
            becomes={},
            atomic=False,
        ),
        Migration(
            "20260810000000_add_organization_display_time_zone",
            ["""ALTER TABLE "Organization" ADD COLUMN "displayTimeZone" TEXT;"""],
            breaks=False,
            becomes={"domain:ask.acme.example": {"attributes": {"displayTimeZone": None, "isAIEnabled": True}}},
        ),
        Migration(
            "a table swapped for a new one as in 20250327043931_api_key_new_to_api_key: created, copied, renamed",
            [
                """
                CREATE TABLE "OrganizationBillingNew" (
                    "organization_id" TEXT NOT NULL,
                    "stripe_customer_id" TEXT,
                    "limits" JSONB NOT NULL,
                    "stripe" JSONB NOT NULL DEFAULT '{}',
                    "updated_at" TIMESTAMP(3) NOT NULL,
                    CONSTRAINT "OrganizationBillingNew_pkey" PRIMARY KEY ("organization_id")
                );
                ALTER TABLE "OrganizationBillingNew" ADD CONSTRAINT "OrganizationBillingNew_organization_id_fkey"
                    FOREIGN KEY ("organization_id") REFERENCES "Organization"("id")
                    ON DELETE CASCADE ON UPDATE CASCADE;
                """,
                """
                INSERT INTO "OrganizationBillingNew"
                SELECT "organization_id", "stripe_customer_id", "limits",
                    coalesce("stripe", '{}') || '{"plan": "custom"}', "updated_at"
                FROM "OrganizationBilling" WHERE "organization_id" IN ('org_acme', 'org_globex');
                """,
                """
                DROP TABLE "OrganizationBilling";
                ALTER TABLE "OrganizationBillingNew" RENAME TO "OrganizationBilling";
                ALTER TABLE "OrganizationBilling"
                    RENAME CONSTRAINT "OrganizationBillingNew_pkey" TO "OrganizationBilling_pkey";
                ALTER TABLE "OrganizationBilling" RENAME CONSTRAINT
                    "OrganizationBillingNew_organization_id_fkey" TO "OrganizationBilling_organization_id_fkey";
                """,
            ],
            breaks=False,
            becomes={
                "domain:ask.acme.example": {"id": "org_acme", "plan": "custom", "limit_per_day": 2000},
                "slug:env_gx_prod": {"id": "org_globex", "plan": "custom", "status": "suspended"},
                "slug:env_uc_prod": {"id": "org_unicode", "plan": "hobby", "limit_per_day": None},
            },
            atomic=False,
            theirs=False,
        ),
    ],
    source="formbricks/formbricks: packages/database/schema.prisma, packages/database/migration, packages/types",
)

BEFORE_BILLING = Application(
    name="Formbricks before 2026-03-05",
    schema="""
create table "Organization" (
    "id" text not null,
    "created_at" timestamp(3) not null default current_timestamp,
    "updated_at" timestamp(3) not null,
    "name" text not null,
    "billing" jsonb not null,
    "whitelabel" jsonb not null default '{}',
    "isAIEnabled" boolean not null default false,
    constraint "Organization_pkey" primary key ("id")
);
"""
    + PROJECTS,
    rows="""
insert into "Organization" ("id", "updated_at", "name", "billing") values
    ('org_acme', now(), 'Acme', '{"plan": "scale", "stripeCustomerId": "cus_1", "period": "monthly",
        "limits": {"projects": 3, "monthly": {"responses": 60000, "miu": null}}}'),
    ('org_globex', now(), 'Globex', '{"plan": "free", "limits": {"monthly": {"responses": 1500}}}'),
    ('org_unicode', now(), 'Ромашка', '{}');
"""
    + PROJECT_ROWS,
    queries=[
        Query(
            "",
            """
select
    o."id" as id,
    o."name" as name,
    (select array_agg(e."id" order by e."id")
        from "Project" p join "Environment" e on e."projectId" = p."id"
        where p."organizationId" = o."id") as slugs,
    o."billing" ->> 'plan' as plan,
    ceil((o."billing" #>> '{limits,monthly,responses}')::numeric / 30) as limit_per_day,
    to_jsonb(o) - '{id, name, billing, updated_at}'::text[] as attributes
from "Organization" o
""",
        )
    ],
    found={
        "slug:env_aw_dev": {"id": "org_acme", "plan": "scale", "limit_per_day": 2000},
        "slug:env_gx_prod": {"id": "org_globex", "plan": "free", "limit_per_day": 50},
        "slug:env_uc_prod": {"id": "org_unicode", "plan": None, "limit_per_day": None},
    },
    writes=[
        Write(
            "a plan inside the JSON",
            """update "Organization" set "billing" = jsonb_set("billing", '{plan}', '"startup"') """
            """where "id" = 'org_globex'""",
            frozenset({"org_globex"}),
            {"slug:env_gx_prod": {"plan": "startup", "limit_per_day": 50}},
        ),
        Write(
            "what else the JSON holds",
            """update "Organization" set "billing" = jsonb_set("billing", '{period}', '"yearly"')""",
            frozenset(),
            {"slug:env_aw_dev": {"plan": "scale"}},
        ),
        Write(
            "a limit deep inside the JSON",
            """update "Organization" set "billing" = jsonb_set("billing", '{limits,monthly,responses}', '90000') """
            """where "id" = 'org_acme'""",
            frozenset({"org_acme"}),
            {"slug:env_aw_dev": {"limit_per_day": 3000}},
        ),
        Write(
            "a project moves to another organisation",
            """update "Project" set "organizationId" = 'org_unicode' where "id" = 'prj_acme_app'""",
            frozenset({"org_acme", "org_unicode"}),
            {"slug:env_aa_prod": {"id": "org_unicode"}, "slug:env_aw_prod": {"id": "org_acme"}},
        ),
        Write(
            "an environment moves to another project",
            """update "Environment" set "projectId" = 'prj_globex' where "id" = 'env_aa_prod'""",
            frozenset({"org_acme", "org_globex"}),
            {"slug:env_aa_prod": {"id": "org_globex"}},
        ),
        Write(
            "an environment less",
            """delete from "Environment" where "id" = 'env_aw_dev'""",
            frozenset({"org_acme"}),
            {"slug:env_aw_dev": None, "slug:env_aw_prod": {"id": "org_acme"}},
        ),
    ],
    migrations=[
        Migration(
            "20260302000000_replace_is_ai_enabled_with_dual_toggles",
            [AI_SWITCHES],
            breaks=False,
            becomes={"slug:env_aw_dev": {"plan": "scale", "attributes": {"isAISmartToolsEnabled": False}}},
        ),
        Migration(
            "20260305102749_move_billing_json_to_organization_billing_table",
            [
                """
                CREATE TABLE "OrganizationBilling" (
                    "organization_id" TEXT NOT NULL,
                    "stripe_customer_id" TEXT,
                    "limits" JSONB NOT NULL,
                    "usage_cycle_anchor" TIMESTAMP(3),
                    "stripe" JSONB,
                    "created_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
                    "updated_at" TIMESTAMP(3) NOT NULL,
                    CONSTRAINT "OrganizationBilling_pkey" PRIMARY KEY ("organization_id")
                );
                CREATE UNIQUE INDEX "OrganizationBilling_stripe_customer_id_key"
                    ON "OrganizationBilling"("stripe_customer_id");
                ALTER TABLE "OrganizationBilling" ADD CONSTRAINT "OrganizationBilling_organization_id_fkey"
                    FOREIGN KEY ("organization_id") REFERENCES "Organization"("id")
                    ON DELETE CASCADE ON UPDATE CASCADE;
                INSERT INTO "OrganizationBilling" ("organization_id", "stripe_customer_id", "limits", "stripe",
                    "updated_at")
                SELECT "id", "billing"->>'stripeCustomerId', '{}'::jsonb,
                    jsonb_build_object('plan', "billing"->>'plan'), NOW()
                FROM "Organization" WHERE "billing" IS NOT NULL;
                ALTER TABLE "Organization" DROP COLUMN "billing";
                """
            ],
            breaks=True,
            becomes={},
        ),
    ],
    source="formbricks/formbricks: packages/database/migration/20260305102749_move_billing_json_to_...",
)
