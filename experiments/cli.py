"""The door of every entry point: ``key=value`` words in, a validated config out, errors told well.

Nothing heavy is imported before the config is known to be good.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from dotenv import load_dotenv
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config import MODEL_CONFIGS, writable
from tsfm.data.locations import VARIABLES, find
from tsfm.data.sources import NAMED
from tsfm.errors import ConfigError, UserError, one_of

CONF = Path(__file__).parent / "conf"
FREE = ("model.", "load.")
"""Parts of a config whose fields are a model's own, known once it is."""

UNWRITABLE = {
    errno.ENOSPC: "Free disk space, then resume the run",
    errno.EDQUOT: "Free disk space within your quota, then resume the run",
    errno.EFBIG: "Raise the limit on file sizes, then resume the run",
    errno.EROFS: "Make the disk writable, or work in another directory",
    errno.EACCES: "Make it accessible to this user, or work in another directory",
    errno.EPERM: "Make it accessible to this user, or work in another directory",
    errno.ENOTDIR: "Move the file that is in the way",
    errno.EEXIST: "Move the file that is in the way",
}

Config = TypeVar("Config")


@dataclass(frozen=True)
class Parameter:
    """One of the few settings that users change by name.

    Attributes
    ----------
    key
        Where it lives in the config; ``@data`` and ``@model`` choose a file of that group.
    """

    key: str
    help: str


def compose_config(
    name: str, schema: type[Config], parameters: Mapping[str, Parameter], words: Sequence[str]
) -> Config:
    """Build and check the config of an entry point.

    Parameters
    ----------
    name
        A file of ``experiments/conf``.
    words
        ``parameter=value``, and ``overrides="group.key=value …"`` for everything else;
        ``model.preset`` stands for the fields of a size by name, beneath what else is given.

    Raises
    ------
    ConfigError
        When a parameter is unknown, or a value has the wrong type or is not allowed.
    """
    given = _read_words(words, parameters)
    try:
        rest = shlex.split(given.pop("overrides", ""))
    except ValueError as error:
        raise ConfigError(f"overrides: {error}", remedy="close the quotation marks") from error
    groups: list[str] = []
    values: dict[str, str] = {}
    keys = {parameter: parameters[parameter].key for parameter in given}
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"overrides has {word!r}", remedy="write group.key=value")
        keys[key], given[key] = (f"@{key}" if (CONF / key).is_dir() else key), value
    for name_given, key in keys.items():
        value = given[name_given]
        if not key.startswith("@"):
            values[key] = value
        elif (CONF / key[1:] / f"{value}.yaml").exists():
            groups.append(f"{key[1:]}={value}")
        else:
            values[f"{key[1:]}.path"] = _located(key[1:], name_given, value)
            groups.append(f"{key[1:]}=path")
    composed = _compose(name, groups)
    values = _of_the_model(
        name, composed, values, {keys[word] for word in parameters if word in keys}
    )
    try:
        tree = OmegaConf.merge(writable(schema), composed)
        for key, value in _sized(values, OmegaConf.select(composed, "model.name")).items():
            OmegaConf.update(tree, key, _typed(tree, key, value), force_add=key.startswith(FREE))
        config = OmegaConf.to_object(tree)
    except OmegaConfBaseException as error:
        raise ConfigError(_told(error), remedy="see --help for the parameters") from error
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, UserError) else ConfigError(str(error)) from error
    assert isinstance(config, schema)
    return config


def run(
    name: str,
    schema: type[Config],
    parameters: Mapping[str, Parameter],
    main: Callable[[Config], None],
    *,
    title: str,
) -> None:
    """Run an entry point as a command.

    Exits with 0, with 2 after a :class:`UserError` or a disk that cannot be written to (one line on
    stderr), with 130 after Ctrl-C.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(_help(name, title, parameters))
        return
    load_dotenv(Path.cwd() / ".env")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve a busy machine
    try:
        main(compose_config(name, schema, parameters, words))
    except UserError as error:
        print("error:", re.sub(r"\s*\n\s*", " ", str(error)), file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        told = f"{error.strerror} [{error.filename or Path.cwd()}]"
        print(f"error: {told}. {UNWRITABLE[error.errno]}.", file=sys.stderr)
        sys.exit(UserError.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _read_words(words: Sequence[str], parameters: Mapping[str, Parameter]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not of the form parameter=value")
        if key not in parameters and key != "overrides":
            raise ConfigError(
                f"there is no parameter {key!r}",
                remedy=f"the parameters are {', '.join(parameters)},"
                " and overrides='group.key=value' for the rest",
            )
        given[key] = value
    return given


def _located(group: str, parameter: str, value: str) -> str:
    """What a value means that names no file of its group: ``data`` may be a path, or several."""
    files = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    names = ", ".join(name for name in files if name != "path")
    if group != "data":
        raise ConfigError(f"{parameter}={value!r} is not known", remedy=f"choose one of: {names}")
    whole = find(value)
    words = [value] if whole else [word.strip() for word in value.split(",") if word.strip()]
    parts = [_part(word, several=len(words) > 1) for word in words]
    if not parts or None in parts:
        unknown = words[parts.index(None)] if parts else value
        raise ConfigError(
            f"data={unknown!r} is neither a known source nor a path that exists",
            remedy=f"choose one of {names}, or give a lake, panel, CSV or Parquet file"
            f" (also looked for in {', '.join(VARIABLES)}), or several separated by commas",
        )
    return ",".join(map(str, parts))


def _part(word: str, *, several: bool) -> str | Path | None:
    """One of several sources: a name, a data set's name with or without its folder, or a path."""
    from tsfm.data.glucose.loaders import LOADERS

    if several and word in NAMED:
        return word
    name, _, folder = word.partition(":")
    found = find(word)
    if name not in LOADERS or (found is not None and found.is_file()):
        return found
    return f"{name}:{folder or found or name}"


def _compose(name: str, groups: list[str]) -> DictConfig:
    return _composed(str(CONF), name, *groups)


@lru_cache(maxsize=64)
def _composed(folder: str, name: str, *groups: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(folder, version_base="1.3"):
        return compose(name, overrides=list(groups))


def _of_the_model(
    name: str, composed: DictConfig, values: dict[str, str], named: set[str]
) -> dict[str, str]:
    """The values, without defaults of the default model that another model has no field for.

    MLflow passes every parameter of an entry point, whether its user gave it or not.
    """
    foreign = {
        key for key in named & set(values)
        if key.startswith("model.") and OmegaConf.select(composed, key) is None
    }  # fmt: skip
    if not foreign:
        return values
    default = _compose(name, [])
    idle = {key for key in foreign if _is_default(default, key, values[key])}
    return {key: value for key, value in values.items() if key not in idle}


def _is_default(tree: DictConfig, key: str, value: str) -> bool:
    default, given = OmegaConf.select(tree, key), _typed(tree, key, value)
    if OmegaConf.is_list(default):
        return list(default) == given
    return default is not None and default == _number(str(given))


def _sized(values: dict[str, str], model: str | None) -> dict[str, str]:
    """The values, with the fields that ``model.preset`` stands for beneath them."""
    if "model.preset" not in values or model not in MODEL_CONFIGS:
        return values
    module = import_module(MODEL_CONFIGS[model].partition(":")[0])
    presets = getattr(module, "PRESETS", {})
    name = values["model.preset"]
    one_of("model.preset", name, presets)
    fields = {f"model.{field}": str(value) for field, value in presets[name].items()}
    return fields | {key: value for key, value in values.items() if key != "model.preset"}


def _typed(tree: Any, key: str, value: str) -> Any:
    """Lists are written with commas, nothing is what may be left open; the schema converts all
    else."""
    held = OmegaConf.select(tree, key)
    if value == "" and held is None:
        return None
    if key.startswith("load."):
        return OmegaConf.create({"value": _parsed(value)}).value
    if OmegaConf.is_list(held):
        items = [item for item in re.split(r"[,\s]+", value.strip("[]() ")) if item]
        return [_number(item) for item in items]
    return value


def _parsed(value: str) -> Any:
    """A value of a field whose type is not known yet."""
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _number(item: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(item)
        except ValueError:
            continue
    return item


def _told(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.partition(":")[2].strip() for line in lines if "full_key" in line), "")
    return f"{key}: {lines[0]}" if key else lines[0]


def _help(name: str, title: str, parameters: Mapping[str, Parameter]) -> str:
    defaults = _compose(name, [])
    width = max(map(len, parameters))
    lines = [title, "", f"mlflow run . -e {name} -P parameter=value …", ""]
    for parameter, meta in parameters.items():
        if meta.key.startswith("@"):
            chosen = OmegaConf.select(defaults, f"{meta.key[1:]}.name")
        else:
            chosen = OmegaConf.select(defaults, meta.key)
        shown = ",".join(map(str, chosen)) if OmegaConf.is_list(chosen) else chosen
        lines.append(f"  {parameter:<{width}}  {meta.help} [{shown}]")
    lines.append(f"  {'overrides':<{width}}  anything else, e.g. 'model.preset=small' (see conf/)")
    return "\n".join(lines)
