"""Layers of TinyTimeMixer where nothing is learnt: one compiled call for both mixers, in as many
threads as torch has.

Blocks of rows go through all passes and products while they lie in the second-level cache. The
products are those of SciPy's BLAS, kept to the calling thread.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tsfm.models.ttm_mixing import Weights, is_compiled

if TYPE_CHECKING:
    from tsfm.models.ttm_layer_kernels import MixerArrays

_BLOCK_BYTES = 2**18
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
        from tsfm.models.ttm_layer_kernels import mix_layer

        x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        arrays = self._views(patches, features)
        values, target, small = x.numpy(), out.numpy(), np.float32(eps)
        rows = len(values)
        block = max(1, min(rows, _BLOCK_BYTES // values[0].nbytes))
        threads = min(torch.get_num_threads(), -(-rows // block))
        with _serial_products():
            if threads == 1:
                mix_layer(values, *arrays, small, block, target)
                return out
            share = -(-rows // threads)
            starts = range(0, rows, share)

            def part(first: int) -> None:
                some = slice(first, first + share)
                mix_layer(values[some], *arrays, small, block, target[some])

            list(_pool(os.getpid(), threads).map(part, starts))
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
    from tsfm.models.ttm_layer_kernels import MixerArrays

    gate, gate_bias = _NO_GATE
    if w.gate is not None and w.gate_bias is not None:
        gate, gate_bias = _array(w.gate), _array(w.gate_bias)
    return MixerArrays(
        _array(w.norm), _array(w.norm_bias), _array(w.w1), _array(w.b1),
        _array(w.w2), _array(w.b2), gate, gate_bias,
    )  # fmt: skip


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas")


def _serial_products() -> Any:
    """Keep products of this process's OpenBLAS to the calling thread for a while."""
    return _blas().limit(limits=1)


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ttm")
