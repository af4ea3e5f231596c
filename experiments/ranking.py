"""The leaderboard of ``evaluate tasks=…``: every model on every task, ranked and tested."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.evaluate_config import EvaluateConfig
from tsfm.data.cache import cache_directory
from tsfm.data.ohlcv.progress_bar import progress_bar
from tsfm.evaluation.answers import Answer, answers
from tsfm.evaluation.metrics import concat_scores
from tsfm.evaluation.results import results_frame
from tsfm.evaluation.significance import significance
from tsfm.evaluation.standings import standings
from tsfm.evaluation.suites import load_suite
from tsfm.tracking.experiment import SilentRun, open_experiment
from tsfm.tracking.leaderboard_report import (
    contenders,
    record_leaderboard,
    show_leaderboard,
)


def rank(config: EvaluateConfig) -> None:
    """Answer, rank, test and record."""
    tasks, asked = load_suite(config.tasks), contenders(config.model, config.baseline)
    with open_experiment("evaluate", config, entry_point="evaluate", seed=config.seed) as record:
        if isinstance(record, SilentRun):
            return
        with progress_bar("answering", "cells") as show:
            found = answers(
                asked,
                tasks,
                metric=config.metric,
                kept=cache_directory() / "answers",
                progress=show,
            )
        results = results_frame(answer.result for answer in found)
        table = standings(results, metric=config.metric, baseline=config.baseline, seed=config.seed)
        tested = differences(found, config)
        record_leaderboard(record, table, results, tested, found)
    show_leaderboard(record, table, tested, results)


def differences(found: Sequence[Answer], config: EvaluateConfig) -> pd.DataFrame | None:
    """Every pair of models, or the one model against the others; none where one alone answered."""
    scored = [answer for answer in found if answer.scores is not None]
    if len({answer.result.model for answer in scored}) < 2:
        return None
    families: dict[str, str] = {}
    for answer in scored:
        families |= answer.families or {}
    scores = concat_scores([answer.scores for answer in scored if answer.scores is not None])
    names = list(dict.fromkeys(answer.result.model for answer in found))
    alone = names[1] if len(names) > 1 and config.is_one else None
    answered = {answer.result.model for answer in scored}
    model = alone if alone in answered else None
    return significance(scores, config.metric, model=model, families=families, seed=config.seed)
