"""Why long context helps: errors against context length and against the precision of integration.

Trajectories of known systems are integrated at several precisions. A forecaster sees contexts of
several lengths of each of them, all ending at the same origins, and is asked for the trajectory's
own future. Beside it stands who needs no context: the true equations, integrated at those
precisions from the state at the origin of the most precise trajectory. In a chaotic system both
errors grow by ``exp(λ t)``, so that what counts is the first error: every further Lyapunov time of
valid prediction costs a factor e of it. For a forecaster that looks for analogues in its context
the first error falls as ``length^(-1 / D)`` with the attractor's dimension D (Zhang & Gilpin 2025,
Context parroting).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.errors import DataError
from tsfm.evaluation.analysis_config import PrecisionConfig
from tsfm.evaluation.analysis_plots import precision_chart
from tsfm.evaluation.chaos import normalised_error, valid_steps
from tsfm.evaluation.findings import Findings, clustered_mean, metrics_of, with_interval
from tsfm.evaluation.orbits import Orbits, make_orbits
from tsfm.models.base import Context, Forecaster

_BATCH = 64
_SATURATED = 0.3


def analyse_precision(
    models: Mapping[str, Forecaster],
    ensemble: EnsembleConfig,
    config: PrecisionConfig,
    *,
    horizon: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> Findings:
    """Valid prediction times by context length and precision, of the models and of integration.

    Parameters
    ----------
    models
        By name, the one looked into first.

    Raises
    ------
    DataError
        When no system can be integrated.
    """
    first, model = next(iter(models.items()))
    lengths = [length for length in config.lengths if length <= longest_context(model)]
    if not lengths:
        raise DataError(
            f"{first} sees {longest_context(model)} bars, fewer than the shortest context asked",
            remedy=f"give overrides=precision.lengths=[{longest_context(model)}]",
        )
    orbits = make_orbits(ensemble, config, longest=lengths[-1], horizon=horizon, progress=progress)
    exact = config.reference_rtol
    errors = {
        (name, length, rtol): forecast_error(one, orbits, length, rtol)
        for name, one in models.items()
        for rtol in ((*config.rtols, exact) if name == first else (exact,))
        for length in lengths
    }
    errors |= {
        ("integration", 0, rtol): normalised_error(
            orbits.exact, orbits.integrated[rtol], orbits.spread
        )
        for rtol in config.rtols
    }
    table = pd.DataFrame([_row(key, error, orbits, config) for key, error in errors.items()])
    laws = pd.DataFrame(
        [
            _law(name, [errors[(name, length, exact)] for length in lengths], lengths, orbits)
            for name in models
            if len(lengths) > 1
        ]
    )
    curves = {
        key: mean_curve(error, orbits.rate)
        for key, error in errors.items()
        if key[0] == "integration" or (key[0] == first and key[2] == exact)
    }
    metrics = metrics_of(table, "valid_time", "model", "context", "rtol", prefix="valid_time")
    tables = {"context": table} | ({"context_law": laws} if len(laws) else {})
    return Findings(
        conclusion=_told(first, table, laws, exact) + _left_out(orbits),
        tables=tables,
        metrics=metrics,
        figures={"context": precision_chart(table, curves, first, exact, title=first)},
    )


def longest_context(model: Forecaster) -> int:
    """Bars that a forecaster looks at."""
    config = getattr(model, "config", model)
    found = getattr(config, "context", None) or getattr(config, "max_history", None)
    return int(found) if found else 10**9


def forecast_error(
    model: Forecaster, orbits: Orbits, length: int, rtol: float
) -> Float[np.ndarray, "window horizon"]:
    """Errors of the median in deviations of the attractor, from contexts of one length."""
    past, horizon = orbits.past[rtol][:, -length:], orbits.future[rtol].shape[1]
    found = []
    for first in range(0, len(past), _BATCH):
        batch = past[first : first + _BATCH].astype(np.float32)
        context = Context(past=batch, variates=np.any(np.isfinite(batch), axis=1))
        found.append(model.predict(context, horizon, (0.1, 0.5, 0.9)).median)
    return normalised_error(orbits.future[rtol], np.concatenate(found), orbits.spread)


def mean_curve(
    error: Float[np.ndarray, "window horizon"], rate: Float[np.ndarray, " window"], points: int = 80
) -> pd.DataFrame:
    """Geometric mean error at times in Lyapunov times, as far as half of the windows reach."""
    steps = np.arange(1, error.shape[1] + 1)
    grid = np.linspace(rate.min(), np.median(rate) * steps[-1], points)
    logs = np.log(np.maximum(error, 1e-15))
    curves = np.stack(
        [
            np.interp(grid, steps * one, log, left=np.nan, right=np.nan)
            for one, log in zip(rate, logs, strict=True)
        ]
    )
    known = np.isfinite(curves)
    mean = np.where(known, curves, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return pd.DataFrame({"time": grid, "error": np.exp(np.where(known.any(axis=0), mean, np.nan))})


def _row(
    key: tuple[str, int, float],
    error: Float[np.ndarray, "window horizon"],
    orbits: Orbits,
    config: PrecisionConfig,
) -> dict[str, object]:
    name, length, rtol = key
    times = valid_steps(error, config.threshold) * orbits.rate
    valid, low, high = clustered_mean(times, orbits.systems)
    start, start_low, start_high = np.exp(
        clustered_mean(np.log(np.maximum(error[:, 0], 1e-15)), orbits.systems)
    )
    return {
        "model": name,
        "context": length,
        "rtol": rtol,
        "valid_time": valid,
        "low": low,
        "high": high,
        "first_error": start,
        "first_error_low": start_low,
        "first_error_high": start_high,
        "growth": growth(mean_curve(error, orbits.rate)),
        "windows": len(error),
        "systems": len(set(orbits.systems)),
    }


def growth(curve: pd.DataFrame) -> float:
    """Of the logarithm of the error per Lyapunov time, before saturation: 1 is the system's own."""
    wrong = np.flatnonzero(~(curve["error"].to_numpy() < _SATURATED))
    end = wrong[0] if len(wrong) else len(curve)
    if end < 3:
        return float("nan")
    return float(np.polyfit(curve["time"][:end], np.log(curve["error"][:end]), 1)[0])


def _law(
    name: str, errors: Sequence[np.ndarray], lengths: Sequence[int], orbits: Orbits
) -> dict[str, object]:
    """Slope of the first error's logarithm over that of the context's length."""
    logs = np.stack([np.log(np.maximum(error[:, 0], 1e-15)) for error in errors], axis=1)
    x = np.log(lengths) - np.mean(np.log(lengths))
    slopes = logs @ x / float(x @ x)
    value, low, high = clustered_mean(slopes, orbits.systems)
    return {"model": name, "slope": value, "low": low, "high": high, "windows": len(slopes)}


def _left_out(orbits: Orbits) -> str:
    if not orbits.left_out:
        return ""
    listed = ", ".join(orbits.left_out)
    return f" Left out, since integration fails at one of the precisions: {listed}."


def _told(name: str, table: pd.DataFrame, laws: pd.DataFrame, exact: float) -> str:
    own = table[(table["model"] == name) & (table["rtol"] == exact)]
    short, full = own.iloc[0], own.iloc[-1]

    def time_of(row: pd.Series) -> str:
        return with_interval(row["valid_time"], row["low"], row["high"])

    told = (
        f"{name} is valid for {time_of(short)} Lyapunov times from {short['context']} bars and for "
        f"{time_of(full)} from {full['context']}"
    )
    gain, shift = (
        full["valid_time"] - short["valid_time"],
        short["first_error"] / full["first_error"],
    )
    if len(own) > 1:
        told += (
            f": a gain of {gain:+.2f}, where its first error changes by a factor of {shift:.3g}, "
            f"worth {np.log(shift):+.2f} at the system's own growth"
        )
    loosest = table[(table["model"] == name) & (table["context"] == full["context"])].iloc[0]
    told += f". Trajectories integrated at rtol {loosest['rtol']:g} give {time_of(loosest)}. "
    integration = table[table["model"] == "integration"]
    worse = integration[integration["valid_time"] < full["valid_time"]]
    if len(worse):
        row = worse.iloc[-1]
        told += (
            f"It outlasts integrating the true equations at rtol {row['rtol']:g} ({time_of(row)})."
        )
    else:
        row = integration.iloc[0]
        told += (
            f"Integrating the true equations lasts longer even at rtol {row['rtol']:g} "
            f"({time_of(row)}; its error starts at {row['first_error']:.2g}, the forecaster's at "
            f"{full['first_error']:.2g})."
        )
    for row in laws.to_dict("records"):
        told += (
            f" The first error of {row['model']} goes as length^"
            f"{with_interval(row['slope'], row['low'], row['high'])}."
        )
    return told
