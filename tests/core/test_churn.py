"""What was written again before it was read, told from deeds and from two looks."""

from __future__ import annotations

import pytest

from tenantcache.budget.core.churn import Churn, Ledger, Look, compare_looks
from tenantcache.budget.core.finding import Severity
from tenantcache.budget.core.monitorline import Deed, read_event, read_line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (rb'1.5 [0 127.0.0.1:1] "SET" "a" "1"', [(Deed.WRITE, b"a")]),
        (rb'1.5 [0 127.0.0.1:1] "set" "a" "1" "EX" "60"', [(Deed.WRITE, b"a")]),
        (rb'1.5 [0 127.0.0.1:1] "SET" "lock" "1" "nx" "EX" "60"', []),
        (rb'1.5 [0 127.0.0.1:1] "SET" "a" "1" "GET"', [(Deed.READ, b"a"), (Deed.WRITE, b"a")]),
        (rb'1.5 [0 lua] "GET" "a b"', [(Deed.READ, b"a b")]),
        (rb'1.5 [0 unix:/x] "MSET" "a" "1" "b" "2"', [(Deed.WRITE, b"a"), (Deed.WRITE, b"b")]),
        (rb'1.5 [0 127.0.0.1:1] "MGET" "a" "b"', [(Deed.READ, b"a"), (Deed.READ, b"b")]),
        (rb'1.5 [0 127.0.0.1:1] "UNLINK" "a"', [(Deed.GONE, b"a")]),
        (rb'1.5 [0 127.0.0.1:1] "GET" "q\"\\\x1b\n"', [(Deed.READ, b'q"\\\x1b\n')]),
        (rb'1.5 [3 127.0.0.1:1] "SET" "a" "1"', []),
        (rb'1.5 [0 127.0.0.1:1] "PING"', []),
        (b"OK", []),
    ],
)
def test_lines_of_monitor(line: bytes, expected: list[tuple[Deed, bytes]]) -> None:
    assert list(read_line(line, 0)) == expected


def test_events() -> None:
    assert read_event(b"__keyevent@0__:set", b"a") == (Deed.WRITE, b"a")
    assert read_event(b"__keyevent@0__:expired", b"a") == (Deed.EXPIRED, b"a")
    assert read_event(b"__keyevent@0__:expire", b"a") is None


def followed(*deeds: Deed, sees_reads: bool = True) -> Churn:
    ledger = Ledger(sees_reads)
    for deed in deeds:
        ledger.enter(deed, b"user:1")
    [found] = ledger.churn()
    return found


W, R = Deed.WRITE, Deed.READ


@pytest.mark.parametrize(
    ("deeds", "expected"),
    [
        ([W], Churn("user:{id}", 1, 0, 0, 0, 1)),
        ([W, W, W], Churn("user:{id}", 3, 2, 2, 0, 1)),
        ([W, R, W, R], Churn("user:{id}", 2, 1, 0, 2)),
        ([W, R, W, W], Churn("user:{id}", 3, 2, 1, 1, 1)),
        ([W, Deed.EXPIRED], Churn("user:{id}", 1, 0, 1, 0)),
        ([W, R, Deed.EXPIRED, W], Churn("user:{id}", 2, 0, 0, 1, 1)),
        ([W, Deed.GONE, W], Churn("user:{id}", 2, 0, 0, 0, 1)),
    ],
)
def test_a_key_from_deed_to_deed(deeds: list[Deed], expected: Churn) -> None:
    assert followed(*deeds) == expected


def test_without_reads_nothing_is_called_wasted() -> None:
    found = followed(*[W] * 50, sees_reads=False)
    assert (found.rewrites, found.wasted, found.severity) == (49, None, Severity.OK)


def test_the_severity_is_by_share_and_wants_some_writes() -> None:
    assert followed(*[W] * 5).severity is Severity.OK
    assert followed(*[W] * 40).severity is Severity.CRIT
    assert followed(*[W, W, R] * 10).severity is Severity.WARN
    assert followed(*[W, R] * 20).severity is Severity.OK


def test_two_looks() -> None:
    """Session keys live 300 s. The longest time left says so."""
    first = {
        ("s", b"fresh"): Look(299, 1),
        ("s", b"unread"): Look(100, 200),
        ("s", b"read"): Look(100, 5),
        ("s", b"left alone"): Look(100, 200),
        ("s", b"gone"): Look(3, 297),
        ("s", b"never expires"): Look(-1, 10),
    }
    second = {
        ("s", b"fresh"): Look(289, 11),
        ("s", b"unread"): Look(295, 5),
        ("s", b"read"): Look(295, 5),
        ("s", b"left alone"): Look(90, 210),
        ("s", b"never expires"): Look(-1, 0),
    }
    assert compare_looks(first, second, 10) == [Churn("s", 2, 2, 1, None, at_most=True)]
    blind = {name: Look(look.ttl, None) for name, look in first.items()}
    assert compare_looks(blind, second, 10) == [Churn("s", 2, 2, None, None, at_most=True)]


def test_what_may_have_been_read_is_never_critical() -> None:
    first = {("s", b"%d" % number): Look(100, 200) for number in range(20)} | {("s", b"new"): Look(300, 0)}
    second = {name: Look(295, 5) for name in first}
    assert [one.severity for one in compare_looks(first, second, 10)] == [Severity.WARN]
