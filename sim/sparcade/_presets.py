"""Preset files: TOML in a folder of a package, named by their stem."""

from __future__ import annotations

from pathlib import Path

from sparcade.errors import ConfigError, did_you_mean

#: Command-line options that are not called like their kind.
_OPTIONS = {"dram": "--preset"}
#: Folders that are not called `presets`.
_FOLDERS = {"energy": "profiles"}


def preset_names(kind: str) -> list[str]:
    """Names of the presets of a kind ("arch", "policy", "dram" or "energy")."""
    return sorted(path.stem for path in _folder(kind).glob("*.toml"))


def preset_path(kind: str, name: str) -> Path:
    """The TOML file of a preset, or of a path the user gave."""
    where = f"{_OPTIONS.get(kind, f'--{kind}')} {name}"
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(
                f"there is no such {kind} file",
                where=where,
                expected="a TOML file",
                got="no such file",
                remedy=f"check the path, or use a preset: {', '.join(preset_names(kind))}",
            )
        return path
    if name not in preset_names(kind):
        raise ConfigError(
            f"there is no {kind} preset {name!r}",
            where=where,
            expected=f"one of: {', '.join(preset_names(kind))}; or a .toml file",
            got=repr(name),
            remedy=did_you_mean(name, preset_names(kind)),
        )
    return _folder(kind) / f"{name}.toml"


def _folder(kind: str) -> Path:
    return Path(__file__).parent / kind / _FOLDERS.get(kind, "presets")
