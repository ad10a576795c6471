"""Which values a call is about, on what terms, and how the log is told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tenantcache.lookup.current import current_tenant
from tenantcache.tenant import Tenant
from tenantcache.values.core.keytemplate import KeyTemplate
from tenantcache.values.core.kind import ValueKind, find_kind
from tenantcache.values.core.terms import Tags, Terms
from tenantcache.values.core.valuekey import text_of
from tenantcache.values.memory import Place
from tenantcache.values.parts import ValueParts


class Scope:
    """The values of tenants, or those that belong to none."""

    def __init__(self, parts: ValueParts, *, is_shared: bool = False) -> None:
        self.parts = parts
        self.is_shared = is_shared
        self._claimed: dict[str, str] = {}

    def tenant_id(self, tenant: Tenant | str | None) -> str | None:
        """That of `tenant`, or of the current one. None: shared. Raises LookupError without one, and TypeError."""
        if self.is_shared:
            if tenant is not None:
                raise TypeError("values.shared belongs to no tenant: leave tenant= out")
            return None
        if tenant is None:
            tenant = current_tenant()
            if tenant is None:
                raise LookupError(
                    "no tenant: give tenant=, or call this in a request that has one; values.shared is for what belongs"
                    " to no tenant"
                )
        found = tenant.id if isinstance(tenant, Tenant) else tenant
        if not isinstance(found, str) or not found:
            raise TypeError(f"tenant={found!r:.80} is not possible; give a Tenant or its id")
        return found

    def place(self, key: str, tenant: Tenant | str | None, form: object) -> Place:
        """That of one value. Raises as `tenant_id` does, and TypeError for a key that is not a text."""
        return self.tenant_id(tenant), text_of("a key", key), form

    def terms(self, kind: ValueKind | str | None, tags: Tags, form: object, options: Mapping[str, object]) -> Terms:
        """`form` is the type of the values, and `options` are parts of the kind. Raises TypeError and ValueError."""
        found = find_kind(kind, self.parts.kinds, options)
        lifetime = found.lifetime(self.parts.negative_ttl)
        return Terms(lifetime, tags, self.parts.codecs.of(form), found.soft, found.hard)

    def claim(self, template: KeyTemplate, function: Callable[..., object]) -> None:
        """Say that keys like this are those of `function`. Raises TypeError if they are another one's."""
        name = f"{function.__module__}.{function.__qualname__}"
        other = self._claimed.setdefault(template.pattern, name)
        if other != name:
            raise TypeError(
                f"{name}: the key {template.text!r} is that of {other} already, so each would be given the other's"
                " values; begin it with another word"
            )

    async def log(self, names: Sequence[str]) -> None:
        """Tell every process of names, and return once that is applied here. Raises `StoreUnavailableError`."""
        await self.parts.tell(names)
