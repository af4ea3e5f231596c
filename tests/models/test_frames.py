import numpy as np
import pandas as pd
import pytest

from tsfm.data.ohlcv.preparation import BarPreparation
from tsfm.data.preparation import ColumnPreparation
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


def walks(items=2, length=40):
    rng = np.random.default_rng(3)
    stamps = pd.date_range("2024-01-01", periods=length, freq="h")
    frames = [
        pd.DataFrame({"item_id": f"w{k}", "timestamp": stamps, "x": rng.normal(size=length)})
        for k in range(items)
    ]
    return pd.concat(frames, ignore_index=True)


def columns(**fields):
    return ColumnPreparation(**{"variates": ["x"], "freq": "h", **fields})


def test_as_of_forecasts_as_from_the_rows_up_to_then():
    frame, now = walks(), "2024-01-02T03:00:00"
    told = forecast_frame(Recorder(), columns(), frame, 3, as_of=now)
    cut = forecast_frame(Recorder(), columns(), frame[frame["timestamp"] <= now], 3)
    pd.testing.assert_frame_equal(told, cut)
    assert told["timestamp"].min() == pd.Timestamp("2024-01-02T04:00:00")
    disturbed = frame.assign(x=frame["x"].where(frame["timestamp"] <= now, 1e6))
    pd.testing.assert_frame_equal(
        forecast_frame(Recorder(), columns(), disturbed, 3, as_of=now), told
    )


def test_as_of_of_bars_is_the_same_as_fewer_bars():
    frame, now = bars([30, 12]), pd.Timestamp("2024-01-01T09:00:00Z")
    told = forecast_frame(Recorder(), BarPreparation(), frame, 3, as_of=now)
    cut = frame[frame["timestamp"] <= now.tz_localize(None)]
    pd.testing.assert_frame_equal(told, forecast_frame(Recorder(), BarPreparation(), cut, 3))


def test_known_covariates_after_as_of_are_seen_and_targets_are_not():
    frame = walks(1).assign(plan=np.arange(40.0))
    forecaster = Recorder()
    forecast_frame(
        forecaster, columns(known_covariates=["plan"]), frame, 5, as_of="2024-01-01T19:00:00"
    )
    (context,) = forecaster.seen
    np.testing.assert_allclose(context.past[0, :, 0], frame["x"][:20], rtol=1e-6)
    np.testing.assert_array_equal(context.known_covariates[0, :, 0], np.arange(25.0))


def test_rows_after_the_last_target_give_the_known_covariates():
    frame = walks(1).assign(plan=np.arange(40.0))
    frame.loc[30:, "x"] = np.nan
    forecaster = Recorder()
    told = forecast_frame(forecaster, columns(known_covariates=["plan"]), frame, 4)
    (context,) = forecaster.seen
    assert context.length == 30
    np.testing.assert_array_equal(context.known_covariates[0, 30:, 0], [30, 31, 32, 33])
    assert told["timestamp"].iloc[0] == frame["timestamp"][30]


def test_what_was_set_right_is_told_by_item(caplog):
    frame = walks().drop(index=[5]).sample(frac=1, random_state=0)
    with caplog.at_level("INFO", logger="tsfm.models.frames"):
        told = forecast_frame(Recorder(60), columns(), frame, 2)
    assert [len(notes) for _, notes in sorted(told.attrs["notes"].items())] == [3, 2]
    assert "item w0: rows were out of order" in caplog.text
    assert "history of 40 bars, where the model was made for 60" in caplog.text
    pd.testing.assert_frame_equal(
        told.sort_values(["item_id", "step"], ignore_index=True),
        forecast_frame(Recorder(60), columns(), walks(), 2).assign(),
    )


def test_timestamps_without_any_timetable_are_told_not_dated():
    frame = walks(1)
    frame["timestamp"] += pd.to_timedelta(np.random.default_rng(0).integers(0, 3000, 40), unit="s")
    told = forecast_frame(Recorder(), columns(freq=None), frame, 2)
    assert told["timestamp"].isna().all()
    assert "steps are counted, not dated" in told.attrs["notes"]["w0"][0]


@pytest.mark.parametrize(
    ("as_of", "error", "told"),
    [
        ("2020-01-01", DataError, "no rows up to as_of=2020-01-01.*w0, w1.*later as_of"),
        ("2024-01-01T01:00", DataError, r"fewer than 3 observed bars.*w0 \(2\), w1 \(2\)"),
        ("tomorrow-ish", ConfigError, "as_of='tomorrow-ish' is no date"),
        ("NaT", ConfigError, "as_of='NaT' is no date"),
    ],
)
@pytest.mark.parametrize("known", [[], ["plan"]])
def test_a_time_that_leaves_nothing_to_see_is_told(as_of, error, told, known):
    frame = walks().assign(plan=1.0)
    with pytest.raises(error, match=told):
        forecast_frame(Recorder(), columns(known_covariates=known), frame, 2, as_of=as_of)


def test_short_histories_are_named_item_by_item():
    frame = pd.concat([walks(1), walks(9).query("item_id != 'w0'").groupby("item_id").head(2)])
    with pytest.raises(DataError, match=r"w1 \(2\), .*w5 \(2\) and 3 more"):
        forecast_frame(Recorder(), columns(), frame, 2)


class Silent(Recorder):
    """Gives no number for some items or variates."""

    def __init__(self, chosen):
        super().__init__()
        self.chosen = chosen

    def forecast(self, context, horizon, quantile_levels):
        made = super().forecast(context, horizon, quantile_levels)
        made.mean[self.chosen] = np.nan
        made.quantiles[self.chosen] = np.nan
        return made


def test_a_model_that_gives_no_number_is_refused_not_skipped():
    frame = walks().assign(y=1.0)
    both = columns(variates=["x", "y"])
    for chosen in (np.s_[1, 1:, 0], np.s_[1], np.s_[:]):
        with pytest.raises(DataError, match=r"recorder gives no number for x.*item 'w[01]'"):
            forecast_frame(Silent(chosen), both, frame, 3)
    told = forecast_frame(Silent(np.s_[:, :, 1]), both, frame, 3)
    assert told["variate"].unique().tolist() == ["x"]
    assert told.attrs["notes"]["w1"] == ["recorder does not forecast y"]


def test_long_horizons_are_forecast_in_smaller_batches(monkeypatch):
    monkeypatch.setattr(frames, "VALUES_AT_ONCE", 100)
    forecaster = Recorder()
    forecast_frame(forecaster, columns(), walks(5), 20, (0.5,))
    assert [context.batch_size for context in forecaster.seen] == [2, 2, 1]
