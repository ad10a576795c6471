"""What the tenants of seven open-source applications look like, so that adoption by query can be tried on real schemas.

One module an application, each with one `APPLICATION`. The tables are rebuilt in our own words from the public
migrations that the module names, and reduced to what says who a tenant is. Names, types and constraints are theirs;
rows and queries are ours.

A look-up is written as an alias:

    subdomain:acme            the label under the base domain; `subdomain:` is the base domain itself
    domain:docs.acme.example  a host of the tenant's own
    slug:acme                 a name that only path and header strategies use; `team:slug:acme` within a kind
    id:42                     the id as text; `team:id:42` within a kind

and what it gives is None (no tenant), or fields that the tenant must have: `id`, `kind` (unless it is ""), `name`,
`status`, `plan`, `limit_per_minute`, `limit_per_day`, `time_zone`, `primary_domain`, and `attributes`, of which the
named keys must be equal. `moved: True` says that the alias is an earlier name, which leads on to the present one.
An alias that several active rows claim gives nothing; a present name wins over an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Found = Mapping[str, Mapping[str, object] | None]
"""Alias -> the fields that a look-up must give, or None for nothing."""


@dataclass(frozen=True, slots=True)
class Query:
    """One adopting query: a SELECT whose columns have our names.

    `watch`: `{"schema.table": "column"}`, the column that holds the tenant's id, for tables about which the query
    says it neither by a foreign key nor by an equality of two columns. `static`: tables that need no watching.
    """

    kind: str
    sql: str
    watch: Mapping[str, str] = field(default_factory=dict)
    static: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction of the application's; `sql` is sent as one message, whatever number of statements it holds.

    `tenant_ids`: the tenants that change by it, `kind:id` in a kind other than "". `becomes`: look-ups afterwards.
    """

    what: str
    sql: str
    tenant_ids: frozenset[str]
    becomes: Found


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration as the application's tool sends it.

    Each of `steps` is one message. `atomic`: all of them are one transaction; otherwise each is one of its own.
    `breaks`: afterwards a query of the application's finds no more something that it names. `theirs`: they
    published it; otherwise it is what their tool would send for a change that they have not made.
    """

    what: str
    steps: Sequence[str]
    breaks: bool
    becomes: Found
    atomic: bool = True
    theirs: bool = True


@dataclass(frozen=True, slots=True)
class Application:
    """`schema` and `rows` are scripts; `found` is what look-ups give before any write; `source` names repositories."""

    name: str
    schema: str
    rows: str
    queries: Sequence[Query]
    found: Found
    writes: Sequence[Write]
    migrations: Sequence[Migration]
    source: str
