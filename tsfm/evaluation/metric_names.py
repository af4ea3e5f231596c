"""Names of the metrics that forecasts are scored by, and what each needs of the quantile levels."""

from __future__ import annotations

from collections.abc import Sequence

SHARES = (50, 80, 90, 95)
"""Per cent of the central intervals whose coverage and Winkler score are told."""

METRIC_NAMES: tuple[str, ...] = (
    "crps",
    "crps_exact",
    "wql",
    "sql",
    "mase",
    "rmsse",
    "mae",
    "mse",
    "rmse",
    "mape",
    "smape",
    "energy",
    *(f"coverage_{share}" for share in SHARES),
    *(f"winkler_{share}" for share in SHARES),
)
DEFAULT_METRICS: tuple[str, ...] = (
    "crps",
    "wql",
    "sql",
    "mase",
    "mae",
    "rmse",
    "smape",
    "coverage_80",
    "winkler_80",
)
LOSS_NAMES = tuple(name for name in METRIC_NAMES if not name.startswith("coverage"))
"""Those that are better when lower."""

RANKING_NAMES = tuple(name for name in LOSS_NAMES if name != "crps_exact")
"""Those that models can be ranked by: told of every model alike."""

ROOTS = ("rmse", "rmsse")
"""Those that are the root of a mean."""


def interval_of(metric: str) -> tuple[float, float] | None:
    """Levels of the ends of a metric's central interval; None where it needs none."""
    kind, _, share = metric.partition("_")
    if kind not in ("coverage", "winkler"):
        return None
    tail = (1 - int(share) / 100) / 2
    return round(tail, 9), round(1 - tail, 9)


def is_within(metric: str, levels: Sequence[float]) -> bool:
    """Whether the levels reach as far as the metric's interval; beyond them nothing is known."""
    ends = interval_of(metric)
    return ends is None or (levels[0] - 1e-9 <= ends[0] and ends[1] <= levels[-1] + 1e-9)


def target_coverage(metric: str) -> float | None:
    """What a calibrated forecast's coverage is; None for other metrics."""
    kind, _, share = metric.partition("_")
    return int(share) / 100 if kind == "coverage" else None
