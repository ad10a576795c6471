"""A page about the whole fleet, to be mounted in an application: docs/dashboard.md.

app.mount("/ops/tenantcache", Dashboard(cache, auth=may_see))
"""

from __future__ import annotations

from tenantcache.web.auth import Auth
from tenantcache.web.dashboard.access import from_this_machine
from tenantcache.web.dashboard.app import Dashboard

__all__ = ["Auth", "Dashboard", "from_this_machine"]
