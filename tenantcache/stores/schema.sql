-- The tables that tenantcache owns. Safe to run again: it only adds what is missing and replaces functions. The log of
-- changes is in log.sql, what is served is in source.sql.

create schema if not exists tenantcache;

-- "Create index if not exists" locks the table against writers, whether there is one or not.
create or replace procedure tenantcache.add_index(name text, on_columns text) language plpgsql as $$
begin
    if to_regclass(format('tenantcache.%I', name)) is null then
        execute format('create index %I on %s', name, on_columns);
    end if;
end
$$;

create table if not exists tenantcache.tenants (
    id text primary key default gen_random_uuid()::text,
    name text not null,
    subdomain text unique
        constraint subdomain_is_a_label check (subdomain ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    status text not null default 'active'
        constraint status_is_known check (status in ('active', 'suspended', 'maintenance', 'deleted')),
    plan text,
    limit_per_minute integer constraint limit_per_minute_not_negative check (limit_per_minute >= 0),
    limit_per_day bigint
        constraint limit_per_day_in_range check (limit_per_day between 0 and 9007199254740991),
    attributes jsonb not null default '{}'
        constraint attributes_is_an_object check (jsonb_typeof(attributes) = 'object')
);

-- An IANA name: days end at midnight there. Whatever PostgreSQL takes for a zone passes; what is no IANA name is read as
-- UTC.
do $$
begin
    if not exists (
        select from pg_constraint where conrelid = 'tenantcache.tenants'::regclass and conname = 'status_is_known'
            and pg_get_constraintdef(oid) like '%deleted%'
    ) then
        alter table tenantcache.tenants drop constraint if exists status_is_known;
        alter table tenantcache.tenants
            add constraint status_is_known check (status in ('active', 'suspended', 'maintenance', 'deleted'));
    end if;
    if not exists (
        select from pg_attribute where attrelid = 'tenantcache.tenants'::regclass and attname = 'time_zone'
    ) then
        alter table tenantcache.tenants add column time_zone text constraint time_zone_is_known
            check (time_zone is null or timestamptz 'epoch' at time zone time_zone is not null);
    end if;
end
$$;

create table if not exists tenantcache.tenant_domains (
    domain text primary key
        constraint domain_is_a_host check (domain ~ '^[a-z0-9.-]{1,253}$'),
    tenant_id text not null references tenantcache.tenants on delete cascade,
    is_primary boolean not null default false
);
call tenantcache.add_index('tenant_domains_by_tenant', 'tenantcache.tenant_domains (tenant_id)');

-- Who is alive: the size of the fleet, for shares of a limit. A row older than 30 s is a dead process.
create table if not exists tenantcache.processes (
    id uuid primary key,
    seen_at timestamptz not null default now()
);

-- Limits without Redis: one row a window. Logged, because a crash of the server must not give a tenant a second day.
create table if not exists tenantcache.counters (
    tenant_id text not null,
    policy text not null,
    number bigint not null,
    value bigint not null,
    touched_at timestamptz not null default now(),
    primary key (tenant_id, policy, number)
) with (fillfactor = 70);
call tenantcache.add_index('counters_by_age', 'tenantcache.counters (touched_at)');
do $$
begin
    if (select relpersistence from pg_class where oid = 'tenantcache.counters'::regclass) = 'u' then
        alter table tenantcache.counters set logged;
    end if;
end
$$;

-- Which store counts the fleet's limits: minutes from `from_minute` on are counted in `store`, those before in
-- `previous`. Null: nobody has come yet. The rules stand in core/storechoice.py.
create table if not exists tenantcache.counter_store (
    one boolean primary key default true check (one),
    version bigint not null default 0,
    store text constraint store_is_known check (store in ('redis', 'postgres')),
    from_minute bigint not null default 0,
    previous text,
    previous_from bigint not null default 0,
    why text not null default '',
    changed_at timestamptz not null default now(),
    complained_at timestamptz not null default '-infinity',
    quiet double precision not null default 60
) with (fillfactor = 50);
insert into tenantcache.counter_store default values on conflict do nothing;

-- Who has asked for a domain, and the token that proves it when it stands in the DNS. Only domains in tenant_domains
-- are served; a row here with `verified_at` tells how the domain got there.
create table if not exists tenantcache.domain_challenges (
    domain text not null constraint domain_is_a_host check (domain ~ '^[a-z0-9.-]{1,253}$'),
    tenant_id text not null references tenantcache.tenants on update cascade on delete cascade,
    token text not null,
    created_at timestamptz not null default now(),
    checked_at timestamptz,
    verified_at timestamptz,
    failing_since timestamptz,
    primary key (domain, tenant_id)
);
call tenantcache.add_index('domain_challenges_by_tenant', 'tenantcache.domain_challenges (tenant_id)');

-- Requests admitted, by tenant and day of its time zone. It outlives the tenant: somebody may want to send a last bill.
create table if not exists tenantcache.usage (
    tenant_id text not null,
    day date not null,
    requests bigint not null default 0,
    last_seen_at timestamptz not null,
    primary key (tenant_id, day)
) with (fillfactor = 70);

-- The last batch of usage that each process has written, so that one whose answer was lost is not added twice.
create table if not exists tenantcache.usage_writers (
    process uuid primary key,
    batch bigint not null,
    at timestamptz not null default now()
);

-- The row, and until when it is settled: minutes that start before that are governed by no change but this one. The lock
-- says that the row is not being changed; each statement of a volatile function has a snapshot of its own, so the row is
-- read after that. 5 seconds is the notice that each change gives. It is a lock of our table, which takes a right to it:
-- an advisory one could be held by any role.
create or replace function tenantcache.counter_choice()
returns table (choice tenantcache.counter_store, settled_until double precision) volatile language plpgsql as $$
declare
    free boolean := true;
    since double precision;
begin
    begin
        lock table tenantcache.counter_store in row share mode nowait;
    exception when lock_not_available then
        free := false;
    end;
    since := extract(epoch from clock_timestamp());
    return query select c, case when free then since + 5 end from tenantcache.counter_store c;
end
$$;

-- Change the store, unless somebody has done so since `known_version`, another change has not begun yet, or (on the way
-- back to Redis) a process has complained within `new_quiet` seconds. The first choice of all holds at once.
create or replace function tenantcache.choose_counter_store(
    known_version bigint, new_store text, new_why text, new_quiet double precision
) returns boolean language plpgsql as $$
begin
    -- In a statement of its own, so that the clock is read after it.
    lock table tenantcache.counter_store in exclusive mode;
    update tenantcache.counter_store set
        version = version + 1,
        store = new_store,
        from_minute = case when store is null then 0 else ceil((extract(epoch from clock_timestamp()) + 5) / 60) end,
        previous = store,
        previous_from = from_minute,
        why = new_why,
        changed_at = clock_timestamp(),
        complained_at = case when new_store = 'postgres' and store is not null
            then clock_timestamp() else complained_at end,
        quiet = new_quiet
    where version = known_version
        and from_minute * 60 <= extract(epoch from clock_timestamp())
        and (store is null or store = new_store or new_store = 'postgres'
            or complained_at <= clock_timestamp() - make_interval(secs => new_quiet));
    if found then
        perform tenantcache.notify();
    end if;
    return found;
end
$$;
