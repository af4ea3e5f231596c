"""The forecaster for people with frames: their columns, units and files, in and out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.ttm import make_model

import tsfm
from tsfm import (
    LoRAConfig,
    TTMConfig,
    TTMForecaster,
    create_default_ttm_config,
    create_ttm_fine_tuning_config,
    create_ttm_zero_shot_config,
)
from tsfm.errors import CheckpointError, ConfigError, DataError
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig

BARS = 400


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_model().save(tmp_path_factory.mktemp("base"))


@pytest.fixture
def config(base):
    def make(**fields) -> TTMConfig:
        usual = {
            "model_path": str(base), "context_length": 64, "forecast_length": 16,
            "max_steps": 2, "validate_every": 1, "batch_size": 4, "progress": False,
        }  # fmt: skip
        return TTMConfig(**(usual | fields))

    return make


def people(unit: str = "mmol/L", bars: int = BARS, **columns) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    frames = {}
    for k in range(3):
        glucose = 8 + 2 * np.sin(np.arange(bars) / 20) + rng.normal(size=bars).cumsum() * 0.05
        frames[f"p{k}"] = pd.DataFrame(
            {
                "datetime": pd.date_range("2024-01-01", periods=bars, freq="5min"),
                "bg_mM": glucose * (18.016 if unit == "mg/dL" else 1),
                "dose_units": np.where(np.arange(bars) % 60 == 0, 4.0, 0.0),
            }
            | columns
        )
    return frames


def combined(frames: dict[str, pd.DataFrame], column: str = "p_num") -> pd.DataFrame:
    return pd.concat([f.assign(**{column: k}) for k, f in frames.items()], ignore_index=True)


def test_a_dict_and_a_combined_frame_are_the_same(config, tmp_path):
    frames, found = people(), []
    for name, data in (("dict", frames), ("frame", combined(frames))):
        model = TTMForecaster(config())
        metrics = model.fit(train_data=data, output_dir=tmp_path / name)
        assert metrics["steps"] == 2
        found.append(model.predict(data))
    pd.testing.assert_frame_equal(*found)
    assert set(found[0]["item_id"]) == {"p0", "p1", "p2"}
    assert len(found[0]) == 3 * 16
    first = pd.Timestamp("2024-01-01") + BARS * pd.Timedelta("5min")
    assert found[0]["timestamp"].iloc[0] == first


def test_forecasts_come_in_the_units_of_the_data(config):
    model = TTMForecaster(config())
    low = model.predict_zero_shot(people())["mean"]
    frames = {k: f.rename(columns={"bg_mM": "glucose"}) for k, f in people("mg/dL").items()}
    high = TTMForecaster(config()).predict_zero_shot(frames)["mean"]
    assert low.between(3, 20).all()
    np.testing.assert_allclose(high, low * 18.016, rtol=1e-3)


def test_lora_trains_adapters_only(config, tmp_path):
    model = TTMForecaster(config(), LoRAConfig(enabled=True, rank=2, target_modules=["fc1"]))
    metrics = model.fit(people(), output_dir=tmp_path)
    assert 0 < metrics["trainable_parameters"] < metrics["parameters"]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    with pytest.raises(ConfigError, match=r"q_proj.*fc1"):
        TTMForecaster(config(), LoRAConfig(enabled=True, target_modules=["q_proj"])).fit(
            people(), output_dir=tmp_path
        )


def test_what_is_saved_forecasts_the_same(config, tmp_path):
    model = TTMForecaster(config(imputation_strategy="median", scaler_type="robust"))
    model.fit(people(), output_dir=tmp_path / "out")
    model.save(tmp_path / "model.pt")
    loaded = TTMForecaster(config()).load(tmp_path / "model.pt")
    pd.testing.assert_frame_equal(loaded.predict(people()), model.predict(people()))
    assert loaded.config == model.config
    served = tsfm.load_forecaster(tmp_path / "model.pt")
    assert served.info()["conditioning"]["scaler"] == "robust"


def test_covariates_change_forecasts(config, tmp_path):
    data = people()
    model = TTMForecaster(config(input_features=["dose_units"]))
    model.fit(data, output_dir=tmp_path)
    other = {k: f.assign(dose_units=f["dose_units"].shift(-9)) for k, f in data.items()}
    assert not np.allclose(model.predict(data)["mean"], model.predict(other)["mean"])


def test_other_series_than_glucose(config, tmp_path):
    frames = {k: f.rename(columns={"bg_mM": "load"}) for k, f in people().items()}
    settings = {"target_features": ["load"], "known_features": ["dose_units"]}
    model = TTMForecaster(config(**settings))
    model.fit(frames, output_dir=tmp_path)
    ahead = {k: f.assign(load=f["load"].where(f.index < BARS - 16)) for k, f in frames.items()}
    found = model.predict(ahead)
    assert set(found["variate"]) == {"load"}
    assert found["timestamp"].iloc[0] == frames["p0"]["datetime"].iloc[BARS - 16]
    with pytest.raises(DataError, match="dose_units are known for 0 of 16 bars"):
        model.predict(frames)


def test_scores(config, tmp_path):
    model = TTMForecaster(config())
    metrics = model.fit(people(), test_data=people(), output_dir=tmp_path)
    table = model.evaluate(people()).set_index("metric")["value"]
    assert metrics["test_rmse"] == pytest.approx(table["rmse"])
    assert table["rmse"] >= table["mae"] > 0


def test_zero_shot_trains_nothing(config, tmp_path):
    model = TTMForecaster(config(training_mode="zero_shot", scaler_type="none"))
    assert model.fit(people(), output_dir=tmp_path)["steps"] == 0
    pd.testing.assert_frame_equal(model.predict(people()), model.predict_zero_shot(people()))


def test_event_files_are_written_where_they_are_wanted(config, tmp_path):
    pytest.importorskip("tensorboard")
    logs = tmp_path / "logs"
    TTMForecaster(config(logging_dir=logs)).fit(people(), output_dir=tmp_path / "out")
    assert list(logs.glob("events*"))


def test_presets():
    default, tuning = create_default_ttm_config(), create_ttm_fine_tuning_config(batch_size=1024)
    assert (default.learning_rate, default.num_epochs, default.batch_size) == (1e-4, 1, 2048)
    assert (tuning.learning_rate, tuning.num_epochs, tuning.batch_size) == (1e-5, 5, 1024)
    assert tuning.warmup_steps == 500
    assert create_ttm_zero_shot_config().training_mode == "zero_shot"
    assert TTMConfig(training_mode="zero_shot", num_epochs=0).num_epochs == 0


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"training_mode": "magic"}, "training_mode='magic'"),
        ({"scaler_type": "log"}, "scaler_type='log'"),
        ({"imputation_strategy": "magic"}, "imputation='magic'"),
        ({"num_epochs": 0}, "epochs=0"),
        ({"learning_rate": -1}, "lr=-1"),
        ({"context_length": 0}, "context_length=0"),
        ({"validation_share": 0.9}, "validation_share=0.9"),
    ],
)
def test_mistakes_are_told(fields, told):
    with pytest.raises(ConfigError, match=told):
        TTMConfig(**fields)


def test_bases_and_calls_that_cannot_be(config, tmp_path):
    moirai = Moirai(MoiraiConfig.preset("tiny")).save(tmp_path / "moirai")
    with pytest.raises(CheckpointError, match="holds 'moirai', not 'ttm'"):
        TTMForecaster(config(model_path=str(moirai)))
    with pytest.raises(CheckpointError, match="no model at"):
        TTMForecaster(config(model_path="nowhere"))
    model = TTMForecaster(config())
    with pytest.raises(ConfigError, match="not been fitted"):
        model.predict(people())
    with pytest.raises(ConfigError, match="not been fitted"):
        model.save(tmp_path / "x")
    with pytest.raises(DataError, match="covariates pulse are not in the data"):
        TTMForecaster(config(input_features=["pulse"])).fit(people(), output_dir=tmp_path)
    with pytest.raises(CheckpointError):
        model.load(tmp_path / "nowhere")
