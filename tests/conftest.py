"""What every test shares: pinned threads, hypothesis without deadlines, real scans where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("bids-alps", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("bids-alps")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans, from ALPS_REAL_DATA."""
    folder = os.environ.get("ALPS_REAL_DATA")
    if not folder:
        pytest.skip("ALPS_REAL_DATA is not set")
    return Path(folder)
