"""Conditions and constraints written in YAML: arithmetic on parameters, evaluated without eval."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from tsfm.errors import ConfigError

OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "len": len,
    "log2": math.log2,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
    "sum": sum,
}
LARGEST_POWER = 64


class Expression:
    """One expression over named values.

    Numbers, strings, lists, names (dotted ones as in overrides), ``+ - * / // % **``, comparisons,
    ``and``, ``or``, ``not``, ``in`` and the functions of :data:`FUNCTIONS`; nothing else.

    Raises
    ------
    ConfigError
        When the text is no such expression.
    """

    def __init__(self, text: str, *, where: str) -> None:
        self.text, self.where = text, where
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ConfigError(f"{text!r} is no expression: {error.msg}", where=where) from error
        self._names: set[str] = set()
        self._check(self._tree)

    @property
    def names(self) -> frozenset[str]:
        """What it refers to."""
        return frozenset(self._names)

    def value(self, values: Mapping[str, Any]) -> Any:
        """Its value.

        Raises
        ------
        ConfigError
            When a name has no value, or an operation fails.
        """
        return self._told(self._value, values)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true."""
        return bool(self.value(values))

    def violation(self, values: Mapping[str, Any]) -> float:
        """How far from true: 0 or less where it holds, else by how much the comparison fails."""
        return self._told(self._violation, values)

    def _told(self, ask: Callable[[ast.AST, Mapping[str, Any]], Any], values: Any) -> Any:
        try:
            return ask(self._tree, values)
        except KeyError as error:
            unset = f"{self.text!r}: {error.args[0]} has no value"
            raise ConfigError(unset, where=self.where) from error
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ConfigError(f"{self.text!r}: {error}", where=self.where) from error

    def _check(self, node: ast.AST) -> None:
        if (name := _name(node)) is not None:
            self._names.add(name)
            return
        if isinstance(node, ast.Call):
            known = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
            if not known or node.keywords:
                raise self._refused(ast.unparse(node.func))
            children: list[ast.AST] = list(node.args)
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            children = [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
            children = [node.operand]
        elif isinstance(node, ast.BoolOp):
            children = list(node.values)
        elif isinstance(node, ast.Compare) and all(type(op) in COMPARISONS for op in node.ops):
            children = [node.left, *node.comparators]
        elif isinstance(node, (ast.List, ast.Tuple)):
            children = list(node.elts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str)):
            return
        else:
            raise self._refused(ast.unparse(node))
        for child in children:
            self._check(child)

    def _refused(self, part: str) -> ConfigError:
        return ConfigError(
            f"{self.text!r}: {part} is not allowed",
            where=self.where,
            remedy="write numbers, names of parameters, comparisons, arithmetic and "
            + ", ".join(FUNCTIONS),
        )

    def _value(self, node: ast.AST, values: Mapping[str, Any]) -> Any:
        if (name := _name(node)) is not None:
            return values[name]
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, (ast.List, ast.Tuple)):
            return [self._value(item, values) for item in node.elts]
        if isinstance(node, ast.UnaryOp):
            inner = self._value(node.operand, values)
            return -inner if isinstance(node.op, ast.USub) else not inner
        if isinstance(node, ast.BoolOp):
            parts = (self._value(part, values) for part in node.values)
            return all(parts) if isinstance(node.op, ast.And) else any(parts)
        if isinstance(node, ast.BinOp):
            left, right = self._value(node.left, values), self._value(node.right, values)
            if isinstance(node.op, ast.Pow) and abs(right) > LARGEST_POWER:
                raise ValueError(f"a power of {right} is too large")
            return OPERATORS[type(node.op)](left, right)
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            return FUNCTIONS[node.func.id](*(self._value(one, values) for one in node.args))
        assert isinstance(node, ast.Compare)
        sides = [self._value(side, values) for side in (node.left, *node.comparators)]
        pairs = zip(node.ops, sides, sides[1:])
        return all(COMPARISONS[type(op)](left, right) for op, left, right in pairs)

    def _violation(self, node: ast.AST, values: Mapping[str, Any]) -> float:
        if isinstance(node, ast.BoolOp):
            parts = [self._violation(part, values) for part in node.values]
            return max(parts) if isinstance(node.op, ast.And) else min(parts)
        if self._value(node, values):
            return 0.0
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = (self._value(side, values) for side in (node.left, node.comparators[0]))
            if isinstance(left, (int, float)) and isinstance(right, (int, float)):
                return abs(float(left) - float(right)) or 1.0
        return 1.0


def _name(node: ast.AST) -> str | None:
    """A plain or dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _name(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None
