"""Sixteen float32 numbers at once, as a type that Numba's compiled functions can compute with.

A loop over pixels that holds such values in its variables keeps sums over the classes in registers. Numba's
own vectoriser takes innermost loops only, where every such sum goes through memory, and guards each loop
against arrays that overlap. LLVM splits the sixteen where the processor's registers hold fewer.

Operators take two values, or one and a float32. Numbers in memory are taken by pointers, which count from
the first number of a contiguous array, whatever its dimensions, and which nothing checks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing import signature
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

COUNT = 16
"""How many numbers one value holds."""

_FLOATS = ir.VectorType(ir.FloatType(), COUNT)
_INTEGERS = ir.VectorType(ir.IntType(32), COUNT)
_BYTES = ir.IntType(8).as_pointer()
_AHEAD = 4 * COUNT
"""How far in front of what is worked on numbers are fetched: two to eight times COUNT take as long."""
_FAST = ("contract", "reassoc", "nsz", "arcp", "nnan", "ninf")
"""As for the scalars of the kernels: no number is infinite."""


class Lanes(types.Type):  # type: ignore[misc]
    """Numba's type of sixteen float32."""

    def __init__(self) -> None:
        super().__init__(name="SixteenFloats")


LANES = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _FLOATS)


def _splat(builder: Any, value: Any, of: Any = _FLOATS) -> Any:
    one = builder.insert_element(ir.Constant(of, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), COUNT), [0] * COUNT)
    return builder.shuffle_vector(one, ir.Constant(of, ir.Undefined), places)


def _constant(number: float) -> Any:
    return ir.Constant(_FLOATS, [number] * COUNT)


def _whole(number: int) -> Any:
    return ir.Constant(_INTEGERS, [number] * COUNT)


def _define(sign: Callable[..., Any], method: str) -> None:
    pairs = [(LANES, LANES), (LANES, types.float32), (types.float32, LANES)]

    class Template(ConcreteTemplate):  # type: ignore[misc]
        """Says which types the operator takes."""

        key = sign
        cases = [signature(LANES, *pair) for pair in pairs]  # noqa: RUF012

    infer_global(sign)(Template)
    for pair in pairs:

        @lower_builtin(sign, *pair)  # type: ignore[untyped-decorator]
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            both = [
                x if kind == LANES else _splat(builder, x) for kind, x in zip(sig.args, args, strict=True)
            ]
            return getattr(builder, method)(*both, flags=_FAST)


for _signs, _method in (
    ((operator.add, operator.iadd), "fadd"),
    ((operator.sub, operator.isub), "fsub"),
    ((operator.mul, operator.imul), "fmul"),
    ((operator.truediv, operator.itruediv), "fdiv"),
):
    for _sign in _signs:
        _define(_sign, _method)


def _spot(builder: Any, pointer: Any, at: Any, kind: Any = _FLOATS) -> Any:
    return builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer())


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    function = builder.module.declare_intrinsic(name, (), ir.FunctionType(result, [arg.type for arg in args]))
    return builder.call(function, args, fastmath=_FAST)


@intrinsic
def fill(typingctx, number):  # type: ignore[no-untyped-def]
    """Return sixteen times one float32."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _splat(builder, args[0])

    return LANES(types.float32), codegen


@intrinsic
def place(typingctx, array):  # type: ignore[no-untyped-def]
    """Return a pointer to the first number of an array, which must outlive it (see `alive`).

    Arrays themselves are counted whenever they are passed on, which costs more than what is done with them.
    """

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return context.make_array(array)(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def floats_at(typingctx, address):  # type: ignore[no-untyped-def]
    """Return a pointer to the float32 at an address."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), codegen


@intrinsic
def alive(typingctx, array):  # type: ignore[no-untyped-def]
    """Keep an array until here."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return context.get_dummy_value()

    return types.void(array), codegen


@intrinsic
def hidden(typingctx, at):  # type: ignore[no-untyped-def]
    """Return the place, of which the compiler no longer knows that it grows by sixteen in a loop.

    It would keep every address that depends on it as a number of its own, count them all up, and have no
    register left for any of them.
    """

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        kind = args[0].type
        return builder.asm(ir.FunctionType(kind, [kind]), "", "=r,0", args, side_effect=False)

    return types.intp(types.intp), codegen


@intrinsic
def load(typingctx, numbers, at):  # type: ignore[no-untyped-def]
    """Return the sixteen numbers from `at` on, of float32 or uint8."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        if numbers.dtype == types.uint8:
            some = ir.VectorType(ir.IntType(8), COUNT)
            return builder.uitofp(builder.load(_spot(builder, args[0], args[1], some), align=1), _FLOATS)
        return builder.load(_spot(builder, args[0], args[1]), align=4)

    return LANES(numbers, types.intp), codegen


@intrinsic
def store(typingctx, numbers, at, value):  # type: ignore[no-untyped-def]
    """Set the sixteen float32 from `at` on."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        builder.store(args[2], _spot(builder, args[0], args[1]), align=4)
        return context.get_dummy_value()

    return types.void(numbers, types.intp, LANES), codegen


@intrinsic
def store_past(typingctx, numbers, at, value):  # type: ignore[no-untyped-def]
    """Set the sixteen float32 from `at` on, a whole line of the cache, in memory alone; see `written`."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        done = builder.store(args[2], _spot(builder, args[0], args[1]), align=4 * COUNT)
        done.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(numbers, types.intp, LANES), codegen


@intrinsic
def written(typingctx):  # type: ignore[no-untyped-def]
    """Wait until what `store_past` wrote can be seen by other threads."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


def _fetch(builder: Any, pointer: Any, at: Any, to_write: bool) -> None:
    place = builder.bitcast(builder.gep(pointer, [builder.add(at, ir.Constant(at.type, _AHEAD))]), _BYTES)
    kinds = [_BYTES, *[ir.IntType(32)] * 3]
    prefetch = builder.module.declare_intrinsic(
        "llvm.prefetch", (_BYTES,), ir.FunctionType(ir.VoidType(), kinds)
    )
    builder.call(
        prefetch, [place, *(ir.Constant(ir.IntType(32), number) for number in (int(to_write), 3, 1))]
    )


@intrinsic
def soon_read(typingctx, numbers, at):  # type: ignore[no-untyped-def]
    """Have numbers fetched into the cache that are read when `at` has gone on a few times.

    The processor does that by itself for few arrays at once, and here every class is one.
    """

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _fetch(builder, args[0], args[1], to_write=False)
        return context.get_dummy_value()

    return types.void(numbers, types.intp), codegen


@intrinsic
def soon_written(typingctx, numbers, at):  # type: ignore[no-untyped-def]
    """As `soon_read`, for numbers that will be written."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _fetch(builder, args[0], args[1], to_write=True)
        return context.get_dummy_value()

    return types.void(numbers, types.intp), codegen


@intrinsic
def largest(typingctx, x):  # type: ignore[no-untyped-def]
    """Return the largest of the sixteen."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _call(builder, "llvm.vector.reduce.fmax.v16f32", ir.FloatType(), args[0])

    return types.float32(LANES), codegen


@intrinsic
def total(typingctx, x):  # type: ignore[no-untyped-def]
    """Return the sum of the sixteen."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        zero = ir.Constant(ir.FloatType(), -0.0)
        return _call(builder, "llvm.vector.reduce.fadd.v16f32", ir.FloatType(), zero, args[0])

    return types.float32(LANES), codegen


@intrinsic
def higher(typingctx, x, y):  # type: ignore[no-untyped-def]
    """Return the larger of two, lane by lane; `y` may be a float32."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        x = args[0]
        y = args[1] if sig.args[1] == LANES else _splat(builder, args[1])
        return builder.select(builder.fcmp_ordered(">", x, y, flags=_FAST), x, y)

    return LANES(LANES, y), codegen


@intrinsic
def pick(typingctx, sign, x, y):  # type: ignore[no-untyped-def]
    """Return x where sign >= 0, else y."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(
            builder.fcmp_ordered(">=", args[0], _constant(0.0), flags=_FAST), args[1], args[2]
        )

    return LANES(LANES, LANES, LANES), codegen


@intrinsic
def root(typingctx, x):  # type: ignore[no-untyped-def]
    """Return the square roots."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _call(builder, "llvm.sqrt.v16f32", _FLOATS, args[0])

    return LANES(LANES), codegen


@intrinsic
def size(typingctx, x):  # type: ignore[no-untyped-def]
    """Return the absolute values."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _call(builder, "llvm.fabs.v16f32", _FLOATS, args[0])

    return LANES(LANES), codegen


_LOGARITHM = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)


@intrinsic
def log(typingctx, x):  # type: ignore[no-untyped-def]
    """Return natural logarithms of positive normal numbers to about 1e-7 (Cephes' logf), without a branch."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        def add(a: Any, b: Any) -> Any:
            return builder.fadd(a, b, flags=_FAST)

        def multiply(a: Any, b: Any) -> Any:
            return builder.fmul(a, b, flags=_FAST)

        # less sqrt(1/2): the mantissa lands in [sqrt(1/2), sqrt(2))
        bits = builder.sub(builder.bitcast(args[0], _INTEGERS), _whole(0x3F3504F3))
        exponent = builder.sitofp(builder.ashr(bits, _whole(23)), _FLOATS)
        mantissa = builder.add(builder.and_(bits, _whole(0x007FFFFF)), _whole(0x3F3504F3))
        m = add(builder.bitcast(mantissa, _FLOATS), _constant(-1.0))
        p = _constant(_LOGARITHM[0])
        for coefficient in _LOGARITHM[1:]:
            p = add(multiply(p, m), _constant(coefficient))
        tail = multiply(multiply(m, m), add(multiply(m, p), _constant(-0.5)))
        return add(multiply(exponent, _constant(0.69314718056)), add(m, tail))

    return LANES(LANES), codegen
