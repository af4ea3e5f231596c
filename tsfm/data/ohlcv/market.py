"""The simulated market: its configuration, its calendar, and the assets that live in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tsfm.data import frequency
from tsfm.data.ohlcv.market_kernels import Asset, Clock, Factor, Jumps, Regimes, Volatility, Volume
from tsfm.errors import ConfigError, one_of

SESSIONS = ("equity", "24x7")
DAY = pd.Timedelta("1D")
SESSION_OPENS = {"equity": pd.Timedelta("9h"), "24x7": pd.Timedelta(0)}
SESSION_LENGTHS = {"equity": pd.Timedelta("7h"), "24x7": DAY}


@dataclass(frozen=True, kw_only=True)
class MarketConfig:
    """A simulated market of many assets; the same configuration gives the same bars.

    Attributes
    ----------
    n_assets, n_bars
        Size of the market; every asset has all bars.
    freq
        Duration of a bar, a pandas alias: ``1h``, ``30min``, ``1D`` …
    sessions
        ``equity``: Monday to Friday, 9:00 to 16:00 (7 hourly bars a day), with moves overnight;
        ``24x7``: never closed.
    seed
        Of everything that is drawn.
    start
        Day of the first bar.
    n_sectors
        Factors beside the market; each asset belongs to one.
    n_steps
        Steps of the price path within a bar.
    volatility
        Median annual volatility of an asset.
    """

    n_assets: int = 64
    n_bars: int = 8000
    freq: str = "1h"
    sessions: str = "equity"
    seed: int = 0
    start: str = "2000-01-03"
    n_sectors: int = 4
    n_steps: int = 6
    volatility: float = 0.3

    def __post_init__(self) -> None:
        one_of("sessions", self.sessions, SESSIONS)
        for name in ("n_assets", "n_bars", "n_sectors", "n_steps"):
            value = getattr(self, name)
            if int(value) != value or value < 1:
                raise ConfigError(f"{name}={value!r} is not a positive whole number")
        if int(self.seed) != self.seed or self.seed < 0:
            raise ConfigError(f"seed={self.seed!r} is not a non-negative whole number")
        if not 0.01 <= self.volatility <= 5:
            raise ConfigError(
                f"volatility={self.volatility} lies outside 0.01 … 5",
                remedy="give an annual volatility, 0.3 for a usual stock",
            )
        try:
            pd.Timestamp(self.start)
        except ValueError as error:
            raise ConfigError(f"start={self.start!r} is not a date") from error
        step = frequency.step_nanoseconds(self.freq)
        length = SESSION_LENGTHS[self.sessions].value
        if step is None or not (step == DAY.value or (step < length and length % step == 0)):
            raise ConfigError(
                f"freq={self.freq!r} does not divide a session of {length / 3.6e12:g} hours",
                remedy="give 1D, 1h, 30min, 20min, 15min …",
            )

    @property
    def is_daily(self) -> bool:
        return frequency.step_nanoseconds(self.freq) == DAY.value

    @property
    def bars_per_session(self) -> int:
        step = frequency.step_nanoseconds(self.freq)
        return 1 if self.is_daily else int(SESSION_LENGTHS[self.sessions].value // (step or 1))

    @property
    def sessions_per_year(self) -> float:
        return 252.0 if self.sessions == "equity" else 365.25


def timestamps(config: MarketConfig) -> np.ndarray:
    """Starts of the bars, ``datetime64[ns] [bar]``."""
    per_session = config.bars_per_session
    n_sessions = -(-config.n_bars // per_session)
    days = pd.date_range(
        pd.Timestamp(config.start).normalize(),
        periods=n_sessions,
        freq="B" if config.sessions == "equity" else "D",
    ).to_numpy("M8[ns]")
    if config.is_daily:
        return days
    step = SESSION_LENGTHS[config.sessions] // per_session
    opening = SESSION_OPENS[config.sessions]
    offsets = np.array([(opening + k * step).value for k in range(per_session)], "m8[ns]")
    return (days[:, None] + offsets).reshape(-1)[: config.n_bars]


def clock(config: MarketConfig) -> Clock:
    slot = np.arange(config.n_bars) % config.bars_per_session
    trades_always = config.sessions == "24x7"
    opens = np.zeros(config.n_bars, bool) if trades_always else slot == 0
    return Clock(slot=slot, opens=opens, days=1.0 / config.bars_per_session)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Draws the parameters of a market's factors and assets from their generators."""

    config: MarketConfig

    def market(self, rng: np.random.Generator) -> Factor:
        """The factor that moves everything: calm, usual and crisis regimes, strong leverage."""
        bars = self.config.bars_per_session
        stay = 1 - 1 / (np.array([180.0, 120.0, 30.0]) * bars)
        following = np.array([[1, 1], [0, 2], [1, 1]])
        return Factor(
            volatility=self._volatility(
                annual=0.19,
                half_lives=(1.0, 10.0, 120.0),
                spread=(0.2, 0.25, 0.42),
                leverage=-0.55,
                feedback=0.25,
                roughness=0.1 if self.config.is_daily else 0.35,
            ),
            jumps=Jumps(rate=1 / 80, scale=1.0, skew=0.65),
            regimes=Regimes(stay=stay, shift=np.array([-0.3, 0.0, 0.6]), next_state=following),
            profile=self._profile(rng),
            night=self._night(rng),
            drift=0.05 / self.config.sessions_per_year,
        )

    def sector(self, rng: np.random.Generator) -> Factor:
        volatility = self._volatility(
            annual=0.10 * rng.lognormal(0, 0.25),
            half_lives=(4.0, 60.0),
            spread=(0.2, 0.3),
            leverage=-0.1,
            feedback=0.2,
            roughness=0.1,
        )
        return Factor(
            volatility=volatility,
            jumps=Jumps(rate=1 / 300, scale=1.0, skew=0.5),
            regimes=self._steady(),
            profile=self._profile(rng),
            night=self._night(rng),
            drift=0.0,
        )

    def asset(self, rng: np.random.Generator) -> Asset:
        config = self.config
        sector = rng.integers(config.n_sectors)
        half_lives = np.array([0.4, 6.0, 50.0, 300.0]) * rng.lognormal(0, 0.4, 4)
        spread = np.array([0.2, 0.2, 0.3, 0.42]) * rng.lognormal(0, 0.25, 4)
        own = Factor(
            volatility=self._volatility(
                annual=0.5 * config.volatility * rng.lognormal(0, 0.4),
                half_lives=half_lives,
                spread=spread,
                leverage=-rng.uniform(0.05, 0.4),
                feedback=rng.uniform(0.1, 0.4),
                roughness=rng.uniform(0.1, 0.25) * (0.9 if config.is_daily else 1.9),
            ),
            jumps=Jumps(
                rate=1 / rng.uniform(30, 120),
                scale=rng.uniform(0.8, 2.0),
                skew=rng.uniform(0.4, 0.6),
            ),
            regimes=self._regimes(rng),
            profile=self._profile(rng),
            night=self._night(rng),
            drift=0.0,
        )
        return Asset(
            log_price=rng.normal(3.5, 1.0),
            factors=np.array([0, 1 + sector]),
            beta=rng.lognormal(0, 0.3, 2),
            common=rng.uniform(0.4, 1.0),
            gap=rng.uniform(0.02, 0.1),
            wick=0.0 if config.is_daily else rng.uniform(0.0, 0.15),
            grid=np.exp(rng.uniform(np.log(2e-5), np.log(4e-4))),
            own=own,
            volume=self._volume(rng),
        )

    def common_volume(self) -> tuple[np.ndarray, np.ndarray]:
        """Persistence and spread of the activity that all assets share."""
        return self._persistence((0.5, 8.0)), np.array([0.1, 0.15])

    def _persistence(self, half_lives: tuple[float, ...] | np.ndarray) -> np.ndarray:
        """Per bar, from half-lives in sessions."""
        return 0.5 ** (1 / (np.asarray(half_lives) * self.config.bars_per_session))

    def _volatility(
        self,
        *,
        annual: float,
        half_lives: tuple[float, ...] | np.ndarray,
        spread: tuple[float, ...] | np.ndarray,
        leverage: float,
        feedback: float,
        roughness: float,
    ) -> Volatility:
        return Volatility(
            level=float(np.log(annual / np.sqrt(self.config.sessions_per_year))),
            persistence=self._persistence(half_lives),
            spread=np.asarray(spread, float),
            leverage=leverage,
            feedback=feedback,
            roughness=roughness,
        )

    def _steady(self) -> Regimes:
        return Regimes(stay=np.ones(1), shift=np.zeros(1), next_state=np.zeros((1, 2), np.int64))

    def _regimes(self, rng: np.random.Generator) -> Regimes:
        """An asset's own: usual, and now and then unsettled for a few weeks."""
        lasting = np.array([rng.uniform(100, 400), rng.uniform(5, 40)])
        return Regimes(
            stay=1 - 1 / (lasting * self.config.bars_per_session),
            shift=np.array([0.0, rng.uniform(0.2, 0.7)]),
            next_state=np.array([[1, 1], [0, 0]]),
        )

    def _night(self, rng: np.random.Generator) -> float:
        """Share of a session's variance between its close and the next open."""
        return 0.0 if self.config.sessions == "24x7" else float(rng.uniform(0.2, 0.45))

    def _profile(self, rng: np.random.Generator) -> np.ndarray:
        """Shares of a session's variance by slot, adding up to one."""
        curve = np.exp(2 * self._curve(rng, opening=(0.35, 0.75), closing=(0.05, 0.35)))
        return curve / curve.sum()

    def _curve(
        self,
        rng: np.random.Generator,
        *,
        opening: tuple[float, float],
        closing: tuple[float, float],
    ) -> np.ndarray:
        """A log curve over the session: high at both ends, or the waves of a day."""
        place = (np.arange(self.config.bars_per_session) + 0.5) / self.config.bars_per_session
        if len(place) == 1:
            return np.zeros(1)
        if self.config.sessions == "24x7":
            phase, second = rng.uniform(0, 2 * np.pi, 2)
            first = rng.uniform(*opening) * np.cos(2 * np.pi * place - phase)
            curve = first + rng.uniform(*closing) * np.cos(4 * np.pi * place - second)
        else:
            early, late = np.exp(-place / 0.15), np.exp(-(1 - place) / 0.1)
            curve = rng.uniform(*opening) * early / early[0]
            curve += rng.uniform(*closing) * late / late[-1]
        return curve + rng.normal(0, 0.02, len(place))

    def _volume(self, rng: np.random.Generator) -> Volume:
        return Volume(
            level=rng.normal(13, 1.5) - np.log(self.config.bars_per_session),
            curve=self._curve(rng, opening=(0.1, 0.7), closing=(0.7, 1.3)),
            persistence=self._persistence(np.array([2.0, 25.0, 400.0]) * rng.lognormal(0, 0.3, 3)),
            spread=np.array([0.12, 0.2, 0.45]) * rng.lognormal(0, 0.3, 3),
            roughness=rng.uniform(0.05, 0.2) * (0.8 if self.config.is_daily else 1.2),
            from_volatility=rng.uniform(0.3, 0.9),
            from_range=rng.uniform(0.15, 0.45),
            from_market=rng.uniform(0.5, 1.5),
        )
