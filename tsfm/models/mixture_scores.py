"""Compiled CRPS of :class:`tsfm.models.distributions.Mixture`, by its distribution function.

``∫ (F(x) − 1{x ≥ y})² dx`` (Matheson & Winkler 1976): the square of ``F`` below the value, of
``1 − F`` above it, each monotone, which
bounds it. The line is cut at the components' landmarks and at the value,
and beyond the outermost by steps that double. Every piece is halved until the trapezoidal rule
corrected by the densities at its ends and Hermite's rule with its middle agree.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from tsfm.models.mixture_kernels import (
    _MAX_PANELS,
    _NEGLIGIBLE,
    Parameters,
    _compiled,
    _evaluate,
    _landmarks,
    _prepare,
)

_TOLERANCE = 2e-5
"""Of a piece, relative to the whole."""
_FARTHEST = 1e200
_FAR = 12
"""Landmarks of a wide log-normal, at most."""
_HALVINGS = 100
"""Of one piece, at most."""


@_compiled
def _integrand(x, is_below, p, state, panels):  # type: ignore[no-untyped-def]
    """Squared distance of distribution functions, and its slope."""
    f, density = _evaluate(x, p, state, panels)
    if is_below:
        return f * f, 2.0 * f * density
    return (1.0 - f) * (1.0 - f), -2.0 * (1.0 - f) * density


@_compiled
def _corrected(x0, g0, s0, x1, g1, s1):  # type: ignore[no-untyped-def]
    """The trapezoidal rule corrected by the slopes."""
    h = x1 - x0
    return 0.5 * h * (g0 + g1) + h * (h * (s0 - s1)) / 12.0


@_compiled
def _piece(ends, is_below, tolerance, p, state, panels, stack):  # type: ignore[no-untyped-def]
    """Integral between two points, ``ends`` being their places, values and slopes."""
    total, n, halvings = 0.0, 1, 0
    stack[0] = ends
    while n > 0:
        n -= 1
        x0, g0, s0, x1, g1, s1 = stack[n]
        h, x = x1 - x0, 0.5 * (x0 + x1)
        g, s = _integrand(x, is_below, p, state, panels)
        fine = h / 30.0 * (7.0 * g0 + 16.0 * g + 7.0 * g1) + h * (h * (s0 - s1)) / 60.0
        low = 0.5 * h * (min(g0, g) + min(g, g1))
        high = 0.5 * h * (max(g0, g) + max(g, g1))
        error = abs(fine - _corrected(x0, g0, s0, x1, g1, s1))
        if min(error, high - low) <= tolerance or halvings == _HALVINGS:
            total += min(max(fine, low), high)
            continue
        halvings += 1
        stack[n, 0], stack[n, 1], stack[n, 2] = x0, g0, s0
        stack[n, 3], stack[n, 4], stack[n, 5] = x, g, s
        n += 1
        stack[n, 0], stack[n, 1], stack[n, 2] = x, g, s
        stack[n, 3], stack[n, 4], stack[n, 5] = x1, g1, s1
        n += 1
    return total


@_compiled
def _tail(x, step, is_below, tolerance, p, state, panels, stack):  # type: ignore[no-untyped-def]
    """Integral from ``x`` outwards, in the direction of ``step``."""
    total, start = 0.0, x
    ends = np.empty(6)
    g, s = _integrand(x, is_below, p, state, panels)
    while g * (abs(x - start) + abs(step)) > tolerance and abs(step) < _FARTHEST:
        further = x + step
        g1, s1 = _integrand(further, is_below, p, state, panels)
        a = 0 if step > 0.0 else 3
        ends[a], ends[a + 1], ends[a + 2] = x, g, s
        ends[3 - a], ends[4 - a], ends[5 - a] = further, g1, s1
        total += _piece(ends, is_below, tolerance, p, state, panels, stack)
        x, g, s = further, g1, s1
        step *= 2.0
    return total


@_compiled
def _far_landmarks(p, state, points, n):  # type: ignore[no-untyped-def]
    """Further out, of a log-normal so wide that most of its score comes from there."""
    if p[3] * state[8] < _NEGLIGIBLE or p[11] < 2.0:
        return n
    for k in range(_FAR):
        z = 2.5 + k
        x = math.exp(min(p[10] + z * p[11], 600.0))
        if z > 0.5 * p[11] + 3.0:
            break
        if n == 0 or x > points[n - 1]:
            points[n] = x
            n += 1
    return n


@_compiled
def _fill_crps(parameters, values, out):  # type: ignore[no-untyped-def]
    state, panels = np.zeros(9), np.empty((_MAX_PANELS, 7))
    points, stack, pieces = (
        np.empty(21 + _FAR),
        np.empty((_HALVINGS + 2, 6)),
        np.empty((20 + _FAR, 6)),
    )
    for i in range(parameters.shape[0]):
        p, y = parameters[i], values[i]
        _prepare(p, state, panels)
        n = _landmarks(p, state, panels, points)
        n = _far_landmarks(p, state, points, n)
        k = n
        while k > 0 and points[k - 1] > y:
            points[k] = points[k - 1]
            k -= 1
        points[k] = y
        n += 1
        rough = 0.0
        for j in range(n - 1):
            is_below = j < k
            x0, x1 = points[j], points[j + 1]
            pieces[j, 0], pieces[j, 3] = x0, x1
            pieces[j, 1], pieces[j, 2] = _integrand(x0, is_below, p, state, panels)
            pieces[j, 4], pieces[j, 5] = _integrand(x1, is_below, p, state, panels)
            rough += 0.5 * (x1 - x0) * (pieces[j, 1] + pieces[j, 4])
        tolerance = _TOLERANCE * rough
        total = 0.0
        for j in range(n - 1):
            total += _piece(pieces[j], j < k, tolerance, p, state, panels, stack)
        step = 0.25 * (points[n - 1] - points[0]) + 1e-12
        total += _tail(points[0], -step, True, tolerance, p, state, panels, stack)
        total += _tail(points[n - 1], step, False, tolerance, p, state, panels, stack)
        out[i] = total


def crps(
    parameters: Parameters, values: Float[np.ndarray, " element"]
) -> Float[np.ndarray, " element"]:
    """Continuous ranked probability score of finite values, in the components' units."""
    out = np.empty(values.shape)
    _fill_crps(np.ascontiguousarray(parameters), np.ascontiguousarray(values, dtype=float), out)
    return out
