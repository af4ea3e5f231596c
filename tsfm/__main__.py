"""``tsfm``: what is no MLflow run. Experiments are started by ``mlflow run . -e NAME``.

tsfm foreign init NAME          a directory for a model that has an environment of its own
tsfm foreign setup DIRECTORY    make that environment
tsfm foreign check DIRECTORY    ask the model toy questions
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from tsfm.errors import ConfigError, UserError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, remedy=f"see {self.prog} --help")


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake is one line and exit code 2."""
    try:
        given = _parser().parse_args(words)
        return int(given.run(given))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    import tsfm

    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="tsfm", description=__doc__, formatter_class=form)
    parser.add_argument("--version", action="version", version=tsfm.__version__)
    topics = parser.add_subparsers(required=True, metavar="foreign", parser_class=_Parser)
    foreign = topics.add_parser("foreign", help="models in environments of their own")
    actions = foreign.add_subparsers(required=True, metavar="init|setup|check")
    init = actions.add_parser("init", help="write a directory to fill in")
    init.add_argument("name", help="the directory; its name is the model's")
    init.add_argument("--python", help="a version, or an interpreter that has the packages")
    init.set_defaults(run=_init)
    setup = actions.add_parser("setup", help="make the environment of the requirements")
    setup.add_argument("directory")
    setup.set_defaults(run=_setup)
    check = actions.add_parser("check", help="ask the model toy questions")
    check.add_argument("directory")
    check.add_argument("--verbose", action="store_true", help="show tracebacks of the model")
    check.set_defaults(run=_check)
    return parser


def _init(given: argparse.Namespace) -> int:
    from tsfm.models.foreign.template_directory import write_template

    directory = write_template(given.name, given.python)
    print(f"written     {directory}")
    print("fill in     worker.py, requirements.txt, foreign.yaml")
    print(f"try it      tsfm foreign check {given.name}")
    print(f"rank it     mlflow run . -e evaluate -P model=foreign:{given.name} -P tasks=general")
    return 0


def _setup(given: argparse.Namespace) -> int:
    from tsfm.models.foreign.config import ForeignConfig
    from tsfm.models.foreign.environment import interpreter

    print(f"python      {interpreter(ForeignConfig.read(given.directory), show=True)}")
    return 0


def _check(given: argparse.Namespace) -> int:
    import os

    from tsfm.models.foreign.environment import interpreter
    from tsfm.models.foreign.forecaster import ForeignForecaster
    from tsfm.models.foreign.process import WorkerError
    from tsfm.models.foreign.toy_questions import ask_toy_questions

    model = ForeignForecaster.load(given.directory)
    unset = [name for name in model.config.environment if name not in os.environ]
    if unset:
        print(f"not set     {', '.join(unset)}")
    print(f"python      {interpreter(model.config)}", flush=True)
    failures = []
    try:
        can = model.capabilities
        print(f"can         {', '.join(f'{k}={v}' for k, v in vars(can).items())}", flush=True)
        for reply in ask_toy_questions(model):
            told = "failed" if reply.error else f"{reply.seconds:.2f} s"
            note = f"  ({reply.note})" if reply.note else ""
            print(f"{told:<11} {reply.asked}{note}", flush=True)
            failures += [reply.error] if reply.error else []
        if failures:
            raise failures[0]
    except WorkerError as error:
        if given.verbose and error.whole:
            print(error.whole, file=sys.stderr)
        raise
    finally:
        model.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
