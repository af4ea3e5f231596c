"""What the terminal says of a leaderboard: of the first, not of every pair."""

from itertools import combinations
from types import SimpleNamespace

import pandas as pd

from tsfm.evaluation.significance import in_words
from tsfm.tracking.leaderboard_report import leader_in_words


def tested(*models: str) -> pd.DataFrame:
    pairs = list(combinations(models, 2))
    names = {"model": [a for a, _ in pairs], "other": [b for _, b in pairs]}
    same = {"metric": "sql", "task": "general/one", "variate": "v", "skill": 0.2}
    return pd.DataFrame(names).assign(**same, verdict="better")


def standing(*models: str) -> SimpleNamespace:
    return SimpleNamespace(table=pd.DataFrame({"model": models}))


def test_only_the_leaders_comparisons_are_told() -> None:
    table = tested("second", "leader", "third")
    words = leader_in_words(standing("leader", "second", "third"), table)
    assert "2 of 2 comparisons" in words
    assert "second is better than leader" in words
    assert "leader is better than third" in words
    assert "second is better than third" not in words
    assert "significance.csv" in words


def test_two_models_are_told_whole() -> None:
    table = tested("leader", "second")
    assert leader_in_words(standing("leader", "second"), table) == in_words(table)
