-- The log of changes, and how a change gets into it. Safe to run again.
--
-- The rules that everything else rests on:
--   1. A trigger of ours writes one row into `outbox`, in the writer's own transaction. It is a plain insert, without a
--      lock, a deferred event or a unique index. The transaction can do after it whatever it could do before.
--   2. `publish` moves what was committed from the outbox into `change_log`, one process at a time, under the lock of the
--      row `publisher`. So the order of `seq` is the order in which entries became visible. A snapshot that holds
--      entry n holds the data of every entry up to n.
--   3. If the outbox is empty in a snapshot, the log names everything in it. A read in any other snapshot may have seen
--      more than the log says; it reports that (`pending`).
--   4. `hosts` names every alias that led to the tenant before or after the change, so that a rename or a moved domain
--      reaches both sides.
--   5. Triggers fire ALWAYS, for replicated writes too, and only when something that tenantcache reads has changed. They
--      never make a statement fail: a trigger that can no longer read its row logs that everything may have changed.

-- One row a change. A null tenant_id says that everything may have changed.
create sequence if not exists tenantcache.change_seq;
create table if not exists tenantcache.change_log (
    seq bigint primary key,
    tenant_id text,
    hosts text[],
    at timestamptz not null default clock_timestamp()
);
call tenantcache.add_index('change_log_by_age', 'tenantcache.change_log (at)');

-- A log that is never empty always has a newest entry, so that a follower can tell it from a restored one.
insert into tenantcache.change_log (seq)
    select nextval('tenantcache.change_seq') where not exists (select from tenantcache.change_log);

-- An earlier version logged names of any length, and one entry could be too long for any process to read.
do $$
begin
    if to_regclass('tenantcache.outbox') is null then
        update tenantcache.change_log set hosts = array(select h from unnest(hosts) h where octet_length(h) <= 300)
            where exists (select from unnest(hosts) h where octet_length(h) > 300);
    end if;
end
$$;

-- Changes that are committed and not published yet. If `watch` is 0, `key` is a tenant's id and `hosts` are names that led
-- to it. Otherwise `key` is the start of that watch's way to tenants. A null key: everything may have changed.
create table if not exists tenantcache.outbox (
    xid xid8 not null default pg_current_xact_id(),
    watch integer not null default 0,
    key text,
    hosts text[] not null default '{}'
);
call tenantcache.add_index('outbox_by_xid', 'tenantcache.outbox (xid)');

-- A publication "for all tables" refuses deletes from a table without an identity. This one has no key, because a unique
-- index could make writers wait for one another.
do $$
begin
    if (select relreplident from pg_class where oid = 'tenantcache.outbox'::regclass) <> 'f' then
        alter table tenantcache.outbox replica identity full;
    end if;
end
$$;

-- The publishing process holds this row. All unpublished changes are of transactions from `floor` on. So the index need
-- not be read from its beginning, which has dead rows until a vacuum may remove them. `published`: what is visible in this
-- snapshot is in the log. `incomplete`: why the aliases of adopted tables are not known, null if they are.
create table if not exists tenantcache.publisher (
    one boolean primary key default true check (one),
    floor xid8 not null default '0',
    published pg_snapshot not null default pg_current_snapshot(),
    notify boolean not null default true,
    incomplete text
) with (fillfactor = 50);
insert into tenantcache.publisher default values on conflict do nothing;

-- The tables whose changes are followed. `columns`: those that are read (null: whole rows). `triggers`: how many of ours a
-- table has. `definition`: what it was like when its aliases were last read (see `definition_of`).
create table if not exists tenantcache.watched_tables (
    relation oid primary key,
    name text not null,
    columns text[] not null,
    triggers integer not null,
    definition text not null default ''
);

-- The identity of this log. A restored dump is another table, and a database made from a template is another database. A
-- failover or a point-in-time recovery is another timeline. A storage snapshot that is put back looks the same; the times
-- of the entries show it.
create or replace function tenantcache.epoch() returns text stable language sql as $$
    select concat_ws(':',
        (select oid from pg_database where datname = current_database()),
        'tenantcache.change_log'::regclass::oid,
        (select system_identifier from pg_control_system()),
        case when not pg_is_in_recovery() then left(pg_walfile_name(pg_current_wal_lsn()), 8) end)
$$;

-- The publisher's floor. If it is ahead of the server's transactions, it is from a dump of another server; then all is read.
create or replace function tenantcache.floor() returns xid8 stable language sql as $$
    select case when p.floor <= pg_snapshot_xmax(pg_current_snapshot()) then p.floor else '0' end from tenantcache.publisher p
$$;

-- Is anything committed and not published, in the snapshot of the statement that asks?
create or replace function tenantcache.pending() returns boolean stable language sql as $$
    select exists (select from tenantcache.outbox o where o.xid >= (select tenantcache.floor()))
$$;

-- Is everything that an earlier snapshot saw (its text, or "") in the log? Snapshots of one primary are ordered by inclusion:
-- what has ended stays ended.
create or replace function tenantcache.covers(earlier text) returns boolean stable language sql as $$
    select earlier <> '' and exists (
        select from tenantcache.publisher p
        where pg_snapshot_xmax(p.published) >= pg_snapshot_xmax(nullif(earlier, '')::pg_snapshot)
            -- Not of another server (a dump).
            and pg_snapshot_xmax(p.published) <= pg_snapshot_xmax(pg_current_snapshot()) and not exists (
            select from pg_snapshot_xip(p.published) as x (xid)
            where pg_visible_in_snapshot(x.xid, nullif(earlier, '')::pg_snapshot)))
$$;

-- A NOTIFY makes the commit fail if the queue is full, and one stuck listener of any client fills it for all. A publisher
-- says which entry is the newest, so that a process that has applied it need not look. A writer says what it has changed.
create or replace function tenantcache.notify(newest text default '') returns void language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify('tenantcache', newest);
    end if;
end
$$;

-- Wake the processes at commit. NOTIFY makes commits wait for one another. So a transaction leaves it to another one that
-- is about to do it, and processes pull again while transactions that they saw running still are. A lock that is tried
-- says which transaction that is. There is one for each hundredth of a second in which transactions begin. So a
-- transaction that stays open for long silences no later ones, and each takes one lock at most.
-- The setting says that this transaction has done it: reading it costs a row less than trying again.
-- `names` are the tenant's id and the names that led to it, one a line after an empty one. They let the processes drop it
-- before it is published. Only the first eight changes of a transaction are named, and the setting has a mark for each: each
-- process hears them all. Long names are left out, because NOTIFY would fail, and those that not every client can decode.
create or replace function tenantcache.wake_naming(names text) returns void language plpgsql as $$
declare
    xid text := pg_current_xact_id()::text;
    woken text := current_setting('tenantcache.woken', true);
begin
    if not coalesce(starts_with(woken, xid || '+'), false) then
        if to_regclass('tenantcache.publisher') is null then
            return;
        end if;
        if (select p.notify from tenantcache.publisher p) is not true then
            perform set_config('tenantcache.woken', xid, true);
            return;
        end if;
        if not pg_try_advisory_xact_lock(7307199742000000 + (extract(epoch from now()) * 100)::bigint % 1000000) then
            return;
        end if;
        woken := xid;
    end if;
    if octet_length(names) > 1000 or names ~ E'[^\x01-\x7f]' then
        names := '';
    end if;
    perform tenantcache.notify(names);
    woken := case when names = '' or woken = xid || '+++++++' then xid else woken || '+' end;
    perform set_config('tenantcache.woken', woken, true);
end
$$;

create or replace function tenantcache.wake() returns void language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform tenantcache.wake_naming('');
end
$$;

-- Leave out names that are longer than any host name with a prefix (RFC 1035 2.3.4). The size of the whole array shows
-- that a few names are short, without a look at each.
create or replace function tenantcache.short_enough(names text[]) returns text[] immutable language sql as $$
    select case when pg_column_size(names) < 300 then names
        else array(select n from unnest(names) n where octet_length(n) <= 300) end
$$;

-- Note a change; for the functions below, which have the rights and the search path. If the outbox was dropped, the
-- statement that made the change still goes on. Processes find out by themselves, because they can no longer pull.
create or replace function tenantcache.note_change(tenant_id text, hosts text[]) returns void language plpgsql as $$
begin
    if to_regclass('tenantcache.outbox') is null then
        return;
    end if;
    insert into tenantcache.outbox (key, hosts) values (tenant_id, tenantcache.short_enough(hosts));
    if current_setting('tenantcache.woken', true) is distinct from pg_current_xact_id()::text then
        perform tenantcache.wake_naming(
            case when tenant_id is null then '' else E'\n' || array_to_string(tenant_id || hosts, E'\n') end);
    end if;
end
$$;

create or replace function tenantcache.log_change(tenant_id text, hosts text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform tenantcache.note_change(tenant_id, hosts);
end
$$;

create or replace function tenantcache.log_everything() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform tenantcache.note_change(null, null);
    return null;
end
$$;

create or replace function tenantcache.log_tenant() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    old_id text;
    new_id text;
    both_sides text[];
begin
    begin
        old_id := old.id;
        new_id := new.id;
        both_sides := array_remove(array['subdomain:' || old.subdomain, 'subdomain:' || new.subdomain], null);
    exception when others then
        -- The table has been altered: everything may have changed.
        perform tenantcache.note_change(null, null);
        return null;
    end;
    perform tenantcache.note_change(coalesce(new_id, old_id), both_sides);
    if old_id <> new_id then
        perform tenantcache.note_change(old_id, both_sides);
    end if;
    return null;
end
$$;

create or replace function tenantcache.log_domain() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    old_id text;
    new_id text;
    both_sides text[];
begin
    begin
        old_id := old.tenant_id;
        new_id := new.tenant_id;
        both_sides := array_remove(array['domain:' || old.domain, 'domain:' || new.domain], null);
    exception when others then
        -- The table has been altered: everything may have changed.
        perform tenantcache.note_change(null, null);
        return null;
    end;
    perform tenantcache.note_change(coalesce(new_id, old_id), both_sides);
    if old_id <> new_id then
        perform tenantcache.note_change(old_id, both_sides);
    end if;
    return null;
end
$$;

-- Give a table of ours its triggers, unless it has them: a deployment that runs `init` each time must not lock it each time.
create or replace procedure tenantcache.follow_own_table(own_table regclass, logger text) language plpgsql as $$
declare
    old_trigger name;
begin
    if 3 = (
        select count(*) from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = own_table and t.tgenabled = 'A' and t.tgname like 'tenantcache\_%'
            and p.proname in (logger, 'log_everything') and p.pronamespace = 'tenantcache'::regnamespace
    ) then
        return;
    end if;
    for old_trigger in
        select t.tgname from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = own_table and p.pronamespace = 'tenantcache'::regnamespace
    loop
        execute format('drop trigger %I on %s', old_trigger, own_table);
    end loop;
    execute format('create trigger tenantcache_written after insert or delete on %s
        for each row execute function tenantcache.%I()', own_table, logger);
    execute format('create trigger tenantcache_changed after update on %s
        for each row when (old is distinct from new) execute function tenantcache.%I()', own_table, logger);
    execute format('create trigger tenantcache_truncated after truncate on %s
        for each statement execute function tenantcache.log_everything()', own_table);
    execute format('alter table %s enable always trigger tenantcache_written, enable always trigger tenantcache_changed,
        enable always trigger tenantcache_truncated', own_table);
end
$$;
call tenantcache.follow_own_table('tenantcache.tenants', 'log_tenant');
call tenantcache.follow_own_table('tenantcache.tenant_domains', 'log_domain');

-- What following a table rests on: its triggers with the functions that they call, and the columns that are read, by
-- name, position and type. A trigger that was switched off and on again counts as another one.
create or replace function tenantcache.definition_of(followed tenantcache.watched_tables) returns text
stable language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    return concat_ws('|',
        (select string_agg(concat_ws(' ', t.tgname, t.tgenabled, t.xmin, md5(p.prosrc)), ',' order by t.tgname)
            from pg_trigger t join pg_proc p on p.oid = t.tgfoid
            where t.tgrelid = followed.relation and p.pronamespace = 'tenantcache'::regnamespace
                and not starts_with(t.tgname, 'tenantcache_values')),
        (select string_agg(concat_ws(' ', a.attname, a.attnum, a.atttypid), ',' order by a.attname)
            from pg_attribute a where a.attrelid = followed.relation and a.attname = any (followed.columns)));
end
$$;

-- Why the log cannot be relied on, null if it can. Every pull asks, so it reads the catalogue alone. `rebuild` mends what
-- begins with "changed" (freshness/core/logfault.py), and a person everything else.
create or replace function tenantcache.fault() returns text stable language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
begin
    return coalesce(
        (select string_agg(reason, '; ' order by reason) from (
            select case
                when to_regclass(w.name) is null then format('the table %s is gone', w.name)
                when to_regclass(w.name) <> w.relation then format('%s is another table now', w.name)
                when w.triggers > (
                    select count(*) from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                    where t.tgrelid = w.relation and t.tgenabled in ('A', 'O')
                        and p.pronamespace = 'tenantcache'::regnamespace
                        and not starts_with(t.tgname, 'tenantcache_values')
                ) then format('triggers on %s are missing, or not enabled ALWAYS', w.name)
                when exists (
                    select from unnest(w.columns) as c (name) where not exists (select from pg_attribute a
                        where a.attrelid = w.relation and a.attname = c.name and not a.attisdropped)
                ) then format('%s has lost a column that is read', w.name)
            end as reason
            from tenantcache.watched_tables w
        ) as found where reason is not null),
        (select 'changed' from tenantcache.watched_tables w where w.definition <> tenantcache.definition_of(w) limit 1),
        (select 'the table tenantcache.publisher has lost its row' where not exists (select from tenantcache.publisher)),
        (select p.incomplete from tenantcache.publisher p));
end
$$;

-- Move what was committed from the outbox into the log. Returns "nothing" to move, "busy" if another process is doing it,
-- "published" if all that was visible is moved, or "more" if some is left.
create or replace function tenantcache.publish(most integer) returns text language plpgsql
security definer set search_path = pg_catalog, pg_temp set lock_timeout = '400ms' as $$
declare
    oldest xid8;
    seen pg_snapshot;
    changes tenantcache.outbox[];
    is_all boolean;
    is_flood boolean := false;
begin
    if not tenantcache.pending() then
        return 'nothing';
    end if;
    perform from tenantcache.publisher p for update skip locked;
    if not found then
        return 'busy';
    end if;
    oldest := tenantcache.floor();
    -- Changes of our own tables name what they concern, and cost a tenth of a query's. If there are more than a follower
    -- would catch up with (MAX_BEHIND in follower.py), one entry says that everything may have changed.
    if not exists (select from tenantcache.adoptions) then
        most := most * 10;
        select count(*) > 50000 into is_flood
            from (select from tenantcache.outbox o where o.xid >= oldest limit 50001) as o;
    end if;
    -- A crash that loses this transaction gives the outbox its rows back, and followers see that an entry is missing.
    perform set_config('synchronous_commit', 'off', true);
    -- In a statement of its own after the lock, so that its snapshot holds what the last publisher has done.
    if is_flood then
        with moved as (
            delete from tenantcache.outbox where ctid = any (array(
                select o.ctid from tenantcache.outbox o where o.xid >= oldest order by o.xid limit 100000))
            returning 1
        )
        select array[row('0'::xid8, 0, null, '{}'::text[])::tenantcache.outbox], pg_current_snapshot(), count(*) < 100000
            into changes, seen, is_all from moved;
    else
        with moved as (
            delete from tenantcache.outbox where ctid = any (array(
                select o.ctid from tenantcache.outbox o where o.xid >= oldest order by o.xid limit most))
            returning xid, watch, key, tenantcache.short_enough(hosts)
        )
        select coalesce(array_agg(row(m.xid, m.watch, m.key, m.short_enough)::tenantcache.outbox), '{}'), pg_current_snapshot()
            into changes, seen from moved m;
        is_all := cardinality(changes) < most;
    end if;
    if cardinality(changes) = 0 then
        return 'nothing';  -- another process published it between our look and the lock
    end if;
    begin
        changes := tenantcache.led_to(changes);
        if cardinality(changes) > 2 * most then
            -- A row that many tenants share, such as a plan: they are published some at a time.
            insert into tenantcache.outbox (key, hosts) select c.key, c.hosts from unnest(changes) c;
            is_all := false;
        else
            perform tenantcache.log_entries(changes);
        end if;
    exception
        when lock_not_available then
            -- A migration holds a table of the application's.
            insert into tenantcache.outbox select c.* from unnest(changes) c;
            return 'busy';
        when syntax_error_or_access_rule_violation or invalid_schema_name or feature_not_supported
            or data_exception or cardinality_violation or program_limit_exceeded
        then
            -- Something that the query of an adopted table needs is missing. Which tenants have changed is unknown, so all.
            perform tenantcache.note_incomplete(format('changed: tenants cannot be read (%s)', sqlerrm));
    end;
    update tenantcache.publisher set
        floor = case when is_all then pg_snapshot_xmin(seen) else floor end,
        published = case when is_all then seen else published end;
    perform tenantcache.notify((select max(seq)::text from tenantcache.change_log));
    return case when is_all then 'published' else 'more' end;
end
$$;

-- Everything may have changed. If that was said and has not been mended, processes keep nothing that they could drop.
create or replace function tenantcache.note_incomplete(reason text) returns void language plpgsql as $$
begin
    if (select p.incomplete is null from tenantcache.publisher p) then
        insert into tenantcache.change_log (seq) values (nextval('tenantcache.change_seq'));
    end if;
    update tenantcache.publisher set incomplete = reason;
end
$$;

-- Write the entries of some changes; for `publish` alone, which holds the lock. A long list of names becomes several
-- entries. Names longer than any host name (RFC 1035 2.3.4) are left out.
create or replace function tenantcache.log_entries(changes tenantcache.outbox[]) returns void language plpgsql as $$
declare
    failure text;
begin
    if exists (select from unnest(changes) c where c.key is null
        or (c.watch <> 0 and not exists (select from tenantcache.watches w where w.number = c.watch)))
    then
        select c.hosts[1] into failure from unnest(changes) c where c.key is null and c.hosts <> '{}' limit 1;
        perform tenantcache.note_incomplete(coalesce(failure, tenantcache.incomplete_after_everything()));
        return;
    end if;
    insert into tenantcache.change_log (seq, tenant_id, hosts)
        select nextval('tenantcache.change_seq'), n.tenant_id, n.hosts
        from (
            select u.tenant_id, coalesce(array_agg(u.host order by u.host) filter (where u.host is not null), '{}')
            from (
                select d.*, (row_number() over (partition by d.tenant_id order by d.host nulls first) - 1) / 200 as part
                from (
                    select c.key as tenant_id, h.host from unnest(changes) c, unnest(null::text || c.hosts) as h (host)
                        where c.watch = 0
                    union
                    select c.key, null from unnest(changes) c where c.watch = 0
                    union
                    select r.tenant_id, r.alias from tenantcache.names_after(changes) r
                ) as d
                where d.host is null or octet_length(d.host) <= 300
            ) as u
            group by u.tenant_id, u.part
        ) as n (tenant_id, hosts);
    -- Readers have seen that something was pending. Without an entry, it would look undone by a restored backup.
    if not found then
        insert into tenantcache.change_log (seq, tenant_id, hosts) values (nextval('tenantcache.change_seq'), '', '{}');
    end if;
end
$$;
