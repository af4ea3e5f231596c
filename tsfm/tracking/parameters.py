"""Configurations as flat, bounded strings and as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

LONGEST_VALUE, LONGEST_KEY = 6000, 250


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as ``{"a.b": "text"}``, cut to what a tracking store accepts."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        value = plain(value)
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name[-LONGEST_KEY:]] = _cut(str(value))
    return flat


def as_yaml(config: Any) -> tuple[str, dict[str, Any]]:
    """A resolved configuration (mapping, dataclass or OmegaConf) as YAML text and plain values."""
    values = plain(config)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True), values


def plain(value: Any) -> Any:
    """Only mappings, lists, strings, numbers, booleans and None."""
    if type(value).__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf

        return plain(OmegaConf.to_container(value, resolve=True, enum_to_str=True))
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
