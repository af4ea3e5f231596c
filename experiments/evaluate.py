"""Rank models on task suites, or look into one: what it forgot, what its states and errors tell.

mlflow run . -e evaluate -P model=models:/ohlcv-moirai/3 -P tasks=ohlcv
mlflow run . -e evaluate -P model=all -P tasks=all
mlflow run . -e evaluate -P model=all -P tasks=all -P audit=true
mlflow run . -e evaluate -P model=models:/dynamics-attention/latest -P analysis=embeddings
mlflow run . -e evaluate -P model=amazon/chronos-bolt-tiny -P analysis=tokens,koopman
mlflow run . -e evaluate -P model=parroting -P analysis=context -P overrides="ensemble.systems=[Lorenz,Rossler]"
mlflow run . -e evaluate -P model=models:/tuned/1 -P analysis=forgetting -P base=models:/ohlcv/1
"""  # noqa: E501

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import Parameter, run
from experiments.evaluate_config import EvaluateConfig

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.evaluation.findings import Findings
    from tsfm.models.base import Forecaster

PARAMETERS = {
    "model": Parameter("model", "directory, hub id, models:/… or a forecaster that is not trained"),
    "tasks": Parameter("tasks", "suites or tasks to rank models on; empty: look into the model"),
    "metric": Parameter("metric", "that models are ranked by"),
    "audit": Parameter(
        "audit", "rather than rank models, tell whether they were trained on what the tasks ask"
    ),
    "strict": Parameter("strict", "an audit that is not clean ends with exit code 3"),
    "analysis": Parameter(
        "analysis", "forgetting, embeddings, tokens, koopman, context; several with commas"
    ),
    "base": Parameter("base", "for forgetting: the model before it was trained on dynamics"),
    "data": Parameter("data", "a panel or directory of trajectories; empty: simulate them"),
    "n_systems": Parameter("ensemble.n_systems", "systems simulated"),
    "n_trajectories": Parameter("ensemble.n_trajectories", "of each system"),
    "context": Parameter("context", "points seen"),
    "horizon": Parameter("horizon", "points forecast at most"),
    "seed": Parameter("seed", "of everything drawn"),
}


def main(config: EvaluateConfig) -> None:
    config = exact(config)
    if config.audit:
        from experiments.audit import audit_models

        audit_models(config)
    elif config.tasks:
        from experiments.ranking import rank

        rank(config)
    else:
        look(config)


def exact(config: EvaluateConfig) -> EvaluateConfig:
    """Registered models by their versions: what ``latest`` or an alias means changes."""
    if "models:/" not in config.model + config.base:
        return config
    from tsfm.tracking.registry import pinned

    models = ",".join(pinned(word.strip()) for word in config.model.split(","))
    return replace(config, model=models, base=pinned(config.base))


def look(config: EvaluateConfig) -> None:
    """Into one model, by the analyses asked for."""
    import tsfm
    from tsfm.tracking.experiment import SilentRun, open_experiment
    from tsfm.tracking.findings_report import record_findings, show_findings

    with open_experiment("evaluate", config, entry_point="evaluate", seed=config.seed) as record:
        if isinstance(record, SilentRun):
            return
        model = tsfm.load_forecaster(config.model)
        found = {name: analyse(name, model, config) for name in config.analyses}
        record_findings(record, found)
    show_findings(record, found)


def analyse(name: str, model: Forecaster, config: EvaluateConfig) -> Findings:
    """One analysis by name."""
    if name == "forgetting":
        return forgetting(model, config)
    if name == "context":
        return context_length(model, config)
    panel = load_trajectories(config)
    if name == "embeddings":
        from tsfm.evaluation.embeddings import analyse_embeddings

        options = {"context": config.context, "seed": config.seed}
        return analyse_embeddings(model, panel, config.embeddings, **options)
    if name == "tokens":
        from tsfm.evaluation.token_errors import analyse_tokens

        return analyse_tokens(model, panel, config.tokens, context=config.context, seed=config.seed)
    from tsfm.evaluation.koopman import analyse_koopman

    return analyse_koopman(model, panel, config.koopman, context=config.context)


def forgetting(model: Forecaster, config: EvaluateConfig) -> Findings:
    """On ordinary series, beside what the model was before."""
    import tsfm
    from tsfm.data.ordinary import ordinary_panels
    from tsfm.data.panel import Panel
    from tsfm.evaluation.retention import analyse_retention

    base = tsfm.load_forecaster(config.base)
    panels = (Panel.open(config.data),) if config.data else ordinary_panels()
    return analyse_retention(model, base, panels, config.forgetting, seed=config.seed)


def context_length(model: Forecaster, config: EvaluateConfig) -> Findings:
    """Beside context parroting, and the equations integrated at several precisions."""
    from tsfm.data.ohlcv.progress_bar import progress_bar
    from tsfm.evaluation.precision import analyse_precision
    from tsfm.models import model_class

    models = {model.name: model, "parroting": model_class("parroting")()}
    with progress_bar("integrating", "systems") as show:
        return analyse_precision(
            models, config.simulated, config.precision, horizon=config.horizon, progress=show
        )


def load_trajectories(config: EvaluateConfig) -> Panel:
    """The ensemble, simulated unless the cache has it, or the user's own trajectories."""
    from tsfm.data.dynamics.corpus import opened, simulated
    from tsfm.data.ohlcv.progress_bar import progress_bar

    if config.data:
        return opened(Path(config.data))
    with progress_bar("simulating", "systems") as show:
        return simulated(config.simulated, progress=show)[0]


if __name__ == "__main__":
    run(
        "evaluate",
        EvaluateConfig,
        PARAMETERS,
        main,
        title="Rank models on task suites, or look into one.",
    )
