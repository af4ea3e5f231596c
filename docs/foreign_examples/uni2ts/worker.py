"""MOIRAI 1.x by its authors' own code, uni2ts 2.0.0 (Apache-2.0)."""

import os
import warnings
from functools import lru_cache

import numpy as np
import torch
from uni2ts.model.moirai import MoiraiForecast, MoiraiModule

CHECKPOINT = "checkpoint" if os.path.isdir("checkpoint") else "Salesforce/moirai-1.1-R-small"
PATCH_SIZE = 16
SAMPLES = 100

warnings.filterwarnings("ignore")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
module = MoiraiModule.from_pretrained(CHECKPOINT).eval()

CAPABILITIES = {"parameters": sum(weight.numel() for weight in module.parameters())}


@lru_cache(maxsize=4)
def model(variates, context, horizon):
    return MoiraiForecast(
        module=module,
        prediction_length=horizon,
        context_length=context,
        patch_size=PATCH_SIZE,
        num_samples=SAMPLES,
        target_dim=variates,
        feat_dynamic_real_dim=0,
        past_feat_dynamic_real_dim=0,
    ).eval()


@torch.no_grad()
def forecast(request):
    batch, context, variates = request.past.shape
    asked = model(variates, context, request.horizon)
    begun = np.maximum.accumulate(request.observed.any(axis=2), axis=1)
    inputs = (
        torch.from_numpy(np.nan_to_num(request.past, nan=0.0)),
        torch.from_numpy(request.observed),
        torch.from_numpy(~begun),
    )
    mixture = asked._get_distr(PATCH_SIZE, *inputs)
    parts = {"samples": mixture.sample((SAMPLES,)), "mean": mixture.mean[None]}
    found = {name: asked._format_preds(PATCH_SIZE, part, variates) for name, part in parts.items()}
    shape = (batch, -1, request.horizon, variates)
    samples, mean = (found[name].reshape(shape) for name in ("samples", "mean"))
    return {"samples": samples, "mean": mean[:, 0]}
