"""A foreign forecaster is a forecaster: batches, variates, limits, files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from support.foreign import LAST, write_foreign

from tsfm.errors import ConfigError, DataError
from tsfm.models.base import Context
from tsfm.models.foreign.forecaster import ForeignForecaster
from tsfm.models.foreign.process import WorkerError
from tsfm.models.source import load_local

TOGETHER = """
CAPABILITIES = {"variates": 3, "context": 5, "horizon": 4, "covariates": True, "parameters": 9}
def forecast(request):
    told = [len(request.past), request.past.shape[1], request.past.shape[2], request.seed]
    told += [request.known_covariates.shape[1] if request.known_covariates is not None else -1]
    values = np.zeros((len(request.past), request.horizon, request.past.shape[2]))
    values[:, 0, 0], values[:, 1, 0], values[:, 2, 0], values[:, 3, 0] = told[:3] + told[4:]
    return {"mean": values}
"""
DRAWS = """
CAPABILITIES = {}
def forecast(request):
    shape = (len(request.past), 8, request.horizon, request.past.shape[2])
    return {"samples": np.random.standard_normal(shape)}
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("foreign") / "together"
    model = load_local(f"foreign:{write_foreign(folder, TOGETHER, batch_size=3)}")
    yield model
    model.close()


def test_a_batch_is_asked_in_parts_of_the_context_that_is_wanted(together) -> None:
    context = Context(past=np.ones((7, 9, 2)), known_covariates=np.ones((7, 13, 1), np.float32))
    mean = together.predict(context, 4).mean[..., 0]
    np.testing.assert_array_equal(mean[:, 0], [3, 3, 3, 3, 3, 3, 1])
    assert set(mean[:, 1]) == {5}
    assert set(mean[:, 2]) == {2}
    assert set(mean[:, 3]) == {9}


def test_limits_are_told_before_and_by_the_answer(together) -> None:
    together.expect_able(variates=3, context=999, horizon=4)
    with pytest.raises(ConfigError, match="horizon=5 is beyond the 4 of together"):
        together.expect_able(variates=1, context=9, horizon=5)
    with pytest.raises(ConfigError, match="variates=4 is beyond the 3"):
        together.expect_able(variates=4, context=9, horizon=4)
    with pytest.raises(ConfigError, match="horizon=5"):
        together.predict(past=np.ones((1, 9, 1)), horizon=5)
    with pytest.raises(ConfigError, match="variates=4"):
        together.predict(past=np.ones((1, 9, 4)), horizon=4)
    assert together.info()["parameters"] == 9


def test_covariates_that_are_not_claimed_are_told(tmp_path: Path) -> None:
    model = ForeignForecaster.load(write_foreign(tmp_path / "plain"))
    with pytest.warns(UserWarning, match="plain is not given the 3 covariates"):
        model.expect_able(variates=9, context=5, horizon=900, past=1, known=2)
    model.close()


def test_variates_that_are_taken_alone_return_to_their_place(tmp_path: Path) -> None:
    model = ForeignForecaster.load(write_foreign(tmp_path / "alone", batch_size=4))
    past = np.random.default_rng(0).standard_normal((3, 9, 4)).astype(np.float32)
    past[1, :, 2] = np.nan
    past[2, -2:, 0] = np.nan
    found = model.predict(Context(past=past), 2)
    expected = past[:, -1].copy()
    expected[2, 0] = past[2, -3, 0]
    np.testing.assert_array_equal(found.mean, np.repeat(expected[:, None], 2, axis=1))
    assert found.is_degenerate
    with pytest.raises(DataError, match="no value is observed"):
        model.predict(Context(past=np.full((1, 4, 1), np.nan)), 2)
    model.close()


def test_the_seed_of_a_question_is_that_of_its_answer(tmp_path: Path) -> None:
    model = ForeignForecaster.load(write_foreign(tmp_path / "draws", DRAWS, batch_size=2))
    past = np.ones((4, 5, 2))
    first, again, other = (model.predict(Context(past=past, seed=s), 3) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.samples is not None
    assert first.samples.shape == (4, 8, 3, 2)
    assert not np.array_equal(first.samples[:2], first.samples[2:])
    assert not np.array_equal(first.quantiles, other.quantiles)
    model.close()


def test_it_is_saved_and_loaded_and_sent_to_other_processes(tmp_path: Path) -> None:
    directory = write_foreign(tmp_path / "one")
    (directory / "weights").mkdir()
    (directory / "weights" / "w.bin").write_bytes(b"1")
    (directory / "__pycache__").mkdir()
    model = ForeignForecaster.load(directory)
    copy = model.save(tmp_path / "two")
    assert sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*")) == [
        "foreign.yaml", "weights", "weights/w.bin", "worker.py",
    ]  # fmt: skip
    again = load_local(copy, batch_size=5)
    assert isinstance(again, ForeignForecaster)
    assert (again.name, again.config.batch_size) == ("foreign", 5)
    assert pickle.loads(pickle.dumps(model)).config == model.config


def test_an_interrupted_question_leaves_no_answer_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ForeignForecaster.load(write_foreign(tmp_path / "x", LAST))
    worker = model._started()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "_size", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.predict(past=[1.0, 2.0], horizon=1)
    assert not worker.is_alive
    assert model.predict(past=[1.0, 3.0], horizon=1).mean.item() == 3
    model.close()


def test_a_worker_of_another_protocol_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsfm.models.foreign.forecaster.PROTOCOL", 2)
    model = ForeignForecaster.load(write_foreign(tmp_path / "x"))
    with pytest.raises(WorkerError, match="speaks protocol 1, not 2"):
        model.predict(past=[1.0, 2.0], horizon=1)
