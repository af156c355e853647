"""Expressions over named values, for constraints and derived metrics: parsed, checked and walked, never executed."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_LONGEST = 1000
#: Integers beyond this become floats: a tower of powers is no denial of service.
_LARGEST_BITS = 256
_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "log2": math.log2,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression; `names` are the values it needs, dotted ones such as `dram.channels` whole."""

    text: str
    tree: ast.expr
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse an expression of numbers, texts, names, + - * / // % **, comparisons, and, or, not, and `FUNCTIONS`.

        Raises
        ------
        ValueError
            With the part that is not allowed.
        """
        if len(text) > _LONGEST:
            raise ValueError(f"longer than {_LONGEST} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"not an expression: {getattr(error, 'msg', error)}") from None
        names: list[str] = []
        try:
            _check(tree, names)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        return cls(text, tree, tuple(dict.fromkeys(names)))

    def value(self, scope: Mapping[str, Any]) -> Any:
        """Its value.

        Raises
        ------
        ArithmeticError, ValueError, TypeError
            For a division by zero, the logarithm of a negative number, arithmetic on a text.
        """
        return _value(self.tree, scope)


def number(value: Any) -> Any:
    """A value as expressions see it: a number or fraction given as text is a number."""
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return value
    return value


def _check(node: ast.AST, names: list[str]) -> None:
    name = _dotted(node)
    if name is not None:
        names.append(name)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _check(node.left, names)
        _check(node.right, names)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        _check(node.operand, names)
    elif isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part, names)
    elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        for part in (node.left, *node.comparators):
            _check(part, names)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        if node.keywords or not node.args:
            raise ValueError(f"{ast.unparse(node)!r}: functions take values only")
        for part in node.args:
            _check(part, names)
    else:
        raise ValueError(f"{ast.unparse(node)!r} is not allowed")


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return None if head is None else f"{head}.{node.attr}"
    return None


def _value(node: ast.AST, scope: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return _binary(node.op, _value(node.left, scope), _value(node.right, scope))
    if isinstance(node, ast.UnaryOp):
        operand = _value(node.operand, scope)
        return _UNARY[type(node.op)](operand if isinstance(node.op, ast.Not) else _number(operand))
    if isinstance(node, ast.BoolOp):
        quantifier = all if isinstance(node.op, ast.And) else any
        return quantifier(_value(part, scope) for part in node.values)
    if isinstance(node, ast.Compare):
        values = [_value(part, scope) for part in (node.left, *node.comparators)]
        pairs = zip(node.ops, values, values[1:], strict=False)
        return all(_COMPARE[type(op)](left, right) for op, left, right in pairs)
    if isinstance(node, ast.Call):
        values = [_number(_value(part, scope)) for part in node.args]
        return FUNCTIONS[ast.unparse(node.func)](*(values if len(values) > 1 else (values[0],)))
    name = _dotted(node)
    assert name is not None, node
    return scope[name]


def _binary(op: ast.operator, left: Any, right: Any) -> Any:
    left, right = _number(left), _number(right)
    if isinstance(op, ast.Pow):
        whole = isinstance(left, int) and isinstance(right, int) and right >= 0
        if not whole or left.bit_length() * right > _LARGEST_BITS:
            left, right = float(left), float(right)
        power = left**right
        if isinstance(power, complex):
            raise ValueError("the root of a negative number")
        return power
    result = _ARITHMETIC[type(op)](left, right)
    return float(result) if isinstance(result, int) and result.bit_length() > _LARGEST_BITS else result


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise TypeError(f"arithmetic on {value!r}, which is no number")
    return value
