"""Frozen dataclasses to and from TOML: every key checked, every value typed, nothing coerced in silence."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from sparcade._files import content_hash
from sparcade.errors import ConfigError, unknown_name

T = TypeVar("T")

#: Numbers beyond this are mistakes, not settings.
_LARGEST = 1e18
_FRACTION = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?(e-?\d{1,2})?|[+-]?\d{1,9}/0*[1-9]\d{0,8}", re.ASCII)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; a syntax error is a `ConfigError` with line and column."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(
            "the file is not TOML",
            where=str(path),
            expected="TOML text (UTF-8)",
            got=str(error),
            remedy="mend the line, or start from a preset (docs/change-the-hardware.md lists them)",
        ) from error


def build(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Make the dataclass `cls` from nested tables.

    Raises
    ------
    ConfigError
        For an unknown key (the nearest name is suggested), a missing one, or a value of another type. The text
        "off" stands for None where a value may be absent; a class with a `preset` is also named by a text.
    """
    hints = _hints(cls)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    for key in values:
        if key not in fields:
            raise unknown_key(key, fields, where=where)
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _value(hints[name], values[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(
                f"the key {name!r} is missing",
                where=where,
                expected=f"{name} = a value of type {_type_name(hints[name])}",
                got="nothing",
                remedy="add it, or start from a preset",
            )
    return _made(lambda: cls(**arguments), where=where)


def tables(value: Any) -> Any:
    """The inverse of `build`: plain tables of a dataclass (fractions as text such as '1/3', None left out)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: tables(item) for name, item in pairs if item is not None}
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, tuple):
        return [tables(item) for item in value]
    return value


def override(cls: type[T], value: T, settings: Iterable[str], *, where: str) -> T:
    """`value` with settings such as 'dram.channels=8' applied; the texts are TOML values, bare words are strings.

    What was changed no longer carries the preset's name: four digits of its hash are added.
    """
    changed = replaced(value, overrides(cls, value, settings, where=where), where=where)
    name = getattr(changed, "name", None)
    if changed == value or name != getattr(value, "name", None):
        return changed
    return dataclasses.replace(  # type: ignore[type-var]
        changed, name=f"{name}+{content_hash(tables(changed))[:4]}"
    )


def overrides(cls: type[T], value: T, settings: Iterable[str], *, where: str) -> dict[str, Any]:
    """Fields of `value` that settings change, with what they become."""
    nested: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            raise ConfigError(
                "the setting has no value",
                where=f"--set {setting}",
                expected="KEY=VALUE, such as dram.channels=8",
                got=repr(setting),
                remedy="write the key, '=', and the value",
            )
        check_path(cls, path, where=f"--set {setting}", got=setting)
        if path[0] not in nested and (current := getattr(value, path[0])) is not None:
            nested[path[0]] = tables(current)
        table, kind = nested, typing.cast(Any, cls)
        for part in path[:-1]:
            kind = _without_none(_hints(kind)[part])
            if not isinstance(table.get(part), dict):
                table[part] = tables(kind.preset(table[part])) if hasattr(kind, "preset") and part in table else {}
            table = table[part]
        table[path[-1]] = _parse(text.strip())
    hints = _hints(cls)
    return {name: _value(hints[name], table, f"{where}: {name}") for name, table in nested.items()}


def replaced(value: T, fields: Mapping[str, Any], *, where: str) -> T:
    """`value` with other fields; a `ConfigError` of its own checks names the place."""
    return _made(lambda: dataclasses.replace(value, **fields), where=where)  # type: ignore[type-var]


def _made(make: Callable[[], T], *, where: str) -> T:
    try:
        return make()
    except ConfigError as error:
        if error.where.startswith(where):
            raise
        raise type(error)(
            error.what, where=f"{where}: {error.where}", expected=error.expected, got=error.got, remedy=error.remedy
        ) from None


#: Types of the fields of a class, kept: finding them costs more than all the rest.
_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)


def check_counts(value: Any, *, least: int = 1, **limits: int) -> None:
    """Raise a `ConfigError` for the first named field of a dataclass that is not in least..limit."""
    for name, limit in limits.items():
        if not least <= getattr(value, name) <= limit:
            raise ConfigError(
                f"{name} is out of range",
                where=name,
                expected=f"an integer in {least}..{limit}",
                got=str(getattr(value, name)),
                remedy="start from a preset",
            )


def unknown_key(key: str, known: Iterable[str], *, where: str) -> ConfigError:
    """The error for a key that does not exist, with the nearest one that does."""
    return unknown_name(f"there is no key {key!r}", key, sorted(known), where=where)


def check_path(cls: Any, path: list[str], *, where: str, got: str) -> Any:
    """The type of the field of a dataclass at a path such as ["dram", "channels"]; a `ConfigError` without one."""
    hint: Any = cls
    for depth, part in enumerate(path):
        if not dataclasses.is_dataclass(cls):
            raise ConfigError(
                f"{'.'.join(path[:depth])!r} has no parts",
                where=where,
                expected=f"{'.'.join(path[:depth])}=VALUE",
                got=repr(got),
                remedy="drop the last name of the key",
            )
        hints = _hints(cls)
        if part not in hints:
            prefix = ".".join(path[:depth])
            near = _nearest(cls, part)
            raise ConfigError(
                f"there is no setting {'.'.join(path)!r}",
                where=where,
                expected="one of: " + ", ".join(f"{prefix}.{name}".lstrip(".") for name in sorted(hints)),
                got=repr(".".join(path)),
                remedy=f"did you mean {f'{prefix}.{near}'.lstrip('.')!r}?" if near else "use one of the names above",
            )
        hint = hints[part]
        cls = _without_none(hint)
    return hint


def check_value(hint: Any, value: Any, *, where: str) -> None:
    """Raise a `ConfigError` unless a field of that type takes the value."""
    _value(hint, value, where)


def _nearest(cls: Any, part: str) -> str | None:
    names = {field.name: field.name for field in dataclasses.fields(cls)}
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        inner = _without_none(hints[field.name])
        if dataclasses.is_dataclass(inner):
            names.update({sub.name: f"{field.name}.{sub.name}" for sub in dataclasses.fields(inner)})
    near = difflib.get_close_matches(part, list(names), n=1, cutoff=0.4)
    return names[near[0]] if near else None


def _parse(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return hint


def _value(hint: Any, value: Any, where: str) -> Any:
    optional = _without_none(hint) is not hint
    hint = _without_none(hint)
    if optional and value == "off":
        return None
    if hasattr(hint, "preset") and isinstance(value, str):
        try:
            return hint.preset(value)
        except ConfigError as error:
            raise ConfigError(
                error.what, where=where, expected=error.expected, got=error.got, remedy=error.remedy
            ) from None
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(typing.cast(type[Any], hint), value, where=where)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)[0]
        return tuple(_value(inner, item, f"{where}[{index}]") for index, item in enumerate(value))
    if typing.get_origin(hint) is typing.Literal and value in typing.get_args(hint):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    if hint is Fraction and (number or isinstance(value, str)) and _FRACTION.fullmatch(str(value)):
        return Fraction(str(value))
    if hint is float and number:
        return float(value)
    if hint in (int, str, bool) and type(value) is hint and (hint is not int or number):
        return value
    raise ConfigError(
        "the value has the wrong type",
        where=where,
        expected=_type_name(hint),
        got=f"{str(value)[:80]!r} ({type(value).__name__})" if not number else f"{value!r} ({type(value).__name__})",
        remedy="write a value of that type",
    )


def _type_name(hint: Any) -> str:
    hint = _without_none(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(repr(arm) for arm in typing.get_args(hint))
    if hint is Fraction:
        return "a number or a fraction such as '2/3'"
    if typing.get_origin(hint) is tuple:
        return f"a list of {_type_name(typing.get_args(hint)[0])}"
    return getattr(hint, "__name__", str(hint)) if not dataclasses.is_dataclass(hint) else "a table"
