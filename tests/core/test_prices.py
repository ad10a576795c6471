"""What commands cost by each way of billing. The figures are those of the providers' pages, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tenantcache.budget.core.meter import Command, Meter, Purpose, weight
from tenantcache.budget.core.prices import PER_COMMAND, Pricing, tariff_of

GET, SET = ("GET", "a"), ("SET", "a", b"x", "EX", 60)


@pytest.mark.parametrize("name", ["AUTH", "HELLO", "SELECT", "COMMAND", "CONFIG", "INFO", "PING", "RESET", "QUIT"])
def test_what_opens_and_describes_a_connection_is_free(name: str) -> None:
    assert PER_COMMAND.units((name,)) == 0
    assert PER_COMMAND.units((name.lower().encode(), "x")) == 0
    assert PER_COMMAND.units((f"{name} GET",)) == 0


@pytest.mark.parametrize("words", [GET, SET, ("CLUSTER", "SLOTS"), ("EVAL", "...", 0), ("CLIENT", "SETINFO")])
def test_anything_else_is_one_command(words: tuple[Any, ...]) -> None:
    assert PER_COMMAND.units(words) == 1


def test_writes_are_billed_once_more_for_each_read_region() -> None:
    tariff = tariff_of("per-command", read_regions=2)
    writes = [SET, ("BITFIELD", "a", "GET", "u8", 0), ("EXPIRE", "a", 9), ("UNLINK", "a"), ("EVALSHA", "1", 0)]
    assert [tariff.units(words) for words in writes] == [3] * 5
    assert [tariff.units(words) for words in (GET, ("MGET", "a", "b"), ("CLUSTER", "SLOTS"), ("PING",))] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("words", "transferred", "expected"),
    [
        (GET, 1, 1),
        (GET, 1_024, 1),
        (GET, 3_277, 4),  # AWS: a GET of 3.2 KB is 3.2 ECPUs
        (("PING",), 4, 0),
        (("CLUSTER", "SLOTS"), 900, 0),
        (("BITFIELD", "a", "OVERFLOW", "SAT", *("INCRBY", "u32", "#0", 1) * 3_000), 60_000, 361),
        (("BITFIELD", "a", "OVERFLOW", "SAT", "INCRBY", "u32", "#0", 1), 40, 1),
    ],
)
def test_ecpus_are_kilobytes_or_cpu_time_whichever_is_more(
    words: tuple[Any, ...], transferred: int, expected: int
) -> None:
    assert tariff_of("ecpu").units(words, transferred) == expected


def test_flat_plans_bill_no_command() -> None:
    tariff = tariff_of("flat", price=9.0)
    assert (tariff.units(SET), tariff.cost(1_000_000)) == (0, 0)


@pytest.mark.parametrize(
    ("pricing", "price", "expected"),
    [("per-command", None, 2.0), ("per-command", 0.4, 4.0), ("per-command", 0.0, 0.0), ("ecpu", None, 0.0034)],
)
def test_a_million_costs(pricing: Pricing, price: float | None, expected: float) -> None:
    assert tariff_of(pricing, price=price).cost(1_000_000) == pytest.approx(expected)


def test_the_meter_counts_by_command_and_purpose() -> None:
    meter, heard = Meter(tariff_of("per-command", read_regions=1)), []
    meter.on_billed = lambda: heard.append(meter.billed)
    meter.send([Command(Purpose.LOOKUP, GET), Command(Purpose.FILL, SET)])
    meter.send([Command(Purpose.PROBE, ("PING",)), Command(Purpose.PROBE, SET)])
    assert heard == [3, 5]
    billed = {purpose: count for purpose, count in meter.by_purpose().items() if count}
    assert billed == {Purpose.LOOKUP: 1, Purpose.FILL: 2, Purpose.PROBE: 2}
    found = {name: (count.commands, count.billed) for name, count in meter.by_command().items()}
    assert found == {"GET": (1, 1), "SET": (2, 4), "PING": (1, 0)}


def test_a_reply_counts_together_with_what_was_sent() -> None:
    meter, commands = Meter(tariff_of("ecpu")), [Command(Purpose.LOOKUP, ("GET", "k" * 1_000))]
    meter.send(commands)
    meter.receive(commands, [b"x" * 2_000])
    assert meter.billed == 3  # 3,003 bytes
    assert meter.by_command()["GET"].commands == 1


def test_what_words_weigh() -> None:
    assert weight([b"abc", "de", 10, None, [b"f", -1]]) == 10
