"""A user's own table in, a model's quantile forecasts and plots out, beside baselines.

mlflow run . -e forecast -P data=sales.csv -P horizon=28 -P out=forecasts.csv
mlflow run . -e forecast -P model=ohlcv -P data=bars.parquet -P horizon=48 -P conformal=true
mlflow run . -e forecast -P model=models:/glucose/2 -P data=readings.csv -P horizon=12
mlflow run . -e forecast -P model=ttm-base -P data=wide.csv -P layout=wide -P targets=north,south
mlflow run . -e forecast -P data=shops.csv -P targets=sales -P known_covariates=price,holiday \
    -P past_covariates=visits
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from experiments.cli import Parameter, run
from experiments.forecast_config import ForecastConfig
from experiments.forecast_table import Asked, read
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.evaluation.backtest import Backtest
    from tsfm.evaluation.conformal import Correction
    from tsfm.evaluation.judge import Verdict
    from tsfm.evaluation.tasks import Task
    from tsfm.models.base import Forecast, Forecaster
    from tsfm.tracking.chosen_model import ChosenModel

PARAMETERS = {
    "model": Parameter("model", "registered name (its champion), models:/…, directory, hub id"),
    "data": Parameter("data", "CSV or Parquet file, long or wide; sample: the bars that ship"),
    "horizon": Parameter("horizon", "bars to forecast"),
    "out": Parameter("out", ".csv or .parquet file to write; empty: under outputs/"),
    "layout": Parameter("layout", "of the table: auto, long, wide, wide_multivariate"),
    "targets": Parameter("targets", "columns to forecast as they are; empty: the model's own"),
    "past_covariates": Parameter("past_covariates", "columns seen up to the last target"),
    "known_covariates": Parameter("known_covariates", "columns also given over the horizon"),
    "future": Parameter("future", "CSV or Parquet file of later rows; empty: they are in data"),
    "freq": Parameter("freq", "of such columns: a pandas alias or irregular; empty: inferred"),
    "windows": Parameter("windows", "last windows of each series to compare on; 0: none"),
    "conformal": Parameter("conformal", "correct quantiles on those windows: true or false"),
    "baselines": Parameter("baselines", "compared with, separated by commas"),
    "plots": Parameter("plots", "series drawn at most"),
    "seed": Parameter("seed", "of what the model draws"),
}


def main(config: ForecastConfig) -> None:
    from tsfm.data.ohlcv.progress_bar import progress_bar
    from tsfm.evaluation.outlook import forecast_panel
    from tsfm.tracking.chosen_model import choose
    from tsfm.tracking.experiment import SilentRun, open_experiment, output_directory
    from tsfm.tracking.forecast_report import (
        Outlook,
        draw,
        link_model,
        record_outlook,
        show_outlook,
        write_table,
    )
    from tsfm.tracking.report import record_verdict

    chosen = choose(config.model)
    config = replace(config, model=chosen.uri)
    asked = read(config, chosen)
    model = chosen.load()
    notices = [chosen.notice, *asked.notices, *check(model, asked, config)]
    with open_experiment("forecast", config, entry_point="forecast", seed=config.seed) as record:
        if isinstance(record, SilentRun):
            return
        record.log_panel(asked.panel, "forecast")
        record.set_tags({"tsfm.data_sha256": asked.sha256})
        link_model(record, chosen)
        trial = attempt(model, chosen, asked.past, config)
        with progress_bar("forecasting", "series") as show:
            forecast = forecast_panel(
                model, asked.panel, config.horizon, config.levels, origins=asked.origins,
                preparation=asked.preparation, seed=config.seed, progress=show,
            )  # fmt: skip
        if trial.correction is not None:
            forecast = correct(forecast, asked.past, trial)
        frame = asked.restored(forecast.to_frame())
        outlook = Outlook(
            frame=frame,
            verdict=trial.verdict,
            notices=tuple(filter(None, (*notices, *trial.notices))),
        )
        folder = output_directory(record)
        table = write_table(frame, Path(config.out) if config.out else folder / "forecasts.csv")
        pictures = draw(
            asked.past, frame, asked.preparation, folder / "plots",
            most=config.plots, title=f"{config.horizon} bars by {trial.name}",
        )  # fmt: skip
        if trial.verdict is not None and trial.task is not None:
            record_verdict(record, trial.verdict, [trial.task], metric="crps")
        record_outlook(record, outlook, table, pictures)
    show_outlook(record, outlook, table, pictures, trial.name)


# --- at the door ----------------------------------------------------------------------------------


def check(model: Forecaster, asked: Asked, config: ForecastConfig) -> list[str]:
    """What the model should be asked with care; what it cannot be asked at all is refused."""
    from tsfm.data.future_rows import expect_known, left_out
    from tsfm.evaluation.outlook import expect_long_enough, seen_by

    info = asked.panel.info
    expect_long_enough(asked.panel, config.min_bars or max(config.horizon, info.seasonality + 1))
    if (config.past or config.known) and not model.sees_covariates:
        raise blind(config)
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            model.expect_able(
                variates=len(info.variates),
                context=seen_by(model) or int(asked.past.lengths.max()),
                horizon=config.horizon,
                past=len(info.past_covariates),
                known=len(info.known_covariates),
            )
    except ConfigError as error:
        raise ConfigError(
            error.what, where=f"horizon={config.horizon}, model {config.model}", remedy=error.remedy
        ) from error
    if asked.preparation is None or asked.preparation.known_columns:
        expect_known(asked.panel, asked.origins, config.horizon)
    notices = [str(one.message) for one in found]
    notices.append(left_out(asked.panel, asked.origins, config.horizon))
    made_for = (model.info().get("config") or {}).get("horizon")
    if made_for and config.horizon > int(made_for):
        notices.append(
            f"the model was made for {made_for} bars ahead; beyond, it is less to be trusted"
        )
    return notices


def blind(config: ForecastConfig) -> ConfigError:
    """That the model would forecast the same whatever the covariates are."""
    given = {"known_covariates": config.known, "past_covariates": config.past}
    named = " and ".join(f"{name}={','.join(names)}" for name, names in given.items() if names)
    return ConfigError(
        f"the model looks at no covariates: {named} would change nothing",
        where=f"model {config.model}",
        remedy="leave them out, or give a model that does: a MOIRAI (`mlflow run . -e pretrain` "
        "makes one), a TinyTimeMixer fine-tuned with these columns, a foreign one that claims "
        "them; no baseline, Chronos, TimesFM or PatchTST does",
    )


# --- how well that went before --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The model on the last windows of the user's own series."""

    name: str
    verdict: Verdict | None = None
    task: tuple[Task, Panel] | None = None
    correction: Correction | None = None
    notices: tuple[str, ...] = ()


def attempt(model: Forecaster, chosen: ChosenModel, panel: Panel, config: ForecastConfig) -> Trial:
    """Forecast the last windows of every series by the model and the baselines, and compare."""
    from tsfm.evaluation.conformal import SUFFIX, learnt, rolling
    from tsfm.evaluation.outlook import recent_task, seen_by

    name = chosen.name
    if not config.windows:
        return Trial(name=name)
    context = seen_by(model) or 1
    try:
        task, view = recent_task(
            panel, horizon=config.horizon, windows=config.windows, context=context,
            history=max(context, config.history), items=config.items, levels=config.levels,
        )  # fmt: skip
    except DataError as error:
        if config.conformal:
            raise
        return Trial(name=name, notices=(f"not compared with baselines: {error}",))
    notices = seen_before(chosen, task, view)
    if task.context < context:
        notices += (
            f"the comparison sees {task.context} bars of context, the model up to {context}",
        )
    if len(view) < len(panel):
        notices += (f"compared on {len(view)} of {len(panel)} series",)
    results = answered(model, name, task, view, config)
    correction = None
    if config.conformal:
        correction = learnt(results[0], jointly=config.jointly)
        results.insert(0, rolling(results[0], jointly=config.jointly))
        name += SUFFIX
        notices += (
            f"quantiles corrected by {correction.windows} windows; the table has only windows "
            "that enough others came before",
        )
    verdict = compared(results, chosen.name) or compared(results[1:], chosen.name)
    return Trial(
        name=name, verdict=verdict, task=(task, view), correction=correction, notices=notices
    )


def answered(
    model: Forecaster, name: str, task: Task, view: Panel, config: ForecastConfig
) -> list[Backtest]:
    """The model's answers, then the baselines'."""
    from tsfm.data.ohlcv.progress_bar import progress_bar
    from tsfm.evaluation.backtest import backtest
    from tsfm.models import model_class

    names = list(dict.fromkeys((name, *config.baselines)))
    found = []
    with progress_bar("comparing", "forecasters") as show:
        for done, other in enumerate(names):
            show(done, len(names), other)
            one = model if done == 0 else model_class(other)()
            found.append(backtest(one, task, view, name=other))
    return found


def compared(results: list[Backtest], model: str) -> Verdict | None:
    """The first one's verdict, on windows that it scored; ``model`` uncorrected is no baseline."""
    from tsfm.evaluation.judge import Verdict
    from tsfm.evaluation.leaderboard import compare, leaderboard
    from tsfm.evaluation.metrics import concat_scores, score

    if not results:
        return None
    own = results[0].model
    tables = [score(result) for result in results]
    asked = tables[0][["item_id", "origin"]].drop_duplicates()
    if asked.empty or len(results) == 1:
        return None
    keys = set(zip(asked["item_id"].astype(str), asked["origin"], strict=True))
    scores = concat_scores(
        [
            table[
                [k in keys for k in zip(table["item_id"].astype(str), table["origin"], strict=True)]
            ]
            for table in tables
        ]
    )
    rivals = scores[(scores["model"] != model) | (scores["model"] == own)]
    return Verdict(
        model=own,
        scores=scores,
        leaderboard=leaderboard(scores),
        comparison=compare(rivals, own, "crps"),
        backtests={results[0].task.name: results},
    )


def seen_before(chosen: ChosenModel, task: Task, view: Panel) -> tuple[str, ...]:
    """Whether the model was trained on some of the bars that it is compared on."""
    from tsfm.data.overlap import overlap

    provenance = chosen.provenance()
    if provenance is None:
        return ()
    found = overlap(provenance, view, task.context)
    if not found:
        return ()
    return (f"the model was trained on some of these bars, so it looks better than it is: {found}",)


def correct(forecast: Forecast, panel: Panel, trial: Trial) -> Forecast:
    """The forecast with conformal quantiles."""
    from tsfm.evaluation.outlook import corrected, last_scales

    task, _ = cast("tuple[Task, Panel]", trial.task)
    assert trial.correction is not None
    scale = last_scales(panel, task.history)
    return corrected(forecast, trial.correction(forecast.quantiles, scale))


if __name__ == "__main__":
    run("forecast", ForecastConfig, PARAMETERS, main, title="Forecast a table of your own.")
