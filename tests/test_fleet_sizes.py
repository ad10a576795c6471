"""What docs/costs.md says of fleets of several sizes."""

from __future__ import annotations

import re

import pytest

from benchmarks.fleet_sizes import FLEETS, PAGE, SIZES, Figures, measure, table


def test_a_day_is_its_requests_and_a_deployment() -> None:
    row = Figures(tenants=100, rate=10.0, size=8, start=50, steady=0.01, stop=3, again=5)
    assert row.a_day == 8_640 + 64
    assert row.a_request == pytest.approx(8_704 / 864_000)
    assert row.a_month == pytest.approx(0.52224)  # 261,120 commands at $0.20 per 100,000


async def test_it_is_simulated_with_the_librarys_own_limiter() -> None:
    one, two = [await measure(20, 2.0, size, minutes=6, seed=1) for size in (1, 2)]
    assert await measure(20, 2.0, 2, minutes=6, seed=1) == two
    assert one.steady < two.steady < 1
    assert min(one.start, one.stop, one.again) > 0
    assert table([one, two]).count("\n| 20 | 2 | ") == 2


def test_the_page_has_every_fleet_on_every_size() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \| (\d+) \| \d+ \| [\d.]+ \|", text, re.MULTILINE)
    assert rows == [(f"{tenants:,}", f"{rate:,g}", str(size)) for tenants, rate, _ in FLEETS for size in SIZES]
