"""A layer's two mixers in one compiled call, for forecasts: block by block, so that all passes and
products of a block find their values in the cache.

Arrays as in :mod:`tsfm.models.ttm_kernels`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tsfm.models.ttm_kernels import activate, gate_features, norm, thin
from tsfm.models.ttm_patch_kernels import PatchPass, PatchWeights, mix_patches

_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
_KEEP_ALL, _AS_IT_IS = np.uint8(0), np.float32(1)


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


@_compiled
def mix_layer(x, patches, features, eps, block, out):  # type: ignore[no-untyped-def]
    """``out``: both mixers of ``x [row, patch, feature]``, ``block`` rows at a time."""
    width = x.shape[2]
    along_patches = PatchWeights(
        patches.norm, patches.norm_bias, patches.w1, _tile(patches.b1, width),
        patches.w2, _tile(patches.b2, width), patches.gate, patches.gate_bias,
    )  # fmt: skip
    kept = _room(1, x.shape[1], len(patches.w1), width)
    mixed = np.empty((block, x.shape[1], width), np.float32)
    room = _room_of_features(block, x.shape[1], len(features.w1), width)
    noise = np.empty((0, 0, 0), np.uint8)
    for first in range(0, len(x), block):
        last = min(first + block, len(x))
        some = mixed[: last - first]
        mix_patches(
            x[first:last], along_patches, eps, noise, noise, _KEEP_ALL, _AS_IT_IS, kept, some
        )
        _mix_features(some, features, eps, noise, room, out[first:last])


@_compiled
def _mix_features(x, w, eps, noise, room, out):  # type: ignore[no-untyped-def]
    rows, patches, width = x.shape
    lines, hidden = rows * patches, len(w.w1)
    u, h, a, y, z = room.u[:rows], room.h[:rows], room.a[:rows], room.y[:rows], room.gates[:rows]
    norm(x, w.norm, w.norm_bias, eps, u, room.mean, room.inverse)
    np.dot(u.reshape(lines, width), w.w1.T, h.reshape(lines, hidden))
    activate(h, w.b1.reshape(1, hidden), noise, _KEEP_ALL, _AS_IT_IS, a)
    np.dot(a.reshape(lines, hidden), w.w2.T, y.reshape(lines, width))
    thin(y, w.b2.reshape(1, width), noise, _KEEP_ALL, _AS_IT_IS)
    if w.gate.size:
        np.dot(y.reshape(lines, width), w.gate.T, z.reshape(lines, width))
        gate_features(x, y, z, w.gate_bias, out)
    else:
        out[:] = x + y


@_compiled
def _tile(bias, width):  # type: ignore[no-untyped-def]
    tile = np.empty((len(bias), width), np.float32)
    for k in range(len(bias)):
        tile[k] = bias[k]
    return tile


@_compiled
def _room(rows, patches, hidden, width):  # type: ignore[no-untyped-def]
    """For a pass along the patches."""
    narrow, wide = (rows, patches, width), (rows, hidden, width)
    return PatchPass(
        np.empty(narrow, np.float32), np.empty(wide, np.float32), np.empty(wide, np.float32),
        np.empty(narrow, np.float32), np.empty(narrow, np.float32),
        np.empty((rows, patches), np.float32), np.empty((rows, patches), np.float32),
    )  # fmt: skip


@_compiled
def _room_of_features(rows, patches, hidden, width):  # type: ignore[no-untyped-def]
    """For one along the features."""
    narrow, wide = (rows, patches, width), (rows, patches, hidden)
    return PatchPass(
        np.empty(narrow, np.float32), np.empty(wide, np.float32), np.empty(wide, np.float32),
        np.empty(narrow, np.float32), np.empty(narrow, np.float32),
        np.empty((rows, patches), np.float32), np.empty((rows, patches), np.float32),
    )  # fmt: skip
