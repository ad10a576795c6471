import asyncio
import os
import tempfile
from importlib.metadata import version

import asyncpg

from tenantcache import Settings, TenantCache
from tenantcache.devservers import PostgresServer
from tenantcache.schema import install


async def load() -> list[str]:
    return ["dark"]


async def main(url: str) -> None:
    connection = await asyncpg.connect(url)
    await install.install(connection)
    await connection.execute("insert into tenantcache.tenants (id, name, subdomain) values ('1', 'Acme', 'acme')")
    await connection.execute("insert into tenantcache.tenant_domains values ('shop.acme.io', '1')")
    await connection.close()
    for _ in range(2):
        async with TenantCache(Settings(database_url=url, redis_url=os.environ["REDIS_URL"], warm_up=False)) as cache:
            for host in ("acme.localhost", "shop.acme.io", "unknown.example.com"):
                tenant = await cache.resolve(host)
                if tenant is not None:
                    await cache.check(tenant)
            for form in (None, list[str]):  # written at the second load, because commands are billed
                await cache.values.get_or_load("theme", load, tenant="1", kind="static", type=form)
                await cache.values.invalidate("theme", tenant="1")
                await cache.values.get_or_load("theme", load, tenant="1", kind="static", type=form)
            await asyncio.sleep(0.1)


with tempfile.TemporaryDirectory(prefix="tenantcache-recorded-", dir="/tmp") as directory:
    os.chmod(directory, 0o755)
    with PostgresServer(os.path.join(directory, "data")) as server:
        asyncio.run(main(server.database_url("postgres")))
print("tenantcache", version("tenantcache"))
