"""Layers of TinyTimeMixer where nothing is learnt: block by block, in as many threads as torch has.

A block of rows goes through all passes and products of both mixers while it lies in the
second-level cache. The products are those of SciPy's BLAS, kept to the calling thread.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tsfm.models.ttm_mixing import Weights, is_compiled

if TYPE_CHECKING:
    from tsfm.models.ttm_kernels import MixerArrays

_BLOCK_BYTES = 2**18
_NO_NOISE, _KEEP_ALL = np.empty((0, 0, 0), np.uint8), (np.uint8(0), np.float32(1))
_NO_GATE = np.empty((0, 0), np.float32), np.empty(0, np.float32)


class LayerInference:
    """A layer's pass; the views of its weights are made again only when weights were replaced."""

    def __init__(self) -> None:
        self._known: tuple[int, ...] = ()
        self._arrays: tuple[MixerArrays, MixerArrays] | None = None

    def __reduce__(self) -> tuple[type[LayerInference], tuple[()]]:
        """Copies make their own."""
        return type(self), ()

    def __call__(
        self,
        x: Float[Tensor, "row patch dim"],
        patches: Weights,
        features: Weights,
        eps: float,
    ) -> Float[Tensor, "row patch dim"]:
        """Mixed along the patches, then along the features."""
        x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        values, target = x.numpy(), out.numpy()
        along_patches, along_features = self._views(patches, features)
        b1, b2 = (
            np.repeat(bias.T, x.shape[-1], axis=1) for bias in (along_patches.b1, along_patches.b2)
        )
        mixing = _Mixing(along_patches._replace(b1=b1, b2=b2), along_features, np.float32(eps))
        least = _BLOCK_BYTES // values[0].nbytes
        threads = max(1, min(torch.get_num_threads(), len(values) // max(1, least)))
        share = -(-len(values) // threads)
        parts = [slice(first, first + share) for first in range(0, len(values), share)]
        with _SERIAL_PRODUCTS:
            if threads == 1:
                mixing(values, target)
            else:
                pool = _pool(os.getpid(), threads)
                list(pool.map(lambda some: mixing(values[some], target[some]), parts))
        return out

    def _views(self, *mixers: Weights) -> tuple[MixerArrays, MixerArrays]:
        tensors = [w for weights in mixers for w in weights if w is not None]
        places = tuple(w.data_ptr() for w in tensors)
        if self._arrays is None or places != self._known:
            patches, features = (_arrays(weights) for weights in mixers)
            are_views = all(w.is_contiguous() for w in tensors)
            self._arrays, self._known = (patches, features), places if are_views else ()
        return self._arrays


def can_infer(x: Tensor, weights: Weights, dropout: float) -> bool:
    """Whether :class:`LayerInference` gives what the mixers would, where nothing is learnt."""
    return dropout == 0 and is_compiled(x, weights)


def _arrays(w: Weights) -> MixerArrays:
    from tsfm.models.ttm_kernels import MixerArrays

    gate, gate_bias = _NO_GATE
    if w.gate is not None and w.gate_bias is not None:
        gate, gate_bias = _array(w.gate), _array(w.gate_bias)
    return MixerArrays(
        _array(w.norm), _array(w.norm_bias), _array(w.w1), _array(w.b1)[None],
        _array(w.w2), _array(w.b2)[None], gate, gate_bias,
    )  # fmt: skip


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


class _Mixing(NamedTuple):
    """Both mixers, block by block."""

    patches: MixerArrays
    features: MixerArrays
    eps: np.float32

    def __call__(self, x: np.ndarray, out: np.ndarray) -> None:
        from tsfm.models.ttm_feature_kernels import mix_features
        from tsfm.models.ttm_kernels import room_for
        from tsfm.models.ttm_patch_kernels import mix_patches

        rows, patches, width = x.shape
        block = max(1, min(rows, _BLOCK_BYTES // x[0].nbytes))
        row = room_for((1, patches, width), (1, len(self.patches.w1), width))
        room = room_for((block, patches, width), (block, patches, len(self.features.w1)))
        mixed = np.empty((block, patches, width), np.float32)
        for first in range(0, rows, block):
            some = x[first : first + block]
            half = mixed[: len(some)]
            mix_patches(some, self.patches, self.eps, _NO_NOISE, _NO_NOISE, *_KEEP_ALL, row, half)
            mix_features(
                half, self.features, self.eps, _NO_NOISE, *_KEEP_ALL, room,
                out[first : first + block],
            )  # fmt: skip


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas")


class _SerialProducts:
    """Keeps products of this process's OpenBLAS to the calling thread, until the last one of
    several threads has left: each would otherwise restore what it found, the limit of another."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limits = _blas().limit(limits=1)
            self._inside += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limits.restore_original_limits()


_SERIAL_PRODUCTS = _SerialProducts()
os.register_at_fork(after_in_child=_SERIAL_PRODUCTS.__init__)  # type: ignore[misc]


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ttm")
