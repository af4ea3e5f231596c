"""Compiled right-hand sides of ordinary differential equations, kept on disk.

A right-hand side is written for one trajectory and compiled for :data:`LANES` trajectories side
by side, so that the compiler can use vector instructions. The integrator (:mod:`tsfm.data.ode`)
gets its address, hence it is compiled once whatever the systems are, and each system costs the
compilation of its own equations only, once per machine: the compiled code lies in the cache
directory (:func:`tsfm.data.cache.cache_directory`), named after a hash of the source.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

from tsfm.data.cache import cache_directory
from tsfm.errors import ConfigError

LANES = 8

_WRAPPER = """
import numba
from numba import carray, cfunc, njit, types

flow = njit(error_model="numpy", forceinline=True)({name})
_numbers = types.CPointer(types.float64)


@cfunc(
    types.void(_numbers, _numbers, _numbers, _numbers, types.intp, types.intp),
    cache={cache},
    error_model="numpy",
)
def lanes(time, state, parameter, out, n_states, n_parameters):
    times = carray(time, {lanes})
    states = carray(state, (n_states, {lanes}))
    parameters = carray(parameter, (n_parameters, {lanes}))
    outs = carray(out, (n_states, {lanes}))
    for lane in range({lanes}):
        flow(times[lane], states[:, lane], parameters[:, lane], outs[:, lane])
"""

_SAMPLER = """
import numba
from numba import carray, cfunc, njit, types

flow = njit(error_model="numpy", forceinline=True)({name})
_numbers, _size = types.CPointer(types.float64), types.intp


@cfunc(
    types.void(types.float64, _numbers, _numbers, _numbers, _size, _size, _size, _size),
    cache={cache},
    error_model="numpy",
)
def lanes(time, state, parameter, signal, lane, n_states, n_parameters, n_signals):
    states = carray(state, (n_states, {lanes}))
    parameters = carray(parameter, (n_parameters, {lanes}))
    flow(time, states[:, lane], parameters[:, lane], carray(signal, (n_signals,)))
"""


@dataclass(frozen=True, eq=False)
class Rhs:
    """A compiled right-hand side; made by :func:`compile_rhs`, :func:`compile_source` or
    :func:`couple`.

    Attributes
    ----------
    name
        For messages.
    flow
        ``flow(t, state, parameters, out)``: the compiled function of one trajectory, callable
        from Python and from other compiled functions.
    address
        Where the compiled function of :data:`LANES` trajectories lies in memory.
    recipe
        How another process makes it: addresses are this process's, hence pickled by recipe.
    coupled
        The parts of a coupled right-hand side, else None.
    """

    name: str
    flow: Callable[..., None]
    address: int
    recipe: tuple[Callable[..., Rhs], tuple[Any, ...]]
    coupled: Coupled | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return self.recipe


@dataclass(frozen=True, eq=False)
class Sampler:
    """A compiled function called at every time asked for; made by :func:`compile_sampler`.

    Attributes
    ----------
    name
        For messages.
    flow
        ``flow(t, state, parameters, signal)``: the compiled function of one trajectory.
    address
        Where it lies in memory, for one lane of several.
    function
        What it was compiled from: addresses are this process's, hence it is pickled by recipe.
    """

    name: str
    flow: Callable[..., None]
    address: int
    function: Callable[..., None]

    def __reduce__(self) -> tuple[Any, ...]:
        return compile_sampler, (self.function,)


@dataclass(frozen=True, eq=False)
class Coupled:
    """Driver, response and coupling map of :func:`couple`, with the sizes of the first two."""

    driver: Rhs
    response: Rhs
    coupling: Rhs
    driver_states: int
    driver_parameters: int
    response_parameters: int


def compile_rhs(function: Callable[..., None]) -> Rhs:
    """Compile ``function(t, state, parameters, out)``, which writes d state / dt into ``out``.

    Parameters
    ----------
    function
        In the language of ``numba.njit``, floating point as numpy (a division by zero is
        infinite). ``state``, ``out`` are ``float64[state]`` and ``parameters`` is
        ``float64[parameter]``, of one trajectory. A function at the top level of a module is
        compiled once per machine; a closure, a lambda or one typed at a prompt once per process.

    Raises
    ------
    ConfigError
        When it is no Python function of four arguments, or does not compile.
    """
    _expect_function(function, "right-hand side", "(t, state, parameters, out)")
    return _compiled_rhs(function)


@lru_cache(maxsize=4096)
def _compiled_rhs(function: Callable[..., None]) -> Rhs:
    flow, address = _compiled_function(function, _WRAPPER)
    return Rhs(function.__name__, flow, address, (compile_rhs, (function,)))


def compile_sampler(function: Callable[..., None]) -> Sampler:
    """Compile ``function(t, state, parameters, signal)``, called at every time asked for.

    Parameters
    ----------
    function
        In the language of ``numba.njit``. It may read and change its trajectory's ``state``,
        ``parameters`` (inputs that hold until the next time, and memory) and ``signal``, the
        ``float64[signal]`` of this time. Kept on disk like the function of :func:`compile_rhs`.

    Raises
    ------
    ConfigError
        When it is no Python function of four arguments, or does not compile.
    """
    _expect_function(function, "sampler", "(t, state, parameters, signal)")
    return _compiled_sampler(function)


@lru_cache(maxsize=256)
def _compiled_sampler(function: Callable[..., None]) -> Sampler:
    flow, address = _compiled_function(function, _SAMPLER)
    return Sampler(function.__name__, flow, address, function)


def _expect_function(function: Any, kind: str, arguments: str) -> None:
    if not inspect.isfunction(function) or len(inspect.signature(function).parameters) != 4:
        raise ConfigError(
            f"{function!r} is no {kind}", remedy=f"give a Python function of {arguments}"
        )


def _compiled_function(
    function: Callable[..., None], wrapper: str
) -> tuple[Callable[..., None], int]:
    ingredients = _ingredients(function)
    if ingredients is None:
        namespace: dict[str, Any] = {"function": function}
        source = wrapper.format(name="function", cache=False, lanes=LANES)
        try:
            exec(source, namespace)
        except numba.core.errors.NumbaError as error:
            raise _not_compiled(function.__name__, error) from error
        return namespace["flow"], namespace["lanes"].address
    mark = hashlib.sha256("\n".join(ingredients).encode()).hexdigest()
    head = f"from {function.__module__} import {function.__name__} as function  # {mark}\n"
    return _compile(function.__name__, head, "function", wrapper)


@lru_cache(maxsize=4096)
def compile_source(name: str, source: str) -> Rhs:
    """Compile the source of a module that defines ``rhs(t, state, parameters, out)``.

    For equations that are generated; the module is written to the cache directory and imported.

    Raises
    ------
    ConfigError
        When it does not compile.
    """
    flow, address = _compile(name, source, "rhs", _WRAPPER)
    return Rhs(name, flow, address, (compile_source, (name, source)))


def couple(
    driver: Rhs,
    response: Rhs,
    coupling: Rhs,
    *,
    driver_states: int,
    driver_parameters: int,
    response_parameters: int,
) -> Rhs:
    """A driver, a response that it drives, and the map between them, with nothing to compile.

    State and flow are the driver's, then the response's; parameters are the driver's, the
    response's, then the coupling's. Driver and response write their own flows into ``out``; then
    ``coupling(t, state, parameters, out)`` changes ``out`` in place, seeing all of the state and
    of the parameters. One coupling serves every pair when what it must know (sizes, scales, a
    permutation) is among the parameters. Coupled right-hand sides cannot be coupled again.

    Raises
    ------
    ConfigError
        For a part that is coupled itself.
    """
    for part in (driver, response, coupling):
        if part.coupled is not None:
            raise ConfigError(
                f"{part.name} is coupled already", remedy="couple right-hand sides of one system"
            )
    driver_flow, response_flow, coupling_flow = driver.flow, response.flow, coupling.flow
    behind = driver_parameters + response_parameters

    def flow(t: float, state: Any, parameters: Any, out: Any) -> None:
        driver_flow(t, state[:driver_states], parameters[:driver_parameters], out[:driver_states])
        response_flow(
            t,
            state[driver_states:],
            parameters[driver_parameters:behind],
            out[driver_states:],
        )
        coupling_flow(t, state, parameters, out)

    parts = (driver, response, coupling, driver_states, driver_parameters, response_parameters)
    return Rhs(
        name=f"{driver.name}_{response.name}",
        flow=flow,
        address=0,
        recipe=(_couple, parts),
        coupled=Coupled(*parts),
    )


def _couple(driver: Rhs, response: Rhs, coupling: Rhs, states: int, own: int, other: int) -> Rhs:
    return couple(
        driver,
        response,
        coupling,
        driver_states=states,
        driver_parameters=own,
        response_parameters=other,
    )


def _ingredients(function: Callable[..., None]) -> list[str] | None:
    """What the compiled code depends on: the text of the function's file, the constants it names,
    and the same of the compiled functions that it calls. None when no module can import it."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    found = getattr(module, function.__name__, None)
    spec = getattr(module, "__spec__", None)
    if spec is None or file is None or function.__module__ == "__main__":
        return None
    if getattr(found, "py_func", found) is not function or not Path(file).is_file():
        return None
    ingredients = [Path(file).read_text(encoding="utf-8")]
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, int | float | tuple):
            ingredients.append(f"{name} = {value!r}")
        called = getattr(value, "py_func", None)
        ingredients += (_ingredients(called) or []) if called else []
    return ingredients


def _compile(name: str, head: str, function: str, wrapper: str) -> tuple[Callable[..., None], int]:
    source = head + wrapper.format(name=function, cache=True, lanes=LANES)
    try:
        module = _module(source)
    except numba.core.errors.NumbaError as error:
        raise _not_compiled(name, error) from error
    return module.flow, module.lanes.address


def _not_compiled(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"the function {name} does not compile: {error}",
        remedy="write it for numba.njit, with numbers and arrays of float64",
    )


def _module(source: str) -> ModuleType:
    key = hashlib.sha256(f"{numba.__version__}\n{source}".encode()).hexdigest()[:24]
    directory = cache_directory() / "rhs"
    path = directory / f"rhs_{key}.py"
    if not path.is_file():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            temporary = directory / f".{key}.{os.getpid()}"
            temporary.write_text(source, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise ConfigError(
                f"compiled equations cannot be kept: {error.strerror}",
                where=str(directory),
                remedy="let TSFM_CACHE name a directory that can be written",
            ) from error
    name = f"tsfm_rhs_{key}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where numba's cache looks for it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
