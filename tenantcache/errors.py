"""All exceptions: what went wrong, and what a caller can do about it.

A refusal (limit reached, tenant unknown) is a value, never an exception. Messages name the setting or the
object, say what was wrong and what would be right, and never hold a password or a Host header.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenantcache.ratelimit.core.windows import CounterValues


class TenantCacheError(Exception):
    """Base of all exceptions that tenantcache raises."""


class ConfigurationError(TenantCacheError):
    """The settings cannot work. The text lists every fault at once, one a line."""


class SchemaMissingError(TenantCacheError):
    """The database has no tenantcache tables, or old ones. The text says to run `tenantcache init`."""


class StoreUnavailableError(TenantCacheError):
    """Neither a store nor a copy that is fresh enough could answer.

    `retry_after` is in whole seconds, for the header of that name.
    """

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotOpenError(TenantCacheError):
    """The engine is closed, was never opened, or is open in another event loop."""


class AdoptedTableError(TenantCacheError):
    """The tenants live in an adopted table, which only the means of its own application may write."""


class UnknownTenantError(TenantCacheError):
    """No tenant has that id."""


class UnknownDomainError(TenantCacheError):
    """No tenant has that domain or has asked for it; or the tenant that a call names has not."""


class NameTakenError(TenantCacheError):
    """Another tenant has that id, subdomain or domain. The text does not say which tenant."""


class InvalidTenantError(TenantCacheError, ValueError):
    """A tenant cannot be like this. The text lists every fault, one a line."""


class InvalidDomainError(TenantCacheError, ValueError):
    """A name that cannot be a custom domain here. The text says why."""


class DnsUnreachableError(TenantCacheError):
    """The DNS could not be asked, or did not say. This tells nothing about the records."""


class UnreachableError(TenantCacheError):
    """A server that a command was given cannot be used. The text names host:port, and says what to do."""


class OverQuotaError(UnreachableError):
    """The provider refuses to serve this account, because it has used its quota up."""


class SpendingLimitError(TenantCacheError):
    """More billed commands would be sent than the caller allows. None of them was sent."""


class StoreError(Exception):
    """A store could not be asked.

    `refused`: it answered, and refuses to do what it was asked for. `suspended`: the provider refuses to serve this
    account. `starved`: this process did not run for so long that the failure tells nothing about the store.
    `values`: a list for each account of a debit, or none if no debit was made for certain. In it there is one for each
    debit: the counter's new value if the debit was made all the same, in another store, and None otherwise.
    """

    def __init__(self, message: str, *, suspended: bool = False, refused: bool = False, starved: bool = False) -> None:
        super().__init__(message)
        self.suspended = suspended
        self.refused: bool = refused or suspended
        self.starved = starved
        self.values: CounterValues = ()


class RejectedError(StoreError):
    """The store answers, and rejects this very call: it has done nothing, and goes on serving other calls."""


class FailoverError(StoreError):
    """Nothing may be taken now: another store takes over, or this minute was lost. Ask again at `until`.

    `until` is server time, in seconds since the Unix epoch.
    """

    def __init__(self, message: str, *, until: float) -> None:
        super().__init__(message)
        self.until = until


POSTGRES_FAILURES = (StoreError, SchemaMissingError)
"""What a call to Postgres may raise: it did not answer, or it has no tables of ours."""


@contextmanager
def told_as_unavailable(*failures: type[Exception]) -> Iterator[None]:
    """Raise `StoreUnavailableError` in place of each of `failures`, for callers outside of the package."""
    try:
        yield
    except failures as error:
        raise StoreUnavailableError(str(error)) from error
