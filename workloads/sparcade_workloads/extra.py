"""The optional packages of the extra 'trace': what to say where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sparcade.errors import MissingError

_PACKAGES = ("torch", "transformers", "PIL")


@contextmanager
def trace_extra(where: str) -> Iterator[None]:
    """Wrap imports of modules that need the extra 'trace'.

    Raises
    ------
    MissingError
        If one of its packages is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise MissingError(
            "a package that runs models is not installed",
            where=where,
            expected="PyTorch and Transformers, in the versions of the extra 'trace'",
            got=str(error),
            remedy="pip install 'sparcade[trace]'",
        ) from error
