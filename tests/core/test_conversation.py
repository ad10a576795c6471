"""Which commands of a connection are counted: those that Redis ran, as its replies say."""

from __future__ import annotations

from tenantcache.budget.core.bill import NO_KEY, OTHERS, Bill, calls_inside_scripts
from tenantcache.budget.core.conversation import Conversation
from tests.resp import packed


def hold(*turns: tuple[bytes, bytes]) -> dict[str, int]:
    """What is counted of turns: what the program sends, and what Redis answers."""
    bill = Bill(lambda key: key.decode())
    conversation = Conversation(bill)
    for sent, received in turns:
        conversation.sent(sent)
        conversation.received(received)
    conversation.ended()
    return dict(bill.commands)


GET, INCR, MULTI, EXEC = packed(b"get", b"a"), packed(b"INCR", b"n"), packed(b"MULTI"), packed(b"EXEC")


def test_a_pipeline_is_billed_by_the_command() -> None:
    assert hold((GET + INCR + GET, b"$-1\r\n:1\r\n$-1\r\n")) == {"GET": 2, "INCR": 1}


def test_an_error_of_a_command_that_was_run_counts() -> None:
    assert hold((INCR, b"-WRONGTYPE Operation against a key\r\n")) == {"INCR": 1}


def test_what_redis_rejects_was_not_run() -> None:
    assert hold((INCR, b"-NOPERM this user has no permissions\r\n"), (GET, b"-MOVED 1 127.0.0.1:7001\r\n")) == {}
    assert hold((packed(b"EVIL", b"a"), b"-ERR unknown command 'EVIL'\r\n")) == {}


def test_a_script_whose_call_is_rejected_was_run() -> None:
    reply = b"-OOM command not allowed when used memory > 'maxmemory'. script: 1a2b, on @user_script:1.\r\n"
    assert hold((packed(b"EVAL", b"return 1", b"0"), reply)) == {"EVAL": 1}


def test_a_transaction_is_billed_by_the_command() -> None:
    turns = (MULTI + INCR + GET + EXEC, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n$-1\r\n")
    assert hold(turns) == {"MULTI": 1, "INCR": 1, "GET": 1, "EXEC": 1}


def test_a_transaction_that_is_discarded_or_fails_was_not_run() -> None:
    discarded = (MULTI + INCR + packed(b"DISCARD"), b"+OK\r\n+QUEUED\r\n+OK\r\n")
    assert hold(discarded) == {"MULTI": 1, "DISCARD": 1}
    watched = (MULTI + INCR + EXEC, b"+OK\r\n+QUEUED\r\n*-1\r\n")
    assert hold(watched) == {"MULTI": 1, "EXEC": 1}
    in_resp3 = (MULTI + INCR + EXEC, b"+OK\r\n+QUEUED\r\n_\r\n")
    assert hold(in_resp3, (GET, b"_\r\n")) == {"MULTI": 1, "EXEC": 1, "GET": 1}


def test_a_push_answers_nothing() -> None:
    pushed = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"
    assert hold((INCR, pushed + b"-NOPERM no\r\n"), (GET, pushed + b"$-1\r\n")) == {"GET": 1}


def test_a_subscriber_counts_by_what_it_sends() -> None:
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
    subscribed = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    turns = ((GET, b"$-1\r\n"), (packed(b"SUBSCRIBE", b"a", b"b"), subscribed * 2 + message), (INCR, message))
    assert hold(*turns) == {"GET": 1, "SUBSCRIBE": 1, "INCR": 1}


def test_without_replies_commands_count_as_they_are_sent() -> None:
    assert hold((packed(b"CLIENT", b"reply", b"OFF") + INCR + INCR, b"")) == {"CLIENT": 1, "INCR": 2}


def test_what_was_not_answered_when_the_connection_ended_counts() -> None:
    assert hold((INCR + GET, b":1\r\n")) == {"INCR": 1, "GET": 1}
    assert hold((MULTI + INCR, b"+OK\r\n+QUEUED\r\n"), (EXEC, b"")) == {"MULTI": 1, "INCR": 1, "EXEC": 1}
    assert hold((MULTI + INCR, b"+OK\r\n+QUEUED\r\n")) == {"MULTI": 1}


def test_what_opens_a_connection_is_free() -> None:
    bill = Bill(lambda key: key.decode())
    conversation = Conversation(bill)
    conversation.sent(packed(b"HELLO", b"3", b"AUTH", b"u", b"secret") + packed(b"SELECT", b"1") + GET)
    conversation.received(b"%0\r\n+OK\r\n$-1\r\n")
    assert (bill.billed, dict(bill.free)) == (1, {"HELLO": 1, "SELECT": 1})
    assert [line.pattern for line in bill.patterns] == ["a"]


def tallied(*commands: tuple[bytes, ...]) -> list[tuple[str, int, str | None]]:
    bill = Bill(lambda key: key.rstrip(b"0123456789").decode())
    for command in commands:
        bill.add(command)
    assert sum(line.billed for line in bill.patterns) == bill.billed == len(commands)
    return [(line.pattern, line.billed, line.owner) for line in bill.patterns]


def test_each_command_counts_once_at_the_patterns_of_its_keys() -> None:
    assert tallied((b"MGET", b"user1", b"user2"), (b"GET", b"user3")) == [("user", 2, None)]
    assert tallied((b"MGET", b"a1", b"b1", b"a2")) == [("a b", 1, None)]
    assert tallied((b"DEL", b"a", b"b", b"c", b"d", b"e")) == [("a b c ...", 1, None)]
    assert tallied((b"PUBLISH", b"news", b"x"), (b"DBSIZE",)) == [(NO_KEY, 2, None)]


def test_the_owner_is_told_by_the_type_that_a_command_needs() -> None:
    assert tallied((b"DEL", b"schedule")) == [("schedule", 1, None)]
    assert tallied((b"DEL", b"schedule"), (b"ZADD", b"schedule", b"1", b"x")) == [("schedule", 2, "sidekiq")]


def test_patterns_without_end_share_a_line() -> None:
    bill = Bill(lambda key: key.decode())
    for number in range(10_003):
        bill.add((b"GET", b"%d" % number))
    assert (bill.patterns[0].pattern, bill.patterns[0].billed) == (OTHERS, 3)
    assert bill.billed == 10_003


def test_what_scripts_called_is_what_the_server_ran_beside_what_was_sent() -> None:
    before, after = {"GET": 5, "EVALSHA": 1}, {"GET": 8, "EVALSHA": 3, "INCRBY": 2, "INFO": 9, "EXPIRE": 1}
    assert calls_inside_scripts(before, after, {"GET": 3, "EVALSHA": 2}) == {"EXPIRE": 1, "INCRBY": 2}
    assert calls_inside_scripts({}, {}, {}) == {}


def test_a_count_that_began_anew_tells_nothing() -> None:
    assert calls_inside_scripts({"GET": 5}, {"GET": 1}, {"GET": 1}) is None
    assert calls_inside_scripts({}, {"GET": 1}, {"GET": 2}) is None
    assert calls_inside_scripts({}, {}, {"GET": 2}) is None
