"""Crops: all windows of a task, cut from a panel a batch at a time by one indexing per series."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view

from tsfm.models.base import Context

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.data.windows import Window
    from tsfm.evaluation.tasks import Task


class Crops:
    """The windows of a task on a panel, in the order of :meth:`tsfm.evaluation.tasks.Task.windows`.

    Only bars that a batch needs are read, so that panels may be larger than memory.

    Parameters
    ----------
    task, panel
        The question, and the panel it is asked of.

    Attributes
    ----------
    items, origins
        Of each window: position of its item, and of the first bar forecast within the view.

    Raises
    ------
    DataError
        When the panel is not the task's, or lacks an item or variate.
    """

    def __init__(self, task: Task, panel: Panel) -> None:
        self.task, self.panel = task, panel
        found = [(item, origins) for item, origins in task.origins(panel) if len(origins)]
        counts = [len(origins) for _, origins in found]
        self.items = np.repeat(np.array([item for item, _ in found], np.int64), counts)
        self.origins = np.concatenate([np.empty(0, np.int64), *(origins for _, origins in found)])
        self._seen = panel.variates((*task.targets, *task.past))
        self._asked = panel.variates(task.targets)

    def __len__(self) -> int:
        return len(self.origins)

    def item_ids(self, rows: slice) -> tuple[str, ...]:
        """Of each window."""
        return tuple(self.panel.item_ids[item] for item in self.items[rows].tolist())

    def starts(self, rows: slice) -> Int[np.ndarray, " window"]:
        """First bar forecast, counted from the start of the whole series."""
        return self.panel.offsets[self.items[rows]] + self.origins[rows]

    def actual(self, rows: slice) -> Float[np.ndarray, "window horizon variate"]:
        """What happened to the targets."""
        horizon = self.task.horizon
        actual = np.empty((len(self.origins[rows]), horizon, len(self.task.targets)), np.float32)
        for at, item, origins in self._runs(rows):
            first = int(origins.min())
            span = self._asked.window(item, first, int(origins.max()) + horizon - first)
            actual[at] = _cut(span.target, origins - first, horizon)
        return actual

    def timestamps(self, rows: slice) -> np.ndarray:
        """Of the forecast bars, ``datetime64[ns] [window, horizon]``; NaT for undated series."""
        horizon = self.task.horizon
        stamps = np.full((len(self.origins[rows]), horizon), np.datetime64("NaT"), "M8[ns]")
        for at, item, origins in self._runs(rows):
            first = int(origins.min())
            span = self._asked.window(item, first, int(origins.max()) + horizon - first)
            if span.timestamps is not None:
                stamps[at] = sliding_window_view(span.timestamps, horizon)[origins - first]
        return stamps

    def context(self, rows: slice, history: int | None = None) -> Context:
        """What forecasters see: ``history`` bars where the series reach back that far.

        Equal to :meth:`Context.from_windows` of the windows' pasts.
        """
        task, origins = self.task, self.origins[rows]
        length, count = int(min(history or task.context, origins.max())), len(origins)
        info = self._seen.info
        known_rows = [info.known_covariates.index(name) for name in task.known]
        widths = (len(info.variates), len(info.past_covariates), len(known_rows))
        times = (length, length, length + task.horizon)
        past, others, known = (
            np.full((count, time, width), np.nan, np.float32)
            for time, width in zip(times, widths, strict=True)
        )
        stamps = np.full((count, length + task.horizon), np.datetime64("NaT"), "M8[ns]")
        statics, dated = {}, True
        for at, item, begins in self._runs(rows):
            first = max(int(begins.min()) - length, 0)
            span = self._seen.window(item, first, int(begins.max()) + task.horizon - first)
            places = begins - length - first
            past[at] = _cut(span.target, places, length)
            if span.past_covariates is not None:
                others[at] = _cut(span.past_covariates, places, length)
            if span.known_covariates is not None and known_rows:
                reached = span.known_covariates[known_rows]
                known[at] = _cut(reached, places, length + task.horizon)
            stamps[at], is_dated = _cut_stamps(span, places, length + task.horizon)
            statics[item], dated = span.static, dated and is_dated
        return Context(
            past=past,
            past_covariates=others if widths[1] else None,
            known_covariates=known if widths[2] else None,
            static=tuple(statics[item] for item in self.items[rows].tolist()),
            timestamps=None if np.isnat(stamps).all() else stamps[:, :length],
            future_timestamps=stamps[:, length:] if dated else None,
            freq=info.freq,
            seasonality=task.seasonality,
            item_ids=self.item_ids(rows),
            variate_names=info.variates,
            past_covariate_names=info.past_covariates,
        )

    def scales(
        self, rows: slice
    ) -> tuple[Float[np.ndarray, "window variate"], Float[np.ndarray, "window variate"]]:
        """Mean absolute and mean squared seasonal difference over the history before each origin.

        Of MASE (Hyndman & Koehler 2006) and of RMSSE; NaN where zero or unknown. By running sums:
        every bar is read once, however many windows share it.
        """
        history, season = self.task.history, self.task.seasonality
        shape = (len(self.origins[rows]), len(self.task.targets))
        scales = np.full((2, *shape), np.nan)
        for at, item, origins in self._runs(rows):
            first = max(int(origins.min()) - history, 0)
            length = int(origins.max()) - first
            if length <= season:
                continue
            past = self._asked.window(item, first, length).target
            gaps = np.abs(past[:, season:] - past[:, :-season]).astype(np.float64)
            known = np.isfinite(gaps)
            gaps = np.where(known, gaps, 0.0)
            begin = np.minimum(np.maximum(origins - history, 0) - first, gaps.shape[1])
            end = np.clip(origins - first - season, begin, gaps.shape[1])
            counts, sums, squares = (
                running[:, end] - running[:, begin]
                for running in (_running(values) for values in (known, gaps, gaps**2))
            )
            for scale, total in zip(scales, (sums, squares), strict=True):
                with np.errstate(invalid="ignore", divide="ignore"):
                    scale[at] = np.where((counts > 0) & (total > 0), total / counts, np.nan).T
        return scales[0], scales[1]

    def _runs(self, rows: slice) -> Iterator[tuple[slice, int, np.ndarray]]:
        """Rows of one item after the other: where they go, the item, and their origins."""
        items, origins = self.items[rows], self.origins[rows]
        edges = [0, *(np.flatnonzero(np.diff(items)) + 1).tolist(), len(items)]
        for first, stop in pairwise(edges):
            if stop > first:
                yield slice(first, stop), int(items[first]), origins[first:stop]


def contexts(crops: Crops, batch_size: int, history: int | None = None) -> Iterator[Context]:
    """Contexts of all windows, in batches."""
    for first in range(0, len(crops), batch_size):
        yield crops.context(slice(first, first + batch_size), history)


def _cut(values: Float[np.ndarray, "row time"], places: np.ndarray, length: int) -> np.ndarray:
    """``[place, length, row]`` from each place on; NaN before the first bar."""
    early = max(-int(places.min()), 0)
    if early:
        blank = np.full((len(values), early), np.nan, np.float32)
        values, places = np.concatenate([blank, values], axis=1), places + early
    return sliding_window_view(values, length, axis=1).transpose(1, 2, 0)[places]


def _cut_stamps(span: Window, places: np.ndarray, length: int) -> tuple[np.ndarray, bool]:
    """Dates ``[place, length]``, NaT before the first bar, and whether there are any."""
    if span.timestamps is None:
        return np.full((len(places), length), np.datetime64("NaT"), "M8[ns]"), False
    early = max(-int(places.min()), 0)
    blank = np.full(early, np.datetime64("NaT"), "M8[ns]")
    stamps = np.concatenate([blank, span.timestamps])
    return sliding_window_view(stamps, length)[places + early], True


def _running(values: np.ndarray) -> np.ndarray:
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:], dtype=np.float64)
    return sums
