"""A linear operator on the encoder's states: does the model see dynamics that are linear?

A Koopman operator moves observables of a nonlinear system linearly (Koopman 1931). States of
consecutive windows of one trajectory are reduced to their principal components, an operator
``z[t + 1] = K z[t] + c`` is fitted by ridge regression (dynamic mode decomposition: Schmid 2010;
extended: Williams, Kevrekidis & Rowley 2015; the constant is an observable, too) for each
system and parameter draw, and judged on trajectories that it was not fitted to, beside the same
made of delay coordinates, and beside standing still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from jaxtyping import Complex, Float

from tsfm.data.panel import Panel
from tsfm.errors import DataError
from tsfm.evaluation.analysis_config import KoopmanConfig
from tsfm.evaluation.analysis_plots import koopman_chart
from tsfm.evaluation.findings import Findings, clustered_mean, metrics_of, with_interval
from tsfm.models.base import Context, Forecaster
from tsfm.models.embedder import Embedder, expect_embedder, last_states

_ALPHAS = np.geomspace(1e-10, 1e2, 13)
_LEAST = -1.0
"""R² below this are as bad as this: powers of an unstable operator know no bounds."""

_BATCH = 128
_NOW, _LATER = slice(None, -1), slice(1, None)
_BOUNDS = ["value", "low", "high"]


class Orbit(NamedTuple):
    """One trajectory as seen through consecutive windows.

    Attributes
    ----------
    states
        What the operator moves, ``[window, dim]``.
    ends
        The system's own state at the end of each window, ``[window, variate]``.
    """

    states: Float[np.ndarray, "window dim"]
    ends: Float[np.ndarray, "window variate"]


@dataclass(frozen=True, kw_only=True)
class Koopman:
    """A fitted operator.

    Attributes
    ----------
    mean, basis
        Of the states: their mean, and principal components ``[dim, rank]``.
    operator, shift
        ``[rank, rank]``, which acts on rows from the right, and what is added.
    readout
        From components to the system's state, standardised.
    ends_mean, ends_scale
        Of the system's state.
    """

    mean: Float[np.ndarray, " dim"]
    basis: Float[np.ndarray, "dim rank"]
    operator: Float[np.ndarray, "rank rank"]
    shift: Float[np.ndarray, " rank"]
    readout: Float[np.ndarray, "rank variate"]
    ends_mean: Float[np.ndarray, " variate"]
    ends_scale: Float[np.ndarray, " variate"]

    @classmethod
    def fit(cls, orbits: Sequence[Orbit], rank: int) -> Self:
        """By ridge regression; its strength by leave-one-out errors.

        Raises
        ------
        DataError
            When no orbit has two windows.
        """
        whole = np.concatenate([orbit.states for orbit in orbits])
        pairs = sum(max(len(orbit.states) - 1, 0) for orbit in orbits)
        if not pairs:
            raise DataError("no trajectory has two windows", remedy="give longer trajectories")
        mean = whole.mean(axis=0)
        _, size, right = np.linalg.svd(whole - mean, full_matrices=False)
        useful = int((size > 1e-9 * size[0]).sum()) if size[0] > 0 else 1
        basis = right[: min(rank, useful)].T
        flat = [(orbit.states - mean) @ basis for orbit in orbits]
        ends = np.concatenate([orbit.ends for orbit in orbits])
        ends_mean, spread = ends.mean(axis=0), ends.std(axis=0)
        ends_scale = np.where(spread > 0, spread, 1.0)
        now, later = (np.concatenate([one[cut] for one in flat]) for cut in (_NOW, _LATER))
        operator = ridge(now - now.mean(axis=0), later - later.mean(axis=0))
        return cls(
            mean=mean,
            basis=basis,
            operator=operator,
            shift=later.mean(axis=0) - now.mean(axis=0) @ operator,
            readout=ridge(np.concatenate(flat), (ends - ends_mean) / ends_scale),
            ends_mean=ends_mean,
            ends_scale=ends_scale,
        )

    @property
    def eigenvalues(self) -> Complex[np.ndarray, " rank"]:
        """Of one step; moduli near one are modes that last."""
        return np.linalg.eigvals(self.operator)

    def components(self, orbit: Orbit) -> Float[np.ndarray, "window rank"]:
        return (orbit.states - self.mean) @ self.basis

    def scores(self, orbits: Sequence[Orbit], steps: Sequence[int]) -> pd.DataFrame:
        """R² of components and of the system's state, so many steps ahead; also of standing still.

        Returns
        -------
        pd.DataFrame
            Columns ``step, latent, state, latent_still, state_still``.
        """
        flat = [self.components(orbit) for orbit in orbits]
        ends = [(orbit.ends - self.ends_mean) / self.ends_scale for orbit in orbits]
        ahead, done, rows = flat, 0, []
        for step in (one for one in steps if any(len(orbit.ends) > one for orbit in orbits)):
            for _ in range(step - done):
                ahead = [one @ self.operator + self.shift for one in ahead]
            done = step
            moved = np.concatenate([one[:-step] for one in ahead])
            later = np.concatenate([one[step:] for one in flat])
            now = np.concatenate([one[:-step] for one in flat])
            ends_later = np.concatenate([one[step:] for one in ends])
            ends_now = np.concatenate([one[:-step] for one in ends])
            rows.append(
                {
                    "step": step,
                    "latent": r_squared(moved, later),
                    "state": r_squared(moved @ self.readout, ends_later),
                    "latent_still": r_squared(now, later),
                    "state_still": r_squared(ends_now, ends_later),
                }
            )
        return pd.DataFrame(rows)


def analyse_koopman(
    model: Forecaster,
    panel: Panel,
    config: KoopmanConfig,
    *,
    context: int,
) -> Findings:
    """An operator for each system and parameter draw, judged on its last trajectory.

    Raises
    ------
    ConfigError
        When the model has no encoder.
    DataError
        When no system has two trajectories of one parameter draw that are long enough.
    """
    embedder = expect_embedder(model)
    rows, eigenvalues = [], []
    for (system, draw), items in _subjects(panel).items():
        made = _orbits(embedder, panel, items, config, context)
        train = [both for both in made if len(both["encoder"].ends) > max(config.steps)]
        if len(train) < 2:
            continue
        *train, test = train
        for name in ("encoder", "delays"):
            fitted = Koopman.fit([both[name] for both in train], config.rank)
            scores = fitted.scores([test[name]], config.steps)
            rows.append(scores.assign(system=system, draw=draw, representation=name))
            for one in fitted.eigenvalues:
                eigenvalues.append((system, draw, name, one.real, one.imag, abs(one)))
    if not rows:
        raise DataError(
            "no system has two trajectories of one parameter draw with windows enough",
            where=f"panel {panel.info.name}, context={context}, stride={config.stride}",
            remedy="give more or longer trajectories (n_trajectories, ensemble.points), or a "
            "shorter context",
        )
    scores = pd.concat(rows, ignore_index=True)
    columns = ["system", "draw", "representation", "real", "imaginary", "modulus"]
    spectrum = pd.DataFrame(eigenvalues, columns=columns)
    table = summary(scores)
    return Findings(
        conclusion=_told(model.name, scores, table, config.stride),
        tables={"koopman": table, "koopman_by_system": scores, "koopman_eigenvalues": spectrum},
        metrics=metrics_of(table, "value", "of", "representation", "step", prefix="r2"),
        figures={"koopman": koopman_chart(table, spectrum, config.stride, title=model.name)},
    )


def ridge(
    inputs: Float[np.ndarray, "sample in"], outputs: Float[np.ndarray, "sample out"]
) -> Float[np.ndarray, "in out"]:
    """Coefficients of a regression through the origin, its penalty by leave-one-out errors."""
    left, size, right = np.linalg.svd(inputs, full_matrices=False)
    mapped = left.T @ outputs
    best, chosen = np.inf, None
    for alpha in _ALPHAS * max(float((size**2).mean()), 1e-300):
        shrunk = size**2 / (size**2 + alpha)
        leverage = (left**2 * shrunk).sum(axis=1)
        residual = (outputs - (left * shrunk) @ mapped) / np.maximum(1 - leverage, 1e-9)[:, None]
        loss = float((residual**2).mean())
        if loss < best:
            best, chosen = loss, (right.T * (size / (size**2 + alpha))) @ mapped
    assert chosen is not None
    return chosen


def r_squared(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Share of the variance of all columns together that is predicted."""
    residual = float(((predicted - actual) ** 2).sum())
    total = float(((actual - actual.mean(axis=0)) ** 2).sum())
    return 1 - residual / total if total > 0 else float("nan")


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean R² over systems with intervals, ``of`` latent components and of the system's state.

    Values below -1 count as -1. The representation ``still`` is the system's state that does not
    move.
    """
    rows = []
    for (name, step), part in scores.groupby(["representation", "step"], sort=False):
        kinds = {("latent", name): "latent", ("state", name): "state"}
        if name == "encoder":
            kinds |= {("latent", "still"): "latent_still", ("state", "still"): "state_still"}
        for (of, label), column in kinds.items():
            values = np.maximum(part[column].to_numpy(), _LEAST)
            value, low, high = clustered_mean(values, part["system"].to_numpy())
            rows.append(
                {"of": of, "representation": label, "step": step, "value": value,
                 "low": low, "high": high, "systems": part["system"].nunique()}
            )  # fmt: skip
    table = pd.DataFrame(rows)
    return table.sort_values(["of", "representation", "step"], ignore_index=True)


def _told(name: str, scores: pd.DataFrame, table: pd.DataFrame, stride: int) -> str:
    value = table.set_index(["of", "representation", "step"])
    steps = [1, table["step"].max()] if 1 in set(table["step"]) else [table["step"].max()]
    parts = []
    for step in steps:
        ours, delays, still = (
            with_interval(*value.loc[("state", kind, step), _BOUNDS].to_numpy(float))
            for kind in ("encoder", "delays", "still")
        )
        parts.append(
            f"{step * stride} bars ahead a linear operator on states of {name} predicts the "
            f"system's state with R² {ours}; on delay coordinates {delays}, standing still {still}"
        )
    last = scores[scores["step"] == steps[-1]].set_index(["system", "draw", "representation"])
    wide = last["state"].clip(lower=_LEAST).unstack("representation")  # noqa: PD010
    systems = wide.index.get_level_values("system").to_numpy()
    gain, low, high = clustered_mean((wide["encoder"] - wide["delays"]).to_numpy(), systems)
    verdict = (
        "cannot be told better or worse (too few systems)" if np.isnan(low)
        else "are more linear than delay coordinates" if low > 0
        else "are less linear than delay coordinates" if high < 0
        else "are not more linear than delay coordinates"
    )  # fmt: skip
    parts.append(f"the encoder's states {verdict} (R² {with_interval(gain, low, high, '+.2f')})")
    return "; ".join(parts) + "."


def _subjects(panel: Panel) -> Mapping[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for item, series in enumerate(panel):
        draw = series.static.get("draw", 0)
        found.setdefault((str(series.static.get("system", "")), f"{draw:g}"), []).append(item)
    return found


def _orbits(
    embedder: Embedder, panel: Panel, items: Sequence[int], config: KoopmanConfig, context: int
) -> Iterator[dict[str, Orbit]]:
    """Each trajectory by the encoder's states and by delay coordinates, at the same windows."""
    for item in items:
        target = panel.series(item).target.T.astype(np.float64)
        target = target[:, np.isfinite(target).all(axis=0)]
        stops = np.arange(max(context, config.delays), len(target) + 1, config.stride)
        if not len(stops):
            continue
        windows = np.stack([target[stop - context : stop] for stop in stops]).astype(np.float32)
        contexts = [
            Context(past=windows[first : first + _BATCH])
            for first in range(0, len(windows), _BATCH)
        ]
        states = last_states(embedder, contexts)
        delays = np.stack([target[stop - config.delays : stop].ravel() for stop in stops])
        ends = target[stops - 1]
        yield {
            "encoder": Orbit(states.reshape(len(stops), -1), ends),
            "delays": Orbit(delays, ends),
        }
