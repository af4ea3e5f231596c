"""DLinear: one linear map from context to horizon, shared by all variates, in closed form.

Source: Zeng, Chen, Zhang & Xu 2023, *Are transformers effective for time series forecasting?*
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Float

from tsfm.errors import CheckpointError, ConfigError, DataError, one_of
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.checkpoint import own_config, read_config, read_weights, write_model
from tsfm.models.gaps import bridged
from tsfm.models.model_config import ModelConfig
from tsfm.models.statistical import normal_forecast

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

SCALINGS = ("standard", "last", "none")
_WINDOWS_AT_ONCE = 4096
_FARTHEST = 20


@dataclass(frozen=True, kw_only=True)
class DLinearConfig(ModelConfig):
    """Configuration of :class:`DLinear`.

    Attributes
    ----------
    context, horizon
        Bars seen and bars forecast by the map; longer horizons feed forecasts back.
    kernel
        Bars of the moving average that is the trend, odd.
    ridge
        Penalty on the squared weights of both maps, per training window.
    scaling
        Of each window by its own context: ``standard`` (mean and deviation), ``last`` (less the
        last value) or ``none``, as published.
    max_windows
        Most training windows (each of one variate), evenly spaced over the panels.
    """

    label: ClassVar[str] = "dlinear"

    context: int = 512
    horizon: int = 128
    kernel: int = 25
    ridge: float = 1e-4
    scaling: str = "standard"
    max_windows: int = 100_000

    def __post_init__(self) -> None:
        one_of("scaling", self.scaling, SCALINGS)
        for name, least in {"context": 2, "horizon": 1, "kernel": 1, "max_windows": 1}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy=f"give at least {least}")
        if self.kernel % 2 == 0 or self.ridge <= 0:
            raise ConfigError(
                f"kernel={self.kernel}, ridge={self.ridge}",
                remedy="give an odd kernel and a positive ridge",
            )


class Fitted(NamedTuple):
    """What the training windows determined, in the units of scaled windows.

    Attributes
    ----------
    weight, bias
        Of the map from context to horizon.
    deviation
        Root mean square of the training residuals at each step.
    """

    weight: Float[np.ndarray, "horizon context"]
    bias: Float[np.ndarray, " horizon"]
    deviation: Float[np.ndarray, " horizon"]


class DLinear(Forecaster):
    """Trend and remainder of the context, each mapped linearly to the horizon, and added.

    Both maps act on linear functions of the same bars, so that together they are one matrix: the
    decomposition only shapes the penalty. Fitted by ridge regression over all variates of the
    training panels (:meth:`fit`); marginals are normal with the deviation of the training
    residuals. Gaps are bridged by straight lines, and a context shorter than the map's is preceded
    by its first value. Horizons beyond the fitted one feed the mean back, each later block adding
    the variance of the last step fed back.
    """

    name: ClassVar[str] = "dlinear"

    def __init__(self, config: DLinearConfig | None = None, fitted: Fitted | None = None) -> None:
        self.config = config or DLinearConfig()
        self.fitted = fitted

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Self:
        """Unfitted, with some settings.

        Raises
        ------
        ConfigError
            When a name is not a setting or a value is not allowed.
        """
        return cls(DLinearConfig.from_dict(values))

    def sized(
        self,
        *,
        context: int,
        horizon: int,
        season: int,  # noqa: ARG002
        levels: Sequence[float],  # noqa: ARG002
        available: int,
    ) -> Self:
        """Unfitted, for questions of that size; its context is at most an eighth of the series."""
        longest = max(2, (available - horizon) // 8)
        return type(self)(replace(self.config, context=min(context, longest), horizon=horizon))

    def fit(self, panel: Panel | Sequence[Panel]) -> Self:
        """Estimate the map; windows with an unobserved value are left out.

        With ``standard`` scaling so are those whose future lies more than 20 deviations of their
        context away from its mean: one nearly still context would outweigh all others.

        Raises
        ------
        DataError
            When no window of context and horizon is wholly observed.
        """
        panels = list(panel) if isinstance(panel, Sequence) else [panel]
        context, horizon, count = self.config.context, self.config.horizon, 0
        seen, cross = np.zeros((context, context)), np.zeros((horizon, context))
        seen_sum, answer_sum, answers = np.zeros(context), np.zeros(horizon), np.zeros(horizon)
        for windows in self._windows(panels):
            inputs, center, scale = self._scaled(windows[:, :context])
            targets = (windows[:, context:] - center) / scale
            if self.config.scaling == "standard":
                usual = np.abs(targets).max(axis=1, initial=0) <= _FARTHEST
                inputs, targets, windows = inputs[usual], targets[usual], windows[usual]
            seen += inputs.T @ inputs
            cross += targets.T @ inputs
            answers += (targets**2).sum(axis=0)
            seen_sum += inputs.sum(axis=0)
            answer_sum += targets.sum(axis=0)
            count += len(windows)
        if count == 0:
            raise DataError(
                f"no wholly observed window of {context} + {horizon} bars",
                remedy="shorten context or horizon, or give longer series",
            )
        self.fitted = self._solve(seen, cross, answers, seen_sum, answer_sum, count)
        return self

    def _solve(
        self,
        seen: np.ndarray,
        cross: np.ndarray,
        answers: np.ndarray,
        seen_sum: np.ndarray,
        answer_sum: np.ndarray,
        count: int,
    ) -> Fitted:
        """Ridge on remainder and trend without penalty on the bias, as one map of the context.

        The two maps of least norm that add up to ``weight`` have the squared norm
        ``tr(weight (DᵀD)⁻¹ weightᵀ)``, D being the decomposition.
        """
        from scipy.linalg import solve

        mean, target = seen_sum / count, answer_sum / count
        gram = seen - count * np.outer(mean, mean)
        moment = cross - count * np.outer(target, mean)
        trend = moving_average(self.config.context, self.config.kernel)
        rest = np.eye(self.config.context) - trend
        shape = np.linalg.inv(rest.T @ rest + trend.T @ trend)
        penalty = self.config.ridge * count * (shape + shape.T) / 2
        weight = solve(gram + penalty, moment.T, assume_a="pos").T
        total = answers - count * target**2
        residual = total - 2 * (weight * moment).sum(axis=1) + ((weight @ gram) * weight).sum(1)
        return Fitted(weight, target - weight @ mean, np.sqrt(np.maximum(residual, 0) / count))

    def _windows(
        self, panels: Sequence[Panel]
    ) -> Iterator[Float[np.ndarray, "window context+horizon"]]:
        length = self.config.context + self.config.horizon
        places = [
            (panel, item, int(bars) - length + 1)
            for panel in panels
            for item, bars in enumerate(panel.lengths)
            if bars >= length
        ]
        total = sum(positions * len(panel.info.variates) for panel, _, positions in places)
        step = max(1, -(-total // self.config.max_windows))
        offset = 0
        for panel, item, positions in places:
            target = np.asarray(panel.series(item).target, np.float64)
            views = np.lib.stride_tricks.sliding_window_view(target, length, axis=1)
            chosen = np.arange(offset, positions * len(target), step)
            offset = (offset - positions * len(target)) % step
            for first in range(0, len(chosen), _WINDOWS_AT_ONCE):
                variate, start = np.divmod(chosen[first : first + _WINDOWS_AT_ONCE], positions)
                windows = views[variate, start]
                yield windows[np.isfinite(windows).all(axis=1)]

    def _scaled(
        self, context: Float[np.ndarray, "window context"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scaled contexts, their centers and scales ``[window, 1]``."""
        center = np.zeros((len(context), 1))
        scale = np.ones((len(context), 1))
        if self.config.scaling == "standard":
            center = context.mean(axis=1, keepdims=True)
            deviation = context.std(axis=1, keepdims=True)
            scale = np.where(deviation > 0, deviation, 1.0)
        elif self.config.scaling == "last":
            center = context[:, -1:]
        return (context - center) / scale, center, scale

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        if self.fitted is None:
            raise ConfigError(
                "dlinear has not been fitted", remedy="call fit(panel), or load a fitted one"
            )
        recent = context.last(self.config.context)
        past = np.where(recent.observed, recent.past, np.nan).astype(np.float64)
        places = np.argwhere(recent.observed.any(axis=1))
        seen = bridged(past[places[:, 0], :, places[:, 1]])
        missing = self.config.context - seen.shape[1]
        seen = np.pad(seen, ((0, 0), (missing, 0)), mode="edge")
        shape = (context.batch_size, horizon, past.shape[2])
        mean, deviation = np.full(shape, np.nan), np.full(shape, np.nan)
        row, variate = places.T
        mean[row, :, variate], deviation[row, :, variate] = self._roll(seen, horizon)
        return normal_forecast(mean, deviation, quantile_levels)

    def _roll(
        self, seen: Float[np.ndarray, "row context"], horizon: int
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self.fitted is not None
        means, deviations, fed_back = [], [], 0.0
        for _ in range(-(-horizon // self.config.horizon)):
            inputs, center, scale = self._scaled(seen)
            block = inputs @ self.fitted.weight.T + self.fitted.bias
            means.append(block * scale + center)
            variance = (self.fitted.deviation * scale) ** 2 + fed_back
            deviations.append(np.sqrt(variance))
            fed_back = variance[:, -1:]
            seen = np.concatenate([seen, means[-1]], axis=1)[:, -self.config.context :]
        return (
            np.concatenate(means, axis=1)[:, :horizon],
            np.concatenate(deviations, axis=1)[:, :horizon],
        )

    def save(self, directory: str | Path) -> Path:
        if self.fitted is None:
            raise ConfigError("dlinear has not been fitted", remedy="call fit(panel) first")
        import torch

        weights = {
            name: torch.from_numpy(value.copy()) for name, value in self.fitted._asdict().items()
        }
        content = {"model": self.name, "config": self.config.to_dict()}
        return write_model(Path(directory), content, weights)

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        directory = Path(directory)
        config = own_config(read_config(directory), cls.name, directory)
        arrays = {name: value.numpy() for name, value in read_weights(directory).items()}
        if set(arrays) != set(Fitted._fields):
            raise CheckpointError(
                f"the weights are {', '.join(sorted(arrays))}, not {', '.join(Fitted._fields)}",
                where=str(directory),
                remedy="give a directory that save() wrote",
            )
        fitted = Fitted(**arrays)
        wanted = DLinearConfig.from_dict(config | config_overrides)
        if fitted.weight.shape != (wanted.horizon, wanted.context):
            raise CheckpointError(
                f"the weights have shape {fitted.weight.shape}, not horizon {wanted.horizon} × "
                f"context {wanted.context}",
                where=str(directory),
                remedy="leave context and horizon as they were fitted",
            )
        return cls(wanted, fitted)

    def info(self) -> dict[str, Any]:
        parameters = 0 if self.fitted is None else self.fitted.weight.size + self.fitted.bias.size
        return {"name": self.name, "parameters": parameters, "config": self.config.to_dict()}


def moving_average(length: int, kernel: int) -> Float[np.ndarray, "length length"]:
    """The matrix of a centred moving average whose ends repeat the outermost values."""
    places = np.arange(length)[:, None] + np.arange(kernel) - kernel // 2
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], np.clip(places, 0, length - 1)), 1 / kernel)
    return matrix
