"""Each rule of counter-store failover by itself: the numbers are those of `failover.py`."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from tenantcache.ratelimit.core.agreement import Proposal, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.minutestanding import MinuteStanding
from tenantcache.ratelimit.core.redishealth import RedisEvent
from tenantcache.ratelimit.core.windows import Window

HOUR = 1_700_000_040 - 1_700_000_040 % 3600
MINUTE = HOUR // 60
IN_REDIS = StoreChoice(1, "redis")
LEAVING = StoreChoice(2, "postgres", MINUTE + 1, "redis", 0, "Redis is gone", HOUR + 50.0, HOUR + 50.0)
TODAY = Window("day", HOUR // 86400)
TOMORROW = Window("day", HOUR // 86400 + 1)
THE_DAY_AFTER = Window("day", HOUR // 86400 + 2)


def following(choice: StoreChoice, *, read_at: float = HOUR + 50.0, has_redis: bool = True) -> Failover:
    fleet = Failover(has_redis=has_redis)
    fleet.follow(choice, read_at + 5)
    return fleet


# Which store counts (rule 1).


def test_nothing_is_known_before_the_first_pull() -> None:
    fleet = Failover(has_redis=True)
    assert fleet.store_of(MINUTE) is None
    assert fleet.version_of(MINUTE) is None
    assert fleet.day_store(TODAY, HOUR) is None


def test_a_minute_is_known_that_starts_within_the_notice_after_the_row_was_read() -> None:
    fleet = following(IN_REDIS, read_at=HOUR + 55.0)
    assert fleet.store_of(MINUTE) == "redis"
    assert fleet.store_of(MINUTE + 1) is None  # it starts exactly when the notice is over: a change may begin with it
    fleet.follow(IN_REDIS, HOUR + 60.001)
    assert fleet.store_of(MINUTE + 1) == "redis"
    assert fleet.store_of(MINUTE + 2) is None


def test_a_pull_that_met_a_change_in_the_making_tells_nothing_of_later_minutes() -> None:
    fleet = following(IN_REDIS, read_at=HOUR)
    fleet.follow(IN_REDIS, None)
    assert fleet.agreement.settled_until == HOUR + 5


def test_a_change_begins_with_its_minute() -> None:
    fleet, before = following(LEAVING, read_at=HOUR + 58), following(IN_REDIS)
    fleet.handover.through = before.handover.through = MINUTE
    assert [fleet.store_of(minute) for minute in (MINUTE, MINUTE + 1)] == ["redis", "postgres"]
    assert fleet.version_of(MINUTE) == before.version_of(MINUTE) == (0, 1)
    assert fleet.version_of(MINUTE + 1) == (0, 2)
    assert fleet.begins(HOUR + 59.9) == HOUR + 60
    assert fleet.begins(HOUR + 60) is None


def test_minutes_before_the_change_before_are_not_known() -> None:
    back = StoreChoice(3, "redis", MINUTE + 1, "postgres", MINUTE)
    fleet = following(back)
    assert [fleet.store_of(minute) for minute in (MINUTE - 1, MINUTE, MINUTE + 1)] == [None, "postgres", None]


def test_a_row_from_another_timeline_makes_all_versions_new() -> None:
    fleet = following(LEAVING, read_at=HOUR + 70)
    before = fleet.version_of(MINUTE + 1)
    fleet.follow(IN_REDIS, HOUR + 76)
    fleet.follow(LEAVING, HOUR + 77)
    assert fleet.version_of(MINUTE + 1) not in (None, before)


# Days (rule 5).


def test_a_day_that_has_seen_a_change_ends_in_postgres_and_never_goes_back() -> None:
    back = StoreChoice(3, "redis", MINUTE + 10, "postgres", MINUTE + 1)
    fleet = following(back, read_at=HOUR + 620)
    assert fleet.store_of(MINUTE + 10) == "redis"
    assert fleet.day_store(TODAY, HOUR + 620) == "postgres"
    assert fleet.day_store(THE_DAY_AFTER, HOUR + 620) == "redis"


def test_a_day_that_may_have_begun_in_some_time_zone_counts_as_begun() -> None:
    begins = TOMORROW.start - 14 * 3600
    for start, store in ((begins - 60, "redis"), (begins, "redis"), (begins + 60, "postgres")):
        fleet = following(StoreChoice(2, "redis", start // 60, "postgres", 0), read_at=start + 30.0)
        assert fleet.day_store(TOMORROW, start + 30.0) == store


def test_no_tokens_of_a_day_are_taken_in_the_second_before_a_change() -> None:
    fleet = following(LEAVING, read_at=HOUR + 59.5)
    assert fleet.day_store(TODAY, HOUR + 58.9) == "redis"
    assert fleet.day_store(TODAY, HOUR + 59.1) is None
    assert fleet.day_store(TODAY, HOUR + 60.0) == "postgres"


def test_no_tokens_of_a_day_are_taken_where_the_next_second_is_not_known() -> None:
    fleet = following(IN_REDIS, read_at=HOUR + 50)
    assert fleet.day_store(TODAY, HOUR + 58.9) == "redis"
    assert fleet.day_store(TODAY, HOUR + 59.1) is None


# Leaving Redis (rule 2).


def test_the_first_process_chooses_what_it_has() -> None:
    new = StoreChoice(0, None)
    assert following(new).propose(HOUR) == Proposal(0, "redis", "the first process has come", 60.0)
    assert following(new, has_redis=False).propose(HOUR) == Proposal(0, "postgres", "the first process has come", 60.0)
    broken = following(new)
    broken.redis_failed(RedisEvent.SILENT, "is not running", HOUR)
    assert broken.propose(HOUR) == Proposal(0, "postgres", "the first process has come", 60.0)


def fail(fleet: Failover, *seconds: float, why: str = "did not answer", counting: bool = False) -> None:
    """What was asked at those seconds failed at once."""
    for second in seconds:
        event = RedisEvent.NOT_COUNTED if counting else RedisEvent.SILENT
        fleet.redis_failed(event, why, HOUR + second, asked=HOUR + second)


def test_redis_is_gone_two_seconds_after_its_last_answer() -> None:
    fleet = following(IN_REDIS)
    fleet.redis_answered(HOUR + 51.0, HOUR + 51.0)
    fail(fleet, 51.5, 52.0, 52.6)
    assert fleet.propose(HOUR + 52.9) is None
    assert fleet.propose(HOUR + 53.0) == Proposal(1, "postgres", "did not answer", 60.0)


def test_an_answer_in_between_begins_the_two_seconds_anew() -> None:
    fleet = following(IN_REDIS)
    fail(fleet, 50.0, 51.5)
    fleet.redis_answered(HOUR + 52.0, HOUR + 52.0)
    fail(fleet, 52.5, 53.6)
    assert fleet.propose(HOUR + 53.9) is None
    assert fleet.propose(HOUR + 54.0) is not None


@pytest.mark.parametrize("failed_at", [(), (51.5,), (51.5, 60.0)], ids=["nothing", "once", "once, and once after it"])
def test_a_process_that_did_not_run_proves_nothing(failed_at: tuple[float, ...]) -> None:
    """It was stopped from :52 to :60; Redis is there again, or was never gone."""
    fleet = following(IN_REDIS)
    fleet.redis_answered(HOUR + 51.0, HOUR + 51.0)
    fail(fleet, *failed_at[:1])
    assert fleet.propose(HOUR + 60.0) is None
    fleet.redis_failed(RedisEvent.SILENT, "late", HOUR + 60.0, asked=HOUR + 52.0)
    assert fleet.propose(HOUR + 60.1) is None


def test_a_process_that_has_never_heard_of_redis_needs_no_two_seconds() -> None:
    fleet = following(IN_REDIS)
    fleet.redis_failed(RedisEvent.SILENT, "was not there at the start", HOUR + 51.0)
    fail(fleet, 51.25, 52.0)
    assert fleet.propose(HOUR + 52.0) is None
    fail(fleet, 52.1)
    assert fleet.propose(HOUR + 52.1) is not None


def test_ping_proves_nothing_once_a_take_has_failed() -> None:
    """`CLIENT PAUSE 600000 WRITE`: PING is answered, and nothing is counted."""
    fleet = following(IN_REDIS)
    fleet.redis_answered(HOUR + 50.0, HOUR + 50.0)
    for second in (50.5, 51.0, 51.5, 52.0):
        fail(fleet, second, counting=True)
        fleet.redis_answered(HOUR + second + 0.1, HOUR + second + 0.1, RedisEvent.PINGED)
    assert not fleet.redis.answers
    assert fleet.propose(HOUR + 52.0) is not None
    fleet.redis_answered(HOUR + 53.0, HOUR + 53.0)
    assert fleet.redis.answers
    fail(fleet, 54.0)
    fleet.redis_answered(HOUR + 54.5, HOUR + 54.5, RedisEvent.PINGED)
    assert fleet.redis.answers


def test_an_account_that_is_refused_is_gone_at_once() -> None:
    fleet = following(IN_REDIS)
    fleet.redis_failed(RedisEvent.ACCOUNT_REFUSED, "max requests limit exceeded", HOUR + 51.0)
    assert fleet.propose(HOUR + 51.0) == Proposal(1, "postgres", "max requests limit exceeded", 60.0)


def test_a_process_without_a_redis_url_makes_the_fleet_leave_redis_once_it_counts() -> None:
    fleet = following(IN_REDIS, has_redis=False)
    assert fleet.propose(HOUR) is None
    fleet.has_counted = True
    assert fleet.propose(HOUR) == Proposal(1, "postgres", "a process counts without Redis", 60.0)


def test_a_process_without_a_redis_url_reports_redis_unavailable_once_it_counts() -> None:
    fleet = following(replace(LEAVING, complained_at=HOUR), has_redis=False)
    assert not fleet.has_to_report_unavailable(HOUR + 200)
    fleet.has_counted = True
    assert fleet.has_to_report_unavailable(HOUR + 200)


def test_one_change_at_a_time() -> None:
    fleet = following(LEAVING)
    fleet.redis_failed(RedisEvent.ACCOUNT_REFUSED, "gone", HOUR)
    assert fleet.propose(HOUR + 59.9) is None


# The way back (rule 3).


def settled_in_postgres(quiet: float = 60.0, complained_at: float = HOUR + 50.0) -> Failover:
    choice = replace(LEAVING, quiet=quiet, complained_at=complained_at)
    return following(choice, read_at=HOUR + 3600.0)


@pytest.mark.parametrize("quiet", [60.0, 240.0])
def test_the_fleet_returns_once_no_process_has_reported_redis_unavailable_for_long_enough(quiet: float) -> None:
    fleet = settled_in_postgres(quiet, complained_at=HOUR + 100)
    assert fleet.propose(HOUR + 100 + quiet - 0.1) is None
    assert fleet.propose(HOUR + 100 + quiet) == Proposal(2, "redis", "Redis answers every process again", quiet)


def test_no_process_goes_back_that_has_no_redis() -> None:
    fleet = settled_in_postgres()
    fleet.redis_failed(RedisEvent.SILENT, "did not answer", HOUR + 200)
    assert fleet.propose(HOUR + 500) is None
    fleet.redis_answered(HOUR + 501, HOUR + 501)
    assert fleet.propose(HOUR + 501) is not None


def test_a_process_without_redis_reports_that_every_ten_seconds_while_postgres_counts() -> None:
    fleet = settled_in_postgres(complained_at=HOUR + 100)
    assert not fleet.has_to_report_unavailable(HOUR + 200)
    fleet.redis_failed(RedisEvent.SILENT, "did not answer", HOUR + 200)
    assert fleet.has_to_report_unavailable(HOUR + 200)
    fleet.follow(replace(LEAVING, complained_at=HOUR + 200.0), HOUR + 205)
    assert not fleet.has_to_report_unavailable(HOUR + 209.9)
    assert fleet.has_to_report_unavailable(HOUR + 210)
    in_redis = following(IN_REDIS)
    in_redis.redis_failed(RedisEvent.SILENT, "did not answer", HOUR)
    assert not in_redis.has_to_report_unavailable(HOUR + 1000)


def test_redis_that_does_not_last_is_waited_for_twice_as_long() -> None:
    back = StoreChoice(3, "redis", MINUTE, "postgres", MINUTE - 9, quiet=120.0)
    fleet = following(back)
    fleet.redis_failed(RedisEvent.ACCOUNT_REFUSED, "gone", HOUR + 10)
    assert fleet.propose(HOUR + 599) == Proposal(3, "postgres", "gone", 240.0)
    assert fleet.propose(HOUR + 600) == Proposal(3, "postgres", "gone", 60.0)
    fleet.follow(replace(back, version=4, quiet=3000.0), None)
    assert fleet.propose(HOUR + 599) == Proposal(4, "postgres", "gone", 3600.0)


# Lost counters (rule 4).


def lose(fleet: Failover, window: Window, *owners: str) -> None:
    for owner in owners:
        fleet.redis_lost(owner, window)


def test_lost_counters_are_announced_once() -> None:
    fleet = following(IN_REDIS)
    lose(fleet, Window("minute", MINUTE), "acme", "globex")
    assert fleet.propose(HOUR + 51) == Proposal(1, "redis", "Redis has lost its counters", 60.0)
    anew = StoreChoice(2, "redis", MINUTE + 1, "redis", 0)
    fleet.follow(anew, HOUR + 56)
    lose(fleet, Window("minute", MINUTE), "hooli", "umbrella")  # of before the change
    assert fleet.propose(HOUR + 1000) is None
    lose(fleet, Window("minute", MINUTE + 1), "hooli", "umbrella")
    again = "Redis loses its counters again and again"
    assert fleet.propose(HOUR + 60 + 599) == Proposal(2, "postgres", again, 600.0)
    assert fleet.propose(HOUR + 60 + 600) == Proposal(2, "redis", "Redis has lost its counters", 60.0)


def test_one_tenants_counters_may_have_been_reset() -> None:
    fleet = following(IN_REDIS)
    lose(fleet, Window("minute", MINUTE), "acme", "acme", "acme")
    assert fleet.propose(HOUR + 51) is None


# Without the log (rule 6).


def vouched_for(*answers: float) -> Failover:
    """The log was read at :50; Redis has answered at those seconds, and at each at once."""
    fleet = following(IN_REDIS, read_at=HOUR + 50)
    for second in answers:
        fleet.redis_answered(HOUR + second, HOUR + second)
    return fleet


def test_answers_of_redis_vouch_for_it_while_the_log_is_away() -> None:
    fleet = vouched_for(49.5, 50.5, 51.5, 52.5, 53.5, 54.5, 55.5)
    assert fleet.agreement.settled_until == HOUR + 60.5
    assert fleet.store_of(MINUTE + 1) == "redis"


def test_an_answer_vouches_only_from_when_it_was_asked_for() -> None:
    fleet = vouched_for(49.5)
    fleet.redis_answered(HOUR + 50.5, HOUR + 50.75)
    assert fleet.agreement.settled_until == HOUR + 55.5


def test_nothing_vouches_that_began_after_the_log_was_read() -> None:
    """Redis may just have come back, and another store been announced right after the log was read."""
    fleet = vouched_for(50.5, 51.5, 52.5)
    assert fleet.agreement.settled_until == HOUR + 55
    late = following(IN_REDIS, read_at=HOUR + 50)
    late.redis_answered(HOUR + 49.9, HOUR + 50.1)
    late.redis_answered(HOUR + 51, HOUR + 51)
    assert late.agreement.settled_until == HOUR + 55


def test_the_next_pull_lets_it_vouch_again() -> None:
    fleet = vouched_for(50.5, 51.5)
    fleet.follow(IN_REDIS, HOUR + 56)
    assert fleet.agreement.settled_until == HOUR + 56.5


def test_a_gap_between_two_answers_ends_that() -> None:
    """As after a pause of this process: Redis may have been gone meanwhile, and another store chosen."""
    assert vouched_for(49.5, 50.5, 51, 52.1, 53).agreement.settled_until == HOUR + 56


def test_a_failure_ends_that_too() -> None:
    fleet = vouched_for(49.5, 50.5)
    fleet.redis_failed(RedisEvent.SILENT, "did not answer", HOUR + 51)
    fleet.redis_answered(HOUR + 51.2, HOUR + 51.2)
    fleet.redis_answered(HOUR + 52, HOUR + 52)
    assert fleet.agreement.settled_until == HOUR + 55.5


def test_redis_vouches_for_no_other_store() -> None:
    fleet = following(replace(LEAVING, from_minute=MINUTE), read_at=HOUR + 50)
    for second in (49, 50, 51):
        fleet.redis_answered(HOUR + second, HOUR + second)
    assert fleet.agreement.settled_until == HOUR + 55


def test_nothing_vouches_before_the_first_pull() -> None:
    fleet = Failover(has_redis=True)
    fleet.redis_answered(HOUR, HOUR)
    assert fleet.agreement.settled_until == -inf


# Neither store (rule 7).


def isolated(*, since: float) -> Failover:
    """The log was read at :20 and is away since; Redis fails since then, and is not used again."""
    fleet = following(IN_REDIS, read_at=HOUR + 20)
    fleet.redis_failed(RedisEvent.SILENT, "gone", since)
    return fleet


def look_on(fleet: Failover, since: int, until: int) -> None:
    """As a process does all the time. It stood still if it does not."""
    for second in range(since, until + 1):
        fleet.note_time(HOUR + second)


def test_a_process_that_sees_neither_store_decides_by_itself_from_the_next_minute_on() -> None:
    fleet = isolated(since=HOUR + 22)
    for second in range(22, 60):
        fleet.note_time(HOUR + second)
        assert fleet.isolation.own_minute == -1
        assert fleet.isolation.lost_minute == (MINUTE if second >= 24 else -1)
    fleet.note_time(HOUR + 60)
    assert fleet.isolation.own_minute == MINUTE + 1


def test_a_minute_that_began_when_others_may_not_have_been_isolated_is_lost() -> None:
    fleet = isolated(since=HOUR + 22)
    for second in (57.1, 58, 59, 60, 61):
        fleet.note_time(HOUR + second)
    assert (fleet.isolation.own_minute, fleet.isolation.lost_minute) == (-1, MINUTE + 1)
    look_on(fleet, 61, 120)
    assert fleet.isolation.own_minute == MINUTE + 2


def test_to_the_end_of_the_minute_it_stays_with_that() -> None:
    fleet = isolated(since=HOUR + 22)
    look_on(fleet, 25, 61)
    fleet.follow(IN_REDIS, HOUR + 67)
    fleet.redis_answered(HOUR + 62, HOUR + 62)
    fleet.note_time(HOUR + 63)
    assert fleet.isolation.own_minute == MINUTE + 1
    fleet.follow(IN_REDIS, HOUR + 124)
    fleet.note_time(HOUR + 120)
    assert fleet.isolation.own_minute == MINUTE + 1


def test_a_process_that_was_isolated_until_shortly_before_a_minute_takes_nothing_in_it() -> None:
    """Others may not have noticed yet that a store is back, and decide by themselves."""
    fleet = isolated(since=HOUR + 22)
    for second in (25, 57.5):
        fleet.note_time(HOUR + second)
    fleet.redis_answered(HOUR + 58, HOUR + 58)
    fleet.follow(IN_REDIS, HOUR + 63)
    fleet.note_time(HOUR + 58.5)
    fleet.follow(IN_REDIS, HOUR + 65)
    fleet.note_time(HOUR + 60)
    assert (fleet.isolation.own_minute, fleet.isolation.lost_minute) == (-1, MINUTE + 1)
    fleet.follow(IN_REDIS, HOUR + 124)
    fleet.note_time(HOUR + 120)
    assert (fleet.isolation.own_minute, fleet.isolation.lost_minute) == (-1, MINUTE + 1)


def test_a_redis_that_is_back_does_not_end_isolation_before_the_log() -> None:
    """Others may not have known the running minute to be in Redis: they stay isolated, and decide by themselves."""
    fleet = following(IN_REDIS, read_at=HOUR - 4)
    fleet.redis_failed(RedisEvent.SILENT, "gone", HOUR - 3)
    for second in (-1.0, 0.0, 1.0, 2.0, 39.0):
        fleet.note_time(HOUR + second)
    fleet.redis_answered(HOUR + 40, HOUR + 40)
    for second in (40.0, 50.0, 58.0):
        fleet.note_time(HOUR + second)
        assert fleet.store_of(MINUTE) == "redis"
    for second in (58.5, 59.5, 60.5):
        fleet.follow(IN_REDIS, HOUR + second + 5)
        fleet.note_time(HOUR + second)
    assert (fleet.isolation.own_minute, fleet.isolation.lost_minute) == (-1, MINUTE + 1)


def test_half_a_second_without_either_store_is_not_isolation() -> None:
    fleet = vouched_for(49.5, *(50.4 + number * 0.9 for number in range(6)))
    fleet.redis_failed(RedisEvent.SILENT, "gone", HOUR + 55)
    for second in (55, 55.5):
        fleet.note_time(HOUR + second)
    fleet.redis_answered(HOUR + 55.6, HOUR + 55.7)
    for second in (55.75, 56.75, 58):
        fleet.note_time(HOUR + second)
    assert fleet.isolation.lost_minute == -1


def test_a_process_that_finds_the_row_being_changed_does_not_decide_by_itself() -> None:
    """Others may have read it just before, and take tokens of the minute from its store."""
    fleet = isolated(since=HOUR + 22)
    look_on(fleet, 25, 54)
    for read_at in range(55, 66):
        fleet.follow(IN_REDIS, None, read_at=HOUR + read_at)
        fleet.note_time(HOUR + read_at + 0.5)
        assert fleet.isolation.own_minute == -1
    assert fleet.standing_of(MINUTE + 1) is MinuteStanding.UNKNOWN
    look_on(fleet, 66, 120)
    assert fleet.isolation.own_minute == MINUTE + 2


def lost_in_its_course(*, last_read: float = -0.5, woke: float = -0.25) -> Failover:
    """The log was read shortly before the minute, and after that at :20. It is back at :30, and the fleet is about to
    leave Redis."""
    fleet = following(IN_REDIS, read_at=HOUR + last_read)
    fleet.note_time(HOUR + woke)
    fleet.follow(IN_REDIS, HOUR + 25)
    fleet.redis_failed(RedisEvent.SILENT, "gone", HOUR + 22)
    for second in (20, 24, 25.5):
        fleet.note_time(HOUR + second)
    fleet.follow(LEAVING, HOUR + 35)
    fleet.note_time(HOUR + 30)
    assert fleet.standing_of(MINUTE) is MinuteStanding.LOST
    return fleet


def test_a_minute_that_was_lost_in_its_course_is_reported_and_goes_on_once_it_is_handed_over() -> None:
    fleet = lost_in_its_course()
    assert fleet.has_to_hand_over(HOUR + 31)
    fleet.handover.give_up(2)
    fleet.follow(replace(LEAVING, from_minute=MINUTE), HOUR + 37)
    for second in (32, 59.5):
        fleet.follow(replace(LEAVING, from_minute=MINUTE), HOUR + second + 5)
        fleet.note_time(HOUR + second)
        assert fleet.standing_of(MINUTE) is MinuteStanding.IN_POSTGRES


def test_a_process_that_stood_still_before_a_minute_does_not_report_it() -> None:
    """All stores may have been lost meanwhile, and others have decided by themselves."""
    assert not lost_in_its_course(last_read=-1.5).has_to_hand_over(HOUR + 31)


def test_a_minute_that_may_come_again_is_not_known_to_have_begun_with_a_store() -> None:
    fleet = following(IN_REDIS, read_at=HOUR - 0.75)
    fleet.note_time(HOUR - 0.5)
    fleet.clock_moved(-5, HOUR - 5.5)
    fleet.redis_failed(RedisEvent.SILENT, "gone", HOUR - 5.5)
    for second in (-3.5, -2, -0.5):
        fleet.note_time(HOUR + second)
    fleet.follow(IN_REDIS, HOUR + 4.75)
    fleet.note_time(HOUR - 0.25)
    fleet.note_time(HOUR)
    assert fleet.standing_of(MINUTE) is MinuteStanding.LOST


def test_a_minute_that_was_handed_over_is_lost_again_if_postgres_is() -> None:
    fleet = lost_in_its_course()
    fleet.handover.give_up(2)
    fleet.follow(replace(LEAVING, from_minute=MINUTE), HOUR + 37)
    for second in (32, 36, 37.5):
        fleet.note_time(HOUR + second)
    assert fleet.standing_of(MINUTE) is MinuteStanding.LOST


def test_a_minute_at_whose_edge_others_may_have_been_isolated_is_not_reported() -> None:
    fleet = isolated(since=HOUR + 57.5)
    for second in (57.5, 59, 60):
        fleet.note_time(HOUR + second)
    fleet.follow(replace(LEAVING, from_minute=MINUTE + 2), HOUR + 70)
    fleet.note_time(HOUR + 65)
    assert fleet.standing_of(MINUTE + 1) is MinuteStanding.LOST
    assert not fleet.has_to_hand_over(HOUR + 66)


def test_a_process_that_sees_one_of_them_is_not_isolated() -> None:
    without_log = vouched_for(49.5, *(50.4 + number * 0.9 for number in range(31)))
    for second in range(51, 78):
        without_log.note_time(HOUR + second)
    assert without_log.isolation.own_minute == -1
    without_redis = following(IN_REDIS, read_at=HOUR + 57.5)
    without_redis.redis_failed(RedisEvent.SILENT, "gone", HOUR + 40)
    without_redis.note_time(HOUR + 55)
    without_redis.note_time(HOUR + 60)
    assert without_redis.isolation.own_minute == -1


def test_a_pause_is_no_reason_to_decide_by_oneself() -> None:
    """The pull is on its way."""
    fleet = following(IN_REDIS, read_at=HOUR + 20)
    fleet.note_time(HOUR + 21)
    fleet.note_time(HOUR + 200)
    fleet.follow(IN_REDIS, HOUR + 205.1)
    fleet.note_time(HOUR + 200.2)
    assert (fleet.isolation.own_minute, fleet.isolation.lost_minute) == (-1, -1)


def test_a_postgres_that_does_not_count_is_no_store() -> None:
    """It takes no writes, or its table is locked; the log is there. The share begins with the next minute."""
    fleet = following(StoreChoice(1, "postgres"), read_at=HOUR + 58)
    fleet.postgres_failed(HOUR + 20)
    fleet.postgres_failed(HOUR + 25)
    for second in range(22, 61):
        own, lost = MINUTE + 1 if second == 60 else -1, MINUTE if second >= 24 else -1
        fleet.follow(StoreChoice(1, "postgres"), HOUR + second + 5)
        fleet.note_time(HOUR + second)
        assert (fleet.isolation.own_minute, fleet.isolation.lost_minute) == (own, lost)
    fleet.postgres_answered()
    assert not fleet.is_isolated(HOUR + 61)


@pytest.mark.parametrize("woke", [58, 75])
def test_an_isolated_process_that_stood_still_does_not_decide_by_itself(woke: int) -> None:
    """The stores may have been back for the others meanwhile."""
    fleet = isolated(since=HOUR + 22)
    look_on(fleet, 22, 50)
    look_on(fleet, woke, 80)
    assert fleet.standing_of(MINUTE + 1) is MinuteStanding.LOST
    look_on(fleet, 81, 120)
    assert fleet.standing_of(MINUTE + 2) is MinuteStanding.OWN


def test_an_isolated_process_that_stood_still_over_an_edge_takes_nothing_even_if_a_store_is_back() -> None:
    """Others may have been isolated at the edge, and decide by themselves."""
    fleet = isolated(since=HOUR + 22)
    look_on(fleet, 22, 50)
    for second in (75, 76):
        fleet.follow(IN_REDIS, HOUR + second + 5)
        fleet.note_time(HOUR + second)
    assert fleet.standing_of(MINUTE + 1) is MinuteStanding.LOST


def test_what_stands_for_a_minute_and_a_share_of_it_are_not_both_spent() -> None:
    fleet = isolated(since=HOUR + 22)
    fleet.agreement.settled_until = HOUR + 60.5
    look_on(fleet, 25, 60)
    assert fleet.store_of(MINUTE + 1) == "redis"
    assert fleet.isolation.own_minute == -1
