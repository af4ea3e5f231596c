import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import tsfm
from tsfm.data.preparation import load_preparation
from tsfm.errors import CheckpointError, ConfigError, DataError, TrackingError
from tsfm.models.frames import forecast_frame
from tsfm.tracking import registry
from tsfm.tracking.registry import check_name, log_model, pinned, resolve
from tsfm.tracking.runs import MlflowRun
from tsfm.tracking.serving import load_served, pinned_requirements

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def run(client):
    with MlflowRun.start("trial", entry_point="pretrain") as run:
        yield run


@pytest.fixture
def logged(run, model_directory, bars):
    return log_model(
        run,
        model_directory,
        name="naive",
        register_as="ohlcv",
        input_example=bars.groupby("item_id").tail(40),
        metrics={"crps": 0.25},
        panel=load_preparation(model_directory).panel(bars, name="daily"),
        params={"model": {"size": 3}},
        horizon=5,
    )


def directly(directory, bars, horizon, levels=LEVELS):
    return forecast_frame(
        tsfm.load_forecaster(directory), load_preparation(directory), bars, horizon, levels
    )


def leftovers(client):
    """Models and versions in the store."""
    models = client.search_logged_models(["0", "1"])
    return models, client.search_registered_models(), client.search_model_versions()


def test_a_logged_model_is_linked_to_run_metrics_and_data(client, run, logged):
    model = client.get_logged_model(logged.model_id)
    assert (logged.registered_name, logged.version, logged.uri) == ("ohlcv", 1, "models:/ohlcv/1")
    assert str(model.status) == "READY"
    assert model.source_run_id == run.run_id
    assert model.params == {"model.size": "3"}
    (metric,) = model.metrics
    assert (metric.key, metric.value, metric.dataset_name) == ("crps", 0.25, "daily")
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    assert output.model_id == logged.model_id
    version = client.get_model_version("ohlcv", "1")
    assert version.run_id == run.run_id
    assert version.status == "READY"


def test_a_served_model_forecasts_as_the_directory_it_was_made_of(logged, model_directory, bars):
    served = load_served(logged.uri)
    forecast = served.predict(bars, horizon=7, quantile_levels=LEVELS)
    pd.testing.assert_frame_equal(forecast, directly(model_directory, bars, 7), atol=1e-6)
    default = served.predict(bars)
    assert default["step"].max() == 5
    assert {"q0.1", "q0.9"} <= set(default.columns)
    assert set(default["item_id"]) == {"AAA", "BBB"}


def test_whole_numbers_and_text_dates_are_read(logged, bars):
    served = load_served(logged.uri)
    loose = bars.assign(volume=bars["volume"].astype(int), timestamp=bars["timestamp"].astype(str))
    pd.testing.assert_frame_equal(served.predict(loose), served.predict(bars))


@pytest.mark.parametrize("uri", ["models:/ohlcv/1", "models:/ohlcv@champion", "models:/{id}"])
def test_every_address_leads_to_the_forecaster(client, logged, uri, model_directory):
    client.set_registered_model_alias("ohlcv", "champion", "1")
    directory = resolve(uri.format(id=logged.model_id))
    assert sorted(p.name for p in directory.iterdir()) == ["config.json", "preparation.json"]
    config = json.loads((model_directory / "config.json").read_text())
    assert json.loads((directory / "config.json").read_text()) == config
    assert tsfm.load_forecaster(uri.format(id=logged.model_id)).name == "seasonal_naive"


def test_moving_addresses_are_pinned_to_a_version(client, logged):
    client.set_registered_model_alias("ohlcv", "champion", "1")
    for uri in ("models:/ohlcv/latest", "models:/ohlcv@champion", "models:/ohlcv/1"):
        assert pinned(uri) == "models:/ohlcv/1"
    for uri in (f"models:/{logged.model_id}", "models:/nobody/latest", "org/model", "scratch"):
        assert pinned(uri) == uri


def test_a_directory_among_a_runs_artifacts_is_found(run, model_directory):
    run.log_file(model_directory, "checkpoint")
    assert resolve(f"runs:/{run.run_id}/checkpoint").name == "checkpoint"


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("models:/ohlcv/9", "versions of ohlcv: 1, @champion"),
        ("models:/ohlcv@winner", "versions of ohlcv: 1, @champion"),
        ("models:/other/1", "registered models: ohlcv"),
        ("runs:/0123/model", "run with id=0123 not found"),
    ],
)
def test_a_missing_model_is_told_with_what_there_is(client, logged, uri, advice):
    client.set_registered_model_alias("ohlcv", "champion", logged.version)
    with pytest.raises(TrackingError) as caught:
        resolve(uri)
    assert advice.lower() in str(caught.value).lower()


def test_a_model_whose_files_are_gone_is_told(client, logged):
    shutil.rmtree(
        client.get_logged_model(logged.model_id).artifact_location.removeprefix("file://")
    )
    with pytest.raises(TrackingError, match="is gone"):
        resolve(logged.uri)


def test_a_foreign_model_is_refused(run, tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "MLmodel").write_text("flavors: {}")
    run.log_file(tmp_path / "foreign", "foreign")
    with pytest.raises(CheckpointError, match="not logged by this project"):
        resolve(f"runs:/{run.run_id}/foreign")


@pytest.mark.parametrize(
    "params",
    [
        {"horizn": 3},
        {"horizon": 0},
        {"horizon": 2.5},
        {"horizon": "many"},
        {"horizon": True},
        {"seed": -1},
        {"quantile_levels": "0.5"},
        {"quantile_levels": []},
        {"quantile_levels": [0.9, 0.1]},
        {"quantile_levels": [0.0, 0.5]},
    ],
)
def test_bad_parameters_are_refused(logged, bars, params):
    with pytest.raises(ConfigError, match=next(iter(params))):
        load_served(logged.uri).predict(bars, **params)


def test_bad_frames_are_refused(logged, bars):
    served = load_served(logged.uri)
    with pytest.raises(DataError, match="close"):
        served.predict(bars.drop(columns="close"))
    with pytest.raises(DataError, match="volume"):
        served.predict(bars.assign(volume="much"))


@pytest.mark.usefixtures("logged")
def test_logging_results_again_adds_no_point_to_the_run(client, run, bars, model_directory):
    again = log_model(
        run, model_directory, name="naive", input_example=bars, metrics={"crps": 0.25}
    )
    assert len(client.get_metric_history(run.run_id, "crps")) == 1
    (metric,) = client.get_logged_model(again.model_id).metrics
    assert metric.value == 0.25


@pytest.mark.usefixtures("logged")
def test_versions_count_up(run, model_directory, bars):
    again = log_model(run, model_directory, name="naive", register_as="ohlcv", input_example=bars)
    assert again.version == 2
    only_logged = log_model(run, model_directory, name="naive", input_example=bars)
    assert only_logged.uri == f"models:/{only_logged.model_id}"


@pytest.mark.parametrize("file", ["config.json", "preparation.json"])
def test_an_incomplete_directory_is_refused(client, run, model_directory, bars, file):
    (model_directory / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        log_model(run, model_directory, name="naive", register_as="x", input_example=bars)
    assert leftovers(client) == ([], [], [])


@pytest.mark.parametrize("step", ["log_model_artifacts", "log_outputs", "finalize_logged_model"])
def test_a_failure_while_logging_leaves_no_model(
    client, run, model_directory, bars, monkeypatch, step
):
    real = getattr(run.client, step)

    def fail(*args, **kwargs):
        if step != "finalize_logged_model" or args[-1] == "READY":
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(run.client, step, fail)
    with pytest.raises(TrackingError, match="No space left on device"):
        log_model(run, model_directory, name="naive", register_as="ohlcv", input_example=bars)
    assert leftovers(client) == ([], [], [])


def test_a_failure_while_registering_leaves_no_empty_entry(
    client, run, model_directory, bars, monkeypatch
):
    def fail(*_, **__):
        raise MlflowException("the registry is away")

    monkeypatch.setattr(run.client, "create_model_version", fail)
    with pytest.raises(TrackingError, match="cannot be registered as 'ohlcv'"):
        log_model(run, model_directory, name="naive", register_as="ohlcv", input_example=bars)
    models, registered, versions = leftovers(client)
    assert (len(models), registered, versions) == (1, [], [])


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "models@x", "it's", "x" * 201])
def test_names_that_a_registry_refuses_are_refused_early(name):
    with pytest.raises(ConfigError, match="register_as"):
        check_name(name)


def test_requirements_are_pinned_to_versions_that_an_index_has():
    pins = pinned_requirements()
    assert f"numpy=={np.__version__}" in pins
    assert all("==" in pin and "+" not in pin for pin in pins)
    assert not any(pin.startswith("pytest") for pin in pins)


def test_copies_of_remote_models_are_fetched_once(logged, monkeypatch):
    fetched = []
    monkeypatch.setattr(registry, "_location", lambda _: "mlflow-artifacts:/model")

    def download(artifact_uri, **_):
        fetched.append(artifact_uri)
        return MlflowClient().get_logged_model(logged.model_id).artifact_location

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", download)
    assert resolve("models:/ohlcv/1") == resolve("models:/ohlcv/1")
    assert len(fetched) == 1
    registry._fetch.cache_clear()


@pytest.mark.slow
def test_a_fresh_process_forecasts_the_same(logged, model_directory, bars, tmp_path):
    """By mlflow alone, elsewhere, with the code that was logged with the model."""
    program = (
        "import sys, mlflow, pandas as pd\n"
        "store, uri, source, out = sys.argv[1:]\n"
        "mlflow.set_tracking_uri(store)\n"
        "model = mlflow.pyfunc.load_model(uri)\n"
        "frame = pd.read_parquet(source)\n"
        "params = {'horizon': 7, 'quantile_levels': [0.1, 0.5, 0.9]}\n"
        "model.predict(frame, params=params).to_parquet(out)\n"
        "import tsfm; assert 'artifacts/code/tsfm' in tsfm.__file__, tsfm.__file__\n"
    )
    source, out = tmp_path / "bars.parquet", tmp_path / "forecast.parquet"
    bars.to_parquet(source)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    command = [sys.executable, "-I", "-c", program, store, logged.uri, str(source), str(out)]
    subprocess.run(command, check=True, cwd=elsewhere)
    expected = directly(model_directory, bars, 7)
    pd.testing.assert_frame_equal(pd.read_parquet(out), expected, rtol=0, atol=1e-6)
