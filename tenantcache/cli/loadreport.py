"""What a load test saw, by tenant: requests, 429s, and what the headers said. Sends nothing itself."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = 15
"""Tenants in the table: those with the most requests."""

_REMAINING = re.compile(r'"([^"]+)";r=(\d+)')


class Zipf:
    """Draws one of `hosts`, that of rank r in proportion to 1 / r ** `skew`. `random` gives floats in [0, 1)."""

    def __init__(self, hosts: Sequence[str], skew: float, random: Callable[[], float]) -> None:
        self._hosts = hosts
        self._cumulative = list(itertools.accumulate(1 / rank**skew for rank in range(1, len(hosts) + 1)))
        self._random = random

    def __call__(self) -> str:
        return self._hosts[bisect.bisect(self._cumulative, self._random() * self._cumulative[-1])]


@dataclass
class HostCount:
    """One tenant's. `least` is by limit, the lowest number of tokens that a `RateLimit` header said are left."""

    requests: int = 0
    limited: int = 0
    failed: int = 0
    least: dict[str, int] = field(default_factory=dict)


@dataclass
class LoadReport:
    """Counts since the start; may be sent to another process as JSON and merged there."""

    hosts: dict[str, HostCount] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)
    without_headers: int = 0
    without_retry_after: int = 0

    def note(self, host: str, status: int, headers: Mapping[str, str]) -> bool:
        """Count one answer (status 0: there was none); True if it is as it should be, which 429 is."""
        count = self.hosts.setdefault(host, HostCount())
        count.requests += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 429:
            count.limited += 1
            self.without_retry_after += "retry-after" not in headers
        elif not 200 <= status < 400:
            count.failed += 1
            return False
        state = headers.get("ratelimit")
        self.without_headers += state is None
        for policy, left in _REMAINING.findall(state or ""):
            count.least[policy] = min(int(left), count.least.get(policy, int(left)))
        return True

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        return sum(count.failed for count in self.hosts.values())

    def drain(self) -> dict[str, Any]:
        """Everything counted since the last call, as JSON; counts begin anew."""
        hosts = {host: [count.requests, count.limited, count.failed, count.least] for host, count in self.hosts.items()}
        statuses = {str(status): count for status, count in self.statuses.items()}
        drained = {"hosts": hosts, "statuses": statuses, "without": [self.without_headers, self.without_retry_after]}
        self.hosts, self.statuses, self.without_headers, self.without_retry_after = {}, {}, 0, 0
        return drained

    def merge(self, other: dict[str, Any]) -> None:
        """Add what `drain` of another process gave."""
        for host, (requests, limited, failed, least) in other["hosts"].items():
            count = self.hosts.setdefault(host, HostCount())
            count.requests += requests
            count.limited += limited
            count.failed += failed
            for policy, left in least.items():
                count.least[policy] = min(left, count.least.get(policy, left))
        for status, number in other["statuses"].items():
            self.statuses[int(status)] = self.statuses.get(int(status), 0) + number
        self.without_headers += other["without"][0]
        self.without_retry_after += other["without"][1]

    def text(self, seconds: float) -> str:
        """The report, for a terminal; `seconds` is how long the test took."""
        lines = [f"{self.requests:,} requests in {seconds:.0f} s, {self.requests / seconds:,.0f} a second", ""]
        for status, number in sorted(self.statuses.items()):
            name = {0: "no answer", 429: "429, limit reached"}.get(status, str(status))
            lines.append(f"  {name:20} {number:10,}  {number / self.requests:6.1%}")
        lines += ["", f"  {'tenant':40} {'requests':>10} {'a second':>9} {'429':>8} {'failed':>7}  least left"]
        busiest = sorted(self.hosts.items(), key=lambda item: (-item[1].requests, item[0]))
        for host, count in busiest[:SHOWN]:
            left = ", ".join(f"{policy} {number:,}" for policy, number in count.least.items())
            rate = count.requests / seconds
            lines.append(
                f"  {host:40} {count.requests:10,} {rate:9.1f} {count.limited:8,} {count.failed:7,}  {left or '-'}"
            )
        if len(busiest) > SHOWN:
            lines.append(f"  and {len(busiest) - SHOWN:,} more")
        lines += ["", *self._remarks()]
        return "\n".join(lines)

    def _remarks(self) -> list[str]:
        remarks = []
        if self.without_headers:
            remarks.append(f"{self.without_headers:,} answers had no RateLimit header.")
        if self.without_retry_after:
            remarks.append(f"{self.without_retry_after:,} answers of 429 had no Retry-After.")
        if self.failed:
            remarks.append(f"{self.failed:,} requests failed: neither admitted nor over a limit.")
        return remarks or ["Every answer was one of the application, or 429 with Retry-After."]
