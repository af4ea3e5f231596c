"""Ordinary differential equations in batches: explicit Runge-Kutta of order 8, all cores.

``integrate`` solves one system for many initial states and parameters. It suits non-stiff
systems at tight tolerances: the method is DOP853 of Hairer, Norsett & Wanner, Solving Ordinary
Differential Equations I (1993), II.5 and II.6, with its error estimate of orders 5 and 3 and its
dense output of order 7, on lanes of trajectories that step side by side, each with its own step
size. A stiff system ends with status ``STEPS`` or ``TIME``: it costs, but never hangs.

Inputs and forcing
------------------
A smooth forcing is a function of ``t`` in the right-hand side, its amplitudes and frequencies
being parameters of each trajectory. A forcing that jumps (a meal, an infusion rate that changes
every minute) must not jump inside a step: a *sampler*, called at every time asked for, sets the
inputs among the parameters that hold until the next one, and the method restarts there. It sees
the state, so it can be a controller with a memory (also among the parameters); its other numbers
are ``signals [batch, time, signal]``, which it reads and writes::

    def hold(t, state, parameters, signal):
        parameters[3] = signal[0]

    integrate(rhs, initial, parameters, times, sampler=compile_sampler(hold), signals=doses)
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from tsfm.data import ode_kernel
from tsfm.data.ode_rhs import (
    LANES,
    Rhs,
    Sampler,
    compile_rhs,
    compile_sampler,
    compile_source,
    couple,
)
from tsfm.errors import ConfigError, DataError

__all__ = [
    "Rhs",
    "Sampler",
    "Solution",
    "Status",
    "Tolerance",
    "compile_rhs",
    "compile_sampler",
    "compile_source",
    "couple",
    "integrate",
]

_ROUNDS = 2048
_CHUNK = 8 * LANES


class Status(IntEnum):
    """How a trajectory ended."""

    OK = ode_kernel.OK
    DIVERGED = ode_kernel.DIVERGED
    STEPS = ode_kernel.STEPS
    TIME = ode_kernel.TIME
    NAN = ode_kernel.NAN


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How exactly to integrate, and when to give up.

    Parameters
    ----------
    rtol, atol
        A step's error in a component must be below ``atol + rtol * |component|`` (root mean
        square over components). ``atol`` may be one number per component.
    max_steps
        Attempted steps of one trajectory, rejected ones included; status ``STEPS`` beyond.
    max_seconds
        Wall-clock seconds of one trajectory, looked at every few thousand steps; status ``TIME``
        beyond. The only limit that depends on the machine.
    """

    rtol: float = 1e-9
    atol: float | Sequence[float] = field(default=1e-10)
    max_steps: int = 1_000_000
    max_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not 1e-14 <= self.rtol <= 0.1:
            raise ConfigError(f"rtol={self.rtol} is out of range", remedy="give 1e-14 to 0.1")
        atol = np.asarray(self.atol, dtype=float)
        if atol.ndim > 1 or not (np.isfinite(atol) & (atol > 0)).all():
            raise ConfigError(
                f"atol={self.atol} is not positive",
                remedy="give a positive number, or one per component",
            )
        for name in ("max_steps", "max_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name}={getattr(self, name)} is not positive", remedy="give a positive number"
                )


@dataclass(frozen=True, eq=False)
class Solution:
    """Trajectories at the times asked for.

    Attributes
    ----------
    states
        ``[batch, time, state]``, before the sampler changed them; NaN from where a trajectory
        stopped.
    status
        ``int8 [batch]``, values of :class:`Status`.
    steps
        ``int64 [batch]``, attempted steps.
    signals
        ``[batch, time, signal]``, as the sampler left them.
    """

    states: Float[np.ndarray, "batch time state"]
    status: Int[np.ndarray, " batch"]
    steps: Int[np.ndarray, " batch"]
    signals: Float[np.ndarray, "batch time signal"]

    @property
    def ok(self) -> np.ndarray:
        """``bool [batch]``: which trajectories reached their last time."""
        return self.status == Status.OK


def integrate(
    rhs: Rhs,
    initial: ArrayLike,
    parameters: ArrayLike,
    times: ArrayLike,
    *,
    tolerance: Tolerance | None = None,
    bound: float | ArrayLike | None = 1e4,
    workers: int | None = None,
    sampler: Sampler | None = None,
    signals: ArrayLike | None = None,
) -> Solution:
    """Integrate a batch of trajectories of one system.

    Parameters
    ----------
    rhs
        From :func:`compile_rhs`, :func:`compile_source` or :func:`couple`.
    initial
        ``[batch, state]``, the states at the first time.
    parameters
        ``[batch, parameter]``, or ``[parameter]`` for one set shared by all.
    times
        ``[time]`` or ``[batch, time]``, increasing; the first is where ``initial`` holds.
    tolerance
        By default rtol 1e-9, atol 1e-10.
    bound
        A trajectory stops as ``DIVERGED`` at the first step whose end exceeds it in absolute
        value: one number, one per component, or None for no bound.
    workers
        Threads; by default as many as the process may use. Results do not depend on it.
    sampler
        From :func:`compile_sampler`; called at every time, the first and the last included.
    signals
        ``[batch, time, signal]``, what the sampler reads; the array itself is not changed.

    Raises
    ------
    ConfigError
        For a bound or a number of workers that is not positive, or signals without a sampler.
    DataError
        For arrays of the wrong shape, values that are not finite, or times that do not increase.
    """
    tolerance = tolerance or Tolerance()
    start = _matrix("initial", initial)
    batch, n_states = start.shape
    grid = _times(times, batch)
    problem = ode_kernel.Problem(
        initial=start,
        parameters=_parameters(parameters, batch),
        times=grid,
        states=np.empty((batch, grid.shape[1], n_states)),
        status=np.zeros(batch, dtype=np.int8),
        steps=np.zeros(batch, dtype=np.int64),
        written=np.ones(batch, dtype=np.int64),
        signals=_signals(signals, sampler, (batch, grid.shape[1])),
    )
    limits = ode_kernel.Limits(
        rtol=float(tolerance.rtol),
        atol=_per_component("atol", tolerance.atol, n_states),
        bound=_per_component("bound", np.inf if bound is None else bound, n_states),
        max_steps=int(tolerance.max_steps),
        max_seconds=float(tolerance.max_seconds),
    )
    problem.states[:, 0] = start
    if batch and grid.shape[1] > 1:
        _run(problem, limits, _parts(rhs, sampler), workers)
        for item in np.flatnonzero(problem.status):
            problem.states[item, problem.written[item] :] = np.nan
    return Solution(problem.states, problem.status, problem.steps, problem.signals)


def _run(
    problem: ode_kernel.Problem,
    limits: ode_kernel.Limits,
    parts: ode_kernel.Parts,
    workers: int | None,
) -> None:
    batch = len(problem.initial)
    threads = len(os.sched_getaffinity(0)) if workers is None else workers
    if threads < 1:
        raise ConfigError(f"workers={workers} is not positive", remedy="give 1 or more")

    def run(first: int, stop: int) -> None:
        lanes = _lanes(problem, first)
        while ode_kernel.advance(problem, limits, parts, lanes, stop, time.perf_counter(), _ROUNDS):
            pass

    size = min(_CHUNK, -(-batch // threads))
    if threads == 1 or batch <= size:
        run(0, batch)
        return
    with ThreadPoolExecutor(threads) as pool:
        firsts = range(0, batch, size)
        for future in [pool.submit(run, first, min(first + size, batch)) for first in firsts]:
            future.result()


def _lanes(problem: ode_kernel.Problem, first: int) -> ode_kernel.Lanes:
    """Idle lanes that hold the first item's numbers, where every right-hand side is at home."""
    n_states = problem.initial.shape[1]
    times = np.full(LANES, problem.times[first % len(problem.times), 0])
    return ode_kernel.Lanes(
        item=np.full(LANES, -1),
        clock=np.zeros(LANES, dtype=np.int64),
        next_item=np.array([first]),
        retried=np.zeros(LANES, dtype=np.bool_),
        since=np.zeros(LANES),
        time=times,
        step=np.zeros(LANES),
        state=np.repeat(problem.initial[first, :, None], LANES, axis=1),
        parameter=np.repeat(problem.parameters[first, :, None], LANES, axis=1),
        slope=np.zeros((ode_kernel.SLOPES, n_states, LANES)),
    )


def _parts(rhs: Rhs, sampler: Sampler | None) -> ode_kernel.Parts:
    coupled, sampling = rhs.coupled, 0 if sampler is None else sampler.address
    if coupled is None:
        return ode_kernel.Parts(rhs.address, 0, 0, 0, 0, 0, sampling)
    return ode_kernel.Parts(
        coupled.driver.address,
        coupled.response.address,
        coupled.coupling.address,
        coupled.driver_states,
        coupled.driver_parameters,
        coupled.response_parameters,
        sampling,
    )


def _matrix(name: str, values: ArrayLike) -> np.ndarray:
    array = np.array(values, dtype=np.float64, order="C")
    if array.ndim != 2:
        raise DataError(
            f"{name} has shape {array.shape}", remedy=f"give two axes, [batch, {name}'s component]"
        )
    if not np.isfinite(array).all():
        raise DataError(f"{name} has values that are not finite", remedy="leave those items out")
    return array


def _parameters(parameters: ArrayLike, batch: int) -> np.ndarray:
    array = np.asarray(parameters, dtype=np.float64)
    if array.ndim == 1:
        array = np.broadcast_to(array, (batch, array.size))
    array = _matrix("parameters", array)
    if len(array) != batch:
        raise DataError(
            f"parameters has {len(array)} items but initial has {batch}",
            remedy="give one row of parameters per initial state",
        )
    return array


def _times(times: ArrayLike, batch: int) -> np.ndarray:
    grid = np.array(times, dtype=np.float64, order="C")
    grid = grid[None] if grid.ndim == 1 else grid
    if grid.ndim != 2 or not grid.shape[1] or (len(grid) != batch and np.ndim(times) == 2):
        raise DataError(
            f"times has shape {np.shape(times)}", remedy=f"give [time] or [{batch}, time]"
        )
    if not np.isfinite(grid).all() or (np.diff(grid, axis=1) <= 0).any():
        raise DataError("times do not increase", remedy="give finite, strictly increasing times")
    return grid


def _signals(
    signals: ArrayLike | None, sampler: Sampler | None, shape: tuple[int, int]
) -> np.ndarray:
    if signals is None:
        return np.zeros((*shape, 0))
    if sampler is None:
        raise ConfigError("signals are given but no sampler", remedy="give what reads them")
    array = np.array(signals, dtype=np.float64, order="C")
    if array.ndim != 3 or array.shape[:2] != shape:
        raise DataError(
            f"signals have shape {array.shape}", remedy=f"give [{shape[0]}, {shape[1]}, signal]"
        )
    return array


def _per_component(name: str, values: ArrayLike, n_states: int) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim > 1 or (array.ndim == 1 and array.size != n_states):
        raise DataError(
            f"{name} has shape {array.shape} but states have {n_states} components",
            remedy="give one number, or one per component",
        )
    if not (array > 0).all():
        raise ConfigError(f"{name}={values!r} is not positive", remedy="give positive numbers")
    return np.full(n_states, array)
