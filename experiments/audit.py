"""The audit of ``evaluate audit=true``: whether models were trained on what tasks ask."""

from __future__ import annotations

import sys

from experiments.evaluate_config import EvaluateConfig
from tsfm.data.ohlcv.progress_bar import progress_bar
from tsfm.evaluation.contamination import audit
from tsfm.evaluation.suites import load_suite
from tsfm.tracking.contamination_report import record_audit, show_audit
from tsfm.tracking.experiment import SilentRun, open_experiment
from tsfm.tracking.leaderboard_report import contenders

SEEN = 3
"""Exit code of a strict audit that is not clean."""


def audit_models(config: EvaluateConfig) -> None:
    """Compare, record and print; a strict one that is not clean ends with exit code 3."""
    tasks, asked = load_suite(config.tasks), contenders(config.model, config.baseline)
    with open_experiment("evaluate", config, entry_point="evaluate", seed=config.seed) as record:
        if isinstance(record, SilentRun):
            return
        with progress_bar("comparing", "cells") as show:
            found = audit([one for one in asked if one.is_trained] or asked, tasks, progress=show)
        record_audit(record, found)
    show_audit(record, found)
    if config.strict and not found.is_clean:
        sys.exit(SEEN)
