"""The load test of `tenantcache loadtest`, for `locust -f benchmarks/locustfile.py`: docs/load-testing.md."""

from tenantcache.cli.locustfile import *  # noqa: F403
