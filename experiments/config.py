"""The entry points' configs: what each may be told, checked before anything heavy loads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, is_dataclass, replace
from importlib import import_module
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.cohort_config import CohortConfig
from tsfm.data.glucose.holdout_config import HoldOutConfig
from tsfm.data.ohlcv.builder_config import BuilderConfig
from tsfm.data.ohlcv.cleaning_config import CleaningConfig
from tsfm.data.ohlcv.ingest_config import IngestConfig
from tsfm.data.sources import SourceConfig
from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.config import EvaluationConfig
from tsfm.tracking.registry import check_name
from tsfm.training.config import TrainerConfig
from tsfm.training.tensorboard import expect_tensorboard

MODEL_CONFIGS: dict[str, str] = {
    "moirai": "tsfm.models.moirai_config:MoiraiConfig",
    "ttm": "tsfm.models.ttm_config:TinyTimeMixerConfig",
    "patchtst": "tsfm.models.patchtst_config:PatchTSTConfig",
    "patchtst_hf": "tsfm.models.patchtst_hf_config:HfPatchTSTConfig",
}


def writable(schema: type) -> Any:
    """A schema's tree; frozen dataclasses give read-only ones, which could not be filled."""
    tree = OmegaConf.structured(schema)
    _unlock(tree)
    return tree


def _unlock(node: Any) -> None:
    OmegaConf.set_readonly(node, None)
    for key in node:
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and not child._is_none():
            _unlock(child)


def check_common(context: int, horizon: int, seed: int, register_as: str) -> None:
    """What every experiment's config must satisfy: positive lengths, a name that can be given."""
    if seed < 0:
        raise ConfigError(f"seed={seed} is negative", remedy="give 0 or more")
    if register_as:
        check_name(register_as)
    if context < 1 or horizon < 1:
        raise ConfigError(
            f"context={context}, horizon={horizon}", remedy="give whole numbers of bars, at least 1"
        )


def model_config(tree: Any) -> Any:
    """The typed config of ``model.name`` from a node of plain values.

    Raises
    ------
    ConfigError
        When the name is unknown, a field does not exist, or a value is not allowed.
    """
    if is_dataclass(tree):
        return tree
    plain = OmegaConf.to_container(tree) if OmegaConf.is_config(tree) else tree
    values: dict[Any, Any] = dict(cast(Any, plain) or {})
    name = values.pop("name", None)
    one_of("model", name, MODEL_CONFIGS)
    module, _, attribute = MODEL_CONFIGS[str(name)].partition(":")
    schema = writable(getattr(import_module(module), attribute))
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, values))
    except OmegaConfBaseException as error:
        key = f".{error.full_key}" if error.full_key else ""
        raise ConfigError(
            f"model{key}: {str(error).splitlines()[0]}",
            remedy=f"the fields of {name} are {', '.join(map(str, schema))}",
        ) from error


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every experiment that trains may be told.

    Attributes
    ----------
    context, horizon
        Bars seen and bars forecast when judged; training windows are as long as both together.
    register_as
        Name in the model registry; empty registers nothing.
    resume
        Id of an interrupted run to go on with.
    tensorboard
        Also write TensorBoard event files.
    """

    context: int = 336
    horizon: int = 48
    seed: int = 0
    register_as: str = ""
    resume: str = ""
    tensorboard: bool = False
    model: Any = None
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        check_common(self.context, self.horizon, self.seed, self.register_as)
        if self.tensorboard:
            expect_tensorboard()
        object.__setattr__(self, "model", model_config(self.model))


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(TrainingConfig):
    """Training and judging on bars."""

    data: SourceConfig = field(default_factory=SourceConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(ExperimentConfig):
    """Experiment 1."""

    register_as: str = "ohlcv"


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How a table is read: the fields of :class:`tsfm.data.csv.TableConfig` that users change."""

    layout: str = "long"
    name: str = ""
    date_offset: str = ""
    normalize: bool = False
    min_length: int = 1
    allow_constant: bool = False
    seasonality: int = 1

    def __post_init__(self) -> None:
        one_of("layout", self.layout, ("wide", "wide_multivariate", "long"))


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """The rarer fields of :class:`tsfm.data.ohlcv.ingest_config.IngestConfig`."""

    symbol: str = ""
    date_format: str = ""
    delimiter: str = ""
    batch_rows: int = 1_000_000


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The rarer fields of :class:`tsfm.data.ohlcv.builder_config.BuilderConfig`."""

    name: str = ""
    symbols: tuple[str, ...] = ()
    assets_per_batch: int = 10
    min_bars: int = 64
    train_until: str = ""
    train_share: float = 0.6
    fit_assets: int = 20
    workers: int = 0
    cache_bytes: int = 2 << 30
    keep_unfinished: bool = False
    overwrite: bool = False


ACTIONS = {
    "table": ("build", "check"),
    "sample": ("build", "check"),
    "simulated": ("build", "check"),
    "ohlcv": ("ingest", "check", "build"),
    "dynamics": ("build", "check"),
    "glucose": ("build", "check"),
}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Building and checking panels, and filling lakes.

    Attributes
    ----------
    dataset
        ``table``: the CSV or Parquet file ``source``; ``sample`` and ``simulated``: bars;
        ``ohlcv``: a lake of bars; ``dynamics``: an ensemble of dynamical systems, simulated, or
        read from the folders of Arrow files in ``source``; ``glucose``: readings of a sensor, the
        file, folder or named data set ``source``, or ``virtual``: a cohort.
    lake
        Directory of a lake.
    asset_class, freq
        Of the bars ingested, or of those checked and built; ``freq`` of a table, too.
    timezone, columns
        Of the files ingested: of dates without an offset, and ``ts:Date,open:Open,…``.
    features
        Of a lake's panel: ``default``, ``none`` or a YAML file.
    splits
        A lake's table of splits.
    strict
        Refuse what would be skipped or repaired.
    arrow_files
        Write an ensemble as folders of Arrow files, too.
    cgm, cohort
        How readings are read and repaired; how a cohort lives.
    holdout
        Who and what of readings nothing is trained on.
    """

    dataset: str = "table"
    action: str = "build"
    source: str = ""
    lake: str = ""
    asset_class: str = ""
    freq: str = ""
    out: str = ""
    features: str = "default"
    timezone: str = ""
    columns: str = ""
    splits: str = ""
    strict: bool = False
    seed: int = 0
    table: TableOptions = field(default_factory=TableOptions)
    ingest: IngestOptions = field(default_factory=IngestOptions)
    build: BuildOptions = field(default_factory=BuildOptions)
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    dynamics: EnsembleConfig = field(default_factory=EnsembleConfig)
    cgm: CgmConfig = field(default_factory=CgmConfig)
    cohort: CohortConfig = field(default_factory=CohortConfig)
    holdout: HoldOutConfig = field(default_factory=HoldOutConfig)
    arrow_files: bool = True

    def __post_init__(self) -> None:
        one_of("dataset", self.dataset, ACTIONS)
        one_of(f"dataset={self.dataset}, action", self.action, ACTIONS[self.dataset])
        needed = {
            "source": self.action == "ingest"
            or self.dataset in ("table", "glucose")
            or (self.dataset != "ohlcv" and self.action == "check"),
            "lake": self.dataset == "ohlcv",
            "asset_class": self.action == "ingest",
            "freq": self.action == "ingest",
            "out": self.dataset == "ohlcv" and self.action == "build",
        }
        for name, is_needed in needed.items():
            if is_needed and not getattr(self, name):
                raise ConfigError(f"{name} is empty", remedy=f"give {name}={MEANINGS[name]}")
        if self.dataset == "ohlcv":
            self.ingest_config() if self.action == "ingest" else self.builder_config()
        if self.dataset == "glucose":
            self.cgm_config()

    def ingest_config(self) -> IngestConfig:
        """How files come into the lake.

        Raises
        ------
        UserError
            When a column, a time zone or a name is not allowed.
        """
        return IngestConfig.from_text(
            columns=self.columns,
            asset_class=self.asset_class,
            freq=self.freq,
            timezone=self.timezone,
            strict=self.strict,
            **asdict(self.ingest),
        )

    def cgm_config(self) -> CgmConfig:
        """How readings are read.

        Raises
        ------
        ConfigError
            When ``columns`` are not pairs.
        """
        return self.cgm.with_text(columns=self.columns, timezone=self.timezone, strict=self.strict)

    def cleaning_config(self) -> CleaningConfig:
        """How the lake's bars are repaired."""
        return replace(self.cleaning, strict=self.strict or self.cleaning.strict)

    def ensemble_config(self) -> EnsembleConfig:
        """What an ensemble is made of."""
        return replace(self.dynamics, seed=self.dynamics.seed or self.seed)

    def builder_config(self) -> BuilderConfig:
        """How the lake becomes a panel.

        Raises
        ------
        ConfigError
            When a value is not allowed.
        """
        return BuilderConfig(
            asset_class=self.asset_class,
            freq=self.freq,
            features=self.features,
            splits=self.splits,
            cleaning=self.cleaning_config(),
            seed=self.seed,
            **asdict(self.build),
        )


MEANINGS = {
    "source": "the file, directory or panel to read",
    "lake": "the directory of the lake",
    "asset_class": "equity, crypto or another name for such instruments",
    "freq": "1h, 1d or another frequency of the bars",
    "out": "the directory of the panel to be",
}


Experiment = TypeVar("Experiment", bound=TrainingConfig)


def model_name(config: Any) -> str:
    """The name under which a typed model config is known."""
    kind = type(config).__name__
    (name,) = (name for name, path in MODEL_CONFIGS.items() if path.endswith(f":{kind}"))
    return name


def described(config: Experiment) -> dict[str, Any]:
    """Plain values that :func:`resumed` makes the same config of."""
    values = asdict(config)
    return values | {"model": {"name": model_name(config.model), **values["model"]}}


def resumed(config: Experiment) -> Experiment:
    """The config of the run that ``config.resume`` names, since it goes on as it began.

    Raises
    ------
    TrackingError
        When the run or its config is not there.
    ConfigError
        When its config cannot be read.
    """
    if not config.resume:
        return config
    return stored_config(type(config), config.resume, resume=config.resume)


Stored = TypeVar("Stored")


def stored_config(schema: type[Stored], run_id: str, **changes: Any) -> Stored:
    """The config that a run recorded, with some fields changed.

    Raises
    ------
    TrackingError
        When the run or its config is not there.
    ConfigError
        When its config cannot be read.
    """
    from tsfm.tracking.experiment import stored_file

    path = stored_file(run_id, "config.yaml")
    try:
        tree = OmegaConf.merge(writable(schema), OmegaConf.load(path), changes)
        found = OmegaConf.to_object(tree)
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(
            f"the config of run {run_id} cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            remedy="start a new run",
        ) from error
    assert isinstance(found, schema)
    return found
