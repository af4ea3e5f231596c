"""What is done to values before a model sees them."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.data.glucose.imputation import METHODS
from tsfm.errors import ConfigError, one_of

SCALERS = ("none", "standard", "minmax", "robust")
SCOPES = ("patient", "global")


@dataclass(frozen=True, kw_only=True)
class ConditioningConfig:
    """What is done to the values before a model sees them.

    Attributes
    ----------
    scaler
        ``standard`` (mean, standard deviation), ``minmax`` (smallest value, range), ``robust``
        (median, distance of the quartiles) or ``none``. Of the targets.
    scope
        Statistics of each item's training part (``patient``) or of all together (``global``).
        Items that training has not seen are scaled by their own context.
    imputation, steps
        Of contexts: see :func:`tsfm.data.glucose.imputation.impute`.
    """

    scaler: str = "none"
    scope: str = "patient"
    imputation: str = "none"
    steps: int = 0

    def __post_init__(self) -> None:
        one_of("scaler", self.scaler, SCALERS)
        one_of("scaler_scope", self.scope, SCOPES)
        one_of("imputation", self.imputation, METHODS)
        if (self.imputation in ("forward_fill", "interpolate")) != (self.steps > 0):
            raise ConfigError(
                f"imputation={self.imputation} with imputation_steps={self.steps}",
                remedy="give forward_fill or interpolate and the bars it may reach, or another "
                "imputation and 0",
            )

    @property
    def is_needed(self) -> bool:
        """Whether anything is done at all."""
        return self.scaler != "none" or self.imputation != "none"
