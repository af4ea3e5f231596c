"""Chaotic systems: equations, parameters, time scales and Lyapunov exponents, compiled on demand.

The catalogue is that of dysts (Gilpin, Chaos as an interpretable benchmark for forecasting and
data-driven modelling, 2021): flows with a line of metadata each. Equations are read from its
source, or from :mod:`tsfm.data.dynamics.equations` where dysts keeps them in methods; dysts itself
is never imported, so loading a system costs milliseconds, and compiling it half a second once per
machine. Forced systems of dysts carry their clock as a state, hence they need nothing special;
right-hand sides that depend on ``t`` get it.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Float

from tsfm.data.ode import Rhs, compile_rhs, compile_source
from tsfm.errors import ConfigError, DataError

_MODULE = """import math
import numpy as np
from tsfm.data.kernel_cache import njit
{imports}

equations = njit(error_model="numpy", forceinline=True)({name})


def rhs(t, state, parameters, out):
    flow = equations({states}, t{parameters})
    {outs}
"""

_REASON_DELAY = "a delay differential equation, whose state is a function"


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """One system of ordinary differential equations and what is known of its attractor.

    Attributes
    ----------
    name
        As in dysts.
    dimension
        Number of states.
    parameters
        Values by name, in sorted order; some are arrays.
    period
        Time of the dominant peak of its spectrum.
    lyapunov
        Largest Lyapunov exponent, in nats per unit of time.
    initial
        ``[state]``, a point on the attractor.
    unbounded
        Indices of states that grow for ever (angles, clocks): :meth:`observe` maps them to bounded
        ones, :meth:`bounds` does not bound them.
    forced
        Whether the flow depends on time, through ``t`` or a clock among its states.
    """

    name: str
    dimension: int
    parameters: Mapping[str, float | np.ndarray]
    period: float
    lyapunov: float
    initial: Float[np.ndarray, " state"]
    unbounded: tuple[int, ...]
    forced: bool

    @cached_property
    def rhs(self) -> Rhs:
        """The compiled right-hand side, whose parameters are :attr:`vector`."""
        from tsfm.data.dynamics.equations import ARRAYS

        if self.name in ARRAYS:
            return compile_rhs(ARRAYS[self.name])
        return compile_source(self.name, _source(self))

    @cached_property
    def vector(self) -> Float[np.ndarray, " parameter"]:
        """The parameters as one vector, arrays row by row."""
        return np.concatenate([[], *(np.ravel(value) for value in self.parameters.values())])

    @cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """One name per component of :attr:`vector`, such as ``rho`` or ``w[0,1]``."""
        names = []
        for name, value in self.parameters.items():
            indices = [",".join(map(str, index)) for index in np.ndindex(np.shape(value))]
            names += [f"{name}[{index}]" if index else name for index in indices]
        return tuple(names)

    def __reduce__(self) -> tuple[Any, ...]:
        return load_system, (self.name,)

    def bounds(self, bound: float = 1e4) -> Float[np.ndarray, " state"]:
        """``bound`` per state, infinite for the unbounded ones: for ``integrate(bound=…)``."""
        bounds = np.full(self.dimension, bound)
        bounds[list(self.unbounded)] = np.inf
        return bounds

    def observe(self, states: Float[np.ndarray, "*batch state"]) -> np.ndarray:
        """States with unbounded ones mapped to bounded observables, as dysts' postprocessing does.

        Raises
        ------
        DataError
            When the last axis is not the state.
        """
        states = np.asarray(states, dtype=np.float64)
        if states.shape[-1:] != (self.dimension,):
            raise DataError(
                f"states have shape {states.shape}",
                where=self.name,
                remedy=f"give {self.dimension} states along the last axis",
            )
        function = _method(self.name, "_postprocessing")
        if function is None:
            return states.copy()
        namespace: dict[str, Any] = {"np": np}
        exec(ast.unparse(function), namespace)
        owner = [SimpleNamespace(**self.parameters)] if _takes_self(function) else []
        columns = [states[..., index] for index in range(self.dimension)]
        return np.stack(namespace[function.name](*owner, *columns), axis=-1)


def load_system(name: str) -> System:
    """The system of that name.

    Raises
    ------
    ConfigError
        For an unknown name (with the closest matches) or a refused system (with the reason).
    """
    refused = refused_systems()
    if name in refused:
        raise ConfigError(f"{name} is not integrated: {refused[name]}", remedy="choose another")
    if name not in system_names():
        folded = {known.lower(): known for known in system_names()}
        close = [
            folded[match] for match in get_close_matches(name.lower(), folded, n=3, cutoff=0.5)
        ]
        raise ConfigError(
            f"there is no system {name!r}",
            remedy=f"try {', '.join(close)}" if close else "see system_names()",
        )
    entry = _catalogue()[name]
    values = {
        key: np.asarray(entry["parameters"][key], float) for key in sorted(entry["parameters"])
    }
    initial = np.array(entry["initial_conditions"], dtype=np.float64)
    initial.flags.writeable = False
    return System(
        name=name,
        dimension=len(initial),
        parameters=MappingProxyType(
            {key: value if value.ndim else float(value) for key, value in values.items()}
        ),
        period=float(entry["period"]),
        lyapunov=float(entry["maximum_lyapunov_estimated"]),
        initial=initial,
        unbounded=tuple(entry["unbounded_indices"]),
        forced=bool(entry["nonautonomous"]),
    )


@lru_cache(maxsize=1)
def system_names() -> tuple[str, ...]:
    """Names of all systems that can be integrated, sorted."""
    return tuple(sorted(set(_catalogue()) - set(refused_systems())))


@lru_cache(maxsize=1)
def refused_systems() -> Mapping[str, str]:
    """Reasons why the other systems of dysts are not offered, by name."""
    delayed = {name: _REASON_DELAY for name, entry in _catalogue().items() if entry["delay"]}
    return MappingProxyType(delayed)


def catalogue_version() -> str:
    """The release of dysts whose equations are used; trajectories change between releases."""
    return f"dysts {metadata.version('dysts')}"


def _directory() -> Path:
    spec = find_spec("dysts")
    if spec is None or spec.origin is None:
        raise ConfigError("dysts is not installed", remedy="pip install dysts==0.96")
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, dict[str, Any]]:
    text = (_directory() / "data" / "chaotic_attractors.json").read_text(encoding="utf-8")
    return json.loads(text)


@lru_cache(maxsize=1)
def _classes() -> dict[str, ast.ClassDef]:
    tree = ast.parse((_directory() / "flows.py").read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _method(name: str, method: str) -> ast.FunctionDef | None:
    """The undecorated method of a class of dysts' flows, inherited ones included."""
    node = _classes().get(name)
    if node is None:
        return None
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == method:
            plain = ast.FunctionDef(**{**vars(part), "decorator_list": [], "returns": None})
            return ast.fix_missing_locations(plain)
    bases = (base.id for base in node.bases if isinstance(base, ast.Name))
    return next((found for base in bases if (found := _method(base, method))), None)


def _takes_self(function: ast.FunctionDef) -> bool:
    return function.args.args[0].arg == "self"


def _source(system: System) -> str:
    """A module that defines the system's ``rhs(t, state, parameters, out)``."""
    from tsfm.data.dynamics import equations

    if system.name in equations.NUMBERS:
        name = equations.NUMBERS[system.name].__name__
        mark = hashlib.sha256(Path(equations.__file__).read_bytes()).hexdigest()
        imports = f"from tsfm.data.dynamics.equations import {name}  # {mark}"
    else:
        function = _method(system.name, "_rhs")
        if function is None:
            raise ConfigError(f"dysts has no equations of {system.name}", remedy="report this")
        name, imports = "_rhs", "\n\n" + ast.unparse(function)
    return _MODULE.format(
        imports=imports,
        name=name,
        states=", ".join(f"state[{index}]" for index in range(system.dimension)),
        parameters="".join(f", parameters[{index}]" for index in range(system.vector.size)),
        outs="; ".join(f"out[{index}] = flow[{index}]" for index in range(system.dimension)),
    )
