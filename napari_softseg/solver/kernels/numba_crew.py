"""How threads share work inside compiled code: each claims tasks, its own first, pass after pass over all of them.

Waking a thread that sleeps takes as long as a sweep of a small image. So threads that are awake stay so from one
pass to the next, and nobody waits for one that comes late: others claim its tasks. Each has its own, since numbers
that another processor wrote last take longer to fetch than to compute.
"""

from __future__ import annotations

import platform
import sys

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from napari_softseg.solver.kernels.numba_compile import part

_CLAIMS = 8
"""Where claims begin on the board: not in the cache line of the count of what is done, which others look at."""

_SPINS = 2000
"""How often a thread looks, some 30 us, before it offers its processor to others between looks."""

_ON_X86 = platform.machine() in ("x86_64", "AMD64")
_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


@intrinsic
def _add_one(typingctx, numbers, at):  # type: ignore[no-untyped-def]
    """Add one to a number that other threads change."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), ir.Constant(ir.IntType(64), 1), "acq_rel")
        return context.get_dummy_value()

    return types.void(numbers, types.intp), codegen


@intrinsic
def _swap(typingctx, numbers, at, before, after):  # type: ignore[no-untyped-def]
    """Set a number that other threads change, if it is what it was; return whether it was."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        place = builder.gep(args[0], [args[1]])
        return builder.extract_value(builder.cmpxchg(place, args[2], args[3], "acq_rel", "acquire"), 1)

    return types.boolean(numbers, types.intp, types.int64, types.int64), codegen


@intrinsic
def _look(typingctx, numbers, at):  # type: ignore[no-untyped-def]
    """Return a number that other threads change, and see what they had written before they did."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", align=8)

    return types.int64(numbers, types.intp), codegen


@intrinsic
def _pause(typingctx):  # type: ignore[no-untyped-def]
    """Tell the processor that this thread does nothing but wait, where it cares."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        if _ON_X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _give_way(typingctx):  # type: ignore[no-untyped-def]
    """Let the system run another thread on this processor, if one is ready."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, _YIELD), [])
        return context.get_dummy_value()

    return types.void(), codegen


@part
def claim(board, task, passes):  # type: ignore[no-untyped-def]
    """Return whether this thread is the one to do a task of the pass with this number."""
    return _swap(board, _CLAIMS + task, passes, passes + 1)


@part
def hand_in(board):  # type: ignore[no-untyped-def]
    """Say that a task that was claimed is done."""
    _add_one(board, 0)


@part
def wait_for(board, count):  # type: ignore[no-untyped-def]
    """Wait until so many tasks are done, of all passes."""
    looks = 0
    while _look(board, 0) < count:
        looks += 1
        if looks < _SPINS:
            _pause()
        else:
            _give_way()
