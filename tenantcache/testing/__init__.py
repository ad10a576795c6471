"""For the tests of an application: an engine in memory, a clock that stands still, and clients that act as a tenant.

With pytest use the fixtures of `pytest_tenantcache`, which is installed along: see docs/testing.md. The parts are here
for other test runners. Only the names below are public.
"""

from tenantcache.testing.acting import Acting, acting_as
from tenantcache.testing.clock import FakeClock
from tenantcache.testing.engine import MemoryCache
from tenantcache.testing.standin import standing_in
from tenantcache.testing.tenants import TenantTable

__all__ = ["Acting", "FakeClock", "MemoryCache", "TenantTable", "acting_as", "standing_in"]
