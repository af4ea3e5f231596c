"""The Python API, from a panel to a judged, adapted, saved and reloaded model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tsfm
from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Forecaster
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig

QUICK = {
    "max_steps": 4, "batch_size": 2, "warmup_steps": 1, "validate_every": 2,
    "validation_batches": 1, "checkpoint_every": 2, "progress": False, "threads": 1,
}  # fmt: skip


def tiny(seed: int = 0) -> Moirai:
    torch.manual_seed(seed)
    config = MoiraiConfig.preset(
        "tiny", num_layers=1, patch_sizes=(8, 16), context=48, horizon=16, token_budget=64
    )
    return Moirai(config)


@pytest.fixture(scope="module")
def panel(make_panel):
    return make_panel(n_items=4, length=300)


@pytest.fixture(scope="module")
def task(panel):
    return tsfm.Task.on(panel, context=48, horizon=16, stride=16, max_windows=2)


@pytest.fixture(scope="module")
def fitted(panel, tmp_path_factory):
    directory = tmp_path_factory.mktemp("fitted")
    config = tsfm.TrainerConfig(**QUICK)
    return tsfm.fit(tiny(), panel, validation=panel, output_dir=directory, config=config)


@pytest.fixture
def past() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 48, 2)).cumsum(1)


def test_everything_promised_is_there():
    for name in tsfm.__all__:
        assert getattr(tsfm, name) is not None
    assert isinstance(tsfm.__version__, str)
    with pytest.raises(AttributeError, match="no_such_name"):
        tsfm.no_such_name  # noqa: B018


def test_fit_trains_the_model_and_leaves_it_where_it_can_be_loaded(fitted, past):
    assert isinstance(fitted.model, Forecaster)
    assert fitted.steps == QUICK["max_steps"]
    assert fitted.validation_loss is not None
    start = tiny().predict(past=past, horizon=16).quantiles
    trained = fitted.model.predict(past=past, horizon=16).quantiles
    assert not np.allclose(trained, start)
    loaded = tsfm.load_forecaster(fitted.model_directory)
    np.testing.assert_array_equal(loaded.predict(past=past, horizon=16).quantiles, trained)


def test_fit_goes_on_from_an_interrupted_one(fitted, panel, tmp_path, past):
    def stop(model, step):
        if step == 4:
            raise KeyboardInterrupt

    arguments = {"validation": panel, "output_dir": tmp_path}
    config = tsfm.TrainerConfig(**QUICK)
    with pytest.raises(KeyboardInterrupt):
        tsfm.fit(tiny(), panel, config=config, on_validation=stop, **arguments)
    result = tsfm.fit(tiny(seed=5), panel, config=config, resume_from=tmp_path, **arguments)
    assert result.steps == QUICK["max_steps"]
    np.testing.assert_array_equal(
        result.model.predict(past=past, horizon=16).quantiles,
        fitted.model.predict(past=past, horizon=16).quantiles,
    )


def test_fit_does_not_go_on_from_another_model(fitted, panel, tmp_path):
    wider = Moirai(MoiraiConfig.preset("tiny", d_model=128, num_layers=1, patch_sizes=(8, 16)))
    with pytest.raises(CheckpointError, match=r"another model.*last\.ckpt"):
        tsfm.fit(wider, panel, output_dir=tmp_path, resume_from=fitted.directory)


def test_fit_refuses_what_cannot_be_trained(panel, tmp_path):
    with pytest.raises(ConfigError, match="random_walk"):
        tsfm.fit(tsfm.load_forecaster("random_walk"), panel, output_dir=tmp_path)


def test_fit_refuses_series_that_hold_no_window_and_leaves_nothing(make_panel, tmp_path):
    with pytest.raises(tsfm.UserError, match=r"16 bars.*longest has 10"):
        tsfm.fit(tiny(), make_panel(length=10), output_dir=tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_load_forecaster_by_name_and_by_directory(fitted):
    assert tsfm.load_forecaster("seasonal_naive").name == "seasonal_naive"
    assert tsfm.load_forecaster(str(fitted.model_directory)).name == "moirai"
    assert tsfm.load_forecaster(fitted.model_directory, num_samples=5).config.num_samples == 5


@pytest.mark.parametrize("source", ["no_such_model", "/no/such/directory"])
def test_load_forecaster_tells_what_is_not_there(source):
    with pytest.raises(CheckpointError, match=source):
        tsfm.load_forecaster(source)


def test_load_forecaster_tells_a_registry_without_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'absent' / 'mlflow.db'}")
    with pytest.raises(tsfm.UserError, match="does not exist"):
        tsfm.load_forecaster("models:/nobody@champion")


def test_evaluate_scores_every_window_variate_and_metric(fitted, task, panel):
    scores = tsfm.evaluate(fitted.model, task, panel)
    windows = len(task.windows(panel))
    assert len(scores) == windows * len(task.targets) * len(task.metrics)
    assert set(scores["metric"]) == set(task.metrics)
    assert set(scores["model"]) == {"moirai"}
    assert scores.loc[scores["metric"] == "crps", "value"].gt(0).all()


def test_the_same_task_and_forecaster_give_the_same_numbers(fitted, task, panel):
    loaded = tsfm.load_forecaster(fitted.model_directory)
    first, second = (tsfm.evaluate(model, task, panel) for model in (fitted.model, loaded))
    np.testing.assert_array_equal(first["value"], second["value"])


def test_enable_lora_then_fit_gives_a_plain_model_that_differs_in_its_targets_only(
    fitted, panel, tmp_path
):
    base = tsfm.load_forecaster(fitted.model_directory)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    config = tsfm.TrainerConfig(**QUICK | {"lr": 0.05})
    result = tsfm.fit(tsfm.enable_lora(base, rank=2), panel, output_dir=tmp_path, config=config)
    after = tsfm.load_forecaster(result.model_directory).state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    targets = tiny().lora_targets
    assert all(name.removesuffix(".weight").endswith(targets) for name in changed)


def test_info_says_what_a_model_is(fitted):
    info = fitted.model.info()
    assert info["name"] == "moirai"
    assert info["parameters"] == sum(p.numel() for p in fitted.model.parameters())
    info = tsfm.load_forecaster("random_walk").info()
    assert (info["name"], info["parameters"]) == ("random_walk", 0)


def test_save_and_load_any_forecaster(tmp_path, past):
    for name in ("random_walk", "seasonal_naive"):
        model = tsfm.load_forecaster(name)
        loaded = tsfm.load_forecaster(model.save(tmp_path / name))
        np.testing.assert_array_equal(
            loaded.predict(past=past, horizon=4).quantiles,
            model.predict(past=past, horizon=4).quantiles,
        )


def test_context_and_forecast_are_at_the_top(past):
    context = tsfm.Context(past=past, item_ids=("x", "y"))
    forecast = tsfm.load_forecaster("random_walk").predict(context, 3, (0.5,))
    assert isinstance(forecast, tsfm.Forecast)
    assert list(forecast.to_frame()["item_id"].unique()) == ["x", "y"]
