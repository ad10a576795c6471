"""Documenso: Prisma. Organisations and the teams in them, both tenants, whose urls may be equal.

From documenso/documenso, packages/prisma/migrations: 20250522054050_add_organisations (tables),
20250710050651_add_email_domains, 20251023021214_add_envelope_item_limits, 20260529132406_add_org_rate_limits,
packages/lib/types/subscription.ts (what a claim's JSON holds), and the later migrations that are named below.
"""

from __future__ import annotations

from tests.adoption.applications import Application, Migration, Query, Write

SCHEMA = """
create type "SubscriptionStatus" as enum ('ACTIVE', 'PAST_DUE', 'INACTIVE');
create type "OrganisationType" as enum ('PERSONAL', 'ORGANISATION');
create type "EmailDomainStatus" as enum ('PENDING', 'ACTIVE');

create table "SubscriptionClaim" (
    "id" text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null,
    "name" text not null,
    "locked" boolean not null default false,
    "teamCount" integer not null,
    "memberCount" integer not null,
    "flags" jsonb not null,
    "envelopeItemCount" integer not null,
    "recipientCount" integer not null,
    "apiQuota" integer,
    "apiRateLimits" jsonb not null,
    constraint "SubscriptionClaim_pkey" primary key ("id")
);

create table "OrganisationClaim" (
    "id" text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null,
    "originalSubscriptionClaimId" text,
    "teamCount" integer not null,
    "memberCount" integer not null,
    "flags" jsonb not null,
    "envelopeItemCount" integer not null,
    "recipientCount" integer not null,
    "apiQuota" integer,
    "apiRateLimits" jsonb not null,
    constraint "OrganisationClaim_pkey" primary key ("id")
);

create table "OrganisationGlobalSettings" (
    "id" text not null,
    "documentLanguage" text not null default 'en',
    "documentTimezone" text,
    "brandingEnabled" boolean not null default false,
    "brandingUrl" text not null default '',
    constraint "OrganisationGlobalSettings_pkey" primary key ("id")
);

create table "TeamGlobalSettings" (
    "id" text not null,
    "documentLanguage" text,
    "documentTimezone" text,
    constraint "TeamGlobalSettings_pkey" primary key ("id")
);

create table "Organisation" (
    "id" text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null,
    "type" "OrganisationType" not null,
    "name" text not null,
    "url" text not null,
    "avatarImageId" text,
    "customerId" text,
    "ownerUserId" integer not null,
    "organisationClaimId" text not null,
    "organisationGlobalSettingsId" text not null,
    constraint "Organisation_pkey" primary key ("id")
);
create unique index "Organisation_url_key" on "Organisation" ("url");
create unique index "Organisation_customerId_key" on "Organisation" ("customerId");
create unique index "Organisation_organisationClaimId_key" on "Organisation" ("organisationClaimId");
create unique index "Organisation_organisationGlobalSettingsId_key" on "Organisation" ("organisationGlobalSettingsId");
alter table "Organisation"
    add constraint "Organisation_organisationClaimId_fkey" foreign key ("organisationClaimId")
        references "OrganisationClaim" ("id") on delete restrict on update cascade,
    add constraint "Organisation_organisationGlobalSettingsId_fkey" foreign key ("organisationGlobalSettingsId")
        references "OrganisationGlobalSettings" ("id") on delete restrict on update cascade;

create table "Subscription" (
    "id" serial not null,
    "status" "SubscriptionStatus" not null default 'INACTIVE',
    "planId" text not null,
    "priceId" text not null,
    "periodEnd" timestamp(3),
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null,
    "cancelAtPeriodEnd" boolean not null default false,
    "customerId" text not null,
    "organisationId" text not null,
    constraint "Subscription_pkey" primary key ("id")
);
create unique index "Subscription_planId_key" on "Subscription" ("planId");
create unique index "Subscription_organisationId_key" on "Subscription" ("organisationId");
create index "Subscription_organisationId_idx" on "Subscription" ("organisationId");
alter table "Subscription" add constraint "Subscription_organisationId_fkey" foreign key ("organisationId")
    references "Organisation" ("id") on delete cascade on update cascade;

create table "Team" (
    "id" serial not null,
    "name" text not null,
    "url" text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "avatarImageId" text,
    "organisationId" text not null,
    "teamGlobalSettingsId" text not null,
    constraint "Team_pkey" primary key ("id")
);
create unique index "Team_url_key" on "Team" ("url");
create unique index "Team_teamGlobalSettingsId_key" on "Team" ("teamGlobalSettingsId");
alter table "Team"
    add constraint "Team_organisationId_fkey" foreign key ("organisationId")
        references "Organisation" ("id") on delete cascade on update cascade,
    add constraint "Team_teamGlobalSettingsId_fkey" foreign key ("teamGlobalSettingsId")
        references "TeamGlobalSettings" ("id") on delete cascade on update cascade;

create table "EmailDomain" (
    "id" text not null,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null,
    "status" "EmailDomainStatus" not null default 'PENDING',
    "selector" text not null,
    "domain" text not null,
    "publicKey" text not null,
    "privateKey" text not null,
    "lastVerifiedAt" timestamp(3),
    "organisationId" text not null,
    constraint "EmailDomain_pkey" primary key ("id")
);
create unique index "EmailDomain_selector_key" on "EmailDomain" ("selector");
create unique index "EmailDomain_domain_key" on "EmailDomain" ("domain");
alter table "EmailDomain" add constraint "EmailDomain_organisationId_fkey" foreign key ("organisationId")
    references "Organisation" ("id") on delete cascade on update cascade;
"""

ROWS = """
insert into "SubscriptionClaim" ("id", "updatedAt", "name", "locked", "teamCount", "memberCount", "flags",
    "envelopeItemCount", "recipientCount", "apiQuota", "apiRateLimits")
values
    ('free', now(), 'Free', true, 1, 1, '{}', 5, 10, 100, '[{"window": "1m", "max": 10}]'),
    ('team', now(), 'Teams', true, 1, 5, '{"allowCustomBranding": true}', 5, 0, null, '[]'),
    ('enterprise', now(), 'Enterprise', true, 0, 0, '{"cfr21": true}', 10, 0, null, '[]');

insert into "OrganisationClaim" ("id", "updatedAt", "originalSubscriptionClaimId", "teamCount", "memberCount", "flags",
    "envelopeItemCount", "recipientCount", "apiQuota", "apiRateLimits")
values
    ('claim_acme', now(), 'enterprise', 0, 0, '{"cfr21": true, "embedSigning": true}', 10, 0, null,
        '[{"window": "1d", "max": 50000}, {"window": "1m", "max": 600}]'),
    ('claim_globex', now(), 'team', 1, 5, '{"allowCustomBranding": true}', 5, 0, 3000,
        '[{"window": "1m", "max": 120}]'),
    ('claim_initech', now(), 'team', 1, 5, '{}', 5, 0, null, '[]'),
    ('claim_zoe', now(), 'free', 1, 1, '{}', 5, 10, 100, '[{"window": "1m", "max": 10}]'),
    ('claim_own', now(), null, 3, 3, '{"note": "żółw \\ud83d\\udc22"}', 5, 0, null, '[]'),
    ('claim_old', now(), 'earlyAdopter', 1, 1, '{}', 5, 0, null, '[]');

insert into "OrganisationGlobalSettings" ("id", "documentTimezone") values
    ('set_acme', 'America/New_York'), ('set_globex', null), ('set_initech', 'Europe/Berlin'), ('set_zoe', null),
    ('set_own', null), ('set_old', null), ('set_spare', null);

insert into "Organisation" ("id", "updatedAt", "type", "name", "url", "customerId", "ownerUserId",
    "organisationClaimId", "organisationGlobalSettingsId")
values
    ('org_acme', now(), 'ORGANISATION', 'Acme', 'acme', 'cus_1', 1, 'claim_acme', 'set_acme'),
    ('org_globex', now(), 'ORGANISATION', 'Globex', 'globex', 'cus_2', 2, 'claim_globex', 'set_globex'),
    ('org_initech', now(), 'ORGANISATION', 'Initech', 'initech', 'cus_3', 3, 'claim_initech', 'set_initech'),
    ('org_zoe', now(), 'PERSONAL', 'Zoë Żółć', 'zoe_personal', null, 4, 'claim_zoe', 'set_zoe'),
    ('org_own', now(), 'ORGANISATION', 'Own terms', 'Own-Terms', null, 5, 'claim_own', 'set_own'),
    ('org_old', now(), 'ORGANISATION', 'Old timers', 'old-timers', null, 6, 'claim_old', 'set_old');

insert into "Subscription" ("status", "planId", "priceId", "updatedAt", "customerId", "organisationId") values
    ('ACTIVE', 'sub_1', 'price_e', now(), 'cus_1', 'org_acme'),
    ('PAST_DUE', 'sub_2', 'price_t', now(), 'cus_2', 'org_globex'),
    ('INACTIVE', 'sub_3', 'price_t', now(), 'cus_3', 'org_initech');

insert into "TeamGlobalSettings" ("id", "documentTimezone") values
    ('tset_1', null), ('tset_2', 'Asia/Tokyo'), ('tset_3', null), ('tset_4', null), ('tset_5', null);

insert into "Team" ("name", "url", "organisationId", "teamGlobalSettingsId") values
    ('Acme', 'acme', 'org_acme', 'tset_1'),
    ('Legal', 'acme-legal', 'org_acme', 'tset_2'),
    ('Globex Sales', 'globex_sales', 'org_globex', 'tset_3'),
    ('Personal', 'personal_4', 'org_zoe', 'tset_4');

insert into "EmailDomain" ("id", "updatedAt", "status", "selector", "domain", "publicKey", "privateKey",
    "organisationId")
values
    ('dom_1', now(), 'ACTIVE', 's1', 'sign.acme.example', 'pub', 'priv', 'org_acme'),
    ('dom_2', now(), 'PENDING', 's2', 'acme.example', 'pub', 'priv', 'org_acme'),
    ('dom_3', now(), 'ACTIVE', 's3', 'Sign.Globex.example', 'pub', 'priv', 'org_globex');
"""

ORGANISATIONS = """
select
    o."id" as id,
    o."name" as name,
    o."url" as subdomain,
    o."url" as slug,
    array(
        select d."domain" from "EmailDomain" d where d."organisationId" = o."id" and d."status" = 'ACTIVE'
    ) as domains,
    case s."status" when 'PAST_DUE' then 'maintenance' when 'INACTIVE' then 'suspended' end as status,
    coalesce(sc."name", oc."originalSubscriptionClaimId") as plan,
    (
        select max((l ->> 'max')::numeric) from jsonb_array_elements(oc."apiRateLimits") l where l ->> 'window' = '1m'
    ) as limit_per_minute,
    (
        select max((l ->> 'max')::numeric) from jsonb_array_elements(oc."apiRateLimits") l where l ->> 'window' = '1d'
    ) as limit_per_day,
    os."documentTimezone" as time_zone,
    oc."flags" || jsonb_build_object('members', nullif(oc."memberCount", 0), 'type', o."type") as attributes
from "Organisation" o
join "OrganisationClaim" oc on oc."id" = o."organisationClaimId"
join "OrganisationGlobalSettings" os on os."id" = o."organisationGlobalSettingsId"
left join "Subscription" s on s."organisationId" = o."id"
left join "SubscriptionClaim" sc on sc."id" = oc."originalSubscriptionClaimId"
"""

TEAMS = """
select
    t."id" as id,
    t."name" as name,
    t."url" as slug,
    case s."status" when 'PAST_DUE' then 'maintenance' when 'INACTIVE' then 'suspended' end as status,
    sc."name" as plan,
    (
        select max((l ->> 'max')::numeric) from jsonb_array_elements(oc."apiRateLimits") l where l ->> 'window' = '1m'
    ) as limit_per_minute,
    coalesce(ts."documentTimezone", os."documentTimezone") as time_zone,
    jsonb_build_object('organisation', o."id", 'organisation_url', o."url") || oc."flags" as attributes
from "Team" t
join "TeamGlobalSettings" ts on ts."id" = t."teamGlobalSettingsId"
join "Organisation" o on o."id" = t."organisationId"
join "OrganisationClaim" oc on oc."id" = o."organisationClaimId"
join "OrganisationGlobalSettings" os on os."id" = o."organisationGlobalSettingsId"
left join "Subscription" s on s."organisationId" = o."id"
left join "SubscriptionClaim" sc on sc."id" = oc."originalSubscriptionClaimId"
"""

APPLICATION = Application(
    name="Documenso",
    schema=SCHEMA,
    rows=ROWS,
    queries=[Query("organisation", ORGANISATIONS), Query("team", TEAMS)],
    found={
        "subdomain:acme": {
            "id": "org_acme",
            "kind": "organisation",
            "name": "Acme",
            "status": "active",
            "plan": "Enterprise",
            "limit_per_minute": 600,
            "limit_per_day": 50000,
            "time_zone": "America/New_York",
            "attributes": {"cfr21": True, "embedSigning": True, "members": None, "type": "ORGANISATION"},
        },
        "organisation:slug:acme": {"id": "org_acme", "kind": "organisation"},
        "team:slug:acme": {
            "id": "1",
            "kind": "team",
            "plan": "Enterprise",
            "limit_per_minute": 600,
            "time_zone": "America/New_York",
            "attributes": {"organisation": "org_acme", "organisation_url": "acme", "cfr21": True},
        },
        "team:slug:acme-legal": {"id": "2", "time_zone": "Asia/Tokyo"},
        "subdomain:acme-legal": None,
        "domain:sign.acme.example": {"id": "org_acme", "kind": "organisation"},
        "domain:acme.example": None,
        "domain:sign.globex.example": {"id": "org_globex", "status": "maintenance", "plan": "Teams"},
        "team:slug:globex_sales": {"id": "3", "status": "maintenance", "limit_per_minute": 120, "time_zone": None},
        "subdomain:initech": {"id": "org_initech", "status": "suspended", "limit_per_minute": None},
        "subdomain:zoe_personal": None,
        "organisation:slug:zoe_personal": {"id": "org_zoe", "name": "Zoë Żółć", "plan": "Free", "status": "active"},
        "subdomain:own-terms": {"id": "org_own", "plan": None, "attributes": {"note": "żółw 🐢", "members": 3}},
        "subdomain:old-timers": {"id": "org_old", "plan": "earlyAdopter"},
    },
    writes=[
        Write(
            "an organisation with its claim, settings and first team",
            """
            insert into "OrganisationClaim" ("id", "updatedAt", "originalSubscriptionClaimId", "teamCount",
                "memberCount", "flags", "envelopeItemCount", "recipientCount", "apiRateLimits")
                values ('claim_new', now(), 'free', 1, 1, '{}', 5, 10, '[]');
            insert into "Organisation" ("id", "updatedAt", "type", "name", "url", "ownerUserId", "organisationClaimId",
                "organisationGlobalSettingsId")
                values ('org_new', now(), 'ORGANISATION', 'New', 'new', 9, 'claim_new', 'set_spare');
            insert into "Team" ("name", "url", "organisationId", "teamGlobalSettingsId")
                values ('New', 'new', 'org_new', 'tset_5');
            """,
            frozenset({"organisation:org_new", "team:5"}),
            {"subdomain:new": {"id": "org_new", "plan": "Free"}, "team:slug:new": {"id": "5", "plan": "Free"}},
        ),
        Write(
            "a subscription falls due: its organisation and all teams in it",
            """update "Subscription" set "status" = 'PAST_DUE', "updatedAt" = now() where "planId" = 'sub_1'""",
            frozenset({"organisation:org_acme", "team:1", "team:2"}),
            {
                "subdomain:acme": {"status": "maintenance"},
                "team:slug:acme-legal": {"status": "maintenance"},
                "team:slug:globex_sales": {"status": "maintenance"},
            },
        ),
        Write(
            "a subscription is renewed, which says nothing about a tenant",
            """update "Subscription" set "periodEnd" = now() + interval '1 month', "updatedAt" = now()""",
            frozenset(),
            {"subdomain:acme": {"status": "active"}},
        ),
        Write(
            "a subscription moves to another organisation",
            """update "Subscription" set "organisationId" = 'org_own' where "planId" = 'sub_3'""",
            frozenset({"organisation:org_initech", "organisation:org_own"}),
            {"subdomain:initech": {"status": "active"}, "subdomain:own-terms": {"status": "suspended"}},
        ),
        Write(
            "a plan that several organisations have is renamed",
            """update "SubscriptionClaim" set "name" = 'Team', "updatedAt" = now() where "id" = 'team'""",
            frozenset({"organisation:org_globex", "organisation:org_initech", "team:3"}),
            {"subdomain:globex": {"plan": "Team"}, "team:slug:globex_sales": {"plan": "Team"}},
        ),
        Write(
            "a plan appears that an organisation's claim has named all along",
            """
            insert into "SubscriptionClaim" ("id", "updatedAt", "name", "teamCount", "memberCount", "flags",
                "envelopeItemCount", "recipientCount", "apiRateLimits")
            values ('earlyAdopter', now(), 'Early Adopter', 0, 0, '{}', 5, 0, '[]')
            """,
            frozenset({"organisation:org_old"}),
            {"subdomain:old-timers": {"plan": "Early Adopter"}},
        ),
        Write(
            "an operator changes one limit of one organisation",
            """update "OrganisationClaim" set "apiRateLimits" = '[{"window": "1m", "max": 900}]' """
            """where "id" = 'claim_acme'""",
            frozenset({"organisation:org_acme", "team:1", "team:2"}),
            {
                "subdomain:acme": {"limit_per_minute": 900, "limit_per_day": None},
                "team:slug:acme": {"limit_per_minute": 900},
            },
        ),
        Write(
            "a domain is verified",
            """update "EmailDomain" set "status" = 'ACTIVE', "lastVerifiedAt" = now() where "id" = 'dom_2'""",
            frozenset({"organisation:org_acme"}),
            {"domain:acme.example": {"id": "org_acme"}, "domain:sign.acme.example": {"id": "org_acme"}},
        ),
        Write(
            "a domain is verified once more, every hour",
            """update "EmailDomain" set "lastVerifiedAt" = now(), "updatedAt" = now()""",
            frozenset(),
            {"domain:sign.acme.example": {"id": "org_acme"}, "domain:acme.example": None},
        ),
        Write(
            "a domain moves from one organisation to another",
            """update "EmailDomain" set "organisationId" = 'org_own' where "id" = 'dom_1'""",
            frozenset({"organisation:org_acme", "organisation:org_own"}),
            {"domain:sign.acme.example": {"id": "org_own", "kind": "organisation"}},
        ),
        Write(
            "a team moves to another organisation",
            """update "Team" set "organisationId" = 'org_globex' where "id" = 2""",
            frozenset({"team:2"}),
            {
                "team:slug:acme-legal": {
                    "id": "2",
                    "plan": "Teams",
                    "status": "maintenance",
                    "time_zone": "Asia/Tokyo",
                    "attributes": {"organisation": "org_globex"},
                }
            },
        ),
        Write(
            "an organisation is renamed; its teams keep their names, and show the new one",
            """update "Organisation" set "url" = 'acme-corp', "updatedAt" = now() where "id" = 'org_acme'""",
            frozenset({"organisation:org_acme", "team:1", "team:2"}),
            {
                "subdomain:acme-corp": {"id": "org_acme"},
                "subdomain:acme": None,
                "team:slug:acme": {"id": "1", "attributes": {"organisation_url": "acme-corp"}},
            },
        ),
        Write(
            "an organisation's owner and picture",
            """update "Organisation" set "ownerUserId" = 8, "avatarImageId" = 'img_1', "updatedAt" = now()""",
            frozenset(),
            {"subdomain:acme": {"id": "org_acme"}},
        ),
        Write(
            "an organisation's time zone, which a team of its own setting does not follow",
            """update "OrganisationGlobalSettings" set "documentTimezone" = 'Europe/Paris' where "id" = 'set_acme'""",
            frozenset({"organisation:org_acme", "team:1"}),
            {
                "subdomain:acme": {"time_zone": "Europe/Paris"},
                "team:slug:acme": {"time_zone": "Europe/Paris"},
                "team:slug:acme-legal": {"time_zone": "Asia/Tokyo"},
            },
        ),
        Write(
            "a team's time zone",
            """update "TeamGlobalSettings" set "documentTimezone" = 'Europe/Rome' where "id" = 'tset_3'""",
            frozenset({"team:3"}),
            {"team:slug:globex_sales": {"time_zone": "Europe/Rome"}},
        ),
        Write(
            "an organisation is deleted, with its teams, domains and subscription",
            """delete from "Organisation" where "id" = 'org_acme'""",
            frozenset({"organisation:org_acme", "team:1", "team:2"}),
            {
                "subdomain:acme": None,
                "team:slug:acme": None,
                "team:slug:acme-legal": None,
                "domain:sign.acme.example": None,
            },
        ),
    ],
    migrations=[
        Migration(
            "20260604143030_add_email_transports",
            [
                """
                CREATE TYPE "EmailTransportType" AS ENUM ('SMTP_AUTH', 'SMTP_API', 'RESEND', 'MAILCHANNELS');
                ALTER TABLE "OrganisationClaim" ADD COLUMN     "emailTransportId" TEXT;
                ALTER TABLE "SubscriptionClaim" ADD COLUMN     "emailTransportId" TEXT;
                CREATE TABLE "EmailTransport" (
                    "id" TEXT NOT NULL,
                    "name" TEXT NOT NULL,
                    "type" "EmailTransportType" NOT NULL,
                    CONSTRAINT "EmailTransport_pkey" PRIMARY KEY ("id")
                );
                ALTER TABLE "SubscriptionClaim" ADD CONSTRAINT "SubscriptionClaim_emailTransportId_fkey"
                    FOREIGN KEY ("emailTransportId") REFERENCES "EmailTransport"("id")
                    ON DELETE SET NULL ON UPDATE CASCADE;
                ALTER TABLE "OrganisationClaim" ADD CONSTRAINT "OrganisationClaim_emailTransportId_fkey"
                    FOREIGN KEY ("emailTransportId") REFERENCES "EmailTransport"("id")
                    ON DELETE SET NULL ON UPDATE CASCADE;
                """
            ],
            breaks=False,
            becomes={"subdomain:acme": {"plan": "Enterprise"}, "team:slug:acme": {"plan": "Enterprise"}},
        ),
        Migration(
            "a column as in 20251023021214_add_envelope_item_limits: added, filled row by row, then NOT NULL",
            [
                """
                ALTER TABLE "OrganisationClaim" ADD COLUMN     "fieldCount" INTEGER;
                UPDATE "OrganisationClaim" SET "fieldCount" = 5;
                UPDATE "OrganisationClaim" SET "fieldCount" = 10 WHERE "originalSubscriptionClaimId" = 'enterprise';
                ALTER TABLE "OrganisationClaim" ALTER COLUMN "fieldCount" SET NOT NULL;
                """
            ],
            breaks=False,
            becomes={"subdomain:acme": {"id": "org_acme", "limit_per_minute": 600}},
            theirs=False,
        ),
        Migration(
            "an enum changes its values, which for Prisma is a new type under a new name",
            [
                """
                BEGIN;
                UPDATE "Subscription" SET "status" = 'INACTIVE' WHERE "status" = 'PAST_DUE';
                CREATE TYPE "SubscriptionStatus_new" AS ENUM ('ACTIVE', 'INACTIVE', 'PAUSED', 'PAST_DUE');
                ALTER TABLE "Subscription" ALTER COLUMN "status" DROP DEFAULT;
                ALTER TABLE "Subscription" ALTER COLUMN "status" TYPE "SubscriptionStatus_new"
                    USING ("status"::text::"SubscriptionStatus_new");
                ALTER TYPE "SubscriptionStatus" RENAME TO "SubscriptionStatus_old";
                ALTER TYPE "SubscriptionStatus_new" RENAME TO "SubscriptionStatus";
                DROP TYPE "SubscriptionStatus_old";
                ALTER TABLE "Subscription" ALTER COLUMN "status" SET DEFAULT 'INACTIVE';
                COMMIT;
                """
            ],
            breaks=False,
            becomes={
                "subdomain:globex": {"status": "suspended"},
                "team:slug:globex_sales": {"status": "suspended"},
                "subdomain:acme": {"status": "active"},
            },
            atomic=False,
            theirs=False,
        ),
        Migration(
            "a subscription belongs to a claim, as 20250522054050 moved it from teams: added, filled, the old one gone",
            [
                """
                ALTER TABLE "Subscription" ADD COLUMN     "organisationClaimId" TEXT;
                UPDATE "Subscription" s SET "organisationClaimId" = o."organisationClaimId"
                    FROM "Organisation" o WHERE o."id" = s."organisationId";
                ALTER TABLE "Subscription" DROP CONSTRAINT "Subscription_organisationId_fkey";
                DROP INDEX "Subscription_organisationId_key";
                ALTER TABLE "Subscription" ALTER COLUMN "organisationClaimId" SET NOT NULL;
                ALTER TABLE "Subscription" DROP COLUMN "organisationId";
                CREATE UNIQUE INDEX "Subscription_organisationClaimId_key" ON "Subscription"("organisationClaimId");
                ALTER TABLE "Subscription" ADD CONSTRAINT "Subscription_organisationClaimId_fkey"
                    FOREIGN KEY ("organisationClaimId") REFERENCES "OrganisationClaim"("id")
                    ON DELETE CASCADE ON UPDATE CASCADE;
                """
            ],
            breaks=True,
            becomes={},
            theirs=False,
        ),
    ],
    source="documenso/documenso: packages/prisma/migrations, packages/prisma/schema.prisma, packages/lib/types",
)
