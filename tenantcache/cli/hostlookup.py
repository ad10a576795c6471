"""What the stores say of a host that names something: asked as a process asks them, and nothing is written."""

from __future__ import annotations

from dataclasses import dataclass

from tenantcache.cli.engine import CommandEngine, UnwrittenCopies, open_engine
from tenantcache.cli.reader import TenantReader, open_reader
from tenantcache.errors import ConfigurationError
from tenantcache.lookup.core.alias import cut
from tenantcache.lookup.core.hosts import HostMatch
from tenantcache.settings.model import Settings, variable_of
from tenantcache.tenant import LimitOrigins, Tenant, tenant_from_row


@dataclass(frozen=True, slots=True)
class CopyAnswer:
    """What became of the copy in Redis. `tenant` is set if it is believed."""

    told: str
    tenant: Tenant | None
    billed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """`tier` is the store that answered. `advice` says what to do if there is no tenant. `copy` if Redis was asked."""

    tier: str
    tenant: Tenant | None = None
    origins: LimitOrigins | None = None
    advice: str | None = None
    copy: CopyAnswer | None = None
    is_adopted: bool = False


async def look_up(match: HostMatch, *, redis: bool) -> Answer:
    """Ask Redis, if that is wanted, then Postgres.

    Raises `UnreachableError`, SchemaMissingError and ConfigurationError.
    """
    assert match.alias is not None
    copy = await ask_redis(match) if redis else None
    async with open_reader() as reader:
        row = await reader.read_row(match.alias)
        is_adopted = await reader.is_adopted()
        if row is None:
            advice = await _advise_on_missing(reader, match.alias, is_adopted=is_adopted)
            return Answer("postgres", None, None, advice, copy, is_adopted)
    limits = reader.settings.limit_table
    believed = None if copy is None else copy.tenant
    tenant = tenant_from_row(row, limits) if believed is None else believed
    tier = "postgres" if believed is None else "redis"
    return Answer(tier, tenant, limits.origins(row), None, copy, is_adopted)


async def ask_redis(match: HostMatch) -> CopyAnswer:
    """Look the host up as a process with an empty memory does, for one billed command."""
    if Settings().redis_url is None:
        raise ConfigurationError(f"--redis: {variable_of('redis_url')} is not set, so there are no copies to ask for")
    async with open_engine(reads_only=True) as engine:
        entry = await engine.find(match)
        return CopyAnswer(_copy_told(engine), entry.tenant if entry.tier == "redis" else None, engine.billed)


def _copy_told(engine: CommandEngine) -> str:
    lookups, copies = engine.stats()["lookups"], engine.copies
    assert isinstance(copies, UnwrittenCopies)
    if lookups["redis_hits"]:
        return "has a copy that is fresh"
    if lookups["redis_refused"]:
        return "has a copy that is refused: older than a change, or of another database"
    if copies.failure is not None:
        return f"cannot be asked: {copies.failure}"
    if not copies.asked:
        return "is not asked, because changes cannot be followed"
    return "has no copy" if engine.billed else f"is not asked in the budget's band {engine.budget.band!r}"


async def _advise_on_missing(reader: TenantReader, alias: str, *, is_adopted: bool) -> str | None:
    """What to do about an alias that leads to no tenant."""
    kind, name = cut(alias)
    if not name:
        return None  # the base domain itself
    rivals = await reader.rivals(alias)
    if len(rivals) > 1:
        return f"several tenants have this name ({', '.join(rivals)}), so it is served for none of them"
    if is_adopted:
        return f"no adopted row gives this name; `tenantcache adopt explain {name}` looks into the query"
    if kind == "subdomain":
        return f"no tenant has it; for a new one: tenantcache tenants create NAME --subdomain {name}"
    claims = await reader.domains.claims(name)
    if claims:
        return f"the tenant {claims[0].tenant_id!r} has asked for it: tenantcache domains verify {name}"
    return f"no tenant has it; for one of them: tenantcache domains add ID {name}"
