-- The source of tenants: seven routines. Those below read our own tables, and adopting replaces them.
--   find_tenants(aliases)  the tenants that names lead to, each with the state of its answer: found, conflict (two tenants
--                          have that name: neither is served), unknown (it cannot be said yet)
--   read_tenants(ids)      the tenants of some ids, and which of their names may lead elsewhere
--   tenant_ids(), all_aliases()  everything there is
--   names_after(changes)   the tenants that changes concern, with the names that lead to them
--   incomplete_after_everything()  why names are not known after everything may have changed; null: they are
--   read_everything()      what makes them known again

create table if not exists tenantcache.adoptions (
    number integer primary key,
    kind text not null unique,
    query text not null,
    options jsonb not null default '{}',
    at timestamptz not null default now()
);

create or replace procedure tenantcache.serve_own_tables() language plpgsql as $serve$
declare
    -- Text, not a view: a view would still read a table that was replaced by another of its name.
    own_tenants text := $own$
        select t.id, t.name, t.subdomain,
            array(select d.domain from tenantcache.tenant_domains d
                where d.tenant_id = t.id order by d.domain) as domains,
            (select d.domain from tenantcache.tenant_domains d
                where d.tenant_id = t.id and d.is_primary order by d.domain limit 1) as primary_domain,
            t.status, t.plan, t.limit_per_minute, t.limit_per_day, t.time_zone, t.attributes
        from tenantcache.tenants t$own$;
begin
    -- The planner inlines this one, so that it uses the tables' indexes.
    execute format($create$
    create or replace function tenantcache.find_tenants(aliases text[])
    returns table (alias text, tenant jsonb, attributes text, state text) stable language sql as $find$
        select 'subdomain:' || s.subdomain, to_jsonb(s) - 'attributes', s.attributes::text, 'found'
            from (%1$s) s
            where s.subdomain = any (array(select substr(a, 11) from unnest($1) a where starts_with(a, 'subdomain:')))
        union all
        select 'domain:' || d.domain, to_jsonb(s) - 'attributes', s.attributes::text, 'found'
            from tenantcache.tenant_domains d join (%1$s) s on s.id = d.tenant_id
            where d.domain = any (array(select substr(a, 8) from unnest($1) a where starts_with(a, 'domain:')))
        union all
        select 'id:' || s.id, to_jsonb(s) - 'attributes', s.attributes::text, 'found'
            from (%1$s) s
            where s.id = any (array(select substr(a, 4) from unnest($1) a where starts_with(a, 'id:')))
    $find$ $create$, own_tenants);

    execute format($create$
    create or replace function tenantcache.read_tenants(ids text[])
    returns table (tenant jsonb, attributes text, shared text[]) stable language sql as $read$
        select to_jsonb(s) - 'attributes', s.attributes::text, '{}'::text[] from (%1$s) s where s.id = any ($1)
    $read$ $create$, own_tenants);

    create or replace function tenantcache.tenant_ids() returns setof text stable language sql as $ids$
        select t.id from tenantcache.tenants t
    $ids$;

    create or replace function tenantcache.all_aliases() returns setof text stable language sql as $all$
        select 'subdomain:' || t.subdomain from tenantcache.tenants t where t.subdomain is not null
        union all
        select 'domain:' || d.domain from tenantcache.tenant_domains d
    $all$;

    -- The triggers have noted all of them. If a publisher read our tables, it would wait for a locked one (ALTER TABLE).
    create or replace function tenantcache.names_after(changes tenantcache.outbox[])
    returns table (tenant_id text, alias text) stable language sql as $names$
        select null::text, null::text where false
    $names$;

    create or replace function tenantcache.incomplete_after_everything() returns text immutable language sql as $none$
        select null::text
    $none$;

    create or replace procedure tenantcache.read_everything() language sql as $nothing$
    $nothing$;

    delete from tenantcache.watched_tables;
    insert into tenantcache.watched_tables (relation, name, columns, triggers) values
        ('tenantcache.tenants'::regclass, 'tenantcache.tenants', '{}', 3),
        ('tenantcache.tenant_domains'::regclass, 'tenantcache.tenant_domains', '{}', 3);
    update tenantcache.watched_tables w set definition = tenantcache.definition_of(w);
    update tenantcache.publisher set incomplete = null;
end
$serve$;

-- "enable trigger all", as after a restore or in a job, leaves out that ours fire for replicated writes too. A role that may
-- not alter the table leaves it to `init`.
create or replace procedure tenantcache.enable_always() language plpgsql as $$
declare
    weak record;
begin
    perform set_config('lock_timeout', '200ms', true);  -- waiting for a table makes its writers wait
    for weak in
        select t.tgname, t.tgrelid::regclass as on_table
        from tenantcache.watched_tables w join pg_trigger t on t.tgrelid = w.relation join pg_proc p on p.oid = t.tgfoid
        where t.tgenabled = 'O' and p.pronamespace = 'tenantcache'::regnamespace
    loop
        execute format('alter table %s enable always trigger %I', weak.on_table, weak.tgname);
    end loop;
end
$$;

-- Read everything anew that was derived from tables that have changed, or may have. Returns false if another process is
-- doing it, or if it is done. After it, nothing that was cached before is believed.
create or replace function tenantcache.rebuild() returns boolean language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from tenantcache.publisher p for update skip locked;
    if not found or not coalesce(starts_with(tenantcache.fault(), 'changed'), false) then
        return false;
    end if;
    call tenantcache.enable_always();
    -- Before the tables are read, so that a change of one after this shows.
    update tenantcache.watched_tables w set definition = tenantcache.definition_of(w);
    update tenantcache.publisher set incomplete = null;
    call tenantcache.read_everything();
    insert into tenantcache.change_log (seq) values (nextval('tenantcache.change_seq'));
    perform tenantcache.notify();
    return true;
end
$$;
