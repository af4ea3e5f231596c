"""Compiled passes between the matrix products of a mixer, each over rows that stay in the cache.

Arrays are float32, contiguous, ``[row, patch, feature]``. What is added to a row or gathered from
it lies in a tile ``[patch, feature]`` (or ``[1, feature]``). Dropout keeps an element whose random
byte is at least ``threshold``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tsfm.data.kernel_cache import njit

_LOG2E, _LN2_HIGH, _LN2_LOW = (
    np.float32(1.442695),
    np.float32(0.69335938),
    np.float32(-2.1219444e-4),
)
_EXP = tuple(
    np.float32(c)
    for c in (1.98756915e-4, 1.39819995e-3, 8.33345191e-3, 4.16657959e-2, 1.66666655e-1, 0.5)
)
_ERF_P = tuple(
    np.float32(c)
    for c in (
        -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
        -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
    )
)  # fmt: skip
_ERF_Q = tuple(
    np.float32(c)
    for c in (
        -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03,
        -7.37332916720468e-03, -1.42647390514189e-02,
    )
)  # fmt: skip
_ONE, _HALF, _LIMIT = np.float32(1), np.float32(0.5), np.float32(4)
_LEAST, _MOST = np.float32(1e-25), np.float32(1e30)  # sums of exponentials that need no shift
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ROOT_HALF, _DENSITY = np.float32(0.70710678), np.float32(0.39894228)

_scalar = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nnan", "ninf"})
_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath=True, boundscheck=False)


class MixerArrays(NamedTuple):
    """Weights of a mixer; its gate is empty where it has none."""

    norm: np.ndarray
    norm_bias: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    gate: np.ndarray
    gate_bias: np.ndarray


class MixerPass(NamedTuple):
    """What a pass leaves for its gradients, of each row; or room for that of the row at hand."""

    u: np.ndarray
    h: np.ndarray
    a: np.ndarray
    y: np.ndarray
    gates: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray


def room_for(narrow: tuple[int, ...], wide: tuple[int, ...]) -> MixerPass:
    """For a pass over values ``narrow`` that are ``wide`` between its two maps."""
    return MixerPass(
        *(np.empty(shape, np.float32) for shape in (narrow, wide, wide, narrow, narrow)),
        *(np.empty(narrow[:2], np.float32) for _ in range(2)),
    )


@intrinsic
def _as_float(_context, _bits):  # type: ignore[no-untyped-def]
    """The float32 of these 32 bits."""

    def code(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), code


@_scalar
def exponential(x):  # type: ignore[no-untyped-def]
    """``exp(x)``, relative error 1e-7 (Cephes)."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    n = np.floor(x * _LOG2E + _HALF)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = ((((_EXP[0] * r + _EXP[1]) * r + _EXP[2]) * r + _EXP[3]) * r + _EXP[4]) * r + _EXP[5]
    return (p * r * r + r + _ONE) * _as_float((np.int32(n) + np.int32(127)) << np.int32(23))


@_scalar
def normal_cdf(x):  # type: ignore[no-untyped-def]
    """``Φ(x)``, absolute error 1e-7 (the rational approximation of erf in Eigen)."""
    t = min(max(x * _ROOT_HALF, -_LIMIT), _LIMIT)
    s = t * t
    p = ((((_ERF_P[0] * s + _ERF_P[1]) * s + _ERF_P[2]) * s + _ERF_P[3]) * s + _ERF_P[4]) * s
    p = ((p + _ERF_P[5]) * s + _ERF_P[6]) * t
    q = (((_ERF_Q[0] * s + _ERF_Q[1]) * s + _ERF_Q[2]) * s + _ERF_Q[3]) * s + _ERF_Q[4]
    return _HALF + _HALF * (p / q)


@_compiled
def draw(seed, out):  # type: ignore[no-untyped-def]
    """Random 64-bit words, a function of the seed (splitmix64, Steele et al. 2014)."""
    for i in range(len(out)):
        z = seed + np.uint64(i + 1) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        out[i] = z ^ (z >> np.uint64(31))


@_compiled
def norm(x, weight, bias, eps, out, mean, inverse):  # type: ignore[no-untyped-def]
    """Layer norm over the features; ``mean`` and ``inverse`` deviation ``[row, patch]``."""
    rows, patches, width = x.shape
    share = _ONE / np.float32(width)
    for i in range(rows):
        for k in range(patches):
            total = np.float32(0)
            for j in range(width):
                total += x[i, k, j]
            centre = total * share
            total = np.float32(0)
            for j in range(width):
                total += (x[i, k, j] - centre) * (x[i, k, j] - centre)
            scale = _ONE / np.sqrt(total * share + eps)
            mean[i, k], inverse[i, k] = centre, scale
            for j in range(width):
                out[i, k, j] = (x[i, k, j] - centre) * scale * weight[j] + bias[j]


@_compiled
def activate(h, tile, noise, threshold, scale, out):  # type: ignore[no-untyped-def]
    """``gelu(h + tile)``, thinned out where there is noise; ``out`` is not ``h``."""
    rows, patches, width = h.shape
    for i in range(rows):
        for k in range(patches):
            t = tile[k % tile.shape[0]]
            if noise.size:
                for j in range(width):
                    v = h[i, k, j] + t[j]
                    keep = scale if noise[i, k, j] >= threshold else np.float32(0)
                    out[i, k, j] = v * normal_cdf(v) * keep
            else:
                for j in range(width):
                    v = h[i, k, j] + t[j]
                    out[i, k, j] = v * normal_cdf(v)


@_compiled
def thin(y, tile, noise, threshold, scale):  # type: ignore[no-untyped-def]
    """``y + tile``, thinned out where there is noise, in place."""
    rows, patches, width = y.shape
    for i in range(rows):
        for k in range(patches):
            t = tile[k % tile.shape[0]]
            if noise.size:
                for j in range(width):
                    keep = scale if noise[i, k, j] >= threshold else np.float32(0)
                    y[i, k, j] = (y[i, k, j] + t[j]) * keep
            else:
                for j in range(width):
                    y[i, k, j] += t[j]


@_compiled
def gate_features(x, y, z, bias, out):  # type: ignore[no-untyped-def]
    """``z := softmax(z + bias)`` over features, ``out = x + y z``; ``bias [feature]``."""
    rows, patches, width = x.shape
    for i in range(rows):
        for k in range(patches):
            total = np.float32(0)
            for j in range(width):
                e = exponential(z[i, k, j] + bias[j])
                out[i, k, j] = e
                total += e
            if not _LEAST < total < _MOST:
                total = np.float32(0)
                top = np.float32(-3e38)
                for j in range(width):
                    top = max(top, z[i, k, j] + bias[j])
                for j in range(width):
                    e = exponential(z[i, k, j] + bias[j] - top)
                    out[i, k, j] = e
                    total += e
            share = _ONE / total
            for j in range(width):
                e = out[i, k, j] * share
                z[i, k, j] = e
                out[i, k, j] = x[i, k, j] + y[i, k, j] * e


@_compiled
def gate_patches(x, y, z, bias, out):  # type: ignore[no-untyped-def]  # noqa: C901
    """The same over patches; ``bias [patch]``."""
    rows, patches, width = x.shape
    top, total = np.empty(width, np.float32), np.empty(width, np.float32)
    for i in range(rows):
        total[:] = np.float32(0)
        for k in range(patches):
            for j in range(width):
                e = exponential(z[i, k, j] + bias[k])
                out[i, k, j] = e
                total[j] += e
        least, most = _MOST, _LEAST
        for j in range(width):
            least, most = min(least, total[j]), max(most, total[j])
        if not (least > _LEAST and most < _MOST):
            top[:] = np.float32(-3e38)
            total[:] = np.float32(0)
            for k in range(patches):
                for j in range(width):
                    top[j] = max(top[j], z[i, k, j] + bias[k])
            for k in range(patches):
                for j in range(width):
                    e = exponential(z[i, k, j] + bias[k] - top[j])
                    out[i, k, j] = e
                    total[j] += e
        for j in range(width):
            total[j] = _ONE / total[j]
        for k in range(patches):
            for j in range(width):
                e = out[i, k, j] * total[j]
                z[i, k, j] = e
                out[i, k, j] = x[i, k, j] + y[i, k, j] * e


@_compiled
def gate_features_back(grad, y, s, grad_z, grad_y, grad_bias):  # type: ignore[no-untyped-def]
    """Gradients of ``y`` (its direct part), of the logits and, added up, of their bias."""
    rows, patches, width = y.shape
    for i in range(rows):
        for k in range(patches):
            dot = np.float32(0)
            for j in range(width):
                dot += grad[i, k, j] * y[i, k, j] * s[i, k, j]
            for j in range(width):
                v = s[i, k, j] * (grad[i, k, j] * y[i, k, j] - dot)
                grad_y[i, k, j] = grad[i, k, j] * s[i, k, j]
                grad_z[i, k, j] = v
                grad_bias[j] += v


@_compiled
def gate_patches_back(grad, y, s, grad_z, grad_y, grad_bias):  # type: ignore[no-untyped-def]
    """The same over patches."""
    rows, patches, width = y.shape
    dot = np.empty(width, np.float32)
    for i in range(rows):
        dot[:] = np.float32(0)
        for k in range(patches):
            for j in range(width):
                dot[j] += grad[i, k, j] * y[i, k, j] * s[i, k, j]
        for k in range(patches):
            total = np.float32(0)
            for j in range(width):
                v = s[i, k, j] * (grad[i, k, j] * y[i, k, j] - dot[j])
                grad_y[i, k, j] = grad[i, k, j] * s[i, k, j]
                grad_z[i, k, j] = v
                total += v
            grad_bias[k] += total


@_compiled
def thin_back(grad, noise, threshold, scale, grad_tile):  # type: ignore[no-untyped-def]
    """Gradient of ``thin``'s input, in place; that of the tile is added up."""
    rows, patches, width = grad.shape
    for i in range(rows):
        for k in range(patches):
            t = grad_tile[k % grad_tile.shape[0]]
            if noise.size:
                for j in range(width):
                    keep = scale if noise[i, k, j] >= threshold else np.float32(0)
                    v = grad[i, k, j] * keep
                    grad[i, k, j] = v
                    t[j] += v
            else:
                for j in range(width):
                    t[j] += grad[i, k, j]


@_compiled
def activate_back(grad, h, tile, noise, threshold, scale, grad_tile):  # type: ignore[no-untyped-def]
    """Gradient of ``activate``'s input, in place; that of the tile is added up."""
    rows, patches, width = grad.shape
    for i in range(rows):
        for k in range(patches):
            t, g = tile[k % tile.shape[0]], grad_tile[k % tile.shape[0]]
            for j in range(width):
                v = h[i, k, j] + t[j]
                slope = normal_cdf(v) + v * _DENSITY * exponential(-_HALF * v * v)
                if noise.size:
                    slope *= scale if noise[i, k, j] >= threshold else np.float32(0)
                v = grad[i, k, j] * slope
                grad[i, k, j] = v
                g[j] += v


@_compiled
def norm_back(  # type: ignore[no-untyped-def]
    grad, grad_norm, x, mean, inverse, weight, grad_weight, grad_bias, out
):
    """``grad`` of the residual and that of the norm's input together."""
    rows, patches, width = x.shape
    share = _ONE / np.float32(width)
    for i in range(rows):
        for k in range(patches):
            centre, scale = mean[i, k], inverse[i, k]
            total, dot = np.float32(0), np.float32(0)
            for j in range(width):
                unit, d = (x[i, k, j] - centre) * scale, grad_norm[i, k, j]
                grad_weight[j] += d * unit
                grad_bias[j] += d
                total += d * weight[j]
                dot += d * weight[j] * unit
            total, dot = total * share, dot * share
            for j in range(width):
                unit = (x[i, k, j] - centre) * scale
                back = grad_norm[i, k, j] * weight[j] - total - unit * dot
                out[i, k, j] = grad[i, k, j] + scale * back
