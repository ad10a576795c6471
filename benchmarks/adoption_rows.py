# ruff: noqa: E501 - statements that are sent as they stand
"""Very many tenants in the schemas of seven applications, for `benchmarks/adoption.py`.

`$n` stands for their number. `fill` also makes the indexes that `tenantcache init` asks for: the fixtures have
only those that a constraint needs. Without more, each lookup reads a table from one end to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Many:
    """`fill` adds tenants; `host` and `id` name the one of number `{n}`; `change` updates those from `{first}` to `{last}`;
    `writes` has an update of one row by table."""

    fill: str
    host: str
    id: str
    change: str
    writes: Mapping[str, str]


MANY = {
    "Polar": Many(
        """
        insert into accounts (id, currency, credit_balance, created_at)
            select md5('a' || n)::uuid, 'usd', 0, now() from generate_series(1, $n) n;
        insert into organizations (id, name, slug, slug_history, details, status, next_review_threshold, account_id,
            capabilities, feature_settings, customer_invoice_next_number, rate_limit_group, created_at)
            select md5('o' || n)::uuid, 'Org ' || n, 'many-' || n, '[]', '{}', 'active', 0, md5('a' || n)::uuid,
            (select capabilities from organizations limit 1), '{}', 1, 'default', now() from generate_series(1, $n) n;
        insert into customers (id, external_id, organization_id, created_at)
            select md5('c' || n)::uuid, md5('o' || n)::uuid::text,
            (select organization_id from customers limit 1), now() from generate_series(1, $n) n;
        insert into subscriptions (id, status, current_period_end, cancel_at_period_end, started_at, customer_id,
            organization_id, product_id, created_at)
            select md5('s' || n)::uuid, 'active', now(), false, now(), md5('c' || n)::uuid,
            (select organization_id from subscriptions limit 1), (select product_id from subscriptions limit 1), now()
            from generate_series(1, $n) n;
        create index on subscriptions (customer_id);
        """,
        "subdomain:many-{n}",
        "select 'id:' || md5('o{n}')::uuid",
        "update organizations set name = name || '+' where id in (select md5('o' || n)::uuid from generate_series({first}, {last}) n)",
        {
            "organizations": "update organizations set name = name || '+' where id = md5('o{n}')::uuid",
            "customers": "update customers set deleted_at = clock_timestamp() where id = md5('c{n}')::uuid",
            "subscriptions": "update subscriptions set started_at = clock_timestamp() where id = md5('s{n}')::uuid",
        },
    ),
    "Documenso": Many(
        """
        insert into "OrganisationClaim" ("id", "updatedAt", "originalSubscriptionClaimId", "teamCount", "memberCount",
            "flags", "envelopeItemCount", "recipientCount", "apiRateLimits")
            select 'claim' || n, now(), 'team', 1, 5, '{}', 5, 0, '[{"window": "1m", "max": 120}]'
            from generate_series(1, $n) n;
        insert into "OrganisationGlobalSettings" ("id") select 'set' || n from generate_series(1, $n) n;
        insert into "Organisation" ("id", "updatedAt", "type", "name", "url", "customerId", "ownerUserId",
            "organisationClaimId", "organisationGlobalSettingsId")
            select 'org' || n, now(), 'ORGANISATION', 'Org ' || n, 'many-' || n, 'many_' || n, n, 'claim' || n, 'set' || n
            from generate_series(1, $n) n;
        insert into "Subscription" ("status", "planId", "priceId", "updatedAt", "customerId", "organisationId")
            select 'ACTIVE', 'many' || n, 'price', now(), 'many_' || n, 'org' || n from generate_series(1, $n) n;
        insert into "TeamGlobalSettings" ("id") select 'tset' || n from generate_series(1, $n) n;
        insert into "Team" ("name", "url", "organisationId", "teamGlobalSettingsId")
            select 'Team ' || n, 'many-' || n, 'org' || n, 'tset' || n from generate_series(1, $n) n;
        insert into "EmailDomain" ("id", "updatedAt", "status", "selector", "domain", "publicKey", "privateKey",
            "organisationId")
            select 'dom' || n, now(), 'ACTIVE', 'sel' || n, 'many' || n || '.example', '', '', 'org' || n
            from generate_series(10, $n, 10) n;
        create index on "EmailDomain" ("organisationId");
        """,
        "subdomain:many-{n}",
        "select 'id:organisation:org{n}'",
        """update "Organisation" set "name" = "name" || '+' where "id" in (select 'org' || n from generate_series({first}, {last}) n)""",
        {
            '"Organisation"': """update "Organisation" set "name" = "name" || '+' where "id" = 'org{n}'""",
            '"OrganisationClaim"': """update "OrganisationClaim" set "memberCount" = "memberCount" + 1
                where "id" = 'claim{n}'""",
            '"Subscription"': """update "Subscription" set "status" = case "status" when 'ACTIVE' then
                'PAST_DUE'::"SubscriptionStatus" else 'ACTIVE' end where "planId" = 'many{n}'""",
            '"EmailDomain"': """update "EmailDomain" set "domain" = "domain" || 'x' where "id" = 'dom{tens}'""",
        },
    ),
    "Formbricks": Many(
        """
        insert into "Organization" ("id", "updated_at", "name")
            select 'org' || n, now(), 'Org ' || n from generate_series(1, $n) n;
        insert into "OrganizationBilling" ("organization_id", "limits", "stripe", "updated_at")
            select 'org' || n, '{"monthly": {"responses": 3000}}', '{"plan": "pro"}', now() from generate_series(1, $n) n;
        insert into "Project" ("id", "updated_at", "name", "organizationId")
            select 'prj' || n, now(), 'Website', 'org' || n from generate_series(1, $n) n;
        insert into "Environment" ("id", "updated_at", "type", "projectId")
            select 'env' || n, now(), 'production', 'prj' || n from generate_series(1, $n) n;
        insert into "ProjectDomain" ("domain", "projectId", "verified")
            select 'many' || n || '.example', 'prj' || n, true from generate_series(1, $n) n;
        create index on "ProjectDomain" ("projectId");
        """,
        "domain:many{n}.example",
        "select 'id:org{n}'",
        """update "Organization" set "name" = "name" || '+' where "id" in (select 'org' || n from generate_series({first}, {last}) n)""",
        {
            '"Organization"': """update "Organization" set "name" = "name" || '+' where "id" = 'org{n}'""",
            '"OrganizationBilling"': """update "OrganizationBilling" set "stripe" = jsonb_build_object('plan',
                clock_timestamp()) where "organization_id" = 'org{n}'""",
            '"ProjectDomain"': """update "ProjectDomain" set "verified" = not "verified"
                where "domain" = 'many{n}.example'""",
        },
    ),
    "Dispatch": Many(
        """
        insert into dispatch_core.organization (id, name, slug)
            select 1000 + n, 'Many ' || n, 'many_' || n from generate_series(1, $n) n;
        insert into dispatch_organization_default.project (id, name, organization_id, enabled)
            select 1000 + n, 'Project ' || n, 1000 + n, true from generate_series(1, $n) n;
        """,
        "name:organization:many_{n}",
        "select 'id:organization:' || 1000 + {n}",
        "update dispatch_core.organization set name = name || '+' where id between 1000 + {first} and 1000 + {last}",
        {
            "organization": "update dispatch_core.organization set name = name || '+' where id = 1000 + {n}",
            "project": "update dispatch_organization_default.project set enabled = not enabled where id = 1000 + {n}",
        },
    ),
    "Chatwoot": Many(
        """
        alter table accounts disable trigger accounts_after_insert_row_tr;
        insert into accounts (id, name, created_at, updated_at, domain, limits)
            select 1000 + n, 'Account ' || n, now(), now(), 'many' || n || '.example', '{"agents": 5}'
            from generate_series(1, $n) n;
        alter table accounts enable trigger accounts_after_insert_row_tr;
        insert into portals (account_id, name, slug, custom_domain, created_at, updated_at)
            select 1000 + n, 'Portal', 'many-' || n, 'help.many' || n || '.example', now(), now()
            from generate_series(1, $n) n;
        create index on portals (account_id);
        """,
        "domain:help.many{n}.example",
        "select 'id:' || 1000 + {n}",
        "update accounts set name = name || '+' where id between 1000 + {first} and 1000 + {last}",
        {
            "accounts": "update accounts set name = name || '+' where id = 1000 + {n}",
            "portals": "update portals set archived = not archived where slug = 'many-{n}'",
        },
    ),
    "Zulip": Many(
        """
        begin;
        insert into zerver_realm (id, name, description, string_id, uuid, uuid_owner_secret, date_created, deactivated,
            default_language, org_type, plan_type, first_visible_message_id, zoom_api_key, can_create_groups_id)
            select 1000 + n, 'Realm ' || n, '', 'many-' || n, md5('r' || n)::uuid, '', now(), false, 'en', 1, 3, 0, '',
            (select min(id) from zerver_usergroup) from generate_series(1, $n) n;
        insert into corporate_customer (id, realm_id, sponsorship_pending)
            select 1000 + n, 1000 + n, false from generate_series(1, $n) n;
        insert into corporate_customerplan (id, customer_id, automanage_licenses, billing_cycle_anchor, tier, status)
            select 1000 + n, 1000 + n, false, now(), 1, 1 from generate_series(1, $n) n;
        commit;
        """,
        "subdomain:many-{n}",
        "select 'id:' || 1000 + {n}",
        "update zerver_realm set max_invites = coalesce(max_invites, 0) + 1 where id between 1000 + {first} and 1000 + {last}",
        {
            "zerver_realm": "update zerver_realm set max_invites = coalesce(max_invites, 0) + 1 where id = 1000 + {n}",
            "corporate_customer": "update corporate_customer set sponsorship_pending = not sponsorship_pending"
            " where id = 1000 + {n}",
            "corporate_customerplan": "update corporate_customerplan set tier = 3 - tier where id = 1000 + {n}",
        },
    ),
    "cal.com": Many(
        """
        insert into "Team" ("id", "name", "slug", "isOrganization")
            select 1000 + n, 'Org ' || n, 'many-' || n, true from generate_series(1, $n) n;
        insert into "Team" ("id", "name", "slug", "parentId")
            select 1000000 + n, 'Team ' || n, 'team', 1000 + n from generate_series(1, $n) n;
        insert into "OrganizationSettings" ("organizationId", "isOrganizationVerified", "orgAutoAcceptEmail",
            "isAdminReviewed") select 1000 + n, true, 'many' || n || '.example', true from generate_series(1, $n) n;
        insert into "OrganizationBilling" ("id", "teamId", "subscriptionId", "subscriptionItemId", "customerId", "status",
            "planName", "updatedAt")
            select 'many' || n, 1000 + n, 'many' || n, '', '', 'ACTIVE', 'ORGANIZATION', now() from generate_series(1, $n) n;
        """,
        "subdomain:many-{n}",
        "select 'id:organization:' || 1000 + {n}",
        """update "Team" set "name" = "name" || '+' where "id" between 1000 + {first} and 1000 + {last}""",
        {
            '"Team"': """update "Team" set "name" = "name" || '+' where "id" = 1000 + {n}""",
            '"OrganizationBilling"': """update "OrganizationBilling" set "planName" = "planName" || '+'
                where "id" = 'many{n}'""",
        },
    ),
}
