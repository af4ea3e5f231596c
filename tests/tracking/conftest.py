"""A tracking store of its own for every test, and a small model to put into it."""

import shutil

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def client(home, empty_database):
    """A client of the default store in an empty working directory."""
    import mlflow
    from mlflow import MlflowClient

    shutil.copy(empty_database, home / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    yield MlflowClient()
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def bars():
    """Sixty daily bars of two assets."""
    rng = np.random.default_rng(7)
    frames = []
    for item_id in ("AAA", "BBB"):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 60)))
        opening = np.r_[close[0], close[:-1]]
        frames.append(
            pd.DataFrame(
                {
                    "item_id": item_id,
                    "timestamp": pd.bdate_range("2024-01-01", periods=60),
                    "open": opening,
                    "high": np.maximum(opening, close) * 1.005,
                    "low": np.minimum(opening, close) * 0.995,
                    "close": close,
                    "volume": rng.integers(1_000, 100_000, 60).astype(float),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def model_directory(tmp_path):
    """A seasonal-naive forecaster of bars, saved."""
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.models.statistical import SeasonalNaive

    directory = tmp_path / "saved" / "model"
    SeasonalNaive().save(directory)
    BarPreparation().save(directory)
    return directory
