-- Tables of the application's own whose changes are told as names of values and tags.
--
-- The rules:
--   1. A row's change names what the row is about, as it was and as it is now. A name is that of values/core/valuekey.py.
--   2. Names that a transaction has noted lately are not noted again. So a statement that changes many rows of some tenants
--      writes few rows into the outbox. A rolled back savepoint takes the setting back together with the rows.
--   3. Columns are read by name. After a rename they are found by their numbers, in the table that was watched and in no
--      other. If one is gone, everything may have changed.

create sequence if not exists tenantcache.value_watch_numbers;

-- `columns` are those that names are made of, and `numbers` their numbers in the table. `options` is what was asked for,
-- and `digest` that of the trigger function's body.
create table if not exists tenantcache.value_watches (
    number integer primary key,
    relation oid not null unique,
    name text not null,
    columns text[] not null,
    numbers smallint[] not null,
    options jsonb not null,
    digest text not null
);

-- One part of a name, in octets of UTF-8: all but `allowed` are written as %XX.
create or replace function tenantcache.escape_part(part text, allowed text) returns text immutable language plpgsql as $$
declare
    octets bytea;
begin
    if part collate "C" !~ ('[^' || allowed || ']') then
        return part;
    end if;
    octets := convert_to(part, 'UTF8');
    return (
        select string_agg(
            case when chr(get_byte(octets, n)) collate "C" ~ ('[' || allowed || ']') then chr(get_byte(octets, n))
                else '%' || lpad(upper(to_hex(get_byte(octets, n))), 2, '0') end, '' order by n)
        from generate_series(0, octet_length(octets) - 1) as n);
end
$$;

-- The name of a value, a tag or an expiry in the log: `kind` is what it begins with. No tenant: it is shared. Null for no key.
create or replace function tenantcache.name_of_value(kind text, tenant_id text, key text) returns text immutable
language plpgsql as $$
declare
    parts text := tenantcache.escape_part(coalesce(tenant_id, ''), 'A-Za-z0-9_.@/=+,-') || ':'
        || tenantcache.escape_part(key, 'A-Za-z0-9_.@/=+,:-');
begin
    return kind || case when length(parts) <= 240 then parts else '~' || encode(sha256(convert_to(parts, 'UTF8')), 'hex') end;
end
$$;

-- The setting has the transaction and what it has noted last, a line for each row of the outbox: names have no line ends
-- and no tabs.
create or replace function tenantcache.note_values(names text[]) returns void language plpgsql
security definer set search_path = pg_catalog, pg_temp as $$
declare
    line text := array_to_string(names, E'\t') || E'\n';
    head text := pg_current_xact_id()::text || E'\n';
    noted text := coalesce(current_setting('tenantcache.noted_values', true), '');
begin
    if names = '{}' then
        return;
    end if;
    if not starts_with(noted, head) or octet_length(noted) > 4000 then
        noted := head;
    elsif strpos(noted, E'\n' || line) > 0 then
        return;
    end if;
    perform tenantcache.note_change('', names);
    perform set_config('tenantcache.noted_values', noted || line, true);
end
$$;

-- The statement that reads the first `most` columns of a row after columns were renamed; null if one of them is gone.
create or replace function tenantcache.cells_of_renamed(watch integer, watched oid, most integer) returns text
stable language sql as $$
    select 'select array[' || coalesce(string_agg(format('($1).%I::text', a.attname), ', ' order by n.place), '') || ']::text[]'
    from tenantcache.value_watches w cross join unnest(w.numbers) with ordinality as n (number, place)
        join pg_attribute a on a.attrelid = w.relation and a.attnum = n.number and not a.attisdropped
    where w.number = $1 and w.relation = $2 and n.place <= $3
    having count(*) = $3
$$;

-- What is wrong with the watched tables, a line each. `is_fault`: changes are missed, or told as "everything".
create or replace function tenantcache.watch_faults() returns table (watched text, is_fault boolean, told text)
stable language sql security definer set search_path = pg_catalog, pg_temp as $$
    with watch as (
        select w.*, c.oid is not null as is_there, quote_ident(n.nspname) || '.' || quote_ident(c.relname) as now,
            coalesce(to_regclass(w.name) <> w.relation, false) as is_replaced,
            c.relispartition or exists (select from pg_inherits i where c.oid in (i.inhparent, i.inhrelid)) as inherits
        from tenantcache.value_watches w left join pg_class c on c.oid = w.relation
            left join pg_namespace n on n.oid = c.relnamespace
    )
    select w.name, true, format('the watched table %s is gone', w.name) from watch w where not w.is_there and not w.is_replaced
    union all
    select w.name, true, format('%s is another table than the one that is watched', w.name) from watch w where w.is_replaced
    union all
    select w.name, false, format('the watched table %s is called %s now', w.name, w.now) from watch w
        where w.is_there and not w.is_replaced and w.now <> w.name
    union all
    select w.name, true, format('the watched table %s has parent or child tables now, whose changes are missed', w.now)
        from watch w where w.is_there and w.inherits
    union all
    select w.name, true, format('triggers on the watched table %s are missing, or not enabled ALWAYS', w.now) from watch w
        where w.is_there and 2 > (
            select count(*) from pg_trigger t join pg_proc p on p.oid = t.tgfoid
            where t.tgrelid = w.relation and t.tgenabled = 'A' and p.pronamespace = 'tenantcache'::regnamespace
                and (t.tgname = 'tenantcache_values' and p.proname = 'values_of_' || w.number and md5(p.prosrc) = w.digest
                    or t.tgname = 'tenantcache_values_truncated'))
    union all
    select w.name, a.attname is null, case when a.attname is null then format('%s has lost the column %I that is watched', w.now, c.name)
            else format('the watched column %I of %s is called %I now', c.name, w.now, a.attname) end
        from watch w cross join unnest(w.columns, w.numbers) as c (name, number)
            left join pg_attribute a on a.attrelid = w.relation and a.attnum = c.number and not a.attisdropped
        where w.is_there and a.attname is distinct from c.name
$$;
