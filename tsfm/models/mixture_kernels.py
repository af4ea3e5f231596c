"""Compiled distribution function and quantiles of :class:`tsfm.models.distributions.Mixture`.

Everything is in the components' own units (before the affine scaler) and in float64.

* Student-t: Hill's normal transformation (1970, algorithm 395), at two or more steps of the
  recurrence of the incomplete beta function in the degrees of freedom, where it is off by < 4e-8.
* Negative binomial: the integral of the real-valued density by Gauss–Legendre quadrature in
  ``log(x + r)``, cumulated at panel edges once per element.
* Quantiles: the distribution function is tabulated at the components' landmarks, each level starts
  from inverse Hermite interpolation in its bracket, and bracketed Newton steps finish it.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numba import njit

Parameters = Float[np.ndarray, "element 12"]

_NEGLIGIBLE = 1e-7  # a component of less weight is left out
_TOLERANCE = 1e-5  # of the distribution function at a quantile, before the last Newton step
_STEPS = 200  # bracketing and Newton steps before the bracket's middle is taken
_NORMAL_SCALE = 1e-3
_PANELS = 12
_MAX_EDGES = 64
_NODES = np.array(
    [-0.8611363115940526, -0.3399810435848563, 0.3399810435848563, 0.8611363115940526]
)
_WEIGHTS = np.array(
    [0.3478548451374538, 0.6521451548625461, 0.6521451548625461, 0.3478548451374538]
)
_NODES_3 = np.array([-0.7745966692414834, 0.0, 0.7745966692414834])
_WEIGHTS_3 = np.array([5 / 9, 8 / 9, 5 / 9])
_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _student_t(z, df, log_norm):  # type: ignore[no-untyped-def]
    """Distribution function and density at ``z``; ``log_norm = log B(df / 2, 1 / 2)``."""
    half, square = 0.5 * df, z * z
    log_ratio = math.log1p(square / df)
    density = math.exp(-(half + 0.5) * log_ratio - log_norm) / math.sqrt(df)
    tail, a, big = 0.0, half, df
    if df < 8.0:
        x = 1.0 / (1.0 + square / df)
        term = density * abs(z) / half
        tail = term * (1.0 + x * (half + 0.5) / (half + 1.0))
        big = df + 4.0
    a = big - 0.5
    b = 48.0 * a * a
    y = a * log_ratio
    series = (((-0.4 * y - 3.3) * y - 24.0) * y - 85.5) / (0.8 * y * y + 100.0 + b)
    normal = ((series + y + 3.0) / b + 1.0) * math.sqrt(y)
    tail += math.erfc(normal * _SQRT_HALF)
    return (1.0 - 0.5 * tail if z > 0 else 0.5 * tail), density


@_compiled
def _nb_density(u, count, log_p, log_norm):  # type: ignore[no-untyped-def]
    """Density of ``u = log(x + count)``."""
    shifted = math.exp(u)
    x = max(shifted - count, 0.0)
    if x > 1e5 * (1.0 + count * math.sqrt(count)):
        log_ratio = (count - 1.0) * math.log(x + 0.5 * count)
    else:
        log_ratio = math.lgamma(x + count) - math.lgamma(x + 1.0)
    return math.exp(log_ratio + x * log_p + log_norm + u)


@_compiled
def _nb_table(count, logits, edges, masses):  # type: ignore[no-untyped-def]
    """Panel edges in ``u`` and the mass below each; the number of panels, log p, constant."""
    logits = min(max(logits, -80.0), 80.0)
    log_p = -math.log1p(math.exp(-logits))
    log_q = -math.log1p(math.exp(logits))
    log_norm = count * log_q - math.lgamma(count)
    mean = count * math.exp(logits)
    spread = math.sqrt(mean * (1.0 + math.exp(logits)))
    low = math.log(count + max(mean - 6.5 * spread, 0.0))
    high = math.log(count + mean + 6.5 * spread - 14.0 / log_p)
    knee = max(low, high - 8.0)
    tail_panels = min(int(math.ceil((knee - low) / 2.0)), _MAX_EDGES - _PANELS - 1)
    n = tail_panels + _PANELS
    edges[0], masses[0] = low, 0.0
    for k in range(n):
        if k < tail_panels:
            edges[k + 1] = low + (knee - low) * (k + 1) / tail_panels
        else:
            edges[k + 1] = knee + (high - knee) * (k + 1 - tail_panels) / _PANELS
        middle, half = 0.5 * (edges[k] + edges[k + 1]), 0.5 * (edges[k + 1] - edges[k])
        mass = 0.0
        for j in range(4):
            u = middle + half * _NODES[j]
            mass += _WEIGHTS[j] * _nb_density(u, count, log_p, log_norm)
        masses[k + 1] = masses[k] + half * mass
    return n, log_p, log_norm


@_compiled
def _negative_binomial(x, count, n, log_p, log_norm, edges, masses):  # type: ignore[no-untyped-def]
    """Unnormalised mass below ``x`` and density at ``x``."""
    if x < 0.0:
        return 0.0, 0.0
    u = math.log(x + count)
    density = _nb_density(u, count, log_p, log_norm) / (x + count)
    if u >= edges[n]:
        return masses[n], density
    if u <= edges[0]:
        return 0.0, density
    first, last = 0, n
    while last - first > 1:
        middle = (first + last) // 2
        if edges[middle] <= u:
            first = middle
        else:
            last = middle
    start = first if u - edges[first] < edges[last] - u else last
    centre, half = 0.5 * (edges[start] + u), 0.5 * (u - edges[start])
    mass = 0.0
    for j in range(3):
        point = centre + half * _NODES_3[j]
        mass += _WEIGHTS_3[j] * _nb_density(point, count, log_p, log_norm)
    return masses[start] + half * mass, density


@_compiled
def _prepare(p, state, edges, masses):  # type: ignore[no-untyped-def]
    """Constants of one element: log B of the Student-t, the binomial's table, total mass."""
    state[0] = math.lgamma(0.5 * p[4]) + math.lgamma(0.5) - math.lgamma(0.5 * p[4] + 0.5)
    total = 0.0
    for k in range(4):
        if p[k] >= _NEGLIGIBLE and k != 2:
            total += p[k]
    state[1] = 0.0
    if p[2] >= _NEGLIGIBLE:
        n, log_p, log_norm = _nb_table(p[8], p[9], edges, masses)
        state[1], state[2], state[3] = n, log_p, log_norm
        total += p[2] * masses[n]
    state[4] = 1.0 / total


@_compiled
def _evaluate(x, p, state, edges, masses):  # type: ignore[no-untyped-def]
    """Distribution function and density of one element's mixture."""
    probability, density = 0.0, 0.0
    if p[0] >= _NEGLIGIBLE:
        cdf, pdf = _student_t((x - p[5]) / p[6], p[4], state[0])
        probability += p[0] * cdf
        density += p[0] * pdf / p[6]
    if p[1] >= _NEGLIGIBLE:
        z = (x - p[7]) / _NORMAL_SCALE
        if z > 6.0:
            probability += p[1]
        elif z > -6.0:
            probability += p[1] * 0.5 * math.erfc(-z * _SQRT_HALF)
            density += p[1] * math.exp(-0.5 * z * z) * _INV_SQRT_2PI / _NORMAL_SCALE
    if p[2] >= _NEGLIGIBLE:
        cdf, pdf = _negative_binomial(x, p[8], int(state[1]), state[2], state[3], edges, masses)
        probability += p[2] * cdf
        density += p[2] * pdf
    if p[3] >= _NEGLIGIBLE and x > 0.0:
        z = (math.log(x) - p[10]) / p[11]
        probability += p[3] * 0.5 * math.erfc(-z * _SQRT_HALF)
        density += p[3] * math.exp(-0.5 * z * z) * _INV_SQRT_2PI / (p[11] * x)
    return probability * state[4], density * state[4]


@_compiled
def _landmarks(p, state, edges, masses, points):  # type: ignore[no-untyped-def]
    """Where the components put their mass, sorted; returns how many points."""
    n = 0
    share = 1e-3
    if p[0] > share:
        for z in (-2.5, -1.0, 0.0, 1.0, 2.5):
            points[n] = p[5] + z * p[6]
            n += 1
    if p[1] > share:
        for z in (-3.5, 0.0, 3.5):
            points[n] = p[7] + z * _NORMAL_SCALE
            n += 1
    if p[2] > share:
        panels = int(state[1])
        points[n] = 0.0
        n += 1
        reached = 0
        for k in range(1, panels + 1):
            share_below = masses[k] / masses[panels]
            if share_below > 0.15 + 0.35 * reached and reached < 3:
                points[n] = math.exp(edges[k]) - p[8]
                n += 1
                reached = 1 + int((share_below - 0.15) / 0.35)
    if p[3] > share:
        for z in (-1.5, 0.0, 1.5):
            points[n] = math.exp(min(max(p[10] + z * p[11], -600.0), 600.0))
            n += 1
    if n == 0:
        points[0] = p[5]
        n = 1
    for i in range(1, n):
        value, j = points[i], i
        while j > 0 and points[j - 1] > value:
            points[j] = points[j - 1]
            j -= 1
        points[j] = value
    return n


@_compiled
def _guess(level, x0, f0, d0, x1, f1, d1):  # type: ignore[no-untyped-def]
    """Inverse cubic Hermite interpolation of the bracket's ends, kept inside it."""
    rise = f1 - f0
    t = (level - f0) / rise
    if d0 > 0.0 and d1 > 0.0:
        width = x1 - x0
        m0, m1 = min(rise / d0, 3.0 * width), min(rise / d1, 3.0 * width)
        s = 1.0 - t
        x = x0 + width * t * t * (3.0 - 2.0 * t) + t * s * (s * m0 - t * m1)
        if x0 < x < x1:
            return x
    return x0 + t * (x1 - x0)


@_compiled
def _solve(level, x0, f0, d0, x1, f1, d1, p, state, edges, masses):  # type: ignore[no-untyped-def]
    """Root of ``F(x) = level`` between ``x0`` and ``x1``, with its probability and density."""
    x = _guess(level, x0, f0, d0, x1, f1, d1)
    width = x1 - x0
    f, d = f0, d0
    for step in range(_STEPS):
        f, d = _evaluate(x, p, state, edges, masses)
        error = f - level
        newton = x - error / d if d > 0.0 else math.inf
        if abs(error) < _TOLERANCE:
            if x0 < newton < x1:
                return newton, level, d
            return x, f, d
        if error < 0.0:
            x0, f0, d0 = x, f, d
        else:
            x1, f1, d1 = x, f, d
        if x1 - x0 <= 4e-16 * max(abs(x0), abs(x1)) + 1e-300:
            break
        slow = step % 3 == 2 and x1 - x0 > 0.5 * width
        if step % 3 == 2:
            width = x1 - x0
        if slow:
            x = 0.5 * (x0 + x1)
        elif x0 < newton < x1:
            x = newton
        else:
            x = _guess(level, x0, f0, d0, x1, f1, d1)
    return 0.5 * (x0 + x1), f, d


@_compiled
def _fill_quantiles(parameters, levels, out):  # type: ignore[no-untyped-def]
    state = np.zeros(5)
    edges, masses = np.empty(_MAX_EDGES + 1), np.empty(_MAX_EDGES + 1)
    points, values, densities = np.empty(20), np.empty(20), np.empty(20)
    n_levels = levels.shape[1]
    for i in range(parameters.shape[0]):
        p = parameters[i]
        row = levels[i if levels.shape[0] > 1 else 0]
        _prepare(p, state, edges, masses)
        n = _landmarks(p, state, edges, masses, points)
        for k in range(n):
            values[k], densities[k] = _evaluate(points[k], p, state, edges, masses)
        k = 0
        x0, f0, d0 = points[0], values[0], densities[0]
        reach = max(abs(x0), 1.0)
        while f0 > row[0] and reach < 1e300:
            points_up, values_up, densities_up = x0, f0, d0
            x0 -= reach
            reach *= 2.0
            f0, d0 = _evaluate(x0, p, state, edges, masses)
            if f0 <= row[0]:
                points[0], values[0], densities[0] = points_up, values_up, densities_up
        for j in range(n_levels):
            level = row[j]
            while k < n and values[k] < level:
                if values[k] > f0:
                    x0, f0, d0 = points[k], values[k], densities[k]
                k += 1
            if k < n:
                x1, f1, d1 = points[k], values[k], densities[k]
            else:
                x1, f1, d1 = x0, f0, d0
                reach = max(abs(points[n - 1] - points[0]), 1e-3)
                while f1 < level and reach < 1e300:
                    x1 = x0 + reach
                    f1, d1 = _evaluate(x1, p, state, edges, masses)
                    reach *= 2.0
                    if f1 < level:
                        x0, f0, d0 = x1, f1, d1
            if f0 >= level or x1 <= x0:
                out[i, j] = x0
                continue
            x0, f0, d0 = _solve(level, x0, f0, d0, x1, f1, d1, p, state, edges, masses)
            out[i, j] = x0


@_compiled
def _fill_cdf(parameters, x, out):  # type: ignore[no-untyped-def]
    state = np.zeros(5)
    edges, masses = np.empty(_MAX_EDGES + 1), np.empty(_MAX_EDGES + 1)
    for i in range(parameters.shape[0]):
        _prepare(parameters[i], state, edges, masses)
        for j in range(x.shape[1]):
            out[i, j], _ = _evaluate(x[i, j], parameters[i], state, edges, masses)


def cdf(
    parameters: Parameters, x: Float[np.ndarray, "element point"]
) -> Float[np.ndarray, "element point"]:
    """Probability of at most ``x``, in the components' units."""
    out = np.empty(x.shape)
    _fill_cdf(np.ascontiguousarray(parameters), np.ascontiguousarray(x, dtype=float), out)
    return out


def quantiles(
    parameters: Parameters, levels: Float[np.ndarray, "#element level"]
) -> Float[np.ndarray, "element level"]:
    """Quantiles at increasing ``levels``, one row of them for all elements or for each."""
    out = np.empty((len(parameters), levels.shape[1]))
    _fill_quantiles(
        np.ascontiguousarray(parameters), np.ascontiguousarray(levels, dtype=float), out
    )
    return out
