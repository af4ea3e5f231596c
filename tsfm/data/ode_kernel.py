"""The compiled core of :mod:`tsfm.data.ode`: DOP853 on lanes of trajectories in lockstep.

Every array that a stage touches is ``[state, lane]``; each lane has its own time, step size and
item of the batch, and takes the next item when its own ends. What a lane computes does not depend
on its neighbours, so results depend neither on the number of threads nor on the batch.

The method, its error norm and its dense output: Hairer, Norsett & Wanner, Solving Ordinary
Differential Equations I (1993), II.4 to II.6, and the step control of
:class:`scipy.integrate.DOP853`.
"""

from __future__ import annotations

from math import isfinite, sqrt
from typing import Any, NamedTuple

import numpy as np

from tsfm.data.kernel_cache import njit
from tsfm.data.ode_rhs import LANES
from tsfm.data.ode_vectors import (
    DENSE,
    ERROR_3,
    ERROR_5,
    NODES,
    SLOPES,
    STAGES,
    call_lanes,
    call_sampler,
    sum_slopes,
)

OK, DIVERGED, STEPS, TIME, NAN = range(5)

_SAFETY, _SHRINK, _GROW = 0.85, 0.2, 10.0
_SMALLEST_STEP = 16 * np.finfo(float).eps

_compiled = njit(cache=True, nogil=True, error_model="numpy")


class Problem(NamedTuple):
    """What is asked of the whole batch, and the answers."""

    initial: Any  # float64 [batch, state]
    parameters: Any  # float64 [batch, parameter]
    times: Any  # float64 [batch or 1, time]
    states: Any  # float64 [batch, time, state], the answer
    status: Any  # int8 [batch], the answer
    steps: Any  # int64 [batch], the answer
    written: Any  # int64 [batch], the answer: how many times were reached
    signals: Any  # float64 [batch, time, signal], read and written by the sampler


class Limits(NamedTuple):
    """Accuracy and the ends of a trajectory."""

    rtol: float
    atol: Any  # float64 [state]
    bound: Any  # float64 [state]
    max_steps: int
    max_seconds: float


class Parts(NamedTuple):
    """Addresses of a plain right-hand side (the others are 0) or of a coupled one, and of the
    sampler (0: none)."""

    driver: int
    response: int
    coupling: int
    driver_states: int
    driver_parameters: int
    response_parameters: int
    sampler: int = 0


class Lanes(NamedTuple):
    """Where each lane is."""

    item: Any  # int64 [lane], -1 when idle
    clock: Any  # int64 [lane], its row of the times
    next_item: Any  # int64 [1]
    retried: Any  # bool [lane]: the last attempt was rejected
    since: Any  # float64 [lane]: the clock when it started
    time: Any  # float64 [lane]
    step: Any  # float64 [lane]
    state: Any  # float64 [state, lane]
    parameter: Any  # float64 [parameter, lane]
    slope: Any  # float64 [16, state, lane]


@_compiled
def _evaluate(parts, time, state, parameter, slope, stage):  # type: ignore[no-untyped-def]
    """Put the slope at ``time`` and ``state`` into ``slope[stage]``."""
    sizes = (state.shape[0], parameter.shape[0])
    if parts.response == 0:
        call_lanes(parts.driver, time, state, parameter, slope, stage, (0, 0), sizes)
        return
    driver = (parts.driver_states, parts.driver_parameters)
    response = (sizes[0] - driver[0], parts.response_parameters)
    call_lanes(parts.driver, time, state, parameter, slope, stage, (0, 0), driver)
    call_lanes(parts.response, time, state, parameter, slope, stage, driver, response)
    call_lanes(parts.coupling, time, state, parameter, slope, stage, (0, 0), sizes)


@_compiled
def _stages(  # type: ignore[no-untyped-def]
    parts, first, last, time, step, state, parameter, slope, trial, moment
):
    """Evaluate the stages from ``first`` to ``last``; the last one's argument is in ``trial``."""
    for stage in range(first, last + 1):
        sum_slopes(stage, state, step, slope, trial)
        for lane in range(LANES):
            moment[lane] = time[lane] + NODES[stage] * step[lane]
        _evaluate(parts, moment, trial, parameter, slope, stage)


@_compiled
def _errors(  # type: ignore[no-untyped-def]
    limits, state, step, after, fifth, third, error, factor
):
    """Hairer's norm of the errors of orders 5 and 3 against the tolerance, per lane, and by how
    much it would change the step."""
    count = after.shape[0]
    for lane in range(LANES):
        five = three = 0.0
        for row in range(count):
            size = max(abs(state[row, lane]), abs(after[row, lane]))
            scale = 1.0 / (limits.atol[row] + limits.rtol * size)
            five += (fifth[row, lane] * scale) ** 2
            three += (third[row, lane] * scale) ** 2
        both = (five + 0.01 * three) * count
        error[lane] = step[lane] * five / sqrt(both) if both != 0.0 else 0.0
    for lane in range(LANES):
        factor[lane] = _SAFETY / sqrt(sqrt(sqrt(error[lane])))


@_compiled
def _interpolant(state, step, slope, after, dense):  # type: ignore[no-untyped-def]
    """The first three coefficients of the dense output (II.6); the others are scaled."""
    for row in range(after.shape[0]):
        for lane in range(LANES):
            change = after[row, lane] - state[row, lane]
            start, end = step[lane] * slope[0, row, lane], step[lane] * slope[STAGES, row, lane]
            dense[0, row, lane] = change
            dense[1, row, lane] = start - change
            dense[2, row, lane] = 2.0 * change - end - start


@_compiled
def _write(  # type: ignore[no-untyped-def]
    times, written, states, clock, item, lane, state, dense, begin, step, reached
):
    """Write the outputs of one lane up to the time reached."""
    point = written[item]
    while point < times.shape[1] and times[clock, point] <= reached:
        part = (times[clock, point] - begin) / step
        rest = 1.0 - part
        for row in range(state.shape[0]):
            value = dense[6, row, lane] * part
            value = (value + dense[5, row, lane]) * rest
            value = (value + dense[4, row, lane]) * part
            value = (value + dense[3, row, lane]) * rest
            value = (value + dense[2, row, lane]) * part
            value = (value + dense[1, row, lane]) * rest
            value = (value + dense[0, row, lane]) * part
            states[item, point, row] = state[row, lane] + value
        point += 1
    written[item] = point


@_compiled
def _first_steps(limits, parts, lanes, fresh, trial, moment):  # type: ignore[no-untyped-def]
    """The first step of fresh lanes by Hairer's rule (II.4); slopes of all lanes are renewed."""
    state, slope, step, count = lanes.state, lanes.slope, lanes.step, trial.shape[0]
    _evaluate(parts, lanes.time, state, lanes.parameter, slope, 0)
    steepest = np.zeros(LANES)
    for lane in range(LANES):
        size = flow = 0.0
        for row in range(count):
            scale = limits.atol[row] + limits.rtol * abs(state[row, lane])
            size += (state[row, lane] / scale) ** 2 / count
            flow += (slope[0, row, lane] / scale) ** 2 / count
        guess = 1e-6 if size < 1e-10 or flow < 1e-10 else 0.01 * sqrt(size / flow)
        guess = guess if isfinite(guess) else 1e-6
        steepest[lane] = sqrt(flow)
        if fresh[lane]:
            step[lane] = guess
        moment[lane] = lanes.time[lane] + step[lane]
        for row in range(count):
            trial[row, lane] = state[row, lane] + step[lane] * slope[0, row, lane]
    _evaluate(parts, moment, trial, lanes.parameter, slope, 1)
    for lane in range(LANES):
        if fresh[lane]:
            bend = 0.0
            for row in range(count):
                scale = limits.atol[row] + limits.rtol * abs(state[row, lane])
                bend += ((slope[1, row, lane] - slope[0, row, lane]) / scale) ** 2 / count
            steep = max(sqrt(bend) / step[lane], steepest[lane])
            longest = (0.01 / steep) ** 0.125 if steep > 1e-15 else max(1e-6, step[lane] * 1e-3)
            if isfinite(longest):
                step[lane] = min(100 * step[lane], longest)
            fresh[lane] = False


@_compiled
def _sample(problem, parts, lanes, lane, item, point):  # type: ignore[no-untyped-def]
    call_sampler(
        parts.sampler,
        lanes.time[lane],
        lanes.state,
        lanes.parameter,
        problem.signals,
        item,
        point,
        lane,
    )


@_compiled
def _refill(problem, parts, lanes, stop, now, fresh):  # type: ignore[no-untyped-def]
    """Give idle lanes new items; True when there was one."""
    started = False
    for lane in range(LANES):
        item = lanes.next_item[0]
        if lanes.item[lane] < 0 and item < stop:
            lanes.next_item[0] = item + 1
            lanes.item[lane] = item
            lanes.clock[lane] = item % problem.times.shape[0]
            lanes.time[lane] = problem.times[lanes.clock[lane], 0]
            lanes.retried[lane] = False
            lanes.since[lane] = now
            for row in range(lanes.parameter.shape[0]):
                lanes.parameter[row, lane] = problem.parameters[item, row]
            for row in range(lanes.state.shape[0]):
                lanes.state[row, lane] = problem.initial[item, row]
            if parts.sampler != 0:
                _sample(problem, parts, lanes, lane, item, 0)
            fresh[lane] = True
            started = True
    return started


@_compiled
def _verdict(bound, after, lane):  # type: ignore[no-untyped-def]
    verdict = OK
    for row in range(after.shape[0]):
        if not isfinite(after[row, lane]):
            return NAN
        if abs(after[row, lane]) > bound[row]:
            verdict = DIVERGED
    return verdict


@_compiled
def _arrive(problem, parts, lanes, lane, item):  # type: ignore[no-untyped-def]
    """A lane is at its next time: write its state, then call the sampler; True at the last."""
    point = problem.written[item]
    lanes.time[lane] = problem.times[lanes.clock[lane], point]
    for row in range(lanes.state.shape[0]):
        problem.states[item, point, row] = lanes.state[row, lane]
    problem.written[item] = point + 1
    _sample(problem, parts, lanes, lane, item, point)
    return point + 1 == problem.times.shape[1]


@_compiled
def _finish(  # type: ignore[no-untyped-def]
    problem, limits, parts, lanes, after, dense, error, factor, room
):
    """Accept or reject the attempt of every busy lane and choose its next step; True when the
    sampler was called."""
    items, steps, state, slope = lanes.item, lanes.step, lanes.state, lanes.slope
    sampled = False
    for lane in range(LANES):
        item = items[lane]
        if item < 0:
            continue
        problem.steps[item] += 1
        status = -1
        step, now = steps[lane], lanes.time[lane]
        if error[lane] < 1.0:
            steps[lane] *= min(1.0 if lanes.retried[lane] else _GROW, factor[lane])
            lanes.retried[lane] = False
            last = step >= room[lane]
            reached = now + (room[lane] if last else step)
            status = _verdict(limits.bound, after, lane)
            if status == OK:
                if parts.sampler == 0:
                    _write(
                        problem.times,
                        problem.written,
                        problem.states,
                        lanes.clock[lane],
                        item,
                        lane,
                        state,
                        dense,
                        now,
                        step,
                        np.inf if last else reached,
                    )
                lanes.time[lane] = reached
                for row in range(after.shape[0]):
                    state[row, lane] = after[row, lane]
                    slope[0, row, lane] = slope[STAGES, row, lane]
                if last and parts.sampler != 0:
                    last, sampled = _arrive(problem, parts, lanes, lane, item), True
                status = OK if last else -1
        else:
            known = isfinite(error[lane])
            steps[lane] *= max(_SHRINK, factor[lane]) if known else _SHRINK
            lanes.retried[lane] = True
            if steps[lane] <= _SMALLEST_STEP * abs(now) or steps[lane] < 1e-290:
                status = STEPS if known else NAN
        if status < 0 and problem.steps[item] >= limits.max_steps:
            status = STEPS
        if status >= 0:
            problem.status[item] = status
            items[lane] = -1
            steps[lane] = 0.0
    return sampled


@_compiled
def _clip(times, written, parts, lanes, room):  # type: ignore[no-untyped-def]
    """Let no lane step over the end of its times, or its next sample, which is ``room`` away."""
    for lane in range(LANES):
        room[lane] = times[lanes.clock[lane], times.shape[1] - 1] - lanes.time[lane]
    if parts.sampler != 0:
        for lane in range(LANES):
            if lanes.item[lane] >= 0:
                point = written[lanes.item[lane]]
                room[lane] = times[lanes.clock[lane], point] - lanes.time[lane]
    for lane in range(LANES):
        lanes.step[lane] = min(lanes.step[lane], room[lane])


@_compiled
def _output_due(times, written, lanes, error, room):  # type: ignore[no-untyped-def]
    """Whether an accepted step of any lane passes a time that is asked for."""
    due = False
    for lane in range(LANES):
        item = lanes.item[lane]
        if item >= 0 and error[lane] < 1.0:
            wanted = times[lanes.clock[lane], written[item]]
            step = lanes.step[lane]
            due = due or step >= room[lane] or wanted <= lanes.time[lane] + step
    return due


@_compiled
def _stop_late(problem, limits, lanes, now):  # type: ignore[no-untyped-def]
    for lane in range(LANES):
        if lanes.item[lane] >= 0 and now - lanes.since[lane] > limits.max_seconds:
            problem.status[lanes.item[lane]] = TIME
            lanes.item[lane] = -1
            lanes.step[lane] = 0.0


@_compiled
def advance(problem, limits, parts, lanes, stop, now, rounds):  # type: ignore[no-untyped-def]
    """Attempt ``rounds`` steps on every lane, taking items below ``stop``.

    Returns the number of busy lanes; state is kept in ``lanes``, so call it until it is 0.
    """
    time, step, state = lanes.time, lanes.step, lanes.state
    parameter, slope, items = lanes.parameter, lanes.slope, lanes.item
    count = state.shape[0]
    zero, one = np.zeros((count, LANES)), np.ones(LANES)
    fifth, third = np.empty((count, LANES)), np.empty((count, LANES))
    after, trial = np.empty((count, LANES)), np.empty((count, LANES))
    dense = np.empty((7, count, LANES))
    moment, room = np.empty(LANES), np.empty(LANES)
    error, factor = np.empty(LANES), np.empty(LANES)
    fresh = np.zeros(LANES, dtype=np.bool_)
    _stop_late(problem, limits, lanes, now)
    for _ in range(rounds):
        if _refill(problem, parts, lanes, stop, now, fresh):
            _first_steps(limits, parts, lanes, fresh, trial, moment)
        busy = 0
        for lane in range(LANES):
            busy += items[lane] >= 0
        if busy == 0:
            return 0
        _clip(problem.times, problem.written, parts, lanes, room)
        _stages(parts, 1, STAGES, time, step, state, parameter, slope, after, moment)
        sum_slopes(ERROR_5, zero, one, slope, fifth)
        sum_slopes(ERROR_3, zero, one, slope, third)
        _errors(limits, state, step, after, fifth, third, error, factor)
        if parts.sampler == 0 and _output_due(problem.times, problem.written, lanes, error, room):
            _stages(
                parts, STAGES + 1, SLOPES - 1, time, step, state, parameter, slope, trial, moment
            )
            _interpolant(state, step, slope, after, dense)
            for order in range(4):
                sum_slopes(DENSE + order, zero, step, slope, dense[3 + order])
        if _finish(problem, limits, parts, lanes, after, dense, error, factor, room):
            _evaluate(parts, time, state, parameter, slope, 0)
    return busy
