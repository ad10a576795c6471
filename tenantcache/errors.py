"""What can go wrong that no retry mends, and what a caller can do about it.

A refusal (limit reached, tenant unknown) is a value, never an exception. Messages name the setting or the
object, say what was wrong and what would be right, and never hold a password or a Host header.
"""

from __future__ import annotations


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
