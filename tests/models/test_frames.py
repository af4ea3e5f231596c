import numpy as np
import pandas as pd
import pytest

from tsfm.data.ohlcv.preparation import BarPreparation
from tsfm.errors import ConfigError, DataError
from tsfm.models import frames
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.frames import forecast_frame


class Recorder(Forecaster):
    """Repeats the last value and remembers what it was asked."""

    name = "recorder"

    def __init__(self, context=None):
        self.context, self.seen = context, []

    def forecast(self, context: Context, horizon, quantile_levels):
        self.seen.append(context)
        last = np.repeat(context.past[:, -1:, :], horizon, axis=1)
        return Forecast(
            quantiles=np.repeat(last[..., None], len(quantile_levels), axis=-1),
            quantile_levels=quantile_levels,
            mean=last,
        )

    def save(self, directory):
        raise NotImplementedError

    @classmethod
    def load(cls, directory, **config_overrides):
        raise NotImplementedError

    def info(self):
        return {"name": self.name, "parameters": 0, "config": {"context": self.context}}


def bars(lengths):
    rng = np.random.default_rng(0)
    made = []
    for k, length in enumerate(lengths):
        close = 50 + rng.random(length)
        made.append(
            pd.DataFrame(
                {
                    "item_id": f"asset-{k:03}",
                    "timestamp": pd.date_range("2024-01-01", periods=length, freq="h"),
                    "open": close,
                    "high": close + 1,
                    "low": close - 1,
                    "close": close,
                    "volume": 10.0 + rng.random(length),
                }
            )
        )
    return pd.concat(made, ignore_index=True)


def test_the_last_value_comes_back_in_the_users_units_for_every_item():
    frame = bars([30, 12, 25])
    forecast = forecast_frame(Recorder(), BarPreparation(), frame, 3, (0.5,))
    close = forecast[forecast["variate"] == "close"].set_index(["item_id", "step"])["q0.5"]
    for item_id, group in frame.groupby("item_id"):
        np.testing.assert_allclose(close[item_id], group["close"].iloc[-1], rtol=1e-5)
    last = frame.groupby("item_id")["timestamp"].last()
    first = forecast[forecast["step"] == 1].drop_duplicates("item_id").set_index("item_id")
    pd.testing.assert_series_equal(first["timestamp"], last + pd.Timedelta("1h"), check_names=False)


def test_many_items_are_forecast_in_batches_in_their_order(monkeypatch):
    monkeypatch.setattr(frames, "SERIES_AT_ONCE", 4)
    forecaster = Recorder()
    forecast = forecast_frame(forecaster, BarPreparation(), bars([12] * 10), 2, seed=9)
    assert [context.batch_size for context in forecaster.seen] == [4, 4, 2]
    assert {context.seed for context in forecaster.seen} == {9}
    assert list(forecast["item_id"].unique()) == [f"asset-{k:03}" for k in range(10)]


@pytest.mark.parametrize(("own", "asked", "used"), [(None, None, 30), (8, None, 8), (8, 5, 5)])
def test_the_context_is_as_long_as_asked_or_as_the_model_wants(own, asked, used):
    forecaster = Recorder(own)
    forecast_frame(forecaster, BarPreparation(), bars([30]), 2, context=asked)
    assert forecaster.seen[0].length == used


def test_bad_requests_are_refused():
    frame = bars([30])
    with pytest.raises(ConfigError, match="horizon=0"):
        forecast_frame(Recorder(), BarPreparation(), frame, 0)
    with pytest.raises(ConfigError, match="context=0"):
        forecast_frame(Recorder(), BarPreparation(), frame, 1, context=0)
    with pytest.raises(ConfigError, match="quantile_levels"):
        forecast_frame(Recorder(), BarPreparation(), frame, 1, (0.9, 0.1))
    with pytest.raises(DataError, match="close"):
        forecast_frame(Recorder(), BarPreparation(), frame.drop(columns="close"), 1)
