"""What became of everything that an ensemble tried: counted, named, and written as JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.data.dynamics.ensemble_config import EnsembleConfig

if TYPE_CHECKING:
    from tsfm.data.dynamics.instances import Trial


@dataclass
class EnsembleReport:
    """Of one ensemble; filled while it is made.

    Attributes
    ----------
    config
        What was asked for.
    kept
        Trajectories kept of every system and skew product, also of those that gave none.
    trials
        Every parameter draw and every trajectory, with what its tests measured.
    seconds
        That it took.
    """

    config: EnsembleConfig
    kept: dict[str, int] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, name: str, kept: int, trials: Iterable[Trial]) -> None:
        """What was made of one system or skew product."""
        self.kept[name] = kept
        self.trials += trials

    @property
    def trajectories(self) -> int:
        """How many were kept."""
        return sum(self.kept.values())

    @property
    def perturbs(self) -> bool:
        """Whether a perturbed parameter draw was kept, or none was asked for."""
        perturbed = [trial for trial in self.trials if trial.draw and trial.start is None]
        wanted = self.config.parameter_scale > 0 and bool(perturbed)
        return not wanted or any(not trial.reason for trial in perturbed)

    @property
    def dropped_draws(self) -> Mapping[str, int]:
        """Parameter draws that were dropped, by reason; none of their trajectories was made."""
        return self._dropped(lambda trial: trial.start is None)

    @property
    def dropped_trajectories(self) -> Mapping[str, int]:
        """Trajectories of kept draws that were dropped, by reason."""
        return self._dropped(lambda trial: trial.start is not None)

    @property
    def failed_tests(self) -> Mapping[str, int]:
        """How often each attractor test refused a draw or trajectory, alone or with others."""
        counts = Counter(
            name
            for trial in self.trials
            for name, outcome in trial.tests.items()
            if not outcome.passed
        )
        return dict(counts.most_common())

    @property
    def missing(self) -> tuple[str, ...]:
        """Systems and skew products that gave no trajectory."""
        return tuple(name for name, kept in self.kept.items() if not kept)

    @property
    def short(self) -> Mapping[str, int]:
        """Those that gave fewer than asked for, and how many."""
        return {name: kept for name, kept in self.kept.items() if kept < self.config.n_trajectories}

    def to_json(self) -> str:
        """The config, counts, thresholds, and a record of every trial."""
        from tsfm.data.dynamics.attractors import thresholds

        reasons: dict[str, Counter[str]] = {name: Counter() for name in self.kept}
        for trial in self.trials:
            if trial.reason:
                reasons[trial.subject][trial.reason] += 1
        record = {
            "config": asdict(self.config),
            "seconds": round(self.seconds, 3),
            "trajectories": self.trajectories,
            "dropped_draws": self.dropped_draws,
            "dropped_trajectories": self.dropped_trajectories,
            "failed_tests": self.failed_tests,
            "missing": self.missing,
            "thresholds": dict(thresholds(self.config.validity)),
            "subjects": {
                name: {"kept": kept, "dropped": dict(reasons[name])}
                for name, kept in self.kept.items()
            },
            "trials": [_record(trial) for trial in self.trials],
        }
        return json.dumps(record, indent=1)

    def save(self, path: str | Path) -> Path:
        """Write JSON, all of it or nothing."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(self.to_json())
        temporary.replace(path)
        return path

    def _dropped(self, chosen: Any) -> dict[str, int]:
        counts = Counter(trial.reason for trial in self.trials if trial.reason and chosen(trial))
        return dict(counts.most_common())


def _record(trial: Trial) -> dict[str, Any]:
    """Values and verdicts; NaN, which JSON lacks, is null."""
    tests = {
        name: [_number(outcome.value), outcome.passed] for name, outcome in trial.tests.items()
    }
    return {"id": trial.id, "dropped": trial.reason, "tests": tests}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if abs(value) < float("inf") else None
