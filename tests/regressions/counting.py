"""Counts what a request costs, in units that no other process on the machine can change."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import tenantcache

PACKAGE = str(Path(tenantcache.__file__).parent)


@dataclass(frozen=True)
class Cost:
    """`steps`: times the coroutine was resumed, 1 where nothing was waited for. `instructions` and `calls`: of bytecode in
    this package alone. `peak` and `kept`: bytes that were allocated beyond what there was, at most and at the end."""

    steps: int
    instructions: int
    calls: int
    peak: int
    kept: int


def drive(coroutine: Coroutine[Any, Any, Any]) -> int:
    """Run `coroutine` to its end without an event loop; return the number of steps. It must not wait for anything real."""
    steps = 0
    while True:
        steps += 1
        try:
            coroutine.send(None)
        except StopIteration:
            return steps


def count_instructions(coroutine: Coroutine[Any, Any, Any]) -> tuple[int, int, int]:
    """Steps, instructions and calls."""
    instructions = calls = 0

    def in_frame(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal instructions
        instructions += event == "opcode"
        return in_frame

    def on_call(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal calls
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        calls += event == "call"
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return in_frame

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        steps = drive(coroutine)
    finally:
        sys.settrace(before)
    return steps, instructions, calls


def count_bytes(coroutine: Coroutine[Any, Any, Any]) -> tuple[int, int]:
    """Bytes beyond what there was before: at the peak, and at the end."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        drive(coroutine)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    return peak - before, after - before
