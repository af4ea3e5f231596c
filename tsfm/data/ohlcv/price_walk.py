"""One walk over an instrument's bars: bad prints and splits, each judged by the past alone.

The walk keeps rolling windows of accepted bars: their absolute log returns (the median times
1.4826 is a robust standard deviation about zero: Rousseeuw and Croux, 1993) and volumes, and the
same of first bars of sessions. A bar that is rejected never enters them, so walking over
the result again changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tsfm.data.kernel_cache import njit

OBSERVED, SPIKE, QUARANTINE = 0, 1, 2
NO_SPLIT, BY_TABLE, BY_RULE, UNLISTED, ABSENT = 0, 1, 2, 3, 4
OFF, APPLY, REPORT = 0, 1, 2
RATIOS = np.array(
    [5 / 4, 4 / 3, 3 / 2, 5 / 3, 5 / 2, *range(2, 11), 15, 20, 25, 30, 50]
    + [1 / n for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60, 75, 80, 100)]
)
FIRST_BARS = 20
FEWEST = 5
FEWEST_MOVES = 32
GAP_SCALES = 10.0
GAP_FLOOR = 0.15
SPLIT_CROWD = 3.0
ROBUST = 1.4826
SMALLEST_SCALE = 1e-4
TAKEN_BACK = 0.75


class Walk(NamedTuple):
    """What the walk says of each bar.

    Attributes
    ----------
    verdict
        ``uint8 [bar]``: observed, spike or quarantine.
    split
        ``uint8 [bar]``: how a split that takes effect here is known.
    ratio
        ``float64 [bar]``: its new shares for one old, else 1.
    """

    verdict: np.ndarray
    split: np.ndarray
    ratio: np.ndarray


class Limits(NamedTuple):
    """Thresholds, as :class:`tsfm.data.ohlcv.cleaning_config.CleaningConfig` documents them."""

    outliers: bool
    z: float
    window: int
    move: float
    crowd: float
    quarantine: float
    look_ahead: int
    rule: int
    adjusted: bool


@njit(cache=True)
def _median_below(values: np.ndarray, count: int, bound: float) -> bool:
    """Whether the (lower) median of the first ``count`` values is below a bound."""
    below = 0
    for place in range(count):
        below += values[place] < bound
    return below >= (count + 1) // 2


@njit(cache=True)
def _split_ratio(opening: float, closing: float, scale: float, crowd: float) -> float:
    """The ratio that explains a first bar's log moves since the last close, or 1.

    A split moves opening and close alike, by little else than the market's own move over night
    (a few robust standard deviations of it), and shares change hands as ever: in volume of the
    new shares, no crowd comes.
    """
    best, best_rest = 1.0, np.inf
    for ratio in RATIOS:
        size = np.log(ratio)
        tolerance = min(max(0.06 * abs(size), 4 * scale), 0.12 * abs(size), 0.15)
        rest_open, rest_close = abs(opening + size), abs(closing + size)
        if rest_open <= tolerance and rest_close <= tolerance:
            traded = crowd / max(ratio, 1.0)
            ordinary = traded <= SPLIT_CROWD and (ratio < 1.0 or traded >= 1 / SPLIT_CROWD)
            if ordinary and rest_open + rest_close < best_rest:
                best, best_rest = ratio, rest_open + rest_close
    return best


@njit(cache=True)
def _taken_back(last: float, opening: float, high: float, low: float, closing: float) -> float:
    """How far a price of the bar lies off that the same bar takes back: open, high or low."""
    top, bottom = max(last, opening, closing), min(last, opening, closing)
    off = max(high - top, bottom - low)
    move, back = opening - last, opening - closing
    if move * back > 0 and abs(back) >= TAKEN_BACK * abs(move):
        off = max(off, abs(move))
    return off


@njit(cache=True)
def _next_close(prices: np.ndarray, bar: int) -> float:
    for follower in range(bar + 1, len(prices)):
        if not np.isnan(prices[follower, 3]):
            return prices[follower, 3]
    return np.nan


@njit(cache=True)
def _keep(values: np.ndarray, count: int, value: float) -> int:
    """Put a value into a rolling window; the number of values ever kept."""
    values[count % len(values)] = value
    return count + 1


@njit(cache=True)
def _by_rule(
    gap: float,
    move: float,
    sold: float,
    gaps: np.ndarray,
    n_gaps: int,
    early: np.ndarray,
    n_early: int,
) -> float:
    """The ratio of a split that a first bar of a session shows, else 1."""
    if n_early < FEWEST or not sold > 0 or abs(gap) <= GAP_FLOOR:
        return 1.0
    scale = ROBUST * np.median(gaps[: min(n_gaps, FIRST_BARS)])
    if abs(gap) <= GAP_SCALES * scale:
        return 1.0
    usual = np.median(early[: min(n_early, FIRST_BARS)])
    return _split_ratio(gap, move, scale, sold / usual)


@njit(cache=True)
def _far_off(
    off: float,
    sold: float,
    moves: np.ndarray,
    n_moves: int,
    traded: np.ndarray,
    n_traded: int,
    limits: Limits,
) -> bool:
    """Whether a deviation is beyond the bound, at a volume that shows no event."""
    filled = min(n_moves, limits.window)
    if off <= max(limits.move, limits.z * SMALLEST_SCALE) or filled < min(
        limits.window, FEWEST_MOVES
    ):
        return False
    if not _median_below(moves, filled, off / (limits.z * ROBUST)):
        return False
    known = min(n_traded, limits.window)
    return known < FEWEST or not _median_below(traded, known, sold / limits.crowd)


@njit(cache=True)
def walk(  # noqa: C901, one state machine
    prices: np.ndarray,
    volume: np.ndarray,
    starts: np.ndarray,
    listed: np.ndarray,
    limits: Limits,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judge every bar in the order of time.

    Parameters
    ----------
    prices
        ``float64 [bar, 4]``: **logarithms** of open, high, low and close, NaN where unobserved.
    volume
        ``float64 [bar]``, NaN where unobserved.
    starts
        ``bool [bar]``: the first bar of a session, where splits take effect.
    listed
        ``float64 [bar]``: ratio of the table's split that takes effect here, else 1.

    Returns
    -------
    tuple
        The fields of :class:`Walk`.
    """
    count = len(volume)
    verdict = np.zeros(count, np.uint8)
    how = np.zeros(count, np.uint8)
    ratios = np.ones(count)
    moves, traded = np.empty(limits.window), np.empty(limits.window)
    gaps, early = np.empty(FIRST_BARS), np.empty(FIRST_BARS)
    n_moves, n_traded, n_gaps, n_early = 0, 0, 0, 0
    last, shift, due, due_at = np.nan, 0.0, 1.0, 0
    pending, confirmed = False, True
    for bar in range(count):
        pending = pending or starts[bar]
        if listed[bar] != 1.0:
            due, due_at = due * listed[bar], bar
        if np.isnan(prices[bar, 3]):
            confirmed = False
            continue
        opening, high, low, closing = prices[bar] + shift
        if np.isnan(last):
            last, pending, due = closing, False, 1.0
            continue
        sold = volume[bar] * np.exp(-shift)
        gap, move = opening - last, closing - last

        found = 1.0
        if due != 1.0:
            size = np.log(due)
            seen = abs(gap + size) + abs(move + size) < abs(gap) + abs(move)
            how[due_at], ratios[due_at] = BY_TABLE if seen else ABSENT, due
            found, due = due if seen else 1.0, 1.0
        elif pending and limits.rule != OFF:
            found = _by_rule(gap, move, sold, gaps, n_gaps, early, n_early)
            if found != 1.0:
                how[bar] = BY_RULE if limits.rule == APPLY else UNLISTED
                ratios[bar] = found
        if found != 1.0:
            size = np.log(found)
            shift += size
            opening, high, low, closing = opening + size, high + size, low + size, closing + size
            sold, gap, move = sold / found, gap + size, move + size

        judged = found == 1.0 or (limits.adjusted and how[bar] != UNLISTED)
        if limits.outliers and judged:
            off = _taken_back(last, opening, high, low, closing)
            if limits.look_ahead and abs(move) > max(off, limits.move):
                after = _next_close(prices, bar) + shift - last
                off = abs(move) if abs(after) <= (1 - TAKEN_BACK) * abs(move) else off
            if _far_off(off, sold, moves, n_moves, traded, n_traded, limits):
                verdict[bar] = SPIKE
            elif confirmed and abs(move) > limits.quarantine:
                verdict[bar] = QUARANTINE
            if verdict[bar] != OBSERVED:
                confirmed = False
                continue
        n_moves = _keep(moves, n_moves, abs(move))
        if sold > 0:
            n_traded = _keep(traded, n_traded, sold)
        if pending:
            n_gaps = _keep(gaps, n_gaps, abs(gap))
            if sold > 0:
                n_early = _keep(early, n_early, sold)
        last, pending, confirmed = closing, False, True
    return verdict, how, ratios


def walk_until_settled(
    prices: np.ndarray, volume: np.ndarray, starts: np.ndarray, listed: np.ndarray, limits: Limits
) -> Walk:
    """:func:`walk`, given prices themselves; again while looking ahead finds more.

    A bar judged by its follower may be judged anew when that one turns out to be a bad print.
    """
    logs = np.log(prices)
    found = Walk(*walk(logs, volume, starts, listed, limits))
    if not limits.look_ahead:
        return found
    verdict = found.verdict.copy()
    while found.verdict.any():
        logs[verdict != OBSERVED] = np.nan
        found = Walk(*walk(logs, volume, starts, listed, limits))
        verdict = np.maximum(verdict, found.verdict)
    return found._replace(verdict=verdict)
