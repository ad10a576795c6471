"""What asyncpg and the network raise, as the errors of this package."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tenantcache.errors import SchemaMissingError, StoreError
from tenantcache.stores.reasons import postgres_reason

FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError, TimeoutError)

OF_BEFORE = "the database has no tenantcache tables, or old ones: run `tenantcache init` on it"


@asynccontextmanager
async def translate_errors(doing: str) -> AsyncIterator[None]:
    """Turn what asyncpg and the network raise into `StoreError` (or `SchemaMissingError`), never with a password."""
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedFunctionError) as error:
        raise SchemaMissingError(OF_BEFORE) from error
    except asyncpg.UndefinedColumnError as error:
        if error.context:  # inside a function: the column may be one of an adopted table
            raise StoreError(f"Postgres {postgres_reason(error)} (while {doing})") from error
        raise SchemaMissingError(OF_BEFORE) from error
    except TimeoutError as error:
        raise StoreError(f"Postgres did not answer in time while {doing}") from error
    # asyncpg says "internal error" if a backend was terminated while idle.
    except FAULTS as error:
        raise StoreError(f"Postgres {postgres_reason(error)} (while {doing})") from error
