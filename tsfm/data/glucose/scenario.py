"""Random days: when virtual patients eat, and how much."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from tsfm.data.glucose.cohort_config import ScenarioConfig

MINUTES = 1440


def draw_meals(
    config: ScenarioConfig, days: int, rng: np.random.Generator
) -> Float[np.ndarray, " minute"]:
    """Grams of carbohydrates of the meals that begin in every minute.

    As simglucose's ``RandomScenario``: each meal of a day happens with its probability, at a
    normal time cut off at both ends (rounded to minutes) and with a normal, rounded amount of at
    least 0 g. Four numbers are drawn for every day and meal whatever they lead to, so that
    configurations can be compared on the same luck and later days do not change earlier ones.

    Parameters
    ----------
    days
        Full days from midnight on.
    rng
        Drawn from in a number of draws that depends on ``days`` and the number of meals only.

    Returns
    -------
    grams
        ``[days × 1440]``.
    """
    meals, factor = config.meals, config.variability
    earliest, hour, latest, spread = (
        np.array([getattr(meal, name) for meal in meals])
        for name in ("earliest", "hour", "latest", "spread_hours")
    )
    mean, amount_spread, probability = (
        np.array([getattr(meal, name) for meal in meals])
        for name in ("grams", "spread_grams", "probability")
    )
    chance, skip, when, amount = rng.random((days, 4, len(meals))).transpose(1, 0, 2)
    happens = (chance < probability) & (skip >= config.skipping)
    spread = np.maximum(spread * factor, 1e-9)
    low, high = ndtr((earliest - hour) / spread), ndtr((latest - hour) / spread)
    hours = hour + spread * ndtri(low + (high - low) * when)
    minutes = np.rint(np.clip(hours, earliest, latest) * 60).astype(int)
    grams = np.maximum(np.rint(mean + factor * amount_spread * ndtri(amount)), 0.0)

    total = np.zeros(days * MINUTES)
    begin = np.arange(days)[:, None] * MINUTES + np.minimum(minutes, MINUTES - 1)
    np.add.at(total, begin[happens], grams[happens])
    return total
