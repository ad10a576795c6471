"""The load itself, for locust (https://locust.io): `tenantcache loadtest` runs it, and so may `locust -f`.

LOADTEST_HOSTS names a file with one host a line, the busiest first. LOADTEST_PATH is the path to request ("/").
LOADTEST_SKEW says how much busier the first ones are (1: the tenth gets a tenth of the first's requests; 0: all alike).
Each request has the tenant's host in its Host header, whatever address it goes to. An answer of 429 is not a failure:
it is counted apart.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task

from tenantcache.cli.loadreport import LoadReport, Zipf

report: LoadReport = LoadReport()


def _read_hosts() -> list[str]:
    name = os.environ.get("LOADTEST_HOSTS")
    if not name:
        raise SystemExit("LOADTEST_HOSTS is not set; give a file with one host a line, or use `tenantcache loadtest`")
    hosts = [line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip()]
    if not hosts:
        raise SystemExit(f"{name} holds no host; give one a line, like acme.example.com")
    return hosts


class Visitor(FastHttpUser):
    """One connection after another request; `-u` says how many there are at once."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.draw: Zipf = Zipf(_read_hosts(), float(os.environ.get("LOADTEST_SKEW", "1")), random.random)
        self.path: str = os.environ.get("LOADTEST_PATH", "/")

    @task
    def visit(self) -> None:
        host = self.draw()
        options: dict[str, Any] = {"headers": {"Host": host}, "catch_response": True, "allow_redirects": False}
        with self.client.get(self.path, name=self.path, **options) as response:
            headers = {name.lower(): value for name, value in (response.headers or {}).items()}
            if response.status_code == 429:
                # Its latency would make the application's look better than it is.
                response.request_meta["name"] = f"{self.path} (429)"
            if report.note(host, response.status_code or 0, headers):
                response.success()
            else:
                response.failure(f"status {response.status_code}" if response.status_code else "no answer")


# With --processes each process counts for itself, and hands its counts over about every three seconds.


@events.report_to_master.add_listener
def _hand_over(client_id: str, data: dict[str, Any]) -> None:
    data["tenantcache"] = report.drain()


@events.worker_report.add_listener
def _take_over(client_id: str, data: dict[str, Any]) -> None:
    report.merge(data["tenantcache"])


@events.quitting.add_listener
def _show(environment: Any, **_options: Any) -> None:
    if report.requests:
        total = environment.stats.total
        seconds = (total.last_request_timestamp or time.time()) - total.start_time
        print("\n" + report.text(max(1.0, seconds)), flush=True)
