from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.promotion import planted, score_rows

from tsfm.tracking.promotion.evidence import Evidence, SuiteEvidence
from tsfm.tracking.promotion.rules import (
    BaselineRule,
    CalibrationRule,
    LatencyRule,
    LeakageRule,
    LooksRule,
    ReloadRule,
    SizeRule,
    SkillRule,
    SuiteRule,
    TasksRule,
)


def evidence(scores: pd.DataFrame | None = None, **fields) -> Evidence:
    rows = planted(0.1) if scores is None else scores
    return Evidence(candidate="new", rival="old", scores=rows, **fields)


def check(rule, found: Evidence):
    return rule.check(found, seed=0, replicates=300)


@pytest.mark.parametrize(
    ("planted_skill", "above", "passed"),
    [
        (0.2, 0.0, True),
        (0.2, 0.3, False),
        (0.0, 0.0, False),
        (0.0, -0.2, True),
        (-0.2, -0.1, False),
    ],
)
def test_skill_by_the_lower_end_of_its_interval(planted_skill, above, passed):
    finding = check(SkillRule(above=above), evidence(planted(planted_skill)))
    assert finding.passed is passed
    assert (finding.numbers["low"] > above) is passed
    assert "against old" in finding.told
    assert f"{above:+.1%}" in finding.told


def test_looks_widen_the_interval_where_the_policy_says_so():
    rule = SkillRule(correct_for_looks=True)
    first, tenth = (check(rule, evidence(looks=n)).numbers for n in (1, 10))
    assert tenth["low"] < first["low"] < first["high"] < tenth["high"]
    plain = check(SkillRule(), evidence(looks=10)).numbers
    assert plain["low"] == first["low"]


def test_no_interval_is_no_evidence():
    assert not check(SkillRule(), evidence(planted(0.5, items=2))).passed


def test_a_baseline_is_a_rival_of_its_own():
    rows = planted(0.2)
    naive = rows[rows["model"] == "old"].assign(model="seasonal_naive")
    worse = rows[rows["model"] == "new"].assign(model="old")
    found = evidence(pd.concat([rows[rows["model"] == "new"], worse, naive]))
    assert not check(SkillRule(), found).passed
    assert check(BaselineRule(), found).passed


def test_one_task_that_is_clearly_worse_refuses():
    good, bad = planted(0.3), planted(-0.3, seed=1).assign(task="bad")
    finding = check(TasksRule(), evidence(pd.concat([good, bad])))
    assert not finding.passed
    assert "worst of 2: bad, x" in finding.told
    assert check(TasksRule(above=-0.9), evidence(pd.concat([good, bad]))).passed
    noisy = planted(-0.02, seed=1).assign(task="bad")
    assert check(TasksRule(), evidence(pd.concat([good, noisy]))).passed


@pytest.mark.parametrize(("covered", "passed"), [(0.5, False), (0.8, True), (0.99, False)])
def test_calibration_by_the_share_that_is_covered(covered, passed):
    rows = score_rows("new", np.full((4, 5), covered), metric="coverage_80")
    finding = check(CalibrationRule(), evidence(rows))
    assert finding.passed is passed
    assert f"{covered:.1%}" in finding.told


def test_calibration_of_tasks_without_coverage_is_not_passed_in_silence():
    assert check(CalibrationRule(), evidence()).told == "no task scores coverage_80"
    assert not check(CalibrationRule(), evidence()).passed


def test_leakage_and_unknown_provenance():
    assert check(LeakageRule(), evidence()).passed
    leaking = check(LeakageRule(), evidence(leaks={"task": "leakage: 5 of 9 bars"}))
    assert not leaking.passed
    assert "5 of 9" in leaking.told
    assert not check(LeakageRule(), evidence(unknown_provenance=True)).passed
    child = check(LeakageRule(), evidence(unknown_provenance=True, unknown_bases=("them/theirs",)))
    assert not child.passed
    assert "what its base model them/theirs was trained on" in child.told
    allowed = check(LeakageRule(allow_unknown=True), evidence(unknown_provenance=True))
    assert allowed.passed
    assert "nobody can tell" in allowed.told


@pytest.mark.parametrize(
    ("rule", "field", "limit"),
    [
        (LatencyRule(at_most_ms=5.0), "milliseconds", 5.0),
        (SizeRule(at_most_mb=5.0), "megabytes", 5.0),
        (ReloadRule(tolerance=1e-3), "reload_difference", 1e-3),
        (LooksRule(at_most=3), "looks", 3),
    ],
)
def test_budgets(rule, field, limit):
    assert check(rule, evidence(**{field: limit})).passed
    over = check(rule, evidence(**{field: limit * 2}))
    assert not over.passed
    assert f"at most {limit:g}" in over.told
    assert not check(rule, evidence(**{field: float("nan")})).passed


def test_a_version_that_cannot_be_loaded_again_is_refused_with_the_reason():
    told = "a fresh process did not load and forecast within 3 s"
    finding = check(ReloadRule(), evidence(reload_difference=float("nan"), reload_problem=told))
    assert not finding.passed
    assert finding.told == told


SUITE = SuiteRule(tasks="ohlcv", metric="crps")


@pytest.mark.parametrize(("planted_skill", "passed"), [(0.2, True), (0.0, False), (-0.2, False)])
def test_suites_are_judged_by_their_own_scores(planted_skill, passed):
    vault = planted(0.0)
    found = evidence(vault, suites=SuiteEvidence(scores=planted(planted_skill)))
    finding = check(SUITE, found)
    assert finding.passed is passed
    assert "against old on ohlcv" in finding.told
    same = check(SkillRule(), evidence(planted(planted_skill)))
    assert finding.numbers["low"] == same.numbers["low"]


def test_families_are_resampled_where_a_suite_names_them():
    scores = planted(0.1)
    families = {f"i{k}": f"family {k // 4}" for k in range(12)}
    plain, grouped = (
        check(SUITE, evidence(suites=SuiteEvidence(scores=scores, families=known))).numbers
        for known in ({}, families)
    )
    assert grouped["clusters"] == 3 < plain["clusters"]
    assert grouped["skill"] == pytest.approx(plain["skill"])


def test_suites_without_evidence_refuse():
    assert not check(SUITE, evidence()).passed
    failed = SuiteEvidence(scores=planted(0.5), problems=("ohlcv/x: it is NaN",))
    assert check(SUITE, evidence(suites=failed)).told == "ohlcv/x: it is NaN"
    nothing = SuiteEvidence(scores=None, left_out=("ohlcv/x (old: broken)",))
    finding = check(SUITE, evidence(suites=nothing))
    assert not finding.passed
    assert "old: broken" in finding.told
