"""A study over any experiment: Optuna proposes, workers train, MLflow remembers, the best is kept.

mlflow run . -e sweep -P experiment=pretrain
mlflow run . -e sweep -P experiment=finetune -P trials=40 -P workers=2
mlflow run . -e sweep -P experiment=dynamics -P storage=postgresql://… -P study=mixing -P join=true
mlflow run . -e sweep -P experiment=pretrain -P sampler=gp -P pruner=asha -P fixed="max_steps=600"
mlflow run . -e sweep -P experiment=rehearsal -P trials=50

The same command goes on with a study that was interrupted, however it was.
"""

from __future__ import annotations

from dataclasses import asdict

from experiments.cli import Parameter, run
from experiments.sweep_config import SweepConfig

PARAMETERS = {
    "experiment": Parameter("experiment", "pretrain, finetune, dynamics, or rehearsal (no cost)"),
    "space": Parameter("space", "YAML file of the search space; empty: sweeps/<experiment>.yaml"),
    "trials": Parameter("trials", "trials of the study"),
    "workers": Parameter("workers", "processes, each with its share of the cores"),
    "storage": Parameter("storage", "sqlite, postgresql or mysql address; empty: ./sweeps.db"),
    "study": Parameter("study", "its name: one that is there is gone on with"),
    "sampler": Parameter("sampler", "tpe, gp, cmaes, random, grid, nsga2; empty: the space's"),
    "pruner": Parameter("pruner", "asha, hyperband, median, wilcoxon, none; empty: the space's"),
    "warm_start": Parameter("warm_start", "name of a study that a new one learns from"),
    "join": Parameter("join", "work beside others on the study: true or false"),
    "launcher": Parameter("launcher", "local, slurm or ray"),
    "threads": Parameter("threads", "of a worker; 0: its share of the cores"),
    "fixed": Parameter("fixed", "the experiment's parameters for all trials: 'max_steps=600 …'"),
    "seed": Parameter("seed", "of the sampler"),
    "register_as": Parameter("register_as", "best model's name; empty: the experiment's; none"),
}


def main(config: SweepConfig) -> None:
    space = config.search_space()

    from sweeps.study import Plan
    from sweeps.subject import Subject

    subject = Subject(config.experiment)
    base = subject.base({})
    subject.check(space, base)
    base = subject.base(space.fixed)
    register_as = {"none": "", "": base.get("register_as", "")}
    plan = Plan(
        experiment=config.experiment,
        space=space,
        trials=config.trials,
        seed=config.seed,
        register_as=register_as.get(config.register_as, config.register_as),
        max_retries=config.max_retries,
    )

    from sweeps.launcher import launcher_of
    from sweeps.opening import check_feasible, check_objectives, open_study
    from sweeps.storage import SweepStorage, address, expect_reachable
    from tsfm.tracking import store

    check_objectives(plan)
    check_feasible(plan, base)
    uri = address(config.storage)
    expect_reachable(uri)
    launcher_of(config.launcher, config.cluster).check(uri, store.connect())
    storage = SweepStorage(uri, heartbeat=config.heartbeat, grace=config.grace)
    study = open_study(storage, config.name, plan, warm_start=config.warm_start)

    from sweeps.leading import Crew, lead

    crew = Crew(
        launcher=config.launcher,
        workers=config.workers,
        threads=config.threads,
        join=config.join,
        cluster=config.cluster,
    )
    lead(study, crew, asdict(config))


if __name__ == "__main__":
    run("sweep", SweepConfig, PARAMETERS, main, title="Search the parameters of an experiment.")
