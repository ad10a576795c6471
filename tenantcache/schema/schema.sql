-- The tables that tenantcache owns. Safe to run again: it only adds what is missing and replaces functions. log.sql has the
-- log of changes, and source.sql says what is served.

create schema if not exists tenantcache;

-- "Create index if not exists" locks the table against writers, even if the index exists.
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

-- An IANA name: days end at midnight there. Anything that PostgreSQL takes for a zone passes. If it is not an IANA name, it
-- is read as UTC.
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

-- The live processes: the size of the fleet, for shares of a limit. A row older than 30 s is a dead process.
create table if not exists tenantcache.processes (
    id uuid primary key,
    seen_at timestamptz not null default now()
);

-- Limits without Redis: one row a window. A logged table, because a crash must not give a tenant a second day.
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
-- `previous`. Null: no process has chosen yet. ratelimit/core/failover.py has the rules.
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

-- The same row has the band of the fleet's budget for Redis: budget/core/bands.py has the rules. It was chosen in the period
-- that began at `band_period`, with that budget, at the use `band_edge`. `band_told`: the version that a webhook knows.
do $$
begin
    if not exists (
        select from pg_attribute where attrelid = 'tenantcache.counter_store'::regclass and attname = 'band'
    ) then
        alter table tenantcache.counter_store
            add column band text not null default 'normal'
                constraint band_is_known check (band in ('normal', 'thrift', 'no copies', 'no Redis')),
            add column band_version bigint not null default 0,
            add column band_period timestamptz not null default '-infinity',
            add column band_budget bigint not null default 0,
            add column band_edge bigint not null default 0,
            add column band_changed_at timestamptz not null default '-infinity',
            add column band_wanted_at timestamptz not null default '-infinity',
            add column band_told bigint not null default 0,
            add column band_telling_since timestamptz not null default '-infinity';
    end if;
end
$$;

-- When a process last wanted all others to report (fleet/reports.py). It stands here because this row is always there.
do $$
begin
    if not exists (
        select from pg_attribute where attrelid = 'tenantcache.counter_store'::regclass and attname = 'watched_at'
    ) then
        alter table tenantcache.counter_store add column watched_at timestamptz not null default '-infinity';
    end if;
end
$$;

-- What each process tells of itself, while a dashboard is mounted. Not logged: after a crash it comes again in ten seconds.
create unlogged table if not exists tenantcache.process_reports (
    process uuid primary key,
    host text not null,
    pid integer not null,
    version text not null,
    at timestamptz not null,
    report jsonb not null
) with (fillfactor = 50);

-- Which tenants have asked for a domain. The token proves it when it is in the DNS. Only domains in tenant_domains are
-- served; a row here with `verified_at` tells how the domain got there.
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

-- Requests admitted, by tenant and day of its time zone. It outlives the tenant, for a last bill.
create table if not exists tenantcache.usage (
    tenant_id text not null,
    day date not null,
    requests bigint not null default 0,
    last_seen_at timestamptz not null,
    primary key (tenant_id, day)
) with (fillfactor = 70);
-- For the sums of a day. Rows come in the order of days, so that it is small, and an update does not touch it.
call tenantcache.add_index('usage_by_day', 'tenantcache.usage using brin (day)');

-- The last batch of usage that each process has written. So a batch whose answer was lost is not added twice.
create table if not exists tenantcache.usage_writers (
    process uuid primary key,
    batch bigint not null,
    at timestamptz not null default now()
);

-- What each process has used of Redis in an hour, in what the provider bills: commands, or ECPUs. A process writes its own
-- totals, so they may be written again. budget/fleetuse.py adds them up, and drops those of the month before the last.
create table if not exists tenantcache.redis_usage (
    hour timestamptz not null,
    process uuid not null,
    purpose text not null,
    billed bigint not null,
    primary key (hour, process, purpose)
) with (fillfactor = 70);

-- What the provider said that it has billed since `period_start`, and what we had counted then. Null: it has said nothing
-- yet. One process asks, the one that has set `asked_at`.
create table if not exists tenantcache.redis_bill (
    one boolean primary key default true check (one),
    asked_at timestamptz not null default '-infinity',
    read_at timestamptz,
    period_start timestamptz,
    billed bigint,
    counted bigint
);
insert into tenantcache.redis_bill default values on conflict do nothing;

-- The row, and until when it is settled: no later change governs minutes that start before that. The lock says that the
-- row is not being changed. Each statement of a volatile function has a snapshot of its own, so the row is read after
-- that. 5 seconds is the notice that each change gives. The lock is on our table, which takes a right to it: any role
-- could hold an advisory one.
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

-- Change the store, unless another process has done so since `known_version`, or another change has not begun yet. The
-- way back to Redis also waits until no process has reported it as unavailable for `new_quiet` seconds. The first choice
-- of all holds at once.
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
            or complained_at <= clock_timestamp() - make_interval(secs => new_quiet))
        and (new_store = 'postgres' or store = new_store or band <> 'no Redis');
    if found then
        perform tenantcache.notify('counters');
    end if;
    return found;
end
$$;

-- Change the band, unless another process has done so since `known_version`. It is read under the same lock as the store.
-- Between "no copies" and "no Redis" lie 300 seconds (rule 2 in bands.py).
create or replace function tenantcache.change_band(
    known_version bigint, new_band text, new_period double precision, new_budget bigint, new_edge bigint
) returns boolean language plpgsql as $$
begin
    lock table tenantcache.counter_store in exclusive mode;
    update tenantcache.counter_store set
        band_version = band_version + 1,
        band = new_band,
        band_period = to_timestamp(new_period),
        band_budget = new_budget,
        band_edge = new_edge,
        band_changed_at = clock_timestamp(),
        band_wanted_at = clock_timestamp(),
        band_telling_since = clock_timestamp()
    where band_version = known_version
        and (new_band <> 'no Redis'
            or (band = 'no copies' and band_changed_at <= clock_timestamp() - interval '300 seconds'));
    if found then
        perform tenantcache.notify('counters');
    end if;
    return found;
end
$$;

-- Handing a minute over from Redis to Postgres: ratelimit/core/handover.py has the rules. Redis may have granted a holder
-- tokens of minutes up to `through_minute` (null: it has no Redis); 5 minutes is the lease there. These tables are logged,
-- because a crash must not let a minute be handed over without a report.
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

-- Become a holder, or stay one. Returns through which minute: null if the row has another version by now, or if the
-- process `holds` nothing. Also returns the place of the process among those that are alive. The lock is shared: pulls go
-- on.
create or replace function tenantcache.hold_counters(
    holder uuid, known_version bigint, holds boolean, out through bigint, out place bigint, out fleet bigint
) volatile language plpgsql as $$
declare
    this_minute bigint;
begin
    lock table tenantcache.counter_store in row share mode;
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

-- Report what was granted of a minute; a repeated report replaces the first.
create or replace function tenantcache.report_counters(
    holder uuid, of_minute bigint, owners text[], counts bigint[]
) returns void volatile language sql as $$
    insert into tenantcache.counter_reports (minute, process, owner, tokens)
        select of_minute, holder, r.owner, r.tokens from unnest(owners, counts) as r (owner, tokens)
    on conflict (minute, process, owner) do update set tokens = excluded.tokens
$$;

-- The report of a process is complete (`leaves`: and it no longer holds anything). If it was the last report that was
-- waited for, Postgres counts from this minute on. Returns whether that is so.
create or replace function tenantcache.hand_over_counters(
    holder uuid, known_version bigint, of_minute bigint, leaves boolean
) returns boolean volatile language plpgsql as $$
begin
    lock table tenantcache.counter_store in exclusive mode;
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
    perform tenantcache.notify('counters');
    return true;
end
$$;

-- The places of accounts (tenants, and their named limits) in the groups of counters that Redis holds: see
-- ratelimit/slots.py. No row is ever deleted, so the numbers are dense. An account that was not asked for in 30 days loses
-- its place to the next new one; its counters there have expired by then.
create table if not exists tenantcache.counter_slots (
    owner text primary key,
    slot integer not null unique,
    used_on date not null
);
call tenantcache.add_index('counter_slots_by_use', 'tenantcache.counter_slots (used_on)');

-- The slot of each owner, in order. It only reads if all have one, unless one was renewed 7 days ago or earlier. Processes
-- ask at least once a week, so none that is in use gets older than 14 days. If there is something to write, callers wait for
-- each other, and readers do not. Each statement of a volatile function has a snapshot of its own, so what the caller
-- before has written is seen after the lock.
create or replace function tenantcache.assign_slots(owners text[]) returns integer[] volatile language plpgsql as $$
declare
    today date := (now() at time zone 'utc')::date;
    slots integer[];
    lacking boolean;
    old boolean;
begin
    select array_agg(s.slot order by o.place), coalesce(bool_or(s.slot is null), false),
            coalesce(bool_or(s.used_on <= today - 7), false)
        into slots, lacking, old
        from unnest(owners) with ordinality as o (owner, place) left join tenantcache.counter_slots s on s.owner = o.owner;
    if not lacking and not old then
        return coalesce(slots, '{}');
    end if;
    begin
        lock table tenantcache.counter_slots in share row exclusive mode;
        update tenantcache.counter_slots s set used_on = today
            where s.owner = any (owners) and s.used_on <= today - 7;
    exception when insufficient_privilege or read_only_sql_transaction then
        if lacking then
            raise;
        end if;
        return slots;
    end;
    if lacking then
        call tenantcache.add_slots(owners, today);
    end if;
    return array(
        select s.slot from unnest(owners) with ordinality as o (owner, place)
            join tenantcache.counter_slots s on s.owner = o.owner order by o.place);
end
$$;

-- A slot for each owner that has none, under the lock of `assign_slots`: first those that are not used any more, then new
-- numbers.
create or replace procedure tenantcache.add_slots(owners text[], today date) language plpgsql as $$
declare
    new_owners text[] := array(
        select o.owner from unnest(owners) with ordinality as o (owner, place)
            where not exists (select from tenantcache.counter_slots s where s.owner = o.owner)
            group by o.owner order by min(o.place));
    reused bigint;
begin
    with free as (
        select f.slot, row_number() over (order by f.slot) as place from (
            select slot from tenantcache.counter_slots where used_on < today - 30
            order by used_on limit cardinality(new_owners)) as f
    )
    update tenantcache.counter_slots s set owner = n.owner, used_on = today
        from free join unnest(new_owners) with ordinality as n (owner, place) on n.place = free.place
        where s.slot = free.slot;
    get diagnostics reused = row_count;
    insert into tenantcache.counter_slots (owner, slot, used_on)
        select n.owner, (select coalesce(max(slot), -1) from tenantcache.counter_slots) + n.place, today
        from unnest(new_owners[reused + 1:]) with ordinality as n (owner, place);
end
$$;
