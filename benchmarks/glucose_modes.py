"""Ways to fine-tune on glucose, side by side: what each trains, costs and gains.

    python benchmarks/glucose_modes.py data=my_cgm
    python benchmarks/glucose_modes.py data=my_cgm base_model=ttm-base max_steps=600 lr=1e-3,3e-4

Takes the parameters of ``-e finetune`` but for ``mode`` and ``lora_rank``. Every way starts from
the same base model, sees the same windows of the same people and answers the same questions, about
people never seen and later days of those seen; of several learning rates each takes the one of the
least validation loss, whose cost is told. Prints trainable parameters, seconds, peak memory (each
way is a process of its own) and RMSE in mg/dL with gains over persistence and the zero-shot base
(95 % intervals, bootstrapped over patients), and writes them to ``--out FOLDER`` as CSV.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from experiments import finetune
from experiments.cli import compose_config
from experiments.finetune_config import FinetuneConfig
from tsfm.evaluation.leaderboard import skill_text, to_markdown

WAYS = {
    "zero_shot": ("zero_shot", 8),
    "linear_probe": ("linear_probe", 8),
    "lora r=4": ("lora", 4),
    "lora r=8": ("lora", 8),
    "lora r=16": ("lora", 16),
    "full": ("full", 8),
}
BASELINES = ("random_walk", "linear_extrapolation", "auto_ets", "theta")


def main() -> None:
    words = [word for word in sys.argv[1:] if "=" in word]
    out = Path(sys.argv[sys.argv.index("--out") + 1]) if "--out" in sys.argv else None
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    context = multiprocessing.get_context("spawn")
    rows, scores = [], []
    with tempfile.TemporaryDirectory() as folder:
        for way in ("baselines", *WAYS):
            with context.Pool(1) as pool:
                cost, frame = pool.apply(measured, (words, way, str(Path(folder) / way)))
            scores.append(frame)
            rows += [cost] if cost else []
            print(f"{way}: {cost or 'judged'}", file=sys.stderr, flush=True)
    costs, errors = pd.DataFrame(rows), errors_of(pd.concat(scores, ignore_index=True))
    gains = gains_of(pd.concat(scores, ignore_index=True))
    for title, table in {"cost": costs, "errors": errors, "gains": gains}.items():
        print(f"\n### {title}\n\n{to_markdown(table)}")
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            table.to_csv(out / f"{title}.csv", index=False)


def measured(words: list[str], way: str, directory: str) -> tuple[dict[str, object], pd.DataFrame]:
    """What one way costs, and its scores."""
    from tsfm.evaluation.backtest import backtest
    from tsfm.evaluation.clinical import concat_clinical, score_clinical
    from tsfm.models import model_class
    from tsfm.tracking.experiment import SilentRun

    rates, words = rates_of(words)
    config = compose_config("finetune", FinetuneConfig, finetune.PARAMETERS, words)
    base = finetune.find_base(config)
    source = finetune.load_data(config, base)
    held_out, _ = finetune.divide(source, config, base)
    tasks = [task for division in held_out for task in division.tasks]
    if way == "baselines":
        models, cost = {name: model_class(name)() for name in BASELINES}, {}
    else:
        mode, rank = WAYS[way]
        adaptation = replace(config.adaptation, mode=mode, lora_rank=rank, lora_alpha=2.0 * rank)
        quiet = replace(config.trainer, progress=False)
        tried = {}
        for rate in rates if mode != "zero_shot" else rates[:1]:
            recipe = replace(config.recipe, lr=rate)
            tuned = replace(config, adaptation=adaptation, trainer=quiet, recipe=recipe)
            start = finetune.load_base(tuned, base, source.panels[0])
            output = SilentRun(Path(directory) / str(rate))
            tried[rate] = finetune.train(start, held_out, tuned, output)
        rate = min(tried, key=lambda rate: tried[rate].result.validation_loss or 0.0)
        trained = tried[rate]
        models = {way: trained.result.model}
        cost = {
            "way": way,
            "trainable": trained.adapted.trainable,
            "of": trained.adapted.parameters,
            "lr": rate if mode != "zero_shot" else None,
            "validation": {rate: one.result.validation_loss for rate, one in tried.items()},
            "steps": trained.result.steps,
            "best step": trained.result.best_step,
            "seconds": round(trained.result.train_seconds, 1),
            "peak MiB": round(trained.result.peak_memory / 2**20),
        }
    frames = [
        score_clinical(backtest(model, task, panel, name=name), config.clinical)
        for name, model in models.items()
        for task, panel in tasks
    ]
    return cost, concat_clinical(frames).astype({"model": str, "task": str, "metric": str})


def rates_of(words: list[str]) -> tuple[list[float | None], list[str]]:
    """The learning rates among the words (None: the recipe's own), and the other words."""
    rest = [word for word in words if not word.startswith("lr=")]
    given = [word.removeprefix("lr=") for word in words if word.startswith("lr=")]
    return [float(rate) for rate in given[-1].split(",")] if given else [None], rest


def errors_of(scores: pd.DataFrame) -> pd.DataFrame:
    """RMSE of every forecaster by question and time, with its interval."""
    from tsfm.evaluation.clinical import POOLED, clinical_table

    table = clinical_table(scores)
    part = table[(table["metric"] == "rmse") & (table["aggregation"] == POOLED)]
    cell = [
        f"{value:.1f} ({low:.1f}–{high:.1f})"
        for value, low, high in part[["value", "low", "high"]].to_numpy(float)
    ]
    at = part["minutes"].map(lambda minutes: f"{minutes} min" if minutes else "horizon")
    wide = part.assign(cell=cell, at=at).pivot_table(
        index=["task", "model"], columns="at", values="cell", aggfunc="first", sort=False
    )
    return wide.reset_index().rename_axis(columns=None)


def gains_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Skill of every way over persistence and the zero-shot base."""
    from tsfm.evaluation.clinical import clinical_gains

    frames = []
    for way in WAYS:
        gains = clinical_gains(scores, way, metrics=("rmse",))
        chosen = gains[gains["baseline"].isin(("random_walk", "zero_shot"))]
        told = [skill_text(*row) for row in chosen[["skill", "low", "high"]].to_numpy(float)]
        at = chosen["minutes"].map(lambda minutes: f"{minutes} min" if minutes else "horizon")
        frames.append(chosen.assign(gain=told, at=at, way=way))
    table = pd.concat(frames, ignore_index=True)
    wide = table.pivot_table(
        index=["task", "baseline", "way"], columns="at", values="gain", aggfunc="first", sort=False
    )
    return wide.reset_index().rename_axis(columns=None)


if __name__ == "__main__":
    main()
