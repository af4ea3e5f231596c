"""A mixer along the patches in one compiled call: its products are small, and stay in the cache.

Arrays as in :mod:`tsfm.models.ttm_kernels`; weights multiply from the left, and biases of the maps
are tiles ``[patch, feature]``.
"""

from __future__ import annotations

import numpy as np

from tsfm.data.kernel_cache import njit
from tsfm.models.ttm_kernels import (
    activate,
    activate_back,
    gate_patches,
    gate_patches_back,
    norm,
    norm_back,
    thin,
    thin_back,
)

_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath=True)


@_compiled
def mix_patches(x, w, eps, noise, noise_out, threshold, scale, kept, out):  # type: ignore[no-untyped-def]
    """The mixer of ``x [row, patch, feature]`` with weights ``w``, leaving ``kept``."""
    for i in range(len(x)):
        one, k = slice(i, i + 1), i % len(kept.u)
        here = slice(k, k + 1)
        u, h, a, y = kept.u[here], kept.h[here], kept.a[here], kept.y[here]
        norm(x[one], w.norm, w.norm_bias, eps, u, kept.mean[here], kept.inverse[here])
        np.dot(w.w1, u[0], h[0])
        activate(h, w.b1, noise[one], threshold, scale, a)
        np.dot(w.w2, a[0], y[0])
        thin(y, w.b2, noise_out[one], threshold, scale)
        if w.gate.size:
            z = kept.gates[here]
            np.dot(w.gate, y[0], z[0])
            gate_patches(x[one], y, z, w.gate_bias, out[one])
        else:
            out[i] = x[i] + y[0]


@_compiled
def mix_patches_back(  # type: ignore[no-untyped-def]
    grad, x, w, noise, noise_out, threshold, scale, kept, found, out
):
    """``out``: gradient of ``x``; those of the weights are added onto ``found``."""
    patches, width = x.shape[1:]
    grad_y = np.empty((1, patches, width), np.float32)
    grad_z, grad_u, part = np.empty_like(grad_y), np.empty_like(grad_y), np.empty_like(grad_y)
    grad_h = np.empty((1, len(w.w1), width), np.float32)
    for i in range(len(x)):
        one = slice(i, i + 1)
        u, h, a, y = kept.u[one], kept.h[one], kept.a[one], kept.y[one]
        if w.gate.size:
            gates = kept.gates[one]
            gate_patches_back(grad[one], y, gates, grad_z, grad_y, found.gate_bias)
            found.gate[:] += np.dot(grad_z[0], y[0].T)
            np.dot(w.gate.T, grad_z[0], part[0])
            grad_y[0] += part[0]
        else:
            grad_y[0] = grad[i]
        thin_back(grad_y, noise_out[one], threshold, scale, found.b2)
        found.w2[:] += np.dot(grad_y[0], a[0].T)
        np.dot(w.w2.T, grad_y[0], grad_h[0])
        activate_back(grad_h, h, w.b1, noise[one], threshold, scale, found.b1)
        found.w1[:] += np.dot(grad_h[0], u[0].T)
        np.dot(w.w1.T, grad_h[0], grad_u[0])
        norm_back(
            grad[one], grad_u, x[one], kept.mean[one], kept.inverse[one], w.norm,
            found.norm, found.norm_bias, out[one],
        )  # fmt: skip
