"""Reading the tenant that a person names: from Postgres, so that it costs nothing."""

from __future__ import annotations

from tenantcache.cli.engine import CommandEngine
from tenantcache.errors import InvalidDomainError, UnknownTenantError
from tenantcache.lookup.core.alias import domain_alias, id_alias
from tenantcache.tenant import LimitOrigins, Row, Tenant, tenant_from_row


async def get_tenant(engine: CommandEngine, tenant_id: str) -> Tenant:
    """The tenant with that id. Raises `UnknownTenantError`, which names the tenant that has the text as its host."""
    row = await _row_by_id(engine, tenant_id)
    if row is None:
        owner = await _row_by_host(engine, tenant_id)
        hint = "" if owner is None else f"; the host of that name leads to the tenant {owner['id']!r}"
        raise UnknownTenantError(f"there is no tenant with the id {tenant_id!r}{hint}")
    return tenant_from_row(row, engine.settings.limit_table)


async def find_tenant(engine: CommandEngine, name: str) -> tuple[Tenant, LimitOrigins]:
    """The tenant with that id, else the one that the host leads to, and where its limits come from.

    Raises `UnknownTenantError`.
    """
    row = await _row_by_id(engine, name) or await _row_by_host(engine, name)
    if row is None:
        raise UnknownTenantError(
            f"{name!r} is neither the id of a tenant nor a host that leads to one; `tenantcache resolve` says why"
        )
    limits = engine.settings.limit_table
    return tenant_from_row(row, limits), limits.origins(row)


async def origins_of(engine: CommandEngine, tenant: Tenant) -> LimitOrigins | None:
    """Where the limits of a tenant come from; None if it is not there any more."""
    row = await _row_by_id(engine, tenant.id)
    return None if row is None else engine.settings.limit_table.origins(row)


async def _row_by_id(engine: CommandEngine, tenant_id: str) -> Row | None:
    return await engine.read_row(id_alias(tenant_id)) if is_storable(tenant_id) else None


async def _row_by_host(engine: CommandEngine, host: str) -> Row | None:
    alias = engine.hosts.classify(host.encode("utf-8", "surrogateescape")).alias
    return None if alias is None else await engine.read_row(alias)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold `text`: arguments may have octets that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


async def find_domain(engine: CommandEngine, name: str) -> tuple[str, Row | None]:
    """The domain as requests have it, and the tenant that it leads to. Raises `InvalidDomainError`."""
    try:
        domain = engine.hosts.normalise_domain(name)
    except ValueError as error:
        raise InvalidDomainError(str(error)) from None
    return domain, await engine.read_row(domain_alias(domain))


async def find_used_id(engine: CommandEngine, name: str) -> str:
    """The id of a tenant that is there, or that was: usage outlives its tenant. Raises `UnknownTenantError`."""
    if is_storable(name) and await engine.usage.last_seen([name]):
        return name
    return (await find_tenant(engine, name))[0].id
