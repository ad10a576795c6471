"""What processes of one machine tell each other: nothing is lost, counted twice or shown too late."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tenantcache.observability.metric import Rows
from tenantcache.observability.snapshots import STALE_AFTER, Directory


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """Processes that share a directory. A `Directory` is one of them: its lock is of a file that it alone has open."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, Clock()

    def start(self, deployment: str = "a") -> Directory:
        return Directory(self.path, deployment, lambda name: name == "counter", self.clock)

    def run(self, counter: float, gauge: float = 0.0) -> Directory:
        process = self.start()
        process.write(values(counter, gauge))
        return process

    def counter(self, reader: Directory) -> float:
        """Of all but the reader."""
        ended, others = reader.read()
        every = [ended.values, *(each.values for each in others)]
        return sum(found.get("counter", {}).get(("x",), 0.0) for found in every)

    def gauges(self, reader: Directory) -> list[float]:
        others = reader.read()[1]
        return [each.values["gauge"][()] for each in others if each.is_current(self.clock.now)]

    def files(self, ending: str) -> list[str]:
        return sorted(file.name for file in self.path.glob(f"*.{ending}"))


def values(counter: float, gauge: float = 0.0) -> dict[str, Rows]:
    return {"counter": {("x",): counter}, "gauge": {(): gauge}}


def end(process: Directory) -> None:
    """However a process ends, the kernel drops its lock."""
    process.forget()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "metrics")


def test_each_reads_what_the_others_have_written(machine: Machine) -> None:
    first, second, third = machine.run(1, 10), machine.run(2, 20), machine.run(4, 40)
    assert [machine.counter(each) for each in (first, second, third)] == [6, 5, 3]
    assert sorted(machine.gauges(first)) == [20, 40]
    second.write(values(3, 21))
    assert machine.counter(first) == 7
    assert sorted(machine.gauges(first)) == [21, 40]


def test_a_process_that_has_written_nothing_reads_all(machine: Machine) -> None:
    running = machine.run(1, 10)
    assert machine.counter(machine.start()) == 1
    assert machine.gauges(machine.start()) == [10]
    end(running)


def test_there_may_be_no_directory_yet(machine: Machine) -> None:
    assert machine.counter(machine.start()) == 0


def test_counters_of_a_process_that_has_ended_count_on_and_its_gauges_do_not(machine: Machine) -> None:
    reader, other = machine.run(1), machine.run(5, 50)
    end(other)
    assert machine.gauges(reader) == [], "also for the reader that finds it"
    for _ in range(3):
        assert machine.counter(reader) == 5
        assert machine.gauges(reader) == []
    assert len(machine.files("json")) == 2, "the reader's own, and the file of the ended"


def test_restarts_without_end_leave_no_files(machine: Machine) -> None:
    reader = machine.run(0)
    for number in range(1, 20):
        end(machine.run(number))
        assert machine.counter(reader) == sum(range(number + 1))
    assert len(machine.files("json")) == 2
    assert len(machine.files("lock")) == 2


def test_all_of_them_may_end(machine: Machine) -> None:
    for number in (1, 2, 3):
        end(machine.run(number))
    assert machine.counter(machine.start()) == 6


def test_a_crash_while_the_ended_are_added_up_counts_nothing_twice(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = machine.run(0)
    for number in (1, 2):
        end(machine.run(number))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", _fail)  # after the sum is written, before the files are gone
        assert machine.counter(reader) == 3
    assert len(machine.files("json")) == 4, "the two are still there"
    end(machine.run(4))
    for _ in range(3):
        assert machine.counter(reader) == 7
    assert len(machine.files("json")) == 2


def _fail(*_: object, **__: object) -> None:
    raise OSError(30, "Read-only file system")


def test_a_reader_that_is_overtaken_begins_anew(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, other = machine.run(0), machine.run(0)
    end(machine.run(7))
    read_others, overtaken = reader._read_others, list[float]()

    def overtake() -> object:
        if not overtaken:
            overtaken.append(machine.counter(other))  # it adds the ended up between two looks of the reader
        return read_others()

    monkeypatch.setattr(reader, "_read_others", overtake)
    assert machine.counter(reader) == 7
    assert overtaken == [7]


def test_while_another_adds_up_a_reader_counts_by_the_files(machine: Machine) -> None:
    reader = machine.run(0)
    end(machine.run(7))
    with machine.start()._alone() as alone:
        assert alone
        assert machine.counter(reader) == 7
        assert len(machine.files("json")) == 2, "nothing is folded"
    assert machine.counter(reader) == 7
    assert len(machine.files("json")) == 2, "one of them is that of the ended now"


# Faults.


def test_gauges_of_a_process_that_writes_no_more_go_and_its_counters_stay(machine: Machine) -> None:
    reader, stuck = machine.run(0), machine.run(5, 50)
    machine.clock.now += STALE_AFTER
    assert machine.gauges(reader) == [50]
    machine.clock.now += 1
    assert machine.gauges(reader) == []
    assert machine.counter(reader) == 5
    stuck.write(values(6, 51))
    assert machine.gauges(reader) == [51]


def test_what_is_from_an_earlier_boot_is_over(machine: Machine) -> None:
    """The clock counts from the boot. A lock does not survive one either, but a file system may have none."""
    reader, other = machine.run(0), machine.run(5, 50)
    machine.clock.now = 10.0
    reader.write(values(0))
    assert machine.gauges(reader) == []
    assert machine.counter(reader) == 5
    end(other)


def test_two_deployments_in_one_directory_do_not_meet(machine: Machine) -> None:
    ours, theirs = machine.run(1, 10), machine.start("b")
    theirs.write(values(100, 1000))
    assert machine.counter(machine.start("a")) == 1
    assert machine.counter(machine.start("b")) == 100
    end(ours)
    end(theirs)
    assert machine.counter(machine.start("a")) == 1
    assert machine.counter(machine.start("b")) == 100


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "values": {}}', '{"format": 1, "values": {"a": [1]}}'])
def test_a_file_that_makes_no_sense_is_passed_over(machine: Machine, text: str) -> None:
    reader = machine.run(0)
    end(machine.run(3))
    (machine.path / "tenantcache-a-999-abc.json").write_text(text)
    assert machine.counter(reader) == 3
    assert reader.unreadable == 1


def test_the_sum_of_the_ended_is_not_lost_if_it_cannot_be_read(machine: Machine) -> None:
    reader = machine.run(0)
    end(machine.run(3))
    assert machine.counter(reader) == 3
    [sums] = machine.path.glob("*-ended.json")
    text = sums.read_text()
    sums.write_text("{")
    end(machine.run(4))
    assert machine.counter(reader) == 4, "what is there counts"
    sums.write_text(text)
    assert machine.counter(reader) == 7


def test_a_write_that_fails_leaves_the_last_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, other = machine.run(0), machine.run(5, 50)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", _fail)
        with pytest.raises(OSError, match="Read-only"):
            other.write(values(6))
    assert machine.counter(reader) == 5
    assert machine.files("new") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_without_rights_a_write_fails_and_a_read_does_not(machine: Machine) -> None:
    machine.path.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        machine.run(1)
    assert machine.counter(machine.start()) == 0


def test_a_file_in_the_place_of_the_directory_is_an_oserror(machine: Machine) -> None:
    machine.path.write_text("")
    with pytest.raises(OSError, match=r"exists|directory"):
        machine.run(1)
    assert machine.counter(machine.start()) == 0


def test_without_locks_age_tells(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none: then nothing is added up, and nothing is lost."""
    reader, other = machine.run(0), machine.run(5, 50)
    end(other)

    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert machine.counter(reader) == 5
    machine.clock.now += STALE_AFTER + 1
    assert machine.counter(reader) == 5
    assert machine.gauges(reader) == []


def test_a_forked_child_is_a_process_of_its_own(machine: Machine) -> None:
    parent, reader = machine.run(5, 50), machine.run(0)
    child = os.fork()
    if not child:
        parent.forget()
        parent.write(values(1, 10))
        os._exit(0)
    os.waitpid(child, 0)
    assert machine.counter(reader) == 6
    assert machine.gauges(reader) == [50], "the child has ended, and has not taken the parent's lock along"
    parent.write(values(7, 70))
    assert machine.counter(reader) == 8


def test_a_directory_that_was_removed_meanwhile_is_made_again(machine: Machine) -> None:
    processes = [machine.run(5.0), machine.run(7.0)]
    shutil.rmtree(machine.path)
    for process, counter in zip(processes, (6.0, 8.0), strict=True):
        process.write(values(counter, 1.0))
    for reader, counter in zip(processes, (8.0, 6.0), strict=True):
        assert machine.counter(reader) == counter
        assert machine.gauges(reader) == [1.0]


def test_files_are_kept_from_what_cleans_up(machine: Machine) -> None:
    process = machine.run(1)
    [lock] = machine.path.glob("*.lock")
    os.utime(lock, (0, 0))
    process.write(values(2))
    assert lock.stat().st_mtime > 0


def test_what_is_written_is_small_and_plain(machine: Machine, make_values: Callable[[int], dict[str, Rows]]) -> None:
    process = machine.start()
    process.write(make_values(3))
    [file] = machine.path.glob("*.json")
    assert json.loads(file.read_text()) == {
        "format": 1,
        "process": os.getpid(),
        "written_at": 1_000.0,
        "values": {"counter": [["a0", 0.0], ["a1", 1.0], ["a2", 2.0]]},
    }


@pytest.fixture
def make_values() -> Callable[[int], dict[str, Rows]]:
    def make(rows: int) -> dict[str, Rows]:
        return {"counter": {(f"a{number}",): float(number) for number in range(rows)}, "empty": {}}

    return make
