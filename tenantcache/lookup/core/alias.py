"""Aliases: the names under which a tenant is looked up, in memory, in Redis, in SQL and in the log.

An alias is a text that says what kind of name it holds: `id:1`, `subdomain:acme`, `domain:shop.acme.io`,
`name:team:acme`. Aliases are made and cut here alone.
"""

from __future__ import annotations

_ID, _SUBDOMAIN, _DOMAIN, _NAME = "id:", "subdomain:", "domain:", "name:"


def id_alias(tenant_id: str) -> str:
    """A tenant that is asked for by its id is kept like one that was found by host."""
    return _ID + tenant_id


def subdomain_alias(label: str) -> str:
    """`label` "" stands for the base domain itself."""
    return _SUBDOMAIN + label


def domain_alias(domain: str) -> str:
    return _DOMAIN + domain


def name_alias(kind: str, name: str) -> str:
    """A name is unique within its kind. `kind` "" stands for the tenants without one."""
    return f"{_NAME}{kind}:{name}"


def is_alias(text: str) -> bool:
    """Whether `text` is an alias, and not a host."""
    return text.startswith((_ID, _SUBDOMAIN, _DOMAIN, _NAME))


def is_id(alias: str) -> bool:
    return alias.startswith(_ID)


def is_domain(alias: str) -> bool:
    return alias.startswith(_DOMAIN)


def id_in(alias: str) -> str | None:
    """The tenant's id in `alias`; None if it holds another kind of name."""
    return alias[len(_ID) :] if alias.startswith(_ID) else None


def cut(alias: str) -> tuple[str, str]:
    """What kind of name `alias` holds (`subdomain`), and the name (`acme`)."""
    kind, _, name = alias.partition(":")
    return kind, name
