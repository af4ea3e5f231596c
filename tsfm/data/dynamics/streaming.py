"""Trajectories made when they are asked for: a panel that never touches the disk.

Training takes it as any panel: ``fit(model, live_panel(config), augment=…)``. Each item is a
function of the config and its number alone, so that any worker, rank or resumed run sees the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from tsfm.data import arrow
from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.dynamics.ensembles import as_series, choose_pairs, choose_systems, panel_info
from tsfm.data.dynamics.families import held_out_families, is_held_out
from tsfm.data.dynamics.instances import Instance, make_draws, tolerance
from tsfm.data.dynamics.skew import skew_product
from tsfm.data.dynamics.subjects import Subject
from tsfm.data.dynamics.systems import load_system
from tsfm.data.ode import integrate
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError

NAME = "live_dynamics"
_TRIES = 64
_STATES_KEPT = 256
_RECORDS_KEPT = 8
_NUDGE = 0.01
_SETTLING = 1.0


def live_panel(
    config: EnsembleConfig | None = None, *, items: int = 100_000, draws: int = 16
) -> Panel:
    """A panel of training families whose items are integrated when they are looked at.

    An item is a trajectory of a system or skew product drawn for it, with a parameter draw that
    passed the attractor tests (each is judged once per process), from a nudged state of its
    attractor. ``n_trajectories`` and ``n_parameters`` do not matter here.

    What goes through all items (``fingerprints``, splits and provenance of content) integrates them
    all: keep that to panels that are stored.

    Parameters
    ----------
    items
        Trajectories that there are.
    draws
        Parameter draws of every system and skew product.

    Raises
    ------
    ConfigError
        When no system of a training family is among the config's, or a number is not positive.
    """
    config = config or EnsembleConfig()
    if items < 1 or draws < 1:
        raise ConfigError(f"items={items}, draws={draws}", remedy="give 1 or more")
    store = LiveStore(config, items, draws)
    told = json.dumps([asdict(config), items, draws, dict(store.info.provenance)], sort_keys=True)
    return Panel(store, fingerprint=hashlib.sha256(told.encode()).hexdigest()[:32])


@dataclass(frozen=True)
class _Plan:
    """A system, or a pair and its coupling."""

    members: tuple[str, ...]
    coupling: str = ""

    @property
    def width(self) -> int:
        return sum(load_system(name).dimension for name in self.members)

    def subject(self, config: EnsembleConfig) -> Subject:
        first, *other = (load_system(name) for name in self.members)
        bound = config.validity.max_value
        if not other:
            return Subject.of(first, bound)
        return skew_product(
            first,
            other[0],
            self.coupling,
            strength=config.coupling_strength,
            seed=config.seed,
            bound=bound,
        )


class LiveStore(arrow.Store):
    """The records of :func:`live_panel`, a few of which are kept."""

    def __init__(self, config: EnsembleConfig, items: int, draws: int) -> None:
        self.config, self.draws = config, draws
        self.path = self.state = None
        self.where = "live"
        self.plans = training_plans(config)
        width = max(plan.width for plan in self.plans)
        self.info = panel_info(config, width, NAME)
        self._size = items
        self._kept: OrderedDict[int, arrow.Record] = OrderedDict()
        self._subjects: dict[int, Subject] = {}
        self._states: dict[tuple[int, int], tuple[np.ndarray, np.ndarray] | None] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return LiveStore, (self.config, self._size, self.draws)

    def column(self, name: str) -> pa.ChunkedArray:
        columns = {
            "item_id": lambda: [self._id(item) for item in range(self._size)],
            "offset": lambda: np.zeros(self._size, np.int64),
            "length": lambda: np.full(self._size, self.config.points),
        }
        return pa.chunked_array([pa.array(columns[name]())])

    def record(self, item: int) -> arrow.Record:
        known = self._kept.pop(item, None)
        self._kept[item] = known if known is not None else self._made(item)
        while len(self._kept) > _RECORDS_KEPT:
            self._kept.popitem(last=False)
        return self._kept[item]

    def _id(self, item: int) -> str:
        return f"{NAME}/{item}"

    def _made(self, item: int) -> arrow.Record:
        rng = np.random.default_rng([self.config.seed, item, len(NAME)])
        for _ in range(_TRIES):
            place, number = int(rng.integers(len(self.plans))), int(rng.integers(self.draws))
            states = self._attractor(place, number)
            if states is None:
                continue
            instance = trajectory(self._subject(place), self.config, number, item, *states, rng)
            if instance is not None:
                return self._as_record(item, self._subject(place), instance)
        raise DataError(
            f"none of {_TRIES} draws of systems and parameters gave a chaotic trajectory",
            where=f"live ensemble with parameter_scale={self.config.parameter_scale:g}",
            remedy="lower parameter_scale or coupling_strength, or name other systems",
        )

    def _subject(self, place: int) -> Subject:
        if place not in self._subjects:
            self._subjects[place] = self.plans[place].subject(self.config)
        return self._subjects[place]

    def _attractor(self, place: int, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Parameters of a draw and states of its attractor; None where the draw failed."""
        key = place, number
        if key not in self._states:
            draws, _ = make_draws(self._subject(place), self.config, [number], 1)
            self._states[key] = None
            if draws:
                (draw,) = draws
                stride = max(len(draw.orbit) // _STATES_KEPT, 1)
                self._states[key] = draw.parameters, draw.orbit[::stride].copy()
        return self._states[key]

    def _as_record(self, item: int, subject: Subject, instance: Instance) -> arrow.Record:
        series = as_series(subject, instance, self.config, len(self.info.variates))
        series.target.flags.writeable = False
        return arrow.Record(
            item_id=self._id(item),
            offset=0,
            target=series.target,
            start=None,
            timestamps=None,
            past_covariates=None,
            known_covariates=None,
            static=dict(series.static),
        )


def training_plans(config: EnsembleConfig) -> Sequence[_Plan]:
    """Systems of training families, and skew products of two of them.

    Raises
    ------
    ConfigError
        When there are none.
    """
    apart = held_out_families(config.held_out, config.seed)
    systems = [name for name in choose_systems(config) if not is_held_out([name], apart)]
    if not systems:
        raise ConfigError(
            f"all of {', '.join(config.systems)} are of held-out families",
            where="live ensemble",
            remedy="name other systems, hold out a smaller share, or give another seed",
        )
    pairs = choose_pairs(config, systems) if config.n_skew else []
    return [_Plan((name,)) for name in systems] + [_Plan(pair, how) for pair, how in pairs]


def trajectory(
    subject: Subject,
    config: EnsembleConfig,
    number: int,
    item: int,
    parameters: Float[np.ndarray, " parameter"],
    states: Float[np.ndarray, "time state"],
    rng: np.random.Generator,
) -> Instance | None:
    """From a nudged state of an attractor, once it has settled there; None where that failed."""
    nudge = _NUDGE * states.std(axis=0) * rng.standard_normal(states.shape[1])
    initial = states[int(rng.integers(len(states)))] + np.where(
        np.isfinite(subject.bounds), nudge, 0.0
    )
    grid = _SETTLING + np.arange(config.points) / config.points_per_period
    solution = integrate(
        subject.rhs,
        initial[None],
        parameters,
        np.concatenate([[0.0], grid]) * subject.period,
        tolerance=tolerance(config),
        bound=subject.bounds,
        workers=1,
    )
    if not solution.ok[0]:
        return None
    return Instance(
        draw=number,
        start=item,
        target=subject.observe(solution.states[0, 1:]).T.astype(np.float32),
        parameters=parameters,
        initial=solution.states[0, 1],
        lyapunov=subject.lyapunov,
    )
