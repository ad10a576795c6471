-- What an earlier version left, and the tables that are served.
do $$
declare
    old record;
begin
    for old in
        select t.tgname, t.tgrelid::regclass as on_table
        from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where p.pronamespace = 'tenantcache'::regnamespace and p.proname in ('log_adopted_tenant', 'log_adopted_domain')
    loop
        execute format('drop trigger %I on %s', old.tgname, old.on_table);
    end loop;
end
$$;
drop view if exists tenantcache.tenant_source, tenantcache.domain_source;
drop view if exists tenantcache.adopted_tenants;
drop view if exists tenantcache.adopted_domains;
drop function if exists tenantcache.find_tenants(text[], text[], text[]);
drop function if exists tenantcache.log_adopted_tenant(), tenantcache.log_adopted_domain();
drop table if exists tenantcache.adoption, tenantcache.spellings;

do $$
begin
    if not exists (select from tenantcache.adoptions) then
        call tenantcache.serve_own_tables();
    end if;
end
$$;

-- Processes may call what they need; who else may, the owner says (`tenantcache init --grant`).
do $$
declare
    routine regprocedure;
begin
    for routine in select p.oid from pg_proc p where p.pronamespace = 'tenantcache'::regnamespace
    loop
        execute format('revoke execute on routine %s from public', routine);
    end loop;
end
$$;
