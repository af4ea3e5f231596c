"""uni2ts: 100 sample paths of each series by its own predictor; arguments: variates, series."""

import sys

import pandas as pd
from answer import answer
from inputs import series
from uni2ts.model.moirai import MoiraiForecast
from uni2ts_model import build

n_variates, n_series = int(sys.argv[1]), int(sys.argv[2])
predictor = MoiraiForecast(
    module=build().module.eval(),
    prediction_length=48,
    context_length=336,
    patch_size=16,
    num_samples=100,
    target_dim=n_variates,
    feat_dynamic_real_dim=0,
    past_feat_dynamic_real_dim=0,
).create_predictor(batch_size=min(32, n_series), device="cpu")
values = series(n_series, n_variates, 336).numpy()
entries = [
    {
        "target": value[:, 0] if n_variates == 1 else value.T,
        "start": pd.Period("2024-01-01 00:00", freq="H"),
        "item_id": str(item),
    }
    for item, value in enumerate(values)
]

answer(lambda: list(predictor.predict(entries)))
