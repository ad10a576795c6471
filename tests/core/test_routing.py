"""A batch of debits over two stores: which part goes where, and the answers put together again."""

from __future__ import annotations

import pytest

from tenantcache.ratelimit.core.agreement import Store
from tenantcache.ratelimit.core.routing import Routing
from tenantcache.ratelimit.core.windows import OUT_OF_REACH, Debit, Window

MINUTE, BEFORE, QUARTER, DAY = Window("minute", 30), Window("minute", 29), Window("quarter", 2), Window("day", 7)
ACME = [Debit(MINUTE, 5), Debit(QUARTER, 2), Debit(DAY, 40)]
GLOBEX = [Debit(MINUTE, 3), Debit(BEFORE, 0)]
INITECH = [Debit(DAY, 9)]


def store_of(debit: Debit) -> Store | None:
    """Days are in Postgres, and the minute before cannot be read."""
    if debit.window == BEFORE:
        return None
    return "postgres" if debit.window.unit == "day" else "redis"


@pytest.fixture
def routing() -> Routing:
    return Routing([ACME, GLOBEX, INITECH], store_of)


def test_each_store_is_asked_for_its_part_in_the_order_of_the_batch(routing: Routing) -> None:
    assert routing.part("redis") == {0: [Debit(MINUTE, 5), Debit(QUARTER, 2)], 1: [Debit(MINUTE, 3)]}
    assert routing.part("postgres") == {0: [Debit(DAY, 40)], 2: [Debit(DAY, 9)]}
    assert list(routing.part("postgres")) == [0, 2]


def test_answers_come_back_to_the_places_of_their_debits(routing: Routing) -> None:
    routing.enter("postgres", [[140], [209]])
    routing.enter("redis", [[15, 12], [33]])
    assert routing.values == [[15, 12, 140], [33, OUT_OF_REACH], [209]]


def test_a_store_that_is_asked_for_nothing_has_no_part() -> None:
    routing = Routing([[Debit(BEFORE, 0)]], store_of)
    assert (routing.part("redis"), routing.part("postgres")) == ({}, {})
    assert routing.values == [[OUT_OF_REACH]]


def test_what_one_store_answered_is_known_if_the_other_one_fails(routing: Routing) -> None:
    routing.enter("postgres", [[140], [209]])
    routing.fail("redis", ())
    assert routing.known == [[None, None, 140], [None, OUT_OF_REACH], [209]]


def test_what_a_store_answered_in_part_is_known(routing: Routing) -> None:
    """One of its commands failed, and the other one did not."""
    routing.enter("postgres", [[140], [209]])
    routing.fail("redis", [[15, None], [None]])
    assert routing.known == [[15, None, 140], [None, OUT_OF_REACH], [209]]


def test_an_account_that_one_store_failed_asks_nothing_of_the_other_one(routing: Routing) -> None:
    """It could not use it. The others go on."""
    routing.fail("postgres", ())
    assert routing.part("redis") == {1: [Debit(MINUTE, 3)]}
    routing.enter("redis", [[33]])
    assert routing.known == [[None, None, None], [33, OUT_OF_REACH], [None]]


def test_an_account_that_a_failing_store_has_answered_asks_the_other_one(routing: Routing) -> None:
    routing.fail("postgres", [[140], [None]])
    assert routing.part("redis") == {0: [Debit(MINUTE, 5), Debit(QUARTER, 2)], 1: [Debit(MINUTE, 3)]}


def test_nothing_was_debited_for_certain_if_no_store_answered() -> None:
    routing = Routing([ACME, GLOBEX, INITECH], store_of)
    routing.fail("postgres", ())
    routing.fail("redis", ())
    assert routing.known == []
