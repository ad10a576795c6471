"""Which loads make a loop."""

from __future__ import annotations

import pytest

from tenantcache.values.core.loops import GAP, LOADS, Run


def loads(run: Run, keys: list[str], *, gap: float = 0.0, takes: float = 0.05, start: float = 1.0) -> list[str]:
    """The patterns that were found, while `keys` are loaded one after another."""
    found, now = [], start
    for key in keys:
        if (pattern := run.begin(key, now)) is not None:
            found.append(pattern)
        now += takes
        run.end(now)
        now += gap
    return found


UUIDS = [f"{number:08x}-1111-4222-8333-abcdefabcdef" for number in range(100)]


@pytest.mark.parametrize(
    ("keys", "pattern"),
    [
        ([f"user:{number}" for number in range(LOADS)], "user:{id}"),
        ([f"user:{uuid}:profile" for uuid in UUIDS], "user:{uuid}:profile"),
        ([f"mail:u{number}@example.com" for number in range(50)], "mail:{email}"),
        ([f"{what}:{number}" for number in range(LOADS) for what in ("user", "avatar")], "user:{id}"),
        (["settings", "plan", *(f"user:{number}" for number in range(3 * LOADS))], "user:{id}"),
    ],
    ids=["numbers", "uuids", "addresses", "two in turn", "after others"],
)
def test_a_loop_is_found_once(keys: list[str], pattern: str) -> None:
    assert loads(Run(), keys) == [pattern]
    assert loads(Run(), keys, gap=GAP) == [pattern]


@pytest.mark.parametrize(
    "keys",
    [
        [f"user:{number}" for number in range(LOADS - 1)],
        ["settings", "plan", "flags", "menu", "theme", "locale", "limits", "roles", "teams", "quota", "news", "help"],
        ["user:1"] * 100,
        [f"user:{number % 5}" for number in range(100)],
        [f"{what}:7" for what in ("user", "avatar", "plan", "team", "role", "flag", "menu", "news", "page", "cart")]
        * 2,
    ],
    ids=["few", "words", "one key", "five keys", "parts of one object"],
)
def test_other_loads_are_not_loops(keys: list[str]) -> None:
    assert loads(Run(), keys) == []


@pytest.mark.parametrize("gap", [2 * GAP, 0.1, 60.0])
def test_a_worker_that_does_one_job_after_another_is_not_a_loop(gap: float) -> None:
    assert loads(Run(), [f"customer:{number}" for number in range(1_000)], gap=gap) == []


def test_a_task_that_goes_on_may_have_another_loop() -> None:
    run, keys = Run(), [f"user:{number}" for number in range(LOADS)]
    assert loads(run, keys) + loads(run, keys, start=100.0) == ["user:{id}"] * 2
