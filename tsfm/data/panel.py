"""Panel: a set of multivariate series in memory-mapped Arrow, and zero-copy views of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt64

from tsfm.data import arrow, frequency, gluonts
from tsfm.data.blocks import BLOCK, hash_blocks
from tsfm.data.cropping import as_slice, past_of, reach, taken
from tsfm.data.digest import fingerprint_of
from tsfm.data.series import PanelInfo, Series
from tsfm.data.windows import Window
from tsfm.errors import ConfigError, DataError

__all__ = ["Panel", "PanelInfo", "Series"]

Moment = str | pd.Timestamp | np.datetime64


class Panel:
    """A set of multivariate series, or a view of some items, bars and variates of one.

    Made by :meth:`write`, :meth:`from_series` or :meth:`open`. Views share memory; positions count
    from the view's first bar, ``Window.start`` from the whole series' first bar.
    """

    def __init__(
        self,
        store: arrow.Store,
        *,
        info: PanelInfo | None = None,
        items: np.ndarray | None = None,
        bounds: tuple[np.ndarray, np.ndarray] | None = None,
        rows: slice | np.ndarray = slice(None),
        seen: slice | np.ndarray | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.info = info or store.info
        self._store, self._items, self._bounds = store, items, bounds
        self._rows, self._seen = rows, seen
        self._dates = frequency.Dates(self.info.freq)
        self._known_fingerprint = fingerprint

    @classmethod
    def write(
        cls, path: str | Path, series: Iterable[Series], info: PanelInfo, *, overwrite: bool = False
    ) -> Self:
        """Stream series into a new directory; it appears only when it is complete.

        Parameters
        ----------
        series
            Read once, in bounded memory.
        overwrite
            Replace a panel that is already there.

        Raises
        ------
        DataError
            When a series does not fit ``info``, the path is taken or cannot be written.
        """
        arrow.write(Path(path), series, info, overwrite=overwrite)
        return cls.open(path)

    @classmethod
    def from_series(cls, series: Iterable[Series], info: PanelInfo) -> Self:
        """The same layout, held in memory.

        Raises
        ------
        DataError
            When a series does not fit ``info``.
        """
        buffer, fingerprint = arrow.in_memory(series, info)
        return cls(arrow.Store(buffer), fingerprint=fingerprint)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Map a panel into memory; takes the same time however long its series are.

        Raises
        ------
        DataError
            When there is no panel, or it is damaged or truncated.
        """
        store = arrow.Store(Path(path))
        assert store.state is not None
        return cls(store, fingerprint=store.state["tsfm"]["fingerprint"])

    @property
    def path(self) -> Path | None:
        """The directory, also of a view; ``None`` in memory."""
        return self._store.path

    def __len__(self) -> int:
        return len(self._store) if self._items is None else len(self._items)

    def __repr__(self) -> str:
        return (
            f"Panel({self.info.name!r}, {len(self)} items, {int(self.lengths.sum())} bars, "
            f"variates={', '.join(self.info.variates)})"
        )

    def __iter__(self) -> Iterator[Series]:
        return (self.series(item) for item in range(len(self)))

    @cached_property
    def item_ids(self) -> tuple[str, ...]:
        ids = self._store.column("item_id").to_pylist()
        return tuple(ids if self._items is None else (ids[k] for k in self._items.tolist()))

    @cached_property
    def lengths(self) -> Int[np.ndarray, " item"]:
        """Bars of every item."""
        return self._stops - self._starts

    @cached_property
    def offsets(self) -> Int[np.ndarray, " item"]:
        """Position of every item's first bar within its whole series."""
        stored = self._store.column("offset").to_numpy()
        return (stored if self._items is None else stored[self._items]) + self._starts

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content: ids, names, values and dates, whatever the file or its chunks."""
        return self._known_fingerprint or fingerprint_of(self, self.info)

    def verify(self) -> None:
        """Read everything and compare with the fingerprint that was written.

        Raises
        ------
        DataError
            When a byte of the content has changed.
        """
        whole = Panel(self._store)
        state = self._store.state
        if state is not None and whole.fingerprint != state["tsfm"]["fingerprint"]:
            raise DataError(
                "the panel's content has changed since it was written",
                where=str(self.path),
                remedy="write or copy the panel again",
            )

    def item(self, item_id: str) -> int:
        """Position of an item.

        Raises
        ------
        DataError
            When the panel has no such item.
        """
        try:
            return self._positions[item_id]
        except KeyError:
            raise self._unknown([item_id]) from None

    def series(self, item: int) -> Series:
        """One whole series of the view; its arrays are views of the panel's memory."""
        record, begin, end = self._locate(item)
        timestamps = record.timestamps
        start = None
        if timestamps is not None:
            timestamps = timestamps[begin:end]
            start = pd.Timestamp(timestamps[0]) if end > begin else None
        elif record.start is not None:
            start = pd.Timestamp(self._dates.bars(record.start, begin, begin + 1)[0])
        return Series(
            item_id=record.item_id,
            target=record.target[self._rows, begin:end],
            start=start,
            timestamps=timestamps,
            past_covariates=past_of(record, self._seen, begin, end),
            known_covariates=taken(record.known_covariates, np.s_[:, begin:end]),
            static=record.static,
            offset=record.offset + begin,
        )

    def window(self, item: int, start: int, length: int, future: int = 0) -> Window:
        """Crop one series without copying it.

        Parameters
        ----------
        item
            Position of the item.
        start
            First bar, counted from the view's first bar.
        length
            Bars.
        future
            Bars that known covariates and dates reach on; unknown covariates are NaN there.

        Raises
        ------
        DataError
            When the window reaches outside the series.
        """
        record, begin, end = self._locate(item)
        first, stop = begin + start, begin + start + length
        if start < 0 or length < 1 or stop > end or future < 0:
            raise DataError(
                f"bars {start} to {start + length} (and {future} on) are not a window",
                where=f"panel {self.info.name}, item {record.item_id!r} with {end - begin} bars",
            )
        info = self.info
        return Window(
            item_id=record.item_id,
            target=record.target[self._rows, first:stop],
            start=record.offset + first,
            variate_names=info.variates,
            freq=info.freq,
            seasonality=info.seasonality,
            timestamps=self._calendar(record, first, stop),
            future_timestamps=self._future(record, stop, future, end) if future else None,
            past_covariates=past_of(record, self._seen, first, stop),
            known_covariates=reach(record.known_covariates, first, stop + future, end),
            static=record.static,
            past_covariate_names=info.past_covariates,
        )

    def timestamps(self, item: int) -> np.ndarray | None:
        """``datetime64[ns] [time]``, or ``None`` for a series without dates."""
        record, begin, end = self._locate(item)
        return self._calendar(record, begin, end)

    def position(self, item: int, moment: Moment) -> int:
        """The number of an item's bars before ``moment``.

        Raises
        ------
        DataError
            When the item has no dates.
        """
        timestamps = self.timestamps(item)
        if timestamps is None:
            raise DataError(
                "the series has no dates",
                where=f"panel {self.info.name}, item {self.item_ids[item]!r}",
                remedy="cut it by bars, or give it a start and a frequency or timestamps",
            )
        return int(np.searchsorted(timestamps, frequency.moment(moment)))

    def select(self, item_ids: Iterable[str]) -> Panel:
        """A view of some items, in the order given.

        Raises
        ------
        DataError
            When an item is unknown or none is given.
        """
        wanted = list(dict.fromkeys(item_ids))
        unknown = [item_id for item_id in wanted if item_id not in self._positions]
        if unknown or not wanted:
            raise self._unknown(unknown)
        return self._view(np.array([self._positions[item_id] for item_id in wanted]))

    def between(self, start: Moment | None = None, stop: Moment | None = None) -> Panel:
        """A view of the bars dated in ``[start, stop)``; items left with none are dropped.

        Raises
        ------
        DataError
            When a series has no dates, or no item has a bar there.
        """
        items = range(len(self))
        starts = [0 if start is None else self.position(k, start) for k in items]
        stops = [int(self.lengths[k]) if stop is None else self.position(k, stop) for k in items]
        return self.slice(starts, stops)

    def slice(
        self, starts: int | Sequence[int] | np.ndarray, stops: int | Sequence[int] | np.ndarray
    ) -> Panel:
        """A view of bars ``[start, stop)`` of every item; items left with none are dropped.

        Parameters
        ----------
        starts, stops
            One for all or one per item, cut to the item's length; negative ones are zero.

        Raises
        ------
        DataError
            When no item has a bar there.
        """
        first = np.clip(np.broadcast_to(starts, len(self)), 0, self.lengths)
        last = np.clip(np.broadcast_to(stops, len(self)), 0, self.lengths)
        kept = np.flatnonzero(last > first)
        if not len(kept):
            raise DataError(
                "no series has a bar in the range asked for",
                where=f"panel {self.info.name}",
                remedy="widen the range, or give longer series",
            )
        return self._view(kept, (self._starts + first, self._starts + last))

    def variates(self, names: Sequence[str], *, others_as_past: bool = False) -> Panel:
        """A view of some target variates, in the order given.

        With ``others_as_past`` the others become past covariates, before the panel's own.

        Raises
        ------
        ConfigError
            When a variate is unknown, repeated or none is given.
        """
        held = self.info.variates
        if not names or len(set(names)) != len(names) or not set(names) <= set(held):
            raise ConfigError(
                f"variates {list(names)} are not some of the panel's",
                where=f"panel {self.info.name}",
                remedy=f"choose from {', '.join(held)}, each once",
            )
        all_rows = np.arange(len(self._store.info.variates))
        seen = [] if self._seen is None else all_rows[self._seen].tolist()
        others = [name for name in held if name not in names] if others_as_past else []
        rows = dict(zip(held, all_rows[self._rows].tolist(), strict=True))
        seen = [rows[name] for name in others] + seen
        past = (*others, *self.info.past_covariates)
        return self._like(
            info=replace(self.info, variates=tuple(names), past_covariates=past),
            rows=as_slice(np.array([rows[name] for name in names])),
            seen=as_slice(np.array(seen)) if seen else None,
        )

    def gluonts(self) -> Iterator[dict[str, Any]]:
        """Entries under GluonTS's field names: see :func:`tsfm.data.gluonts.entries`."""
        return gluonts.entries(self, self.info)

    def block_hashes(self, block: int = BLOCK) -> Mapping[str, UInt64[np.ndarray, "variate block"]]:
        """Content hashes of item × variate × time blocks, zero where a block identifies nothing.

        See :func:`tsfm.data.blocks.hash_blocks`; block ``k`` covers bars ``[k · block, (k + 1) ·
        block)`` of the whole series, also in a view.
        """
        return {series.item_id: hash_blocks(series, block) for series in self}

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {item_id: item for item, item_id in enumerate(self.item_ids)}

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.zeros(len(self), np.int64) if self._bounds is None else self._bounds[0]

    @cached_property
    def _stops(self) -> np.ndarray:
        if self._bounds is not None:
            return self._bounds[1]
        stored = self._store.column("length").to_numpy()
        return stored if self._items is None else stored[self._items]

    def _locate(self, item: int) -> tuple[arrow.Record, int, int]:
        if not 0 <= item < len(self):
            raise DataError(
                f"item {item} does not exist", where=f"panel {self.info.name} of {len(self)} items"
            )
        stored = item if self._items is None else self._items.item(item)
        return self._store.record(stored), self._starts.item(item), self._stops.item(item)

    def _calendar(self, record: arrow.Record, first: int, stop: int) -> np.ndarray | None:
        if record.timestamps is not None:
            return record.timestamps[first:stop]
        if record.start is None:
            return None
        return self._dates.bars(record.start, first, stop)

    def _future(self, record: arrow.Record, stop: int, future: int, end: int) -> np.ndarray | None:
        """Dates after a window; explicit ones are known as far as the view reaches."""
        if record.timestamps is not None and stop + future > end:
            return None
        return self._calendar(record, stop, stop + future)

    def _view(self, kept: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None = None) -> Panel:
        starts, stops = bounds or (self._starts, self._stops)
        items = kept if self._items is None else self._items[kept]
        return self._like(items=items, bounds=(starts[kept], stops[kept]))

    def _like(self, **changed: Any) -> Panel:
        held = {name: getattr(self, f"_{name}") for name in ("items", "bounds", "rows", "seen")}
        return Panel(self._store, **({"info": self.info} | held | changed))

    def _unknown(self, item_ids: list[str]) -> DataError:
        some = ", ".join(self.item_ids[:10]) + (" …" if len(self) > 10 else "")
        return DataError(
            f"items {item_ids} are not in the panel" if item_ids else "no item was named",
            where=f"panel {self.info.name}",
            remedy=f"choose from {some}",
        )
