"""The guards of a short run, a few for each promise, and the tests that are enough to notice that one is missing.

Tests that notice after milliseconds are chosen over a search that notices as well. `make mutants` takes all guards.
"""

from __future__ import annotations

from collections.abc import Mapping

RULES = "tests/core/test_freshness.py::"
RACES = "tests/test_resolver_races.py::"
IN_ADVANCE = "tests/core/test_advance.py::"
ON_SCHEMA = "tests/stores/test_schema.py::"
ON_WRITERS = "tests/stores/test_writers.py::"

ENOUGH: Mapping[str, tuple[str, ...]] = {
    # An update is seen everywhere: the rules, the processes that follow, memory.
    "the floor test": (RULES + "TestFloors",),
    "the tail's start": (RULES + "TestFloors",),
    "shared copies: not of another epoch": (RULES + "TestRule4",),
    "a pending read is newer than its entry": (RULES + "TestRule7",),
    "pending changes prove nothing": (RACES + "TestPending",),
    "the index may lack what was pending": (RACES + "TestPending",),
    "an answer overtaken is read again": (RACES + "TestOvertaken",),
    "a change detaches loads in flight": (RACES + "TestOvertaken",),
    "a pull counts from its sending": ("tests/test_follower.py::TestPulling",),
    "what leaves for its age leaves every map": ("tests/stores/test_memory.py",),
    "hot requests: freshness": ("tests/test_middleware.py", "-k", "lapsed"),
    "hot requests: no lease is renewed in another event loop": ("tests/test_eventloops.py", "-k", "hot_request"),
    # The log of changes: nothing is lost, and no writer pays.
    "one publisher at a time": (ON_SCHEMA + "TestOrder::test_a_publisher_that_has_drawn_its_number_is_not_overtaken",),
    "the floor: below every transaction under way": (
        ON_SCHEMA + "TestOrder::test_what_is_committed_late_is_above_no_floor",
    ),
    "covered: nothing of which only a part is published": (ON_SCHEMA + "TestCovers::test_a_part_of_it_covers_nothing",),
    "OLD in the trigger: the label": (ON_SCHEMA + "TestWhatIsNamed::test_a_rename_names_the_old_and_the_new",),
    "a transaction that stays open silences no others": (
        ON_WRITERS + "TestTwoTransactions::test_one_that_stays_open_does_not_silence_the_others",
    ),
    "the outbox may be dropped": (ON_WRITERS + "TestNeverFails::test_without_the_outbox",),
    "faults: triggers that were off for a moment": (
        "tests/stores/test_faults.py::TestWhatTheLogRestsOn::test_triggers_that_were_off_for_a_moment",
    ),
    "changes that are not published yield candidates": ("tests/adoption/test_rows.py::test_each_way_to_write_is_seen",),
    # A limit is never exceeded, and one tenant does nothing to another.
    "limits: what one store granted while the other failed": ("tests/test_halfway.py",),
    "limits: an earlier minute is entered with nothing": ("tests/core/test_reservation.py",),
    "advance: a minute has what the quarter's counter leaves": (
        IN_ADVANCE + "test_a_minute_has_what_the_quarters_counter_leaves",
    ),
    "advance: what was spent stays while others may be in the minute before": (
        IN_ADVANCE + "test_what_was_spent_of_it_goes_back_only_when_all_have_left_that_minute",
    ),
    "advance: what was reserved in a lost counter is of the minute": (
        IN_ADVANCE + "test_a_lost_counter_takes_what_was_reserved_into_the_minute",
    ),
    "slots: nothing goes back to another's counters": ("tests/test_upkeep.py",),
    "handing over: a minute that begins again is not handed over": ("tests/test_clock_set.py",),
    "handing over: all holders have reported": (
        "tests/stores/test_choices.py::test_the_last_report_hands_the_minute_over_with_the_sum_of_all",
    ),
    "a tenant takes away its own domain only": ("tests/test_domains.py::TestOtherTenants",),
    # Metrics cost nothing, and counters never fall.
    "metrics: a scrape waits for nothing": ("tests/observability/test_prometheus.py", "-k", "waits_for_nothing"),
    "counters of the ended: none counts twice": ("tests/observability/test_snapshots.py", "-k", "counts_nothing_twice"),
}
