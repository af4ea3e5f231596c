"""Entry points run in this process: exit code, stdout and stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_type_hints


class Told(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


def run_entry(name: str, words: Sequence[str], monkeypatch: Any, capfd: Any) -> Told:
    """Run ``experiments.<name>`` with ``key=value`` words."""
    from importlib import import_module

    from experiments import cli

    module = import_module(f"experiments.{name}")
    main: Callable[[Any], None] = module.main
    monkeypatch.setattr(sys, "argv", [name, *words])
    capfd.readouterr()
    code = 0
    try:
        schema = get_type_hints(main)["config"]
        cli.run(name, schema, module.PARAMETERS, main, title="")
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capfd.readouterr()
    return Told(code, out, err)
