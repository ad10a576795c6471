-- The schema that tenantcache owns. Safe to run again: it only adds what is missing and replaces functions.
--
-- The rules that everything else rests on:
--   1. A change is logged by a deferred constraint trigger, so at commit, under one advisory lock that is released
--      only after the commit is visible. The order of `seq` is therefore the order of visibility: a snapshot that
--      holds entry n holds the data of every entry up to n.
--   2. `hosts` names every alias that led to the tenant before or after the change (OLD united with NEW), so that
--      a rename or a moved domain reaches both sides.
--   3. Triggers fire ALWAYS, for replicated writes too, and only when something that tenantcache reads has changed.

create schema if not exists tenantcache;

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
end
$$;
alter table tenantcache.tenants add column if not exists time_zone text
    constraint time_zone_is_known check (time_zone is null or timestamptz 'epoch' at time zone time_zone is not null);

create table if not exists tenantcache.tenant_domains (
    domain text primary key
        constraint domain_is_a_host check (domain ~ '^[a-z0-9.-]{1,253}$'),
    tenant_id text not null references tenantcache.tenants on delete cascade,
    is_primary boolean not null default false
);
create index if not exists tenant_domains_by_tenant on tenantcache.tenant_domains (tenant_id);

-- One row a change. A null tenant_id says that everything may have changed.
create sequence if not exists tenantcache.change_seq;
create table if not exists tenantcache.change_log (
    seq bigint primary key,
    tenant_id text,
    hosts text[],
    at timestamptz not null default clock_timestamp()
);
create index if not exists change_log_by_age on tenantcache.change_log (at);

-- A log that is never empty always has a newest entry, so that a follower can tell it from a restored one.
insert into tenantcache.change_log (seq)
    select nextval('tenantcache.change_seq') where not exists (select from tenantcache.change_log);

-- Who is alive: the size of the fleet, for shares of a limit. A row older than 30 s is a dead process.
create table if not exists tenantcache.processes (
    id uuid primary key,
    seen_at timestamptz not null default now()
);

-- Limits without Redis: one row a window. Losing them in a crash costs at most one window, so no WAL is written.
create unlogged table if not exists tenantcache.counters (
    tenant_id text not null,
    policy text not null,
    number bigint not null,
    value bigint not null,
    touched_at timestamptz not null default now(),
    primary key (tenant_id, policy, number)
) with (fillfactor = 70);
create index if not exists counters_by_age on tenantcache.counters (touched_at);

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
create index if not exists domain_challenges_by_tenant on tenantcache.domain_challenges (tenant_id);

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

-- The table that is served in place of `tenants`, if any, and a hash of the statements that made it so.
create table if not exists tenantcache.adoption (
    one boolean primary key default true check (one),
    tenants_table text not null,
    script_hash text not null,
    at timestamptz not null default now()
);

-- Host names of adopted tables that are not stored in lower case. A row says nothing about a tenant, only that the one
-- text is the other in lower case; so it never goes out of date, and a look-up can go by the table's own index.
create table if not exists tenantcache.spellings (
    stored text primary key,
    canonical text not null
);
create index if not exists spellings_by_canonical on tenantcache.spellings (canonical);

-- What names this log: a dump that was restored is another table, a database made from a template another database, a
-- failover or a point-in-time recovery another timeline. A storage snapshot put back looks the same; that is told by
-- the times of the entries.
create or replace function tenantcache.epoch() returns text stable language sql as $$
    select concat_ws(':',
        (select oid from pg_database where datname = current_database()),
        'tenantcache.change_log'::regclass::oid,
        (select system_identifier from pg_control_system()),
        case when not pg_is_in_recovery() then left(pg_walfile_name(pg_current_wal_lsn()), 8) end)
$$;

-- The row, and until when it is settled: minutes that start before that are governed by no change but this one. The lock
-- (7307199744 names it) says that nobody is changing the row; each statement of a volatile function has a snapshot of
-- its own, so the row is read after that. 5 seconds is the notice that each change gives.
create or replace function tenantcache.counter_choice()
returns table (choice tenantcache.counter_store, settled_until double precision) volatile language plpgsql as $$
declare
    free boolean := pg_try_advisory_xact_lock_shared(7307199744);
    since double precision := extract(epoch from clock_timestamp());
begin
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
    perform pg_advisory_xact_lock(7307199744);
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
        perform pg_notify('tenantcache', '');
    end if;
    return found;
end
$$;

create or replace function tenantcache.log_change(tenant_id text, hosts text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- 7307199742 is an arbitrary number that names this lock in the database.
    perform pg_advisory_xact_lock(7307199742);
    insert into tenantcache.change_log (seq, tenant_id, hosts)
        values (nextval('tenantcache.change_seq'), tenant_id, hosts);
    perform pg_notify('tenantcache', '');
end
$$;

create or replace function tenantcache.log_tenant() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    both_sides text[] := array_remove(
        array['subdomain:' || old.subdomain, 'subdomain:' || new.subdomain], null);
begin
    perform tenantcache.log_change(coalesce(new.id, old.id), both_sides);
    if tg_op = 'UPDATE' and old.id <> new.id then
        perform tenantcache.log_change(old.id, both_sides);
    end if;
    return null;
end
$$;

create or replace function tenantcache.log_domain() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    both_sides text[] := array_remove(array['domain:' || old.domain, 'domain:' || new.domain], null);
begin
    perform tenantcache.log_change(coalesce(new.tenant_id, old.tenant_id), both_sides);
    if tg_op = 'UPDATE' and old.tenant_id <> new.tenant_id then
        perform tenantcache.log_change(old.tenant_id, both_sides);
    end if;
    return null;
end
$$;

create or replace function tenantcache.log_everything() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform tenantcache.log_change(null, null);
    return null;
end
$$;

do $$
declare
    logged record;
begin
    for logged in
        select * from (values
            ('tenants', 'tenant_added', 'insert', '', 'log_tenant'),
            ('tenants', 'tenant_removed', 'delete', '', 'log_tenant'),
            ('tenants', 'tenant_changed', 'update', 'when (old is distinct from new)', 'log_tenant'),
            ('tenant_domains', 'domain_added', 'insert', '', 'log_domain'),
            ('tenant_domains', 'domain_removed', 'delete', '', 'log_domain'),
            ('tenant_domains', 'domain_changed', 'update', 'when (old is distinct from new)', 'log_domain')
        ) as t (on_table, name, event, condition, function)
    loop
        if not exists (
            select from pg_trigger
            where tgname = logged.name and tgrelid = format('tenantcache.%I', logged.on_table)::regclass
        ) then
            execute format(
                'create constraint trigger %I after %s on tenantcache.%I deferrable initially deferred
                 for each row %s execute function tenantcache.%I()',
                logged.name, logged.event, logged.on_table, logged.condition, logged.function);
        end if;
        execute format('alter table tenantcache.%I enable always trigger %I', logged.on_table, logged.name);
    end loop;
    for logged in select * from (values ('tenants'), ('tenant_domains')) as t (on_table)
    loop
        execute format(
            'create or replace trigger truncated after truncate on tenantcache.%I
             for each statement execute function tenantcache.log_everything()', logged.on_table);
        execute format('alter table tenantcache.%I enable always trigger truncated', logged.on_table);
    end loop;
end
$$;

-- What a tenant looks like to tenantcache, whatever tables it comes from: two views for reading all of them, and a
-- function for looking some up, which the planner inlines and which uses the indexes that the tables have. An adopted
-- table replaces all three.
create or replace procedure tenantcache.serve_own_tables() language plpgsql as $serve$
begin
    create or replace view tenantcache.tenant_source as
        select t.id, t.name, t.subdomain,
            array(select d.domain from tenantcache.tenant_domains d
                where d.tenant_id = t.id order by d.domain) as domains,
            (select d.domain from tenantcache.tenant_domains d
                where d.tenant_id = t.id and d.is_primary order by d.domain limit 1) as primary_domain,
            t.status, t.plan, t.limit_per_minute, t.limit_per_day, t.attributes, t.time_zone
        from tenantcache.tenants t;
    create or replace view tenantcache.domain_source as
        select d.domain, d.tenant_id from tenantcache.tenant_domains d;
    create or replace function tenantcache.find_tenants(subdomains text[], domains text[], ids text[])
    returns table (alias text, "row" jsonb) stable language sql as $find$
        -- By number: a parameter's name would lose against a column's.
        select 'subdomain:' || s.subdomain, to_jsonb(s)
            from tenantcache.tenant_source s where s.subdomain = any ($1)
        union all
        select 'domain:' || d.domain, to_jsonb(s)
            from tenantcache.domain_source d join tenantcache.tenant_source s on s.id = d.tenant_id
            where d.domain = any ($2)
        union all
        select 'id:' || s.id, to_jsonb(s) from tenantcache.tenant_source s where s.id = any ($3)
    $find$;
end
$serve$;

do $$
begin
    if not exists (select from tenantcache.adoption) then
        call tenantcache.serve_own_tables();
    end if;
end
$$;

-- Handing a minute over from Redis to Postgres: the rules stand in core/handover.py. A holder may have been granted
-- tokens by Redis of minutes up to `through_minute` (null: it has no Redis); 5 minutes is the lease there. These tables
-- are logged, since a crash must not let a minute be handed over without a report.
create table if not exists tenantcache.counter_holders (
    process uuid primary key,
    through_minute bigint,
    seen_at timestamptz not null default now(),
    reported_version bigint,
    reported_minute bigint
);
create table if not exists tenantcache.counter_reports (
    minute bigint not null,
    process uuid not null,
    owner text not null,
    tokens bigint not null,
    primary key (minute, process, owner)
);

-- Become a holder, or stay one. Returns through which minute, null where the row has another version by now or the
-- process `holds` nothing; and the place of the process among those that are alive. The lock is shared: pulls go on.
create or replace function tenantcache.hold_counters(
    holder uuid, known_version bigint, holds boolean, out through bigint, out place bigint, out fleet bigint
) volatile language plpgsql as $$
declare
    this_minute bigint;
begin
    perform pg_advisory_xact_lock_shared(7307199744);
    this_minute := floor(extract(epoch from clock_timestamp()) / 60);
    if holds and exists (select from tenantcache.counter_store where version = known_version) then
        through := this_minute + 5;
    end if;
    insert into tenantcache.counter_holders as h (process, through_minute, seen_at)
        values (holder, through, clock_timestamp())
        on conflict (process) do update set seen_at = excluded.seen_at,
            through_minute = greatest(h.through_minute, excluded.through_minute);
    delete from tenantcache.counter_reports where minute < this_minute - 2;
    delete from tenantcache.counter_holders
        where seen_at < now() - interval '1 hour' and coalesce(through_minute, 0) < this_minute;
    select count(*) filter (where process < holder), count(*) into place, fleet
        from tenantcache.counter_holders where seen_at > now() - interval '90 seconds';
end
$$;

-- Say what was granted of a minute; a report that is made again replaces itself.
create or replace function tenantcache.report_counters(
    holder uuid, of_minute bigint, owners text[], counts bigint[]
) returns void volatile language sql as $$
    insert into tenantcache.counter_reports (minute, process, owner, tokens)
        select of_minute, holder, r.owner, r.tokens from unnest(owners, counts) as r (owner, tokens)
    on conflict (minute, process, owner) do update set tokens = excluded.tokens
$$;

-- All of a process's report is there (`leaves`: and it holds nothing any more). If it was the last one that is waited
-- for, Postgres counts from this minute on; returns whether that is so.
create or replace function tenantcache.hand_over_counters(
    holder uuid, known_version bigint, of_minute bigint, leaves boolean
) returns boolean volatile language plpgsql as $$
begin
    perform pg_advisory_xact_lock(7307199744);
    if leaves then
        delete from tenantcache.counter_holders where process = holder;
    else
        update tenantcache.counter_holders set reported_version = known_version, reported_minute = of_minute
            where process = holder;
    end if;
    update tenantcache.counter_store set from_minute = of_minute
        where version = known_version and store = 'postgres' and previous = 'redis'
            and previous_from <= of_minute and from_minute > of_minute
            and of_minute = floor(extract(epoch from clock_timestamp()) / 60)
            and not exists (
                select from tenantcache.counter_holders where through_minute >= of_minute
                    and (reported_version, reported_minute) is distinct from (known_version, of_minute));
    if not found then
        return false;
    end if;
    insert into tenantcache.counters as c (tenant_id, policy, number, value)
        select owner, 'minute', of_minute, sum(tokens) from tenantcache.counter_reports
        where minute = of_minute group by owner order by owner
    on conflict (tenant_id, policy, number) do update set value = c.value + excluded.value;
    perform pg_notify('tenantcache', '');
    return true;
end
$$;
