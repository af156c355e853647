"""Policies by name: presets, TOML files, and classes in a user's Python file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparcade._files import file_hash
from sparcade._presets import preset_path
from sparcade.config import build, override, read_toml, tables
from sparcade.errors import ConfigError, PolicyError, unknown_name
from sparcade.policy.kinds import KINDS, SPATTEN, kind_of
from sparcade.policy.protocol import Policy

_METHODS = ("begin_sequence", "keep_tokens", "keep_heads", "keep_values", "bits")


def load_policy(name: str, settings: Sequence[str] = ()) -> Policy:
    """A policy from a preset name, a TOML file, or `file.py:ClassName`.

    Parameters
    ----------
    settings : overrides such as "tokens.end=0.5"; they need a preset or a TOML file.

    Raises
    ------
    ConfigError, PolicyError
        When there is no such preset or file, a key or value is wrong, or the class does not fit the protocol.
    """
    if _is_user_policy(name):
        if settings:
            raise ConfigError(
                "a policy class has no settings",
                where=f"--set policy.{settings[0]}",
                expected="a preset or a TOML file with --set policy.KEY=VALUE",
                got=name,
                remedy="give the class its own defaults",
            )
        return _user_policy(name)
    kind, table = _read(name)
    cls, make = KINDS[kind]
    config = build(cls, table, where=name)
    return make(override(cls, config, settings, where=f"policy {name}"))


def settings_class(name: str) -> type[Any] | None:
    """The dataclass of a policy's settings; None for `file.py:ClassName`, which has none.

    Raises
    ------
    ConfigError
        As `load_policy`, for the name.
    """
    return None if _is_user_policy(name) else KINDS[_read(name)[0]][0]


def policy_name(policy: Policy) -> str:
    """The configured name, or the class name of a user's policy."""
    return type(policy).__name__ if kind_of(policy) is None else str(policy.config.name)  # type: ignore[attr-defined]


def policy_provenance(policy: Policy) -> dict[str, Any]:
    """The configuration of a policy, with its kind unless that is SpAtten; or file and SHA-256 of a user's."""
    kind = kind_of(policy)
    if kind is not None:
        settings: dict[str, Any] = tables(policy.config)  # type: ignore[attr-defined]
        return settings if kind == SPATTEN else {"kind": kind, **settings}
    file = getattr(sys.modules.get(type(policy).__module__), "__file__", None)
    return {"file": Path(file).name, "sha256": file_hash(Path(file))} if file else {"class": type(policy).__qualname__}


def _is_user_policy(name: str) -> bool:
    return name.partition(":")[0].endswith(".py")


def _read(name: str) -> tuple[str, dict[str, Any]]:
    """Kind and settings of a preset or a TOML file."""
    path = preset_path("policy", name)
    table = {"name": path.stem, **read_toml(path)}
    kind = table.pop("kind", SPATTEN)
    if not isinstance(kind, str) or kind not in KINDS:
        raise unknown_name(f"there is no kind of policy {kind!r}", str(kind), KINDS, where=f"{name}: kind")
    return kind, table


def _user_policy(name: str) -> Policy:
    path, _, class_name = name.partition(":")
    file = Path(path)
    if not file.is_file() or not class_name:
        raise PolicyError(
            "there is no such policy file or no class is named",
            where=f"--policy {name}",
            expected="FILE.py:ClassName",
            got="no such file" if not file.is_file() else "no class name",
            remedy="see examples/recent_window.py",
        )
    spec = importlib.util.spec_from_file_location(f"sparcade_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise _not_a_policy(name, "a file that Python can't import")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        policy = getattr(module, class_name)()
    except (Exception, SystemExit) as error:
        raise _not_a_policy(name, f"{type(error).__name__}: {error}") from error
    missing = [method for method in _METHODS if not callable(getattr(policy, method, None))]
    if missing:
        raise _not_a_policy(name, f"no method {missing[0]}()")
    return policy  # type: ignore[no-any-return]


def _not_a_policy(name: str, got: str) -> PolicyError:
    return PolicyError(
        "the class is not a policy",
        where=f"--policy {name}",
        expected="a class without constructor arguments and with " + ", ".join(_METHODS),
        got=got,
        remedy="mend the file; docs/policies.md describes the protocol",
    )
