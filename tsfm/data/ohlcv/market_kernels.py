"""Compiled loops of the market simulator: factor paths, then each asset's bars along them.

Every random number comes from the generator passed in, one per factor and asset, so results do
not depend on threads; the same functions run uncompiled (``.py_func``) as their own reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsfm.data.kernel_cache import njit

MEAN_ABSOLUTE = 0.7978845608  # of a standard normal variable
SPREAD_ABSOLUTE = 0.6028102750


class Clock(NamedTuple):
    """The bars of the market.

    ``slot [bar]`` is the place in the session, ``opens [bar]`` true where a session begins,
    ``days`` the length of a bar in sessions.
    """

    slot: np.ndarray
    opens: np.ndarray
    days: float


class Volatility(NamedTuple):
    """Log volatility: a level plus Ornstein–Uhlenbeck components of several time scales.

    ``persistence`` (per bar) and ``spread`` (stationary) belong to the components;
    ``leverage`` correlates their innovations with the last return, ``feedback`` with its size;
    ``roughness`` is the spread of a component that lasts one bar.
    """

    level: float
    persistence: np.ndarray
    spread: np.ndarray
    leverage: float
    feedback: float
    roughness: float


class Jumps(NamedTuple):
    """``rate`` per session, ``scale`` in sessions' volatilities, ``skew`` the share of falls."""

    rate: float
    scale: float
    skew: float


class Regimes(NamedTuple):
    """A Markov chain: ``stay [state]`` per bar, ``shift [state]`` of log volatility."""

    stay: np.ndarray
    shift: np.ndarray
    next_state: np.ndarray


class Factor(NamedTuple):
    """A common driver of returns; ``profile [slot]`` shares a session's variance, night apart."""

    volatility: Volatility
    jumps: Jumps
    regimes: Regimes
    profile: np.ndarray
    night: float
    drift: float


class Volume(NamedTuple):
    """Log volume: level, ``curve [slot]``, its own components, and what it owes to volatility."""

    level: float
    curve: np.ndarray
    persistence: np.ndarray
    spread: np.ndarray
    roughness: float
    from_volatility: float
    from_range: float
    from_market: float


class Asset(NamedTuple):
    """An asset: its ``factors`` and their ``beta``, its own risk, volume and price grid.

    ``common`` is how far its own volatility follows the market's, ``gap`` the spread of opening
    moves within a session, ``wick`` of trades beyond the path, both in bar volatilities, ``grid``
    the step of log prices.
    """

    log_price: float
    factors: np.ndarray
    beta: np.ndarray
    common: float
    gap: float
    wick: float
    grid: float
    own: Factor
    volume: Volume


@njit(nogil=True, cache=True)
def _jump(rng, jumps, chance, sigma):  # type: ignore[no-untyped-def]
    """A jump's size, zero most of the time."""
    if rng.random() >= chance:
        return 0.0
    size = jumps.scale * sigma * (0.5 + rng.standard_exponential())
    return -size if rng.random() < jumps.skew else size


@njit(nogil=True, cache=True)
def _night(rng, sigma):  # type: ignore[no-untyped-def]
    """A move between sessions: nights differ, so its tails are heavy."""
    return sigma * np.exp(0.35 * rng.standard_normal() - 0.12) * rng.standard_normal()


@njit(nogil=True, cache=True)
def _advance(rng, volatility, state, shock):  # type: ignore[no-untyped-def]
    """Move the volatility components one bar on, and give their sum with this bar's own noise."""
    bounded = min(max(shock, -4.0), 4.0)
    size = (abs(bounded) - MEAN_ABSOLUTE) / SPREAD_ABSOLUTE
    leverage, feedback = volatility.leverage, volatility.feedback
    rest = np.sqrt(1.0 - leverage * leverage - feedback * feedback)
    total = volatility.level
    for k in range(state.size):
        kick = leverage * bounded + feedback * size + rest * rng.standard_normal()
        keep = volatility.persistence[k]
        state[k] = keep * state[k] + np.sqrt(1.0 - keep * keep) * volatility.spread[k] * kick
        total += state[k]
    return total + volatility.roughness * rng.standard_normal()


@njit(nogil=True, cache=True)
def _stationary(rng, spread):  # type: ignore[no-untyped-def]
    state = np.empty(spread.size)
    for k in range(spread.size):
        state[k] = spread[k] * rng.standard_normal()
    return state


@njit(nogil=True, cache=True)
def simulate_factor(rng, clock, factor, steps, night, sigma, deviation):  # type: ignore[no-untyped-def]
    """Fill one factor's path.

    Parameters
    ----------
    steps
        Returns within bars, ``[bar, step]``.
    night
        Returns between sessions, ``[bar]``.
    sigma
        Volatility of a bar, ``[bar]``.
    deviation
        Of log volatility from its level, ``[bar]``.
    """
    n_bars, n_steps = steps.shape
    volatility, regimes = factor.volatility, factor.regimes
    state = _stationary(rng, volatility.spread)
    regime = int(rng.random() * regimes.stay.size)
    shock = 0.0
    for bar in range(n_bars):
        slot = clock.slot[bar]
        if rng.random() > regimes.stay[regime]:
            regime = regimes.next_state[regime, int(rng.random() * regimes.next_state.shape[1])]
        log_sigma = _advance(rng, volatility, state, shock) + regimes.shift[regime]
        session = np.exp(log_sigma)
        deviation[bar] = log_sigma - volatility.level
        sigma[bar] = session * np.sqrt(factor.profile[slot])
        expected = factor.profile[slot]
        night[bar] = 0.0
        if clock.opens[bar]:
            night[bar] = _night(rng, session * np.sqrt(factor.night))
            night[bar] += _jump(rng, factor.jumps, 0.5 * factor.jumps.rate, session)
            expected += factor.night
        moved = night[bar]
        leap = _jump(rng, factor.jumps, 0.5 * factor.jumps.rate * clock.days, session)
        where = int(rng.random() * n_steps)
        scale = sigma[bar] / np.sqrt(n_steps)
        for step in range(n_steps):
            steps[bar, step] = scale * rng.standard_normal() + factor.drift * clock.days / n_steps
            if step == where:
                steps[bar, step] += leap
            moved += steps[bar, step]
        shock = moved / (session * np.sqrt(expected))


@njit(nogil=True, cache=True)
def simulate_asset(  # type: ignore[no-untyped-def]
    rng, clock, asset, steps, night, sigma, deviation, common_volume, bars
):
    """Fill one asset's bars.

    The extremes within a step are drawn from the exact law of a Brownian bridge's maximum and
    minimum, so ranges are those of continuous trading.

    Parameters
    ----------
    steps, night, sigma
        Of the factors: ``[factor, bar, step]``, ``[factor, bar]``, ``[factor, bar]``.
    deviation, common_volume
        Of the market's log volatility and log volume, ``[bar]``.
    bars
        Filled with logs of open, high, low, close and volume, ``[5, bar]``.
    """
    n_bars, n_steps = steps.shape[1:]
    n_factors = asset.factors.size
    own, volume = asset.own, asset.volume
    state = _stationary(rng, own.volatility.spread)
    activity = _stationary(rng, volume.spread)
    regime = 0
    shock = 0.0
    price = asset.log_price
    for bar in range(n_bars):
        slot = clock.slot[bar]
        if rng.random() > own.regimes.stay[regime]:
            regime = own.regimes.next_state[regime, 0]
        log_sigma = _advance(rng, own.volatility, state, shock) + own.regimes.shift[regime]
        log_sigma += asset.common * deviation[bar]
        session = np.exp(log_sigma)
        bar_sigma = session * np.sqrt(own.profile[slot])
        variance = bar_sigma * bar_sigma
        for k in range(n_factors):
            variance += (asset.beta[k] * sigma[asset.factors[k], bar]) ** 2
        expected = own.profile[slot]
        before = price
        surprise = 0.0
        if clock.opens[bar]:
            for k in range(n_factors):
                price += asset.beta[k] * night[asset.factors[k], bar]
            surprise = _night(rng, session * np.sqrt(own.night))
            surprise += _jump(rng, own.jumps, 0.6 * own.jumps.rate, session)
            price += surprise
            expected += own.night
        else:
            price += asset.gap * np.sqrt(variance) * rng.standard_normal()
        opened = high = low = price
        leap = _jump(rng, own.jumps, 0.4 * own.jumps.rate * clock.days, session)
        where = int(rng.random() * n_steps)
        scale = bar_sigma / np.sqrt(n_steps)
        spread = 2.0 * variance / n_steps
        for step in range(n_steps):
            inside = scale * rng.standard_normal()
            surprise += inside
            move = inside
            for k in range(n_factors):
                move += asset.beta[k] * steps[asset.factors[k], bar, step]
            width = move * move
            top = 0.5 * (move + np.sqrt(width + spread * rng.standard_exponential()))
            bottom = 0.5 * (move - np.sqrt(width + spread * rng.standard_exponential()))
            high = max(high, price + top)
            low = min(low, price + bottom)
            price += move
            if step == where:
                surprise += leap
                price += leap
                high = max(high, price)
                low = min(low, price)
        high += asset.wick * np.sqrt(variance) * rng.standard_exponential()
        low -= asset.wick * np.sqrt(variance) * rng.standard_exponential()
        shock = (surprise + price - before) / (
            np.sqrt(variance * expected / own.profile[slot]) + session * np.sqrt(expected)
        )
        log_volume = volume.level + volume.curve[slot]
        for k in range(activity.size):
            keep = volume.persistence[k]
            noise = np.sqrt(1.0 - keep * keep) * volume.spread[k] * rng.standard_normal()
            activity[k] = keep * activity[k] + noise
            log_volume += activity[k]
        log_volume += volume.from_volatility * (log_sigma - own.volatility.level)
        log_volume += volume.from_range * np.log((high - low) / np.sqrt(variance) / 1.6)
        log_volume += volume.from_market * common_volume[bar]
        log_volume += volume.roughness * rng.standard_normal()
        bars[0, bar] = opened
        bars[1, bar] = high
        bars[2, bar] = low
        bars[3, bar] = price
        bars[4, bar] = log_volume


@njit(nogil=True, cache=True)
def round_prices(bars, grid):  # type: ignore[no-untyped-def]
    """Put log prices ``[4, bar]`` on the asset's grid; rounding keeps their order."""
    for row in range(4):
        for bar in range(bars.shape[1]):
            bars[row, bar] = np.rint(bars[row, bar] / grid) * grid


@njit(nogil=True, cache=True)
def simulate_components(rng, persistence, spread, total):  # type: ignore[no-untyped-def]
    """Fill ``total [bar]`` with a sum of Ornstein–Uhlenbeck components."""
    state = _stationary(rng, spread)
    for bar in range(total.size):
        total[bar] = 0.0
        for k in range(state.size):
            keep = persistence[k]
            state[k] = keep * state[k]
            state[k] += np.sqrt(1.0 - keep * keep) * spread[k] * rng.standard_normal()
            total[bar] += state[k]
