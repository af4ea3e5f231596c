"""Candidate and rival on the task suites that a policy names; kept answers are not asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsfm.data.cache import cache_directory
from tsfm.evaluation.answers import answers
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.metrics import concat_scores
from tsfm.evaluation.suites import load_suite
from tsfm.tracking.promotion.evidence import SuiteEvidence

if TYPE_CHECKING:
    from tsfm.tracking.promotion.contestant import Contestant
    from tsfm.tracking.promotion.rules import SuiteRule


def ask_suites(
    candidate: Contestant, rival: Contestant | None, baseline: str, rule: SuiteRule
) -> SuiteEvidence:
    """Both on every task of the rule, of which the leaderboard's answers are read.

    Parameters
    ----------
    rival
        The champion; without one the baseline takes its place.
    """
    ours = Contender(name=candidate.name, directory=candidate.directory)
    theirs = Contender(name=baseline)
    if rival is not None:
        theirs = Contender(name=rival.name, directory=rival.directory)
    found = answers(
        [ours, theirs], load_suite(rule.tasks), metric=rule.metric,
        kept=cache_directory() / "answers",
    )  # fmt: skip
    problems: list[str] = []
    left_out: list[str] = []
    families: dict[str, str] = {}
    scores = []
    for mine, other in zip(found[::2], found[1::2], strict=True):
        task = mine.result.task
        if mine.scores is None:
            problems.append(f"{task}: {mine.result.failure}")
        elif mine.result.trained_on:
            problems.append(f"{task}: it was trained on the answers")
        elif other.scores is None:
            left_out.append(f"{task} ({theirs.name}: {other.result.failure})")
        else:
            scores += [mine.scores, other.scores]
            families |= mine.families or {}
    return SuiteEvidence(
        scores=concat_scores(scores) if scores else None,
        problems=tuple(problems),
        left_out=tuple(left_out),
        families=families,
    )
