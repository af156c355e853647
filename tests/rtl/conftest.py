"""The RTL's tools come with the `rtl` extra."""

from __future__ import annotations

import pytest

pytest.importorskip("amaranth", reason="the rtl extra is not installed")
