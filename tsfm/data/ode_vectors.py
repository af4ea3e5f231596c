"""Compiler intrinsics of :mod:`tsfm.data.ode_kernel`: calls by address and sums on vectors.

A row of ``[state, lane]`` is one vector of :data:`LANES` numbers. The sums over stages, where an
explicit Runge-Kutta method spends its time beside the right-hand side, are generated from the
method's coefficients: one fully unrolled sum per row of :data:`WEIGHTS`, zeros left out.

Coefficients are those of Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I
(1993), II.5 and II.6 (order 8, error of orders 5 and 3, dense output of order 7), as
:class:`scipy.integrate.DOP853` carries them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from scipy.integrate import DOP853

from tsfm.data.ode_rhs import LANES

STAGES = 12
SLOPES = 16
DENSE = 16
ERROR_5, ERROR_3 = 20, 21

NODES = np.concatenate([DOP853.C[:STAGES], [1.0], DOP853.C_EXTRA])
WEIGHTS = np.zeros((22, SLOPES))
"""Rows: the sixteen stages (the twelfth is the step's result), then four of the dense output at
:data:`DENSE`, then the two errors."""
WEIGHTS[:STAGES, :STAGES] = DOP853.A
WEIGHTS[STAGES, :STAGES] = DOP853.B
WEIGHTS[STAGES + 1 : SLOPES] = DOP853.A_EXTRA
WEIGHTS[DENSE : DENSE + 4] = DOP853.D
WEIGHTS[ERROR_5, : STAGES + 1] = DOP853.E5
WEIGHTS[ERROR_3, : STAGES + 1] = DOP853.E3

_NUMBER, _INTEGER = ir.DoubleType(), ir.IntType(64)
_VECTOR = ir.VectorType(_NUMBER, LANES)


@intrinsic
def call_lanes(  # type: ignore[no-untyped-def]
    _typing, address, time, state, parameter, slope, stage, first, rows
):
    """Call the right-hand side at ``address`` and put its result at ``slope[stage]``.

    ``first [2]`` are the first row of the state and of the parameters, ``rows [2]`` their number.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        function_address, *arrays, stage, first, rows = arguments
        kinds = signature.args
        moments, states, parameters, slopes = (
            context.make_array(kind)(context, builder, array)
            for kind, array in zip(kinds[1:5], arrays)
        )
        first_state, first_parameter = cgutils.unpack_tuple(builder, first, 2)
        n_states, n_parameters = cgutils.unpack_tuple(builder, rows, 2)
        height = builder.extract_value(slopes.shape, 1)
        slope_row = builder.add(builder.mul(stage, height), first_state)
        pointer = _NUMBER.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 4 + [_INTEGER] * 2)
        builder.call(
            builder.inttoptr(function_address, kind.as_pointer()),
            [
                moments.data,
                _row(builder, states.data, first_state),
                _row(builder, parameters.data, first_parameter),
                _row(builder, slopes.data, slope_row),
                n_states,
                n_parameters,
            ],
        )
        return context.get_dummy_value()

    arguments = (address, time, state, parameter, slope, stage, first, rows)
    return types.void(*arguments), generate


@intrinsic
def call_sampler(  # type: ignore[no-untyped-def]
    _typing, address, time, state, parameter, signals, item, point, lane
):
    """Call the sampler at ``address`` with one lane's columns and ``signals[item, point]``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        function_address, time, *arrays, item, point, lane = arguments
        states, parameters, signals = (
            context.make_array(kind)(context, builder, array)
            for kind, array in zip(signature.args[2:5], arrays)
        )
        points, width = (builder.extract_value(signals.shape, axis) for axis in (1, 2))
        row = builder.add(builder.mul(item, points), point)
        signal = builder.gep(signals.data, [builder.mul(row, width)])
        pointer = _NUMBER.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [_NUMBER] + [pointer] * 3 + [_INTEGER] * 4)
        heights = [builder.extract_value(array.shape, 0) for array in (states, parameters)]
        builder.call(
            builder.inttoptr(function_address, kind.as_pointer()),
            [time, states.data, parameters.data, signal, lane, *heights, width],
        )
        return context.get_dummy_value()

    arguments = (address, time, state, parameter, signals, item, point, lane)
    return types.void(*arguments), generate


@intrinsic
def sum_slopes(_typing, which, base, step, slope, out):  # type: ignore[no-untyped-def]
    """``out = base + step * sum(WEIGHTS[which, j] * slope[j])`` for all rows and lanes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        choice, *arrays = arguments
        bases, steps, slopes, outs = (
            context.make_array(kind)(context, builder, array)
            for kind, array in zip(signature.args[1:], arrays)
        )
        height = builder.extract_value(outs.shape, 0)
        steps_vector = _load(builder, steps.data, ir.Constant(_INTEGER, 0))
        behind = builder.append_basic_block("summed")
        choices = builder.switch(choice, behind)
        for index, weights in enumerate(WEIGHTS):
            block = builder.append_basic_block(f"sum_{index}")
            choices.add_case(ir.Constant(choice.type, index), block)
            builder.position_at_end(block)
            with cgutils.for_range(builder, height) as loop:
                total = _weighted(builder, slopes.data, weights, loop.index, height)
                increment = builder.fmul(steps_vector, total)
                result = builder.fadd(_load(builder, bases.data, loop.index), increment)
                place = _row(builder, outs.data, loop.index)
                builder.store(result, builder.bitcast(place, _VECTOR.as_pointer()), align=8)
            builder.branch(behind)
        builder.position_at_end(behind)
        return context.get_dummy_value()

    return types.void(which, base, step, slope, out), generate


def _weighted(builder: Any, slopes: Any, weights: np.ndarray, row: Any, height: Any) -> Any:
    total = ir.Constant(_VECTOR, [0.0] * LANES)
    for stage, weight in enumerate(weights):
        if weight:
            place = builder.add(builder.mul(ir.Constant(_INTEGER, stage), height), row)
            factor = ir.Constant(_VECTOR, [float(weight)] * LANES)
            term = builder.fmul(_load(builder, slopes, place), factor)
            total = builder.fadd(total, term)
    return total


def _row(builder: Any, data: Any, row: Any) -> Any:
    return builder.gep(data, [builder.mul(row, ir.Constant(_INTEGER, LANES))])


def _load(builder: Any, data: Any, row: Any) -> Any:
    pointer = builder.bitcast(_row(builder, data, row), _VECTOR.as_pointer())
    return builder.load(pointer, align=8)
