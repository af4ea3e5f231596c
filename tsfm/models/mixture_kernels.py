"""Compiled distribution function and quantiles of :class:`tsfm.models.distributions.Mixture`.

Everything is in the components' own units (before the affine scaler) and in float64.

* Student-t: Hill's normal transformation (1970, algorithm 395), at two or more steps of the
  recurrence of the incomplete beta function in the degrees of freedom, where it is off by < 4e-8.
* Negative binomial: the real-valued density in ``log(x + r)`` is interpolated once per element, by
  polynomials of degree 5 on panels, and integrated exactly from there.
* Quantiles: the distribution function is tabulated at the components' landmarks, each level starts
  from inverse Hermite interpolation in its bracket, and bracketed Newton steps finish it. The last
  step is not checked when the densities around it bound its error.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from tsfm.data.kernel_cache import njit

Parameters = Float[np.ndarray, "element 12"]

_NEGLIGIBLE = 1e-7  # a component of less weight is left out
_NOTABLE = 2e-5  # a component of a smaller share has no landmarks
_TOLERANCE = 1e-5  # of the distribution function at a quantile
_STEPS = 200  # bracketing and Newton steps before the bracket's middle is taken
_NORMAL_SCALE = 1e-3
_PANELS = 8
_MAX_PANELS = 64
_NODES = np.array([-1.0, -0.8611363115940526, -0.3399810435848563])
_NODES = np.concatenate([_NODES, -_NODES[::-1]])
_TO_COEFFICIENTS = np.linalg.inv(np.vander(_NODES, increasing=True))
_STIRLING_FROM = 7.0
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
def _stirling(y):  # type: ignore[no-untyped-def]
    """Log gamma function less ``log(2 π) / 2``, to 1e-9 from 7 on."""
    inverse = 1.0 / y
    square = inverse * inverse
    correction = inverse * (1 / 12 - square * (1 / 360 - square / 1260))
    return (y - 0.5) * math.log(y) - y + correction


@_compiled
def _nb_density(u, count, log_p, log_norm):  # type: ignore[no-untyped-def]
    """Density of ``u = log(x + count)``."""
    y = math.exp(u)
    x = max(y - count, 0.0)
    rest = x * log_p + log_norm + u
    if x > 1e5 * (1.0 + count * math.sqrt(count)):
        return math.exp((count - 1.0) * math.log(x + 0.5 * count) + rest)
    z, ratio = x + 1.0, 1.0
    if y < _STIRLING_FROM:
        ratio = 1.0 / (y * (y + 1) * (y + 2) * (y + 3) * (y + 4) * (y + 5) * (y + 6))
        y += _STIRLING_FROM
    if z < _STIRLING_FROM:
        ratio *= z * (z + 1) * (z + 2) * (z + 3) * (z + 4) * (z + 5) * (z + 6)
        z += _STIRLING_FROM
    return math.exp(_stirling(y) - _stirling(z) + rest) * ratio


@_compiled
def _nb_table(count, logits, state, panels):  # type: ignore[no-untyped-def]
    """Interpolate the density on panels of ``u``; returns the total mass.

    ``state[1:7]`` becomes panels in all and in the tail, start, knee and both widths; a row of
    ``panels`` holds the mass below it and the six coefficients of its density.
    """
    logits = min(max(logits, -80.0), 80.0)
    log_p = -math.log1p(math.exp(-logits))
    log_norm = -count * math.log1p(math.exp(logits)) - math.lgamma(count)
    mean = count * math.exp(logits)
    spread = math.sqrt(mean * (1.0 + math.exp(logits)))
    low = math.log(count + max(mean - 6.5 * spread, 0.0))
    left_tail = 16.0 / count + 6.5 * spread / (mean + count)
    low = max(low, math.log(count + mean) - left_tail)
    high = math.log(count + mean + 6.5 * spread - 14.0 / log_p)
    knee = max(low, high - 6.0)
    tail = min(math.ceil((knee - low) / 1.5), _MAX_PANELS - _PANELS)
    tail_width = (knee - low) / tail if tail else 1.0
    width = (high - knee) / _PANELS
    state[1], state[2] = tail + _PANELS, tail
    state[3], state[4], state[5], state[6] = low, knee, tail_width, width
    values = np.empty(6)
    mass = 0.0
    values[5] = _nb_density(low, count, log_p, log_norm)
    for k in range(tail + _PANELS):
        start = low + k * tail_width if k < tail else knee + (k - tail) * width
        half = 0.5 * (tail_width if k < tail else width)
        values[0] = values[5]
        for j in range(1, 6):
            point = start + half * (1.0 + _NODES[j])
            values[j] = _nb_density(point, count, log_p, log_norm)
        panels[k, 0] = mass
        for i in range(6):
            coefficient = 0.0
            for j in range(6):
                coefficient += _TO_COEFFICIENTS[i, j] * values[j]
            panels[k, i + 1] = coefficient
        mass += 2.0 * half * (panels[k, 1] + panels[k, 3] / 3.0 + panels[k, 5] / 5.0)
    return mass


@_compiled
def _negative_binomial(x, count, mass, state, panels):  # type: ignore[no-untyped-def]
    """Unnormalised mass below ``x`` and density at ``x``."""
    if x < 0.0:
        return 0.0, 0.0
    shifted = x + count
    u = math.log(shifted)
    n, tail = int(state[1]), int(state[2])
    if u < state[4]:
        if u <= state[3]:
            return 0.0, 0.0
        k = min(int((u - state[3]) / state[5]), tail - 1)
        start, half = state[3] + k * state[5], 0.5 * state[5]
    else:
        k = tail + int((u - state[4]) / state[6])
        if k >= n:
            return mass, 0.0
        start, half = state[4] + (k - tail) * state[6], 0.5 * state[6]
    t = (u - start) / half - 1.0
    c = panels[k]
    density = c[1] + t * (c[2] + t * (c[3] + t * (c[4] + t * (c[5] + t * c[6]))))
    even = c[1] * (t + 1.0) + c[3] / 3.0 * (t * t * t + 1.0)
    t2 = t * t
    odd = c[2] / 2.0 * (t2 - 1.0) + c[4] / 4.0 * (t2 * t2 - 1.0)
    last = c[5] / 5.0 * (t2 * t2 * t + 1.0) + c[6] / 6.0 * (t2 * t2 * t2 - 1.0)
    return c[0] + half * (even + odd + last), max(density, 0.0) / shifted


@_compiled
def _prepare(p, state, panels):  # type: ignore[no-untyped-def]
    """Constants of one element: log B of the Student-t, the binomial's table, the total mass."""
    state[0] = math.lgamma(0.5 * p[4]) + math.lgamma(0.5) - math.lgamma(0.5 * p[4] + 0.5)
    total = 0.0
    for k in range(4):
        if p[k] >= _NEGLIGIBLE and k != 2:
            total += p[k]
    if p[2] >= _NEGLIGIBLE:
        state[7] = _nb_table(p[8], p[9], state, panels)
        total += p[2] * state[7]
    state[8] = 1.0 / total


@_compiled
def _evaluate(x, p, state, panels):  # type: ignore[no-untyped-def]
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
        cdf, pdf = _negative_binomial(x, p[8], state[7], state, panels)
        probability += p[2] * cdf
        density += p[2] * pdf
    if p[3] >= _NEGLIGIBLE and x > 0.0:
        z = (math.log(x) - p[10]) / p[11]
        probability += p[3] * 0.5 * math.erfc(-z * _SQRT_HALF)
        density += p[3] * math.exp(-0.5 * z * z) * _INV_SQRT_2PI / (p[11] * x)
    return probability * state[8], density * state[8]


@_compiled
def _landmarks(p, state, panels, points):  # type: ignore[no-untyped-def]
    """Where the components put their mass, sorted; returns how many points."""
    n = 0
    if p[0] * state[8] > _NOTABLE:
        n = _spread(points, n, p[5], p[6], 3, 1.6)
    if p[1] * state[8] > _NOTABLE:
        n = _spread(points, n, p[7], _NORMAL_SCALE, 2, 7.0)
    if p[2] * state[7] * state[8] > _NOTABLE:
        n = _nb_landmarks(p, state, panels, points, n)
    if p[3] * state[8] > _NOTABLE:
        first = n
        n = _spread(points, n, p[10], p[11], 3, 1.5)
        for i in range(first, n):
            points[i] = math.exp(min(max(points[i], -600.0), 600.0))
    for i in range(1, n):
        value, j = points[i], i
        while j > 0 and points[j - 1] > value:
            points[j] = points[j - 1]
            j -= 1
        points[j] = value
    return n


@_compiled
def _spread(points, n, centre, scale, count, step):  # type: ignore[no-untyped-def]
    for i in range(count):
        points[n + i] = centre + (i - 0.5 * (count - 1)) * step * scale
    return n + count


@_compiled
def _nb_landmarks(p, state, panels, points, n):  # type: ignore[no-untyped-def]
    """Zero, and the first panels above 15, 50 and 85 % of the mass."""
    points[n] = 0.0
    n += 1
    share, tail = 0.15, int(state[2])
    for k in range(1, int(state[1])):
        if panels[k, 0] >= share * state[7] and share < 1.0:
            start = state[3] + k * state[5] if k < tail else state[4] + (k - tail) * state[6]
            points[n] = max(math.exp(start) - p[8], 0.0)
            n += 1
            while panels[k, 0] >= share * state[7]:
                share += 0.35
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
def _solve(level, x0, f0, d0, x1, f1, d1, p, state, panels):  # type: ignore[no-untyped-def]
    """Root of ``F(x) = level`` between ``x0`` and ``x1``, with its probability and density."""
    x = _guess(level, x0, f0, d0, x1, f1, d1)
    width = x1 - x0
    f, d = f0, d0
    for step in range(_STEPS):
        f, d = _evaluate(x, p, state, panels)
        error = f - level
        move = -error / d if d > 0.0 else math.inf
        newton = x + move
        inside = x0 < newton < x1
        bend = max(abs(d - d0) / (x - x0), abs(d1 - d) / (x1 - x)) if x0 < x < x1 else math.inf
        if inside and 2.0 * bend * move * move < _TOLERANCE:
            return newton, level, d
        if abs(error) < _TOLERANCE:
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
        elif inside:
            x = newton
        else:
            x = _guess(level, x0, f0, d0, x1, f1, d1)
    return 0.5 * (x0 + x1), f, d


@_compiled
def _fill_quantiles(parameters, levels, out):  # type: ignore[no-untyped-def]
    state = np.zeros(9)
    panels = np.empty((_MAX_PANELS, 7))
    points, values, densities = np.empty(20), np.empty(20), np.empty(20)
    n_levels = levels.shape[1]
    for i in range(parameters.shape[0]):
        p = parameters[i]
        row = levels[i if levels.shape[0] > 1 else 0]
        _prepare(p, state, panels)
        n = _landmarks(p, state, panels, points)
        for k in range(n):
            values[k], densities[k] = _evaluate(points[k], p, state, panels)
        k = 0
        x0, f0, d0 = points[0], values[0], densities[0]
        reach = max(abs(x0), 1.0)
        while f0 > row[0] and reach < 1e300:
            points_up, values_up, densities_up = x0, f0, d0
            x0 -= reach
            reach *= 2.0
            f0, d0 = _evaluate(x0, p, state, panels)
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
                    f1, d1 = _evaluate(x1, p, state, panels)
                    reach *= 2.0
                    if f1 < level:
                        x0, f0, d0 = x1, f1, d1
            if f0 >= level or x1 <= x0:
                out[i, j] = x0
                continue
            x0, f0, d0 = _solve(level, x0, f0, d0, x1, f1, d1, p, state, panels)
            out[i, j] = x0


@_compiled
def _fill_cdf(parameters, x, out):  # type: ignore[no-untyped-def]
    state = np.zeros(9)
    panels = np.empty((_MAX_PANELS, 7))
    for i in range(parameters.shape[0]):
        _prepare(parameters[i], state, panels)
        for j in range(x.shape[1]):
            out[i, j], _ = _evaluate(x[i, j], parameters[i], state, panels)


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
