-- Drop what an earlier version left, and serve the right tables.
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
    else
        call tenantcache.serve_adopted_tables();
    end if;
end
$$;

-- Only roles that are given the right may call our routines. Processes run as a role that may register a process. It gets
-- what a newer version, or an adoption, has added.
create or replace procedure tenantcache.give_rights(process_role name) language plpgsql as $$
begin
    execute format('grant usage on schema tenantcache to %I', process_role);
    execute format('grant select, insert, update, delete on all tables in schema tenantcache to %I', process_role);
    execute format('grant execute on all routines in schema tenantcache to %I', process_role);
end
$$;

create or replace procedure tenantcache.share() language plpgsql as $share$
declare
    routine regprocedure;
    process_role name;
begin
    for routine in
        select p.oid from pg_proc p where p.pronamespace = 'tenantcache'::regnamespace and (p.proacl is null
            or exists (select from aclexplode(p.proacl) a where a.grantee = 0))
    loop
        execute format('revoke execute on routine %s from public', routine);
    end loop;
    for process_role in
        select r.rolname from pg_class c, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
        where c.oid = 'tenantcache.processes'::regclass and a.privilege_type = 'INSERT' and a.grantee <> c.relowner and (
            exists (select from pg_proc p where p.pronamespace = 'tenantcache'::regnamespace
                and not has_function_privilege(r.oid, p.oid, 'execute'))
            or not has_table_privilege(r.oid, 'tenantcache.outbox', 'select')
            or not has_table_privilege(r.oid, 'tenantcache.process_reports', 'insert'))
    loop
        call tenantcache.give_rights(process_role);
    end loop;
end
$share$;
call tenantcache.share();
