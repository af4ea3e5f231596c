"""A version is loaded again in a process that knows nothing but its address."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tsfm.models.statistical import SeasonalNaive
from tsfm.tracking.promotion import reload
from tsfm.tracking.promotion.contestant import Contestant
from tsfm.tracking.promotion.reload import reloaded
from tsfm.tracking.promotion.rules import ReloadRule
from tsfm.tracking.promotion.vault import Vault

HERE, FRESH = ReloadRule(fresh_process=False), ReloadRule(seconds=120.0)


@pytest.fixture
def candidate(registered: MlflowClient) -> Contestant:
    return Contestant.of(registered, "ohlcv", "2")


class Louder(SeasonalNaive):
    """Forecasts a little more than it was saved to."""

    def forecast(self, *arguments, **options):
        forecast = super().forecast(*arguments, **options)
        return replace(forecast, quantiles=forecast.quantiles * 1.01)


def test_a_fresh_process_forecasts_the_same(candidate: Contestant, vault: Vault):
    again = reloaded(candidate, vault, FRESH)
    assert (again.difference, again.problem) == (0.0, "")
    assert reloaded(candidate, vault, HERE).difference == 0.0


def test_a_model_that_differs_from_its_files_is_found(candidate, vault, monkeypatch):
    monkeypatch.setattr(Contestant, "load", lambda _self: Louder())
    again = reloaded(candidate, vault, FRESH)
    assert again.difference == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert not ReloadRule().tolerance >= again.difference


def test_what_only_the_first_process_can_load_is_told(candidate, vault, registered):
    model = candidate.load()
    kept = candidate.directory.with_name("elsewhere")
    try:
        candidate.directory.rename(kept)
        candidate.directory.mkdir()
        (candidate.directory / "config.json").write_text("{}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Contestant, "load", lambda _self: model)
            again = reloaded(candidate, vault, FRESH)
    finally:
        shutil.rmtree(candidate.directory)
        kept.rename(candidate.directory)
    assert np.isnan(again.difference)
    assert "a fresh process cannot load it and forecast: CheckpointError" in again.problem


def test_its_time_is_bounded(candidate, vault, monkeypatch):
    def slow(*_words, timeout: float, **_options):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(reload.subprocess, "run", slow)
    again = reloaded(candidate, vault, ReloadRule(seconds=7.0))
    assert again.problem == "a fresh process did not load and forecast within 7 s"


def test_a_process_that_is_killed_is_told(candidate, vault, monkeypatch):
    def killed(*_words, **_options):
        return subprocess.CompletedProcess((), -9, "", "")

    monkeypatch.setattr(reload.subprocess, "run", killed)
    assert "exit code -9" in reloaded(candidate, vault, FRESH).problem


def test_a_value_that_one_of_them_does_not_forecast_is_a_difference(tmp_path: Path):
    full = [np.array([1.0, 2.0])]
    assert np.isnan(reload._compared(full, [np.array([1.0, np.nan])]).difference)
    assert reload._compared([np.array([np.nan])], [np.array([np.nan])]).difference == 0
    assert reload._compared(full, [np.array([1.0, 2.2])]).difference == pytest.approx(0.1)
