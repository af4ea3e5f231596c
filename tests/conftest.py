"""Fixtures shared by all tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from tsfm.data.panel import Panel, PanelInfo, Series

SHARED = Path(__file__).resolve().parents[2] / "shared"
VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "CUSTOM_DATA_PATH",
    "LOTSA_V1_PATH",
    "LSF_PATH",
)

settings.register_profile("fixed", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference data in ../shared")
    return SHARED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, no variable that names a store or data set."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking store without runs, to copy: creating its tables takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def make_panel() -> Callable[..., Panel]:
    """A factory of small in-memory panels of random walks with a daily season."""

    def make(
        n_items: int = 3,
        length: int | list[int] = 400,
        variates: tuple[str, ...] = ("a", "b"),
        *,
        freq: str | None = "h",
        explicit: bool = False,
        missing: float = 0.0,
        known_covariates: tuple[str, ...] = (),
        past_covariates: tuple[str, ...] = (),
        seasonality: int = 24,
        name: str = "made",
        seed: int = 0,
    ) -> Panel:
        """``freq=None`` gives undated series, ``explicit`` weekday working hours as timestamps."""
        lengths = [length] * n_items if isinstance(length, int) else length
        info = PanelInfo(
            name=name,
            variates=variates,
            freq=freq,
            calendar="office" if explicit else None,
            seasonality=seasonality,
            past_covariates=past_covariates,
            known_covariates=known_covariates,
            licence="CC0-1.0",
            provenance={"made": "for tests"},
        )
        rng = np.random.default_rng(seed)

        def series(item: int, bars: int) -> Series:
            season = np.sin(2 * np.pi * np.arange(bars) / max(seasonality, 2))
            target = rng.normal(size=(len(variates), bars)).cumsum(1) + 5 * season
            target[rng.random(target.shape) < missing] = np.nan
            return Series(
                item_id=f"item-{item}",
                target=target,
                start=pd.Timestamp("2024-01-01") if freq and not explicit else None,
                timestamps=_office_hours(bars) if explicit else None,
                past_covariates=_noise(rng, past_covariates, bars),
                known_covariates=_noise(rng, known_covariates, bars),
                static={"rank": float(item), "group": "even" if item % 2 == 0 else "odd"},
            )

        return Panel.from_series((series(i, bars) for i, bars in enumerate(lengths)), info)

    return make


def _noise(rng: np.random.Generator, names: tuple[str, ...], bars: int) -> np.ndarray | None:
    return rng.normal(size=(len(names), bars)) if names else None


def _office_hours(bars: int) -> np.ndarray:
    """Seven hourly bars a weekday: no pandas frequency describes them."""
    days = pd.bdate_range("2024-01-01", periods=bars // 7 + 1).to_numpy()
    hours = np.arange(9, 16).astype("m8[h]")
    return (days[:, None] + hours).ravel()[:bars].astype("M8[ns]")
