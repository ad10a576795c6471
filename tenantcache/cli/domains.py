"""`tenantcache domains`: list, add, verify, recheck, make-primary, remove."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenantcache.cli.terminal import AsJson, Exit, Terminal

if TYPE_CHECKING:
    from tenantcache.admin.domains import Challenge, Verification
    from tenantcache.cli.engine import CommandEngine
    from tenantcache.cli.reader import TenantReader

app: typer.Typer = typer.Typer(
    help="Custom domains of tenants, and the proof that they own them.", no_args_is_help=True
)

TenantId = Annotated[str, typer.Argument(metavar="ID", help="The tenant's id.")]
Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="A host name, like shop.example.com.")]
Nameserver = Annotated[
    list[str] | None, typer.Option(metavar="IP", help="Ask this DNS server, not the system's; again for each further.")
]
NameserverPort = Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Of the DNS servers.")]
DNS_PORT = 53


@app.command("list")
def list_domains(
    tenant_id: Annotated[str | None, typer.Argument(metavar="ID", help="The tenant's id.")] = None,
    *,
    domain: Annotated[str | None, typer.Option(help="Which tenants have it, or have asked for it?")] = None,
    as_json: AsJson = False,
) -> None:
    """List a tenant's domains, those that are served and those that wait for their proof.

    Example: tenantcache domains list acme
    """
    if (tenant_id is None) == (domain is None):
        raise typer.BadParameter("give the id of a tenant, or --domain")
    asyncio.run(_list(Terminal(as_json=as_json, unfolded=True), tenant_id, domain))


async def _list(terminal: Terminal, tenant_id: str | None, domain: str | None) -> None:
    from tenantcache.cli.reader import open_reader
    from tenantcache.cli.tenantview import rows_table

    async with open_reader() as reader:
        if domain is not None:
            found = await _owners(reader, domain)
        else:
            assert tenant_id is not None
            found = await _domains_of(reader, tenant_id)
    columns = ("domain", "tenant", "served", "proof", "primary")
    rows = [(one["domain"], one["tenant_id"], _yes(one["served"]), one["proof"], _yes(one["primary"])) for one in found]
    terminal.show({"domains": found}, *([rows_table(columns, rows)] if rows else []))
    if not rows:
        terminal.say("no domains")
    for one in found:
        if one["record_name"] is not None and one["proof"] == "missing":
            terminal.say(f"{one['domain']} waits for a TXT record {one['record_name']} = {one['record_value']}")


def _yes(value: object) -> str:
    return "yes" if value else "no"


async def _domains_of(reader: TenantReader, tenant_id: str) -> list[dict[str, Any]]:
    """What a tenant has, and what it has asked for. Raises `UnknownTenantError`."""
    from tenantcache.cli.tenantread import get_tenant
    from tenantcache.errors import AdoptedTableError

    tenant = await get_tenant(reader, tenant_id)
    try:
        claims = {claim.domain: claim for claim in await reader.domains.challenges(tenant.id)}
    except AdoptedTableError:
        claims = {}
    return [
        _domain(name, tenant.id, claims.get(name), served=name in tenant.domains, primary=name == tenant.primary_domain)
        for name in sorted({*tenant.domains, *claims})
    ]


async def _owners(reader: TenantReader, domain: str) -> list[dict[str, Any]]:
    """The tenant that has a domain, and those that have asked for it. Raises `InvalidDomainError`."""
    from tenantcache.errors import AdoptedTableError, InvalidDomainError
    from tenantcache.lookup.core.alias import domain_alias

    try:
        name = reader.hosts.normalise_domain(domain)
    except ValueError as error:
        raise InvalidDomainError(str(error)) from None
    owner = await reader.read_row(domain_alias(name))
    try:
        claims = {claim.tenant_id: claim for claim in await reader.domains.claims(name)}
    except AdoptedTableError:
        claims = {}
    if owner is None:
        return [_domain(name, tenant_id, claim, served=False, primary=False) for tenant_id, claim in claims.items()]
    own = claims.pop(owner["id"], None)
    served = _domain(name, owner["id"], own, served=True, primary=owner["primary_domain"] == name)
    return [served, *(_domain(name, other, claim, served=False, primary=False) for other, claim in claims.items())]


def _domain(name: str, tenant_id: str, claim: Challenge | None, *, served: bool, primary: bool) -> dict[str, Any]:
    proof = "none needed" if claim is None else "seen" if claim.verified else "missing"
    return {
        "domain": name,
        "tenant_id": tenant_id,
        "served": served,
        "primary": primary,
        "proof": proof,
        "record_name": None if claim is None else claim.record_name,
        "record_value": None if claim is None else claim.record_value,
    }


@app.command()
def add(tenant_id: TenantId, domain: Domain, *, as_json: AsJson = False) -> None:
    """Ask for a domain, and say which TXT record proves it. It is served once `verify` has seen that record.

    Example: tenantcache domains add acme shop.example.com
    """
    asyncio.run(_add(Terminal(as_json=as_json, unfolded=True), tenant_id, domain))


async def _add(terminal: Terminal, tenant_id: str, domain: str) -> None:
    from tenantcache.cli.engine import open_engine
    from tenantcache.cli.tenantread import get_tenant
    from tenantcache.cli.tenantview import lines_table

    async with open_engine() as engine:
        await get_tenant(engine, tenant_id)
        claim = await engine.domains.add(tenant_id, domain)
        billed = engine.billed
    document = _domain(claim.domain, claim.tenant_id, claim, served=claim.served, primary=False)
    lines = [("TXT record", claim.record_name), ("value", claim.record_value)]
    terminal.show(document | {"billed_commands": billed}, lines_table(lines))
    terminal.say(f"then: tenantcache domains verify {claim.domain}")


@app.command()
def verify(
    domain: Domain,
    *,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Look for the token of this tenant alone.")] = None,
    nameserver: Nameserver = None,
    nameserver_port: NameserverPort = DNS_PORT,
    as_json: AsJson = False,
) -> None:
    """Ask the DNS for the proof, and serve the domain if it is there. Exit with 1 if it is not, 3 if the DNS fails.

    With Redis, a proof costs one billed command for each name of the tenant.

    Example: tenantcache domains verify shop.example.com
    """
    servers = (nameserver or [], nameserver_port)
    raise typer.Exit(asyncio.run(_verify(Terminal(as_json=as_json, unfolded=True), domain, tenant, servers)))


async def _verify(terminal: Terminal, domain: str, tenant: str | None, servers: tuple[list[str], int]) -> Exit:
    from tenantcache.cli.engine import open_engine
    from tenantcache.cli.tenantread import get_tenant
    from tenantcache.cli.tenantview import lines_table

    async with open_engine() as engine:
        _use_nameservers(engine, servers)
        if tenant is not None:
            await get_tenant(engine, tenant)
        found = await engine.domains.verify(domain, tenant)
        billed = engine.billed
    lines = [
        ("domain", found.domain),
        ("outcome", found.outcome),
        ("tenant", found.tenant_id or ""),
        ("found", found.detail),
    ]
    terminal.show(_outcome(found) | {"billed_commands": billed}, lines_table(lines))
    return _EXITS[found.outcome]


_EXITS = {"verified": Exit.FINE, "failed": Exit.FINDINGS, "unreachable": Exit.UNREACHABLE}


def _outcome(found: Verification) -> dict[str, Any]:
    return {
        "domain": found.domain,
        "outcome": found.outcome,
        "tenant_id": found.tenant_id,
        "detail": found.detail,
        "removed": found.removed,
    }


def _use_nameservers(engine: CommandEngine, servers: tuple[list[str], int]) -> None:
    from tenantcache.admin.dns import DnspythonResolver

    addresses, port = servers
    if addresses:
        try:
            engine.domains.dns = DnspythonResolver([_address(text) for text in addresses], port=port)
        except ValueError as error:
            raise typer.BadParameter(f"--nameserver: {error}") from None


def _address(text: str) -> str:
    from ipaddress import ip_address

    return str(ip_address(text))


@app.command()
def recheck(
    *,
    limit: Annotated[
        int, typer.Option(min=1, help="Domains to ask about, those first that were asked longest ago.")
    ] = 100,
    grace_days: Annotated[
        float, typer.Option(min=0, help="Days for which a domain may fail before it is served no longer.")
    ] = 7,
    nameserver: Nameserver = None,
    nameserver_port: NameserverPort = DNS_PORT,
    as_json: AsJson = False,
) -> None:
    """Ask again about verified domains. Exit with 1 if one fails. For a timer, once a day.

    Example: tenantcache domains recheck --limit 500
    """
    servers = (nameserver or [], nameserver_port)
    raise typer.Exit(
        asyncio.run(_recheck(Terminal(as_json=as_json, unfolded=True), limit, grace_days * 86_400, servers))
    )


async def _recheck(terminal: Terminal, limit: int, grace: float, servers: tuple[list[str], int]) -> Exit:
    from tenantcache.cli.engine import open_engine
    from tenantcache.cli.tenantview import rows_table

    async with open_engine() as engine:
        _use_nameservers(engine, servers)
        found = await engine.domains.recheck(limit=limit, grace=grace)
        billed = engine.billed
    rows = [
        (one.domain, one.tenant_id, one.outcome + (", no longer served" if one.removed else ""), one.detail)
        for one in found
        if one.outcome != "verified"
    ]
    tables = [rows_table(("domain", "tenant", "outcome", "detail"), rows)] if rows else []
    terminal.show({"domains": [_outcome(one) for one in found], "billed_commands": billed}, *tables)
    terminal.say(f"{len(found)} domains asked about, {len(rows)} without their proof; {billed} billed Redis commands")
    return Exit.FINDINGS if rows else Exit.FINE


@app.command("make-primary")
def make_primary(tenant_id: TenantId, domain: Domain, *, as_json: AsJson = False) -> None:
    """Make a domain of a tenant the one that its others lead to. With Redis, one billed command for each name.

    Example: tenantcache domains make-primary acme shop.example.com
    """
    asyncio.run(_make_primary(Terminal(as_json=as_json, unfolded=True), tenant_id, domain))


async def _make_primary(terminal: Terminal, tenant_id: str, domain: str) -> None:
    from tenantcache.cli.engine import open_engine
    from tenantcache.cli.tenantread import get_tenant
    from tenantcache.cli.tenantview import lines_table

    async with open_engine() as engine:
        await get_tenant(engine, tenant_id)
        await engine.domains.set_primary(tenant_id, domain)
        tenant = await get_tenant(engine, tenant_id)
        billed = engine.billed
    document = {"tenant_id": tenant.id, "primary_domain": tenant.primary_domain, "billed_commands": billed}
    terminal.show(document, lines_table([("primary domain", tenant.primary_domain or "")]))
    terminal.say(f"{billed} billed Redis commands")


@app.command()
def remove(
    tenant_id: Annotated[
        str, typer.Argument(metavar="ID", help="The tenant's id; with --from-every-tenant, the domain.")
    ],
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN", help="A host name.")] = None,
    *,
    from_every_tenant: Annotated[
        bool, typer.Option("--from-every-tenant", help="Whichever tenant has it, and all that have asked for it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve a domain no longer, and forget the claim to it. With Redis this costs one billed command.

    Example: tenantcache domains remove acme shop.example.com --yes
    """
    if from_every_tenant == (domain is not None):
        raise typer.BadParameter("give the id of a tenant and a domain, or a domain and --from-every-tenant")
    owner, name = (tenant_id, domain) if domain is not None else (None, tenant_id)
    asyncio.run(_remove(Terminal(as_json=as_json, unfolded=True), owner, name, yes=yes))


async def _remove(terminal: Terminal, tenant_id: str | None, domain: str, *, yes: bool) -> None:
    from tenantcache.cli.confirm import confirm, refuse_without_terminal
    from tenantcache.cli.engine import open_engine
    from tenantcache.cli.tenantread import get_tenant

    refuse_without_terminal(yes=yes)
    whose = "every tenant" if tenant_id is None else f"the tenant {tenant_id!r}"
    async with open_engine() as engine:
        if tenant_id is not None:
            await get_tenant(engine, tenant_id)
        confirm(f"Take the domain {domain!r} from {whose}?", yes=yes)
        if tenant_id is None:
            await engine.domains.remove_from_every_tenant(domain)
        else:
            await engine.domains.remove(tenant_id, domain)
        billed = engine.billed
    terminal.show({"removed": domain, "tenant_id": tenant_id, "billed_commands": billed})
    terminal.say(f"removed {domain} from {whose}; {billed} billed Redis commands")
