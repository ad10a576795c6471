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

-- What processes call and read is theirs alone: those of the owner, and of roles that may read the log (which
-- `tenantcache init --grant` sees to). Called whenever routines were made.
create or replace procedure tenantcache.share() language plpgsql as $share$
declare
    routine regprocedure;
    reader name;
begin
    for routine in
        select p.oid from pg_proc p
        where p.pronamespace = 'tenantcache'::regnamespace and has_function_privilege('public', p.oid, 'execute')
    loop
        execute format('revoke execute on routine %s from public', routine);
    end loop;
    for reader in
        select distinct pg_get_userbyid(a.grantee) from pg_class c, aclexplode(c.relacl) a
        where c.oid = 'tenantcache.change_log'::regclass and a.privilege_type = 'SELECT' and a.grantee not in (0, c.relowner)
    loop
        execute format('grant execute on all routines in schema tenantcache to %I', reader);
        execute format('grant select on all tables in schema tenantcache to %I', reader);
    end loop;
end
$share$;
call tenantcache.share();
