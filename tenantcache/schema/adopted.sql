-- Tenants from tables of the application's own, each of which a query describes (`adoptions`).
--
-- The rules:
--   1. A trigger notes no more than the key that it found in the row, old and new. `publish` looks up what that key leads
--      to, after the commit. Then there is one truth, whichever transactions have met. A change of any row on the way
--      from a table to a tenant notes its own keys. So a way that has changed meanwhile is walked anew.
--   2. `aliases` says which names lead to which ids, as of the log. It only finds candidates: the query is asked by id, and
--      what it says in the same snapshot decides. So a stale alias costs a look, never an answer.
--   3. In any snapshot each name of each tenant is in `aliases`, or the change that gave it is still in the outbox.
--   4. Whatever a row holds concerns that tenant alone. If the query fails on it, each column is read separately, and one
--      that cannot be read counts as absent.
--   5. No object of ours depends on a table or column of the application's: functions hold the query as text.

-- Every id is an alias too, and has a digest of what the query said of the tenant.
create table if not exists tenantcache.aliases (
    alias text collate "C" not null,
    tenant_id text collate "C" not null,
    digest text,
    primary key (alias, tenant_id)
);
call tenantcache.add_index('aliases_by_tenant', 'tenantcache.aliases (tenant_id)');

-- The ways from a table to tenants. `told` describes each for people, and `watched_N` walks it.
create sequence if not exists tenantcache.adoption_numbers;
create table if not exists tenantcache.watches (
    number integer primary key,
    adoption integer not null,
    relation oid not null,
    told text not null
);

-- The names that lead to a tenant, id included. An old name with a dot is a domain. The planner inlines this function
-- because it has no search path of its own; its callers have one.
create or replace function tenantcache.aliases_of(tenant jsonb) returns setof text immutable language sql as $$
    with name (value, place) as (
        select value, place
        from unnest(array['subdomains', 'domains', 'old_names', 'names', 'old_slugs']) as place,
            jsonb_array_elements_text(coalesce(nullif($1 -> place, 'null'), '[]')) as value
    )
    select 'id:' || ($1 ->> 'id')
    union
    select case when place = 'domains' or (place = 'old_names' and strpos(value, '.') > 0) then 'domain:' else 'subdomain:' end
        || value from name where place in ('subdomains', 'domains', 'old_names')
    union
    select 'name:' || ($1 ->> 'kind') || ':' || value from name
        where place in ('names', 'old_slugs') or (place in ('subdomains', 'old_names') and $1 ->> 'kind' <> '')
$$;

-- Which of several tenants with one name is served: the active one. A present name comes before an old one.
create or replace function tenantcache.rank_of(tenant jsonb, alias text) returns integer immutable language sql as $$
    select array_position(array['active', 'maintenance', 'suspended', 'deleted'], $1 ->> 'status')
        + case when $2 in (select tenantcache.aliases_of($1 - 'old_names' - 'old_slugs')) then 0 else 4 end
$$;

-- The tenants of some ids, all kinds. An id of a kind begins with the kind and a colon.
create or replace function tenantcache.read_adopted(ids text[])
returns table (tenant jsonb, attributes text) stable language plpgsql as $$
declare
    adoption record;
begin
    for adoption in select a.number, a.kind from tenantcache.adoptions a order by a.number
    loop
        return query execute format('select * from tenantcache.adopted_%s($1)', adoption.number) using array(
            select case when adoption.kind = '' then i else substr(i, length(adoption.kind) + 2) end
            from unnest(ids) as i where adoption.kind = '' or starts_with(i, adoption.kind || ':'));
    end loop;
end
$$;

-- The ids of the tenants that changes concern.
create or replace function tenantcache.ids_after(changes tenantcache.outbox[]) returns setof text
stable language plpgsql as $$
declare
    way record;
begin
    return query select distinct c.key from unnest(changes) c where c.watch = 0;
    for way in
        select c.watch, array_agg(distinct c.key) as keys from unnest(changes) c where c.watch <> 0 group by c.watch
    loop
        return query execute format('select * from tenantcache.watched_%s($1)', way.watch) using way.keys;
    end loop;
end
$$;

-- The same changes, with the ids of tenants in place of what leads to them.
create or replace function tenantcache.led_to(changes tenantcache.outbox[]) returns tenantcache.outbox[]
language plpgsql as $$
begin
    if exists (select from unnest(changes) c where c.key is null
        or (c.watch <> 0 and not exists (select from tenantcache.watches w where w.number = c.watch)))
        or not exists (select from unnest(changes) c where c.watch <> 0)
    then
        return changes;
    end if;
    return array(
        select c from unnest(changes) c where c.watch = 0
        union all
        select row(pg_current_xact_id(), 0, i, '{}')::tenantcache.outbox from tenantcache.ids_after(changes) i
            where not exists (select from unnest(changes) c where c.watch = 0 and c.key = i)
    );
end
$$;

-- What some names lead to now. Changes that are committed and not published are looked through as well, up to a bound. Past
-- it, and while the aliases have to be read anew, a name that is not found may still exist.
create or replace function tenantcache.find_adopted(asked text[])
returns table (alias text, tenant jsonb, attributes text, state text)
stable language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '800ms' as $$
declare
    changes tenantcache.outbox[];
    changed_ids text[];
    is_known boolean;
    candidates text[];
    answered integer;
begin
    select coalesce(array_agg(o), '{}') into changes from (
        select o.* from tenantcache.outbox o
        where o.xid >= tenantcache.floor() limit 101
    ) as o;
    select cardinality(changes) <= 100 and p.incomplete is null
        and not exists (select from unnest(changes) c where c.key is null)
        into is_known from tenantcache.publisher p;
    changed_ids := array(select i from tenantcache.ids_after(case when is_known then changes else '{}' end) i limit 201);
    if cardinality(changed_ids) > 200 then
        is_known := false;
        changed_ids := '{}';
    end if;
    candidates := array(
        select a.tenant_id from tenantcache.aliases a where a.alias = any (asked)
        union select substr(n, 4) from unnest(asked) n where starts_with(n, 'id:')
        union select unnest(changed_ids)
    );
    return query
        with owned as (
            select n as alias, r.tenant, r.attributes, tenantcache.rank_of(r.tenant, n) as rank
            from tenantcache.read_adopted(candidates) r, tenantcache.aliases_of(r.tenant) n
            where n = any (asked)
        ), best as (
            select o.*, row_number() over (partition by o.alias order by o.rank) as place,
                count(*) over (partition by o.alias, o.rank) as owners
            from owned o
        )
        select b.alias, case when b.owners = 1 then b.tenant end, case when b.owners = 1 then b.attributes end,
                case when b.owners = 1 then 'found' else 'conflict' end
            from best b where b.place = 1;
    get diagnostics answered = row_count;
    if answered < cardinality(asked) and (not is_known or tenantcache.fault() is not null) then
        -- Callers that join this with what was found give the found one precedence.
        return query select n, null::jsonb, null::text, 'unknown'
            from unnest(asked) n where not starts_with(n, 'id:');
    end if;
end
$$;

-- The tenants of some ids, each with those of its names that may lead elsewhere. Another tenant has them too, or they have
-- not been read yet (rule 2).
create or replace function tenantcache.read_sharing(ids text[])
returns table (tenant jsonb, attributes text, shared text[])
stable language sql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '800ms' as $$
    select r.tenant, r.attributes, array(
        select n from tenantcache.aliases_of(r.tenant) n
        where array(select a.tenant_id from tenantcache.aliases a where a.alias = n) <> array[r.tenant ->> 'id']
    )
    from tenantcache.read_adopted($1) r
$$;

create or replace function tenantcache.digest_of(tenant jsonb, attributes text) returns text immutable language sql as $$
    select md5($1::text || coalesce($2, ''))
$$;

-- Bring the aliases of some tenants up to date; return the names that they had or have.
create or replace function tenantcache.read_aliases(ids text[]) returns table (tenant_id text, alias text)
language plpgsql as $$
begin
    return query
        with now as materialized (
            select r.tenant ->> 'id' as tenant_id, n as alias,
                case when starts_with(n, 'id:') then tenantcache.digest_of(r.tenant, r.attributes) end as digest
            from tenantcache.read_adopted(ids) r, tenantcache.aliases_of(r.tenant) n
        ), before as materialized (
            select a.ctid as place, a.tenant_id, a.alias, a.digest from tenantcache.aliases a where a.tenant_id = any (ids)
        ), gone as (
            -- By their places: reading aliases anew holds the publisher's row, and no plan reads all of them.
            delete from tenantcache.aliases a where a.ctid = any (array(
                select b.place from before b
                where not exists (select from now n where n.tenant_id = b.tenant_id and n.alias = b.alias)))
        ), added as (
            insert into tenantcache.aliases (tenant_id, alias, digest)
                select distinct on (n.alias, n.tenant_id) n.tenant_id, n.alias, n.digest from now n
                where not exists (
                    select from before b where b.tenant_id = n.tenant_id and b.alias = n.alias
                        and b.digest is not distinct from n.digest)
            on conflict on constraint aliases_pkey do update set digest = excluded.digest
        )
        select n.tenant_id, n.alias from now n
        union select b.tenant_id::text, b.alias::text from before b
        union select i, 'id:' || i from unnest(ids) i;
end
$$;

create or replace procedure tenantcache.read_all_adopted() language plpgsql as $$
declare
    adoption record;
    ids text[];
begin
    delete from tenantcache.aliases;
    for adoption in select a.number from tenantcache.adoptions a order by a.number
    loop
        execute format('select array(select tenantcache.adopted_ids_%s())', adoption.number) into ids;
        for place in 1 .. cardinality(ids) by 1000
        loop
            perform tenantcache.read_aliases(ids[place : place + 999]);
        end loop;
    end loop;
end
$$;

-- The ids among these for which the query now says something else than at their last reading.
create or replace function tenantcache.differing(ids text[]) returns setof text stable language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
        with now as (
            select r.tenant ->> 'id' as id, tenantcache.digest_of(r.tenant, r.attributes) as digest
            from tenantcache.read_adopted(ids) r
        ), known as (
            select a.tenant_id::text as id, a.digest from tenantcache.aliases a
            where a.alias = any (array(select 'id:' || i from unnest(ids) i))
        )
        select coalesce(n.id, k.id) from now n full join known k on k.id = n.id where n.digest is distinct from k.digest;
end
$$;

-- The ids that the query gives but that are not known, or the other way round.
create or replace function tenantcache.misplaced() returns setof text stable language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
declare
    adoption record;
    all_ids text[] := '{}';
    kind_ids text[];
begin
    for adoption in select a.number from tenantcache.adoptions a order by a.number
    loop
        execute format('select array(select tenantcache.adopted_ids_%s())', adoption.number) into kind_ids;
        all_ids := all_ids || kind_ids;
    end loop;
    return query
        select coalesce(n.id, k.id) from unnest(all_ids) as n (id)
            full join (select a.tenant_id::text as id from tenantcache.aliases a where starts_with(a.alias, 'id:')) as k
            on k.id = n.id
        where n.id is null or k.id is null;
end
$$;

-- How far the check that runs by itself has come.
create table if not exists tenantcache.verifier (
    one boolean primary key default true check (one),
    after text not null default ''
);
insert into tenantcache.verifier default values on conflict do nothing;

-- Compare the next tenants with what the query says now, and publish those that differ. That detects a restore, or a job
-- that ran with triggers off. Returns how many differed.
create or replace function tenantcache.verify_some(most integer) returns integer language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
declare
    place text;
    ids text[];
    wrong text[];
begin
    select v.after into place from tenantcache.verifier v for update skip locked;
    if not found or not exists (select from tenantcache.adoptions) then
        return 0;
    end if;
    ids := array(
        select a.tenant_id::text from tenantcache.aliases a
        where a.alias > 'id:' || place and a.alias < 'id;' order by a.alias limit most
    );
    wrong := array(select tenantcache.differing(ids));
    if cardinality(ids) < most then
        wrong := wrong || array(select tenantcache.misplaced());
    end if;
    update tenantcache.verifier set after = case when cardinality(ids) < most then '' else ids[cardinality(ids)] end;
    if cardinality(wrong) > 0 then
        insert into tenantcache.outbox (key) select distinct unnest(wrong);
        perform tenantcache.wake();
    end if;
    return cardinality(wrong);
end
$$;

-- A trigger could not read its row: the table has changed. Its changes can no longer be named, so everything may have
-- changed. Said once a transaction, because a fault from another one may be mended before this one commits.
create or replace function tenantcache.note_failed_trigger(failed_table text, message text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform tenantcache.note_everything(array[format('changed: the trigger on %s failed (%s)', failed_table, message)]);
end
$$;

create or replace function tenantcache.note_everything(reason text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from tenantcache.outbox o where o.xid = pg_current_xact_id() and o.key is null) then
        insert into tenantcache.outbox (key, hosts) values (null, reason);
        perform tenantcache.wake();
    end if;
end
$$;

create or replace procedure tenantcache.serve_adopted_tables() language plpgsql as $serve$
begin
    create or replace function tenantcache.find_tenants(aliases text[])
    returns table (alias text, tenant jsonb, attributes text, state text) stable language sql as $find$
        select * from tenantcache.find_adopted($1)
    $find$;

    create or replace function tenantcache.read_tenants(ids text[])
    returns table (tenant jsonb, attributes text, shared text[]) stable language sql as $read$
        select * from tenantcache.read_sharing($1)
    $read$;

    create or replace function tenantcache.tenant_ids() returns setof text stable language sql as $ids$
        select distinct a.tenant_id::text from tenantcache.aliases a where starts_with(a.alias, 'id:')
    $ids$;

    create or replace function tenantcache.all_aliases() returns setof text stable language sql as $all$
        select a.alias::text from tenantcache.aliases a where not starts_with(a.alias, 'id:')
    $all$;

    create or replace function tenantcache.names_after(changes tenantcache.outbox[])
    returns table (tenant_id text, alias text) language sql as $names$
        select r.tenant_id, nullif(r.alias, 'id:' || r.tenant_id)
        from tenantcache.read_aliases(array(select tenantcache.ids_after($1))) r
    $names$;

    create or replace function tenantcache.incomplete_after_everything() returns text immutable language sql as $changed$
        select 'changed: the names of all tenants have to be read anew'
    $changed$;

    create or replace procedure tenantcache.read_everything() language sql as $everything$
        call tenantcache.read_all_adopted()
    $everything$;
end
$serve$;
