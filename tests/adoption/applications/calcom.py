"""cal.com: Prisma. Organisations and teams in one table, told apart by a flag; only the former have a subdomain.

From calcom/cal.com, packages/prisma/schema.prisma (tables; a team may have an organisation as its parent, and slugs
are unique within a parent), packages/prisma/migrations/20231215054122_organization_metadata (the flag and the
settings), and the later migrations that are named below, in their own order: `Team.logo` gives way to `logoUrl`, the
billing tables get their columns.
"""

from __future__ import annotations

from tests.adoption.applications import Application, Migration, Query, Write

SCHEMA = """
create table "Team" (
    "id" serial not null,
    "name" text not null,
    "slug" text,
    "logo" text,
    "bio" text,
    "hideBranding" boolean not null default false,
    "createdAt" timestamp(3) not null default current_timestamp,
    "metadata" jsonb,
    "theme" text,
    "brandColor" text,
    "parentId" integer,
    "timeZone" text not null default 'Europe/London',
    "weekStart" text not null default 'Sunday',
    "isOrganization" boolean not null default false,
    "pendingPayment" boolean not null default false,
    "isPlatform" boolean not null default false,
    constraint "Team_pkey" primary key ("id")
);
create unique index "Team_slug_parentId_key" on "Team" ("slug", "parentId");
create unique index "Team_slug_parentId_key_null" on "Team" ("slug", ("parentId" is null)) where "parentId" is null;
create index "Team_parentId_idx" on "Team" ("parentId");
alter table "Team" add constraint "Team_parentId_fkey" foreign key ("parentId")
    references "Team" ("id") on delete cascade on update cascade;

create table "OrganizationSettings" (
    "id" serial not null,
    "organizationId" integer not null,
    "isOrganizationConfigured" boolean not null default false,
    "isOrganizationVerified" boolean not null default false,
    "orgAutoAcceptEmail" text not null,
    "isAdminReviewed" boolean not null default false,
    "isAdminAPIEnabled" boolean not null default false,
    constraint "OrganizationSettings_pkey" primary key ("id")
);
create unique index "OrganizationSettings_organizationId_key" on "OrganizationSettings" ("organizationId");
alter table "OrganizationSettings" add constraint "OrganizationSettings_organizationId_fkey"
    foreign key ("organizationId") references "Team" ("id") on delete cascade on update cascade;

create table "TeamBilling" (
    "id" text not null,
    "teamId" integer not null,
    "subscriptionId" text not null,
    "subscriptionItemId" text not null,
    "customerId" text not null,
    "status" text not null,
    "planName" text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null,
    constraint "TeamBilling_pkey" primary key ("id")
);
create unique index "TeamBilling_teamId_key" on "TeamBilling" ("teamId");
create unique index "TeamBilling_subscriptionId_key" on "TeamBilling" ("subscriptionId");
alter table "TeamBilling" add constraint "TeamBilling_teamId_fkey" foreign key ("teamId")
    references "Team" ("id") on delete cascade on update cascade;

create table "OrganizationBilling" (
    "id" text not null,
    "teamId" integer not null,
    "subscriptionId" text not null,
    "subscriptionItemId" text not null,
    "customerId" text not null,
    "status" text not null,
    "planName" text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null,
    constraint "OrganizationBilling_pkey" primary key ("id")
);
create unique index "OrganizationBilling_teamId_key" on "OrganizationBilling" ("teamId");
create unique index "OrganizationBilling_subscriptionId_key" on "OrganizationBilling" ("subscriptionId");
alter table "OrganizationBilling" add constraint "OrganizationBilling_teamId_fkey" foreign key ("teamId")
    references "Team" ("id") on delete cascade on update cascade;

create table "Feature" (
    "slug" text not null,
    "enabled" boolean not null default false,
    "description" text,
    constraint "Feature_pkey" primary key ("slug")
);
create table "TeamFeatures" (
    "teamId" integer not null,
    "featureId" text not null,
    "assignedAt" timestamp(3) not null default current_timestamp,
    "assignedBy" text not null,
    "updatedAt" timestamp(3) not null,
    constraint "TeamFeatures_pkey" primary key ("teamId", "featureId")
);
alter table "TeamFeatures"
    add constraint "TeamFeatures_teamId_fkey" foreign key ("teamId")
        references "Team" ("id") on delete cascade on update cascade,
    add constraint "TeamFeatures_featureId_fkey" foreign key ("featureId")
        references "Feature" ("slug") on delete cascade on update cascade;
"""

ROWS = """
insert into "Team" ("name", "slug", "logo", "metadata", "parentId", "timeZone", "isOrganization", "pendingPayment")
values
    ('Acme', 'acme', '/logo/1.png', '{"subscriptionId": "sub_1"}', null, 'America/New_York', true, false),
    ('Sales', 'sales', null, null, 1, 'Europe/London', false, false),
    ('Acme too', 'acme', null, '{}', 8, 'Europe/London', false, false),
    ('Ünï ☕', 'uni', null, '{"note": "☕"}', null, 'Europe/Berlin', true, false),
    ('Solo', 'solo', null, '{"paymentId": "pay_5"}', null, 'Asia/Kolkata', false, false),
    ('Unpublished', null, null, '{"requestedSlug": "wanted"}', null, 'Europe/London', true, true),
    ('Unpaid', 'Unpaid-Org', null, null, null, 'Europe/London', true, true),
    ('Globex', 'globex', null, null, null, 'Europe/London', true, false),
    ('Sales', 'sales', null, null, 8, 'Europe/London', false, true);

insert into "OrganizationSettings" ("organizationId", "isOrganizationConfigured", "isOrganizationVerified",
    "orgAutoAcceptEmail", "isAdminReviewed")
values
    (1, true, true, 'Acme.example', true),
    (4, true, false, 'uni.example', true),
    (7, false, false, 'unpaid.example', false),
    (8, true, true, 'globex.example', false);

insert into "OrganizationBilling" ("id", "teamId", "subscriptionId", "subscriptionItemId", "customerId", "status",
    "planName", "updatedAt")
values
    ('ob_1', 1, 'sub_1', 'si_1', 'cus_1', 'ACTIVE', 'ENTERPRISE', now()),
    ('ob_8', 8, 'sub_8', 'si_8', 'cus_8', 'PAST_DUE', 'ORGANIZATION', now());
insert into "TeamBilling" ("id", "teamId", "subscriptionId", "subscriptionItemId", "customerId", "status", "planName",
    "updatedAt")
values ('tb_5', 5, 'sub_5', 'si_5', 'cus_5', 'ACTIVE', 'TEAM', now());

insert into "Feature" ("slug", "enabled") values ('insights', true), ('delegation', true), ('old-thing', false);
insert into "TeamFeatures" ("teamId", "featureId", "assignedBy", "updatedAt") values
    (1, 'insights', 'admin', now()), (1, 'delegation', 'admin', now()), (1, 'old-thing', 'admin', now()),
    (8, 'insights', 'admin', now()), (5, 'insights', 'admin', now());
"""

ORGANIZATIONS = """
select
    o."id" as id,
    o."name" as name,
    o."slug" as subdomain,
    array(select s."orgAutoAcceptEmail" where s."isOrganizationVerified") as domains,
    case
        when b."status" in ('CANCELLED', 'UNPAID') or s."isAdminReviewed" is false then 'suspended'
        when o."pendingPayment" or b."status" = 'PAST_DUE' then 'maintenance'
        else 'active'
    end as status,
    lower(b."planName") as plan,
    o."timeZone" as time_zone,
    jsonb_build_object(
        'logo', o."logo",
        'platform', o."isPlatform",
        'features', (
            select coalesce(jsonb_agg(f."slug" order by f."slug"), '[]')
            from "TeamFeatures" tf join "Feature" f on f."slug" = tf."featureId"
            where tf."teamId" = o."id" and f."enabled"
        )
    ) as attributes
from "Team" o
left join "OrganizationSettings" s on s."organizationId" = o."id"
left join "OrganizationBilling" b on b."teamId" = o."id"
where o."isOrganization" and o."slug" is not null
"""

TEAMS = """
select
    t."id" as id,
    t."name" as name,
    case when o."id" is null then t."slug" else o."slug" || '/' || t."slug" end as slug,
    case when t."pendingPayment" or coalesce(ob."status", tb."status") = 'PAST_DUE' then 'maintenance' end as status,
    lower(coalesce(ob."planName", tb."planName")) as plan,
    t."timeZone" as time_zone,
    coalesce(t."metadata", '{}') - 'paymentId' || jsonb_build_object('organization', o."id") as attributes
from "Team" t
left join "Team" o on o."id" = t."parentId" and o."isOrganization"
left join "TeamBilling" tb on tb."teamId" = t."id"
left join "OrganizationBilling" ob on ob."teamId" = o."id"
where not t."isOrganization"
"""

APPLICATION = Application(
    name="cal.com",
    schema=SCHEMA,
    rows=ROWS,
    queries=[Query("organization", ORGANIZATIONS), Query("team", TEAMS)],
    found={
        "subdomain:acme": {
            "id": "1",
            "kind": "organization",
            "name": "Acme",
            "status": "active",
            "plan": "enterprise",
            "time_zone": "America/New_York",
            "attributes": {"logo": "/logo/1.png", "platform": False, "features": ["delegation", "insights"]},
        },
        "domain:acme.example": {"id": "1", "kind": "organization"},
        "team:slug:acme": None,
        "team:slug:globex/acme": {"id": "3", "kind": "team", "name": "Acme too", "status": "maintenance"},
        "team:slug:acme/sales": {"id": "2", "plan": "enterprise", "status": "active"},
        "team:slug:globex/sales": {"id": "9", "plan": "organization", "status": "maintenance"},
        "team:slug:solo": {
            "id": "5",
            "plan": "team",
            "time_zone": "Asia/Kolkata",
            "attributes": {"organization": None, "paymentId": "not there"},
        },
        "subdomain:solo": None,
        "subdomain:sales": None,
        "subdomain:uni": {"id": "4", "name": "Ünï ☕", "plan": None, "status": "active"},
        "domain:uni.example": None,
        "subdomain:wanted": None,
        "organization:id:6": None,
        "subdomain:unpaid-org": {"id": "7", "status": "suspended"},
        "subdomain:globex": {"id": "8", "status": "suspended", "plan": "organization"},
    },
    writes=[
        Write(
            "an organisation with its settings and a team",
            """
            insert into "Team" ("name", "slug", "isOrganization") values ('New', 'new', true);
            insert into "OrganizationSettings" ("organizationId", "orgAutoAcceptEmail", "isOrganizationVerified",
                "isAdminReviewed") values (10, 'new.example', true, true);
            insert into "Team" ("name", "slug", "parentId") values ('Ops', 'ops', 10);
            """,
            frozenset({"organization:10", "team:11"}),
            {
                "subdomain:new": {"id": "10", "kind": "organization", "status": "active"},
                "domain:new.example": {"id": "10"},
                "team:slug:new/ops": {"id": "11", "attributes": {"organization": 10}},
            },
        ),
        Write(
            "a team becomes an organisation: it leaves one kind and enters the other",
            """update "Team" set "isOrganization" = true where "id" = 5""",
            frozenset({"organization:5", "team:5"}),
            {
                "subdomain:solo": {"id": "5", "kind": "organization", "time_zone": "Asia/Kolkata"},
                "team:slug:solo": None,
            },
        ),
        Write(
            "an organisation is published",
            """update "Team" set "slug" = 'wanted', "metadata" = '{}', "pendingPayment" = false where "id" = 6""",
            frozenset({"organization:6"}),
            {"subdomain:wanted": {"id": "6", "status": "active"}},
        ),
        Write(
            "an organisation is renamed, with what its teams are called by",
            """update "Team" set "slug" = 'acme-labs' where "id" = 1""",
            frozenset({"organization:1", "team:2"}),
            {
                "subdomain:acme-labs": {"id": "1"},
                "subdomain:acme": None,
                "team:slug:acme-labs/sales": {"id": "2"},
                "team:slug:acme/sales": None,
            },
        ),
        Write(
            "a team moves from one organisation to another",
            """update "Team" set "parentId" = 8, "slug" = 'inside-sales' where "id" = 2""",
            frozenset({"team:2"}),
            {
                "team:slug:globex/inside-sales": {"id": "2", "plan": "organization", "status": "maintenance"},
                "team:slug:acme/sales": None,
            },
        ),
        Write(
            "a team gets a new slug within an organisation, the same as one in another",
            """update "Team" set "slug" = 'acme' where "id" = 2""",
            frozenset({"team:2"}),
            {"team:slug:acme/acme": {"id": "2"}, "team:slug:globex/acme": {"id": "3"}, "subdomain:acme": {"id": "1"}},
        ),
        Write(
            "a biography and a colour",
            """update "Team" set "bio" = 'hello', "brandColor" = '#292929', "theme" = 'dark'""",
            frozenset(),
            {"subdomain:acme": {"id": "1"}, "team:slug:solo": {"id": "5"}},
        ),
        Write(
            "an organisation is reviewed and its payment is late",
            """update "OrganizationSettings" set "isAdminReviewed" = true where "organizationId" = 8""",
            frozenset({"organization:8"}),
            {"subdomain:globex": {"id": "8", "status": "maintenance"}},
        ),
        Write(
            "a domain is no longer verified",
            """update "OrganizationSettings" set "isOrganizationVerified" = false where "organizationId" = 1""",
            frozenset({"organization:1"}),
            {"domain:acme.example": None, "subdomain:acme": {"id": "1"}},
        ),
        Write(
            "settings that say nothing about a tenant",
            """update "OrganizationSettings" set "isAdminAPIEnabled" = true""",
            frozenset(),
            {"domain:acme.example": {"id": "1"}},
        ),
        Write(
            "an organisation's plan, which is its teams' as well",
            """update "OrganizationBilling" set "planName" = 'ENTERPRISE', "status" = 'ACTIVE', "updatedAt" = now()
            where "teamId" = 8""",
            frozenset({"organization:8", "team:3", "team:9"}),
            {
                "subdomain:globex": {"plan": "enterprise", "status": "suspended"},
                "team:slug:globex/acme": {"plan": "enterprise", "status": "active"},
                "team:slug:globex/sales": {"plan": "enterprise", "status": "maintenance"},
            },
        ),
        Write(
            "billing moves to another team",
            """update "TeamBilling" set "teamId" = 2 where "id" = 'tb_5'""",
            frozenset({"team:5"}),
            {"team:slug:solo": {"plan": None}, "team:slug:acme/sales": {"plan": "enterprise"}},
        ),
        Write(
            "a feature that several organisations have is switched off for all",
            """update "Feature" set "enabled" = false where "slug" = 'insights'""",
            frozenset({"organization:1", "organization:8"}),
            {
                "subdomain:acme": {"attributes": {"features": ["delegation"]}},
                "subdomain:globex": {"attributes": {"features": []}},
            },
        ),
        Write(
            "a feature moves from one organisation to another",
            """update "TeamFeatures" set "teamId" = 8 where "teamId" = 1 and "featureId" = 'delegation'""",
            frozenset({"organization:1", "organization:8"}),
            {
                "subdomain:acme": {"attributes": {"features": ["insights"]}},
                "subdomain:globex": {"attributes": {"features": ["delegation", "insights"]}},
            },
        ),
        Write(
            "an organisation is deleted, its teams and settings with it",
            """delete from "Team" where "id" = 8""",
            frozenset({"organization:8", "team:3", "team:9"}),
            {"subdomain:globex": None, "domain:globex.example": None, "team:slug:globex/sales": None},
        ),
    ],
    migrations=[
        Migration(
            "a column's heir: logoUrl beside logo, and a table for the pictures",
            [
                """
                ALTER TABLE "Team" ADD COLUMN     "logoUrl" TEXT;
                CREATE TABLE "avatars" (
                    "teamId" INTEGER NOT NULL DEFAULT 0,
                    "userId" INTEGER NOT NULL DEFAULT 0,
                    "data" TEXT NOT NULL,
                    "objectKey" TEXT NOT NULL
                );
                CREATE UNIQUE INDEX "avatars_objectKey_key" ON "avatars"("objectKey");
                """
            ],
            breaks=False,
            becomes={"subdomain:acme": {"id": "1", "attributes": {"logo": "/logo/1.png"}}},
        ),
        Migration(
            "the heir comes, is filled, and the old column goes: expanded, then contracted",
            [
                """ALTER TABLE "Team" ADD COLUMN     "logoUrl" TEXT;""",
                """UPDATE "Team" SET "logoUrl" = "logo" WHERE "logoUrl" IS NULL;""",
                """ALTER TABLE "Team" DROP COLUMN "logo";""",
            ],
            breaks=True,
            becomes={},
            atomic=False,
        ),
        Migration(
            "dates of a subscription, in both billing tables",
            [
                """
                ALTER TABLE "OrganizationBilling" ADD COLUMN     "subscriptionEnd" TIMESTAMP(3),
                ADD COLUMN     "subscriptionStart" TIMESTAMP(3),
                ADD COLUMN     "subscriptionTrialEnd" TIMESTAMP(3);
                ALTER TABLE "TeamBilling" ADD COLUMN     "subscriptionEnd" TIMESTAMP(3),
                ADD COLUMN     "subscriptionStart" TIMESTAMP(3),
                ADD COLUMN     "subscriptionTrialEnd" TIMESTAMP(3);
                """
            ],
            breaks=False,
            becomes={"subdomain:acme": {"plan": "enterprise"}, "team:slug:solo": {"plan": "team"}},
        ),
        Migration(
            "billingMode, an enum with a default, and rows of a table that is read",
            [
                """
                CREATE TYPE "BillingMode" AS ENUM ('SEATS', 'ACTIVE_USERS');
                ALTER TABLE "TeamBilling" ADD COLUMN "billingMode" "BillingMode" NOT NULL DEFAULT 'SEATS';
                ALTER TABLE "OrganizationBilling" ADD COLUMN "billingMode" "BillingMode" NOT NULL DEFAULT 'SEATS';
                INSERT INTO "Feature" ("slug", "enabled", "description")
                    VALUES ('active-user-billing', false, 'by active users') ON CONFLICT ("slug") DO NOTHING;
                """
            ],
            breaks=False,
            becomes={"subdomain:acme": {"plan": "enterprise", "attributes": {"features": ["delegation", "insights"]}}},
        ),
        Migration(
            "the settings' table gets another name",
            [
                """
                ALTER TABLE "OrganizationSettings" RENAME TO "OrgSettings";
                ALTER TABLE "OrgSettings" RENAME CONSTRAINT "OrganizationSettings_pkey" TO "OrgSettings_pkey";
                """
            ],
            breaks=True,
            becomes={},
            theirs=False,
        ),
    ],
    source="calcom/cal.com: packages/prisma/schema.prisma, packages/prisma/migrations",
)
