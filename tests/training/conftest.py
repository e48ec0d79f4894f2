"""What the tests of training share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _quick_exports(quick_exports: None) -> None:
    """Every test here exports; in a module fixture, too."""
