from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.promotion import score_rows

from tsfm.errors import ConfigError
from tsfm.tracking.promotion.evidence import Evidence
from tsfm.tracking.promotion.policy import Policy
from tsfm.tracking.promotion.rules import RULES, SuiteRule

SHIPPED = Path(__file__).parents[3] / "experiments" / "conf" / "promotion.yaml"


def test_the_shipped_policy_has_every_rule_with_its_default_limits():
    policy = Policy.load(SHIPPED)
    assert list(policy.rules) == [rule() for rule in RULES if rule is not SuiteRule]
    written = yaml.safe_load(SHIPPED.read_text())
    defaults = Policy(rules=policy.rules)
    assert {name: getattr(defaults, name) for name in written if name != "rules"} == {
        name: value for name, value in written.items() if name != "rules"
    }
    assert policy.vault_of("glucose") == Path("vaults/glucose")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: {skil: {}}", "Did you mean skill"),
        ("rules: {latenzy: {}}", "Did you mean latency"),
        ("rules: {zzz: {}}", "There are: skill, baseline"),
        ("rules: {skill: {abov: 0.1}}", "Did you mean above"),
        ("rules: {skill: {above: yes}}", "rules.skill.above=True is no float"),
        ("rules: {skill: {above: much}}", "rules.skill.above='much' is no float"),
        ("rules: {looks: {at_most: 2.5}}", "is no int"),
        ("rules: {skill: {confidence: 1.0}}", "give 0.5 to 1"),
        ("rules: {skill: {metric: coverage_80}}", "rules.skill.metric='coverage_80' is not known"),
        ("rules: {tasks: {metric: crps_exact}}", "rules.tasks.metric='crps_exact' is not known"),
        ("rules: {baseline: {baseline: oracle}}", "rules.baseline.baseline='oracle'"),
        ("rules: {calibration: {low: 0.9, high: 0.7}}", "low=0.9, high=0.7"),
        ("rules: {reload: {windows: 0}}", "windows=0"),
        ("rules: {reload: {seconds: 0}}", "seconds=0"),
        ("rules: {suite: {}}", "rules.suite: tasks is empty"),
        ("rules: {suite: {tasks: weather}}", "rules.suite: tasks='weather' is not known"),
        ("rules: {suite: {tasks: ohlcv/none}}", "rules.suite: tasks='ohlcv/none'"),
        ("rules: {suite: {tasks: ohlcv, metric: coverage_80}}", "rules.suite.metric"),
        ("rules: [skill]", "rules is ['skill']"),
        ("rules: {skill: 3}", "skill is 3"),
        ("rules: {}", "it would promote anything"),
        ("", "the policy is None"),
        ("ruels: {skill: {}}", "did you mean rules"),
        ("{rules: {skill: {}}, replicates: 10}", "policy.replicates=10 is too small"),
        ("{rules: {skill: {}}, baseline: oracle}", "policy.baseline='oracle'"),
        ("rules: {skill: {", "the policy cannot be read"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_with_the_file(tmp_path: Path, text: str, told: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Policy.load(path)
    assert told.lower() in str(caught.value).lower()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_policy_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="there is no such policy"):
        Policy.load(tmp_path / "none.yaml")


def test_numbers_that_yaml_takes_for_text_are_read():
    policy = Policy.of({"rules": {"reload": {"tolerance": "1e-5"}, "size": {"at_most_mb": 3}}})
    assert policy.rule("reload").tolerance == 1e-5
    assert policy.rule("size").at_most_mb == 3.0
    assert policy.rule("skill") is None


def test_bars_that_the_rival_forecast_and_the_candidate_did_not_refuse_it(planted_scores):
    rows = planted_scores(0.2)
    holes = (rows["model"] == "new") & (rows["item_id"] == "i3") & (rows["origin"] < 4)
    policy = Policy.of({"rules": {"looks": {}}})
    whole = policy.judge(Evidence(candidate="new", rival="old", scores=rows))
    assert [(f.rule, f.passed) for f in whole] == [("answers", True), ("looks", True)]
    answers, _ = policy.judge(Evidence(candidate="new", rival="old", scores=rows[~holes]))
    assert not answers.passed
    assert answers.told == "8 bars of task"


def test_problems_refuse_without_further_rules():
    rows = score_rows("old", planted_losses())
    broken = Evidence(candidate="new", rival="old", scores=rows, problems=("task: it broke",))
    (answers,) = Policy.of({"rules": {"skill": {}}}).judge(broken)
    assert not answers.passed
    assert "it broke" in answers.told
    assert "20 bars of task" in answers.told


def planted_losses():
    import numpy as np

    return np.ones((5, 2))


@pytest.fixture
def planted_scores():
    from support.promotion import planted

    return planted
