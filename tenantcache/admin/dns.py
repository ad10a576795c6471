"""Asking the DNS for TXT records. Three things can come of it: records, none, and not being able to ask.

The default needs `pip install 'tenantcache[dns]'` (dnspython); anything with a method `txt` will do instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from tenantcache.errors import ConfigurationError, DnsUnreachableError

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

LIFETIME = 5.0
"""Seconds for one question, all tries and servers together: dnspython's own default, and a person waits."""


class TxtResolver(Protocol):
    """Looks TXT records up."""

    async def txt(self, name: str) -> Sequence[str]:
        """The values of all TXT records at `name`, the strings of each joined; none if the DNS says there are none.

        Raises `DnsUnreachableError` for everything else: a timeout, SERVFAIL, a refusal.
        """
        ...


class DnspythonResolver:
    """`TxtResolver` by dnspython. `nameservers` are IP addresses; without them the system's are asked."""

    def __init__(self, nameservers: Sequence[str] = (), *, port: int = 53, lifetime: float = LIFETIME) -> None:
        self._nameservers = tuple(nameservers)
        self._port = port
        self._lifetime = lifetime
        self._resolver: Resolver | None = None

    async def txt(self, name: str) -> Sequence[str]:
        resolver = self._open()
        import dns.exception
        import dns.resolver

        try:
            # An absolute name: without the search list, no other zone answers for it.
            answer = await resolver.resolve(name + ".", "TXT", lifetime=self._lifetime)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise DnsUnreachableError(f"the DNS could not be asked ({type(error).__name__})") from error
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]

    def _open(self) -> Resolver:
        if self._resolver is None:
            try:
                import dns.asyncresolver
                import dns.resolver
            except ImportError as error:
                raise ConfigurationError(
                    "proving domains needs dnspython: pip install 'tenantcache[dns]', or set cache.domains.dns"
                ) from error
            try:
                resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            except dns.resolver.NoResolverConfiguration as error:
                raise DnsUnreachableError("this machine has no DNS servers configured") from error
            if self._nameservers:
                resolver.nameservers = list(self._nameservers)
            resolver.port = self._port
            self._resolver = resolver
        return self._resolver
