"""Values in long random walks of two processes: the steps of `test_machine.py`, so drawn that many answers come.

A seed that fails is a scenario: the walk is the same each time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.thorough import effort
from tests.values.test_machine import ValuesMachine
from tests.values.world import KEYS

WALKS = effort(90, 1_500)
STEPS = 150


def set_some(machine: ValuesMachine, rng: random.Random, which: int, key: str) -> None:
    """One or two, in any order."""
    machine.commit_and_set(which, key)
    if rng.random() < 0.5:
        machine.commit_and_set(rng.randrange(2), key)
    while machine.setters:
        machine.set(rng.randrange(2))


def deliver_some(machine: ValuesMachine, rng: random.Random) -> None:
    if machine.messages.waiting:
        machine.deliver([rng.randrange(20) for _ in range(rng.randrange(1, 5))])


def step(machine: ValuesMachine, rng: random.Random) -> None:
    """One of the steps, as likely as it brings something about."""
    which, key = rng.randrange(2), rng.choice(KEYS)
    steps: dict[Callable[[], None], float] = {
        lambda: machine.get(which, rng.choice([("a",), ("b",), ("a", "b")])): 30,
        lambda: deliver_some(machine, rng): 22,
        machine.drain: 8,
        lambda: machine.follow(which): 12,
        lambda: machine.pull(which): 3,
        lambda: machine.send_pull(which): 2,
        lambda: machine.apply_pull(which): 2,
        lambda: machine.commit(key, rng.choice(["key", "tag"])): 6,
        lambda: machine.invalidate(which, key, rng.choice(["key", "tag"])): 3,
        lambda: set_some(machine, rng, which, key): 3,
        lambda: machine.hear(which): 3,
        lambda: machine.wait(rng.choice([0.1, 0.5, 1.0, 1.0, 2.9, 3.1, 20.0])): 8,
        machine.expire: 0.3,
        lambda: machine.collapse(which): 0.3,
        lambda: machine.restart(which): 0.3,
        machine.back_up: 0.5,
        machine.restore: 0.5,
    }
    rng.choices(list(steps), list(steps.values()))[0]()


def walk(seed: int) -> int:
    """How many answers were judged."""
    rng, machine = random.Random(seed), ValuesMachine()
    machine.start(rng.choice([2, 6, 100]))
    judged = 0
    try:
        for _ in range(STEPS):
            step(machine, rng)
            judged += sum(len(process.answers) for process in machine.fleet)
            machine.answers_are_true()
    finally:
        machine.teardown()
    return judged


@pytest.mark.parametrize("part", range(3))
def test_no_answer_is_too_old(part: int) -> None:
    judged = 0
    for seed in range(part, WALKS, 3):
        try:
            judged += walk(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert judged > 20 * WALKS / 3
