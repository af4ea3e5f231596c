"""Experiment 3 on made-up trajectories, in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.entry_points import Answer
from support.told_commands import run_entry
from support.trajectories import trajectories

from tsfm.data.panel import Panel
from tsfm.tracking import contest_report
from tsfm.training.chaos_monitor import ChaosMonitor

TINY = [
    "context=64", "horizon=16", "max_steps=3", "batch_size=2", "register_as=tiny",
]  # fmt: skip
OVERRIDES = (
    "model.d_model=16 model.heads=2 model.layers=1 model.d_ff=64 model.patch=8"
    " trainer.warmup_steps=1 trainer.validate_every=2 trainer.validation_batches=1"
    " trainer.checkpoint_every=1 trainer.progress=false trainer.threads=1"
    " judging.steps=32 judging.zero_shot=[] judging.baselines=[mean,parroting,dlinear]"
)


class DynamicsRuns:
    """Call it with words: the exit code, and what was written to stderr.

    Parameters
    ----------
    plain
        Without most figures: drawing them takes longer than all the rest.
    """

    def __init__(
        self,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        *,
        plain: bool = False,
    ) -> None:
        self.home, self.monkeypatch, self.capfd = home, monkeypatch, capfd
        if plain:
            monkeypatch.setattr(contest_report, "figures_of", lambda *given: {})
            monkeypatch.setattr(ChaosMonitor, "__call__", lambda *given: None)

    def __call__(self, *words: str, overrides: str = "", data: str = "made") -> Answer:
        if data == "made" and not (self.home / "made").exists():
            made = trajectories()
            Panel.write(self.home / "made", made, made.info)
        given = [*TINY, f"overrides={OVERRIDES} {overrides}", f"data={data}", *words]
        code, _, err = run_entry("dynamics", given, self.monkeypatch, self.capfd)
        return code, err
