"""Windows: zero-copy crops of a panel, and the stream of them that training draws from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel


@dataclass(frozen=True, kw_only=True)
class Window:
    """A crop of one series; arrays are views of the panel's memory, never written to.

    Attributes
    ----------
    target
        ``[variate, time]``; NaN where unobserved.
    start
        Position of the first bar within the whole series.
    past_covariates
        ``[covariate, time]``.
    known_covariates
        ``[covariate, time + future]``: reaches past the window as far as was asked for.
    timestamps
        ``datetime64[ns] [time]`` where the series has a calendar.
    future_timestamps
        ``datetime64[ns] [future]``.
    past_covariate_names
        Of the rows of ``past_covariates`` where they are known.
    """

    item_id: str
    target: Float[np.ndarray, "variate time"]
    start: int
    variate_names: tuple[str, ...]
    freq: str | None = None
    seasonality: int = 1
    timestamps: np.ndarray | None = None
    future_timestamps: np.ndarray | None = None
    past_covariates: Float[np.ndarray, "covariate time"] | None = None
    known_covariates: Float[np.ndarray, "covariate time+future"] | None = None
    static: Mapping[str, float | str] = field(default_factory=dict)
    past_covariate_names: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        return int(self.target.shape[1])


@dataclass(frozen=True, kw_only=True)
class WindowSpec:
    """Which windows a model is trained on.

    Attributes
    ----------
    min_length, max_length
        Bars in a window (context and horizon together); shorter series are not drawn from.
    """

    min_length: int
    max_length: int

    def __post_init__(self) -> None:
        if not 1 <= self.min_length <= self.max_length:
            raise ConfigError(
                f"windows of {self.min_length} to {self.max_length} bars cannot be drawn",
                remedy="give 1 ≤ min_length ≤ max_length",
            )


class WindowTransform(Protocol):
    """Changes windows on their way to training."""

    def reach(self, n_variates: int) -> int:
        """Bars before a window that the transform would look back to."""

    def __call__(
        self,
        window: Window,
        history: Float[np.ndarray, "variate earlier"],
        others: Iterator[Window],
        rng: np.random.Generator,
    ) -> Window:
        """A window no longer than the one given, which is left as it is.

        Parameters
        ----------
        history
            The bars just before the window: ``reach`` of them, or as many as there are.
        others
            Further windows of the same mixture, drawn as they are asked for.
        """


class WindowStream:
    """An endless, reproducible stream of windows from a weighted mixture of panels.

    Within a panel an item is drawn in proportion to the number of windows it holds, then a
    position uniformly. The stream depends on nothing but the generator it is given, so any worker
    can make any batch.

    Parameters
    ----------
    panels
        What to draw from.
    spec
        Length of the windows; items shorter than ``min_length`` are never drawn.
    weights
        Of the panels, by default in proportion to their observed bars.
    transform
        Applied to every window. It draws from generators spawned of the stream's, so that the same
        windows reach it, and the same random numbers the model, as without it.

    Raises
    ------
    DataError
        When no item of a panel is as long as ``spec.min_length``.
    """

    def __init__(
        self,
        panels: Sequence[Panel],
        spec: WindowSpec,
        weights: Sequence[float] | None = None,
        transform: WindowTransform | None = None,
    ) -> None:
        self.panels, self.spec, self.transform = list(panels), spec, transform
        self._cumulative: list[np.ndarray] = []
        bars = []
        for panel in self.panels:
            lengths = np.asarray(panel.lengths)
            positions = np.where(
                lengths >= spec.min_length, np.maximum(lengths - spec.max_length, 0) + 1, 0
            )
            if not positions.any():
                longest = int(lengths.max(initial=0))
                raise DataError(
                    f"no series reaches {spec.min_length} bars (the longest has {longest})",
                    where=f"panel {panel.info.name}",
                    remedy="shorten context and horizon, or give longer series",
                )
            self._cumulative.append(np.cumsum(positions))
            bars.append(float(lengths.sum()))
        shares = np.asarray(bars if weights is None else weights, dtype=float)
        if len(shares) != len(self.panels) or (shares < 0).any() or shares.sum() == 0:
            raise ConfigError(
                f"weights {list(shares)} do not fit {len(self.panels)} panels",
                remedy="give one non-negative weight per panel, one of them positive",
            )
        self._shares = np.cumsum(shares / shares.sum())

    def __call__(self, rng: np.random.Generator) -> Iterator[Window]:
        if self.transform is None:
            for panel, item, start, length in self._places(rng):
                yield panel.window(item, start, length)
            return
        drawing, changing = rng.spawn(2)
        others = (
            panel.window(item, start, length)
            for panel, item, start, length in self._places(drawing)
        )
        for panel, item, start, length in self._places(rng):
            window = panel.window(item, start, length)
            reach = min(self.transform.reach(len(window.target)), start)
            history = (
                panel.window(item, start - reach, reach).target if reach else window.target[:, :0]
            )
            yield self.transform(window, history, others, changing)

    def _places(self, rng: np.random.Generator) -> Iterator[tuple[Panel, int, int, int]]:
        """Panel, item, first bar and length of one window after the other."""
        while True:
            chosen = min(
                int(np.searchsorted(self._shares, rng.random(), "right")), len(self.panels) - 1
            )
            cumulative = self._cumulative[chosen]
            position = int(rng.integers(cumulative[-1]))
            item = int(np.searchsorted(cumulative, position, "right"))
            start = position - (int(cumulative[item - 1]) if item else 0)
            panel = self.panels[chosen]
            length = min(self.spec.max_length, int(panel.lengths[item]) - start)
            yield panel, item, start, length
