from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bids_alps.errors import InvalidBidsError
from bids_alps.io.validation import find_validator, validate_dataset

pytestmark = pytest.mark.skipif(find_validator() is None, reason="bids-validator-deno is not installed")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "sub-01/dwi").mkdir(parents=True)
    (tmp_path / "sub-01/dwi/sub-01_dwi.nii.gz").symlink_to("nowhere")
    (tmp_path / "README").write_text("A dataset.\n")
    (tmp_path / "dataset_description.json").write_text('{"Name": "a dataset", "BIDSVersion": "1.8.0"}')
    return tmp_path


def test_error_of_one_participant_is_a_warning(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        validate_dataset(dataset)
    assert "SYMLINK_BROKEN" in caplog.text


def test_error_of_the_dataset_ends_it(dataset: Path) -> None:
    (dataset / "dataset_description.json").write_text("{}")
    with pytest.raises(InvalidBidsError, match="dataset_description"):
        validate_dataset(dataset)
