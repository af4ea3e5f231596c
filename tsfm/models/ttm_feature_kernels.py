"""A mixer along the features in one compiled call, for forecasts; rows as few as the cache holds.

Arrays as in :mod:`tsfm.models.ttm_kernels`; biases of the maps are tiles ``[1, feature]``.
"""

from __future__ import annotations

import numpy as np

from tsfm.data.kernel_cache import njit
from tsfm.models.ttm_kernels import activate, gate_features, norm, thin


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def mix_features(x, w, eps, noise, threshold, scale, room, out):  # type: ignore[no-untyped-def]
    """``out``: the mixer of ``x [row, patch, feature]``; ``noise`` is empty, ``room`` for the rows.

    The arguments are those of :func:`tsfm.models.ttm_patch_kernels.mix_patches`.
    """
    rows, patches, width = x.shape
    lines, hidden = rows * patches, len(w.w1)
    u, h, a, y, z = room.u[:rows], room.h[:rows], room.a[:rows], room.y[:rows], room.gates[:rows]
    norm(x, w.norm, w.norm_bias, eps, u, room.mean, room.inverse)
    np.dot(u.reshape(lines, width), w.w1.T, h.reshape(lines, hidden))
    activate(h, w.b1, noise, threshold, scale, a)
    np.dot(a.reshape(lines, hidden), w.w2.T, y.reshape(lines, width))
    thin(y, w.b2, noise, threshold, scale)
    if w.gate.size:
        np.dot(y.reshape(lines, width), w.gate.T, z.reshape(lines, width))
        gate_features(x, y, z, w.gate_bias, out)
    else:
        out[:] = x + y
