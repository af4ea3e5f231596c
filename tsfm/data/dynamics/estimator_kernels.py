"""The compiled loops of the estimators of chaos and of the divergence of invariant measures."""

from __future__ import annotations

import numpy as np

from tsfm.data.kernel_cache import njit

_compiled = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}
)


@_compiled
def _neighbour(columns, at, theiler, distances):  # type: ignore[no-untyped-def]
    """The nearest point that may be followed, more than ``theiler`` samples away, or -1."""
    last = len(distances)
    distances[:] = 0.0
    for k in range(columns.shape[0]):
        here, column = columns[k, at], columns[k]
        for other in range(last):
            distances[other] += (column[other] - here) ** 2
    distances[max(at - theiler, 0) : at + theiler + 1] = np.inf
    best, nearest = np.inf, -1
    for other in range(last):
        if distances[other] < best and distances[other] > 1e-24:
            best, nearest = distances[other], other
    return nearest


@_compiled
def divergence(states, theiler, horizon, references):  # type: ignore[no-untyped-def]
    sums, counts = np.zeros(horizon + 1), np.zeros(horizon + 1)
    columns = np.ascontiguousarray(states.T)
    distances = np.empty(states.shape[0] - horizon)
    for at in range(0, len(distances), max(len(distances) // references, 1)):
        other = _neighbour(columns, at, theiler, distances)
        if other < 0:
            continue
        for step in range(horizon + 1):
            distance = 0.0
            for k in range(states.shape[1]):
                distance += (states[at + step, k] - states[other + step, k]) ** 2
            if distance > 0:
                sums[step] += 0.5 * np.log(distance)
                counts[step] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


@_compiled
def growth(curve, transient):  # type: ignore[no-untyped-def]
    """Least-squares slope per sample of the part before saturation."""
    first = min(transient, len(curve) - 5)
    goal = curve[first] + 0.6 * (np.max(curve) - curve[first])
    last = first
    while last < len(curve) - 1 and curve[last] < goal:
        last += 1
    last = max(last, first + 4)
    count = last - first + 1
    middle, top, bottom = 0.5 * (first + last), 0.0, 0.0
    mean = np.mean(curve[first : last + 1])
    for k in range(count):
        top += (first + k - middle) * (curve[first + k] - mean)
        bottom += (first + k - middle) ** 2
    return top / bottom


@_compiled
def pair_counts(points, theiler, smallest, width, bins):  # type: ignore[no-untyped-def]
    """Pairs per bin of the logarithm of their distance; the first and last take what is beyond."""
    counts = np.zeros(bins)
    for one in range(points.shape[0]):
        for other in range(one + theiler + 1, points.shape[0]):
            distance = 0.0
            for k in range(points.shape[1]):
                distance += (points[one, k] - points[other, k]) ** 2
            place = -1.0 if distance == 0 else (0.5 * np.log(distance) - smallest) / width
            counts[int(min(max(place, 0), bins - 1))] += 1
    return counts


@_compiled
def zero_one(series, frequencies):  # type: ignore[no-untyped-def]
    count, longest = len(series), len(series) // 5
    mean_square = np.mean(series) ** 2
    lags = np.arange(1, longest + 1).astype(np.float64)
    out, displacement = np.empty(len(frequencies)), np.empty(longest)
    p, q = np.empty(count), np.empty(count)
    for draw, c in enumerate(frequencies):
        _translate(series, c, p, q)
        for n in range(1, longest + 1):
            total = 0.0
            for j in range(count - longest):
                total += (p[j + n] - p[j]) ** 2 + (q[j + n] - q[j]) ** 2
            oscillation = mean_square * (1 - np.cos(n * c)) / (1 - np.cos(c))
            displacement[n - 1] = total / (count - longest) - oscillation
        out[draw] = _correlation(lags, displacement)
    return out


@_compiled
def _translate(series, c, p, q):  # type: ignore[no-untyped-def]
    """The walk that the series drives in the plane, turning by ``c`` at every step."""
    turn_cos, turn_sin = np.cos(c), np.sin(c)
    cos, sin = turn_cos, turn_sin
    p_sum = q_sum = 0.0
    for j in range(len(series)):
        p_sum += series[j] * cos
        q_sum += series[j] * sin
        p[j], q[j] = p_sum, q_sum
        cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin


@_compiled
def _correlation(one, other):  # type: ignore[no-untyped-def]
    a, b = one - np.mean(one), other - np.mean(other)
    scale = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return np.sum(a * b) / scale if scale > 0 else 0.0


@_compiled
def _residual(states, at, near):  # type: ignore[no-untyped-def]
    """Distance from a point to the parabola through three samples, infinite beyond 3/4 sample."""
    along = length = 0.0
    for k in range(states.shape[1]):
        slope = 0.5 * (states[near + 1, k] - states[near - 1, k])
        along += (states[at, k] - states[near, k]) * slope
        length += slope * slope
    if length == 0:
        return np.inf
    shift = along / length
    for _ in range(2):
        top = bottom = 0.0
        for k in range(states.shape[1]):
            slope = 0.5 * (states[near + 1, k] - states[near - 1, k])
            bend = states[near + 1, k] - 2 * states[near, k] + states[near - 1, k]
            miss = states[at, k] - states[near, k] - shift * (slope + 0.5 * shift * bend)
            tangent = slope + shift * bend
            top += miss * tangent
            bottom += tangent * tangent
        shift += top / bottom if bottom > 0 else 0.0
    if abs(shift) > 0.75:
        return np.inf
    total = 0.0
    for k in range(states.shape[1]):
        slope = 0.5 * (states[near + 1, k] - states[near - 1, k])
        bend = states[near + 1, k] - 2 * states[near, k] + states[near - 1, k]
        miss = states[at, k] - states[near, k] - shift * (slope + 0.5 * shift * bend)
        total += miss * miss
    return np.sqrt(total)


@_compiled
def _reach(states, tolerance):  # type: ignore[no-untyped-def]
    """Squared distance beyond which no parabola around a sample comes within the tolerance."""
    steps = np.zeros(states.shape[0])
    for at in range(1, states.shape[0]):
        steps[at] = np.sqrt(np.sum((states[at] - states[at - 1]) ** 2))
    reach = np.zeros(states.shape[0])
    for at in range(states.shape[0] - 1):
        reach[at] = (tolerance + steps[at] + steps[at + 1]) ** 2
    return reach


@_compiled
def returns(states, tolerance, least, references):  # type: ignore[no-untyped-def]
    half = states.shape[0] // 2
    stride = max(half // references, 1)
    shares, seen = np.zeros(half), np.zeros(half)
    reach = _reach(states, tolerance)
    used = 0
    for at in range(0, half, stride):
        used += 1
        seen[:] = 0
        for lag in range(max(least, 2), half - 1):
            near = at + lag
            distance = 0.0
            for k in range(states.shape[1]):
                distance += (states[at, k] - states[near, k]) ** 2
            if distance <= reach[near] and _residual(states, at, near) <= tolerance:
                seen[lag - 1 : lag + 2] = 1
        shares += seen
    return shares / used


@_compiled
def log_density(points, centres, variance):  # type: ignore[no-untyped-def]
    """Log density of one Gaussian per centre, but for a constant that all such mixtures share."""
    out, square = np.empty(points.shape[0]), np.empty(centres.shape[0])
    columns = np.ascontiguousarray(centres.T)
    for at in range(points.shape[0]):
        square[:] = 0.0
        for k in range(columns.shape[0]):
            here, column = points[at, k], columns[k]
            for other in range(len(square)):
                square[other] += (column[other] - here) ** 2
        nearest, total = np.min(square), 0.0
        for other in range(len(square)):
            total += np.exp(-0.5 * (square[other] - nearest) / variance)
        out[at] = np.log(total / len(square)) - 0.5 * nearest / variance
    return out
