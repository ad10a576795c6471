"""Counts what a request costs, in units that no other process on the machine can change."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import tenantcache

PACKAGE = str(Path(tenantcache.__file__).parent)
FAKES = str(Path(tenantcache.__file__).parent / "testing")
"""The clock among them is in Python; the one that it stands in for is not."""


def drive(coroutine: Coroutine[Any, Any, Any]) -> int:
    """Run `coroutine` to its end without an event loop; return the number of steps. It must wait for nothing real."""
    steps = 0
    while True:
        steps += 1
        try:
            coroutine.send(None)
        except StopIteration:
            return steps


def count_instructions(make: Callable[[], Coroutine[Any, Any, Any]], *, package: str = PACKAGE) -> tuple[int, int, int]:
    """Steps (1 if nothing was waited for), and instructions of bytecode and calls in `package` alone, by default ours.

    The second of two requests is counted: CPython 3.12 tells of instructions only if they were asked for before.
    """
    instructions = calls = 0

    def in_frame(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal instructions
        instructions += event == "opcode"
        return in_frame

    def on_call(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal calls
        if not frame.f_code.co_filename.startswith(package) or frame.f_code.co_filename.startswith(FAKES):
            return None
        calls += event == "call"
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return in_frame

    before, steps = sys.gettrace(), 0
    for coroutine in (make(), make()):
        instructions = calls = 0
        sys.settrace(on_call)
        try:
            steps = drive(coroutine)
        finally:
            sys.settrace(before)
    return steps, instructions, calls


def count_bytes(make: Callable[[], Coroutine[Any, Any, Any]]) -> int:
    """The most bytes that were allocated at once, beyond what there was before.

    A few requests go before it: they fill the interpreter's free lists again, which a collection empties.
    """
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            drive(make())
        coroutine = make()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        drive(coroutine)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    return peak - before
