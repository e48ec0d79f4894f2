"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def quick_exports() -> Iterator[None]:
    """Compare fewer texts when a tuned encoder is exported: its 200 are tested with encoders."""
    from simsearch.encoder import export

    whole = export.parity_texts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "parity_texts", lambda: whole[:24])
        yield
