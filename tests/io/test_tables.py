"""Tables, as strangers write them."""

from pathlib import Path

import numpy as np
import pytest

from bids_alps.errors import MetadataError
from bids_alps.io.tables import format_cell, read_table


def test_a_folder_is_not_a_table(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").mkdir()
    with pytest.raises(MetadataError, match=r"participants\.tsv"):
        read_table(tmp_path / "participants.tsv")


def test_truth_values_of_numpy_are_written_as_those_of_python() -> None:
    assert [format_cell(value) for value in (np.bool_(True), np.bool_(False), True)] == ["true", "false", "true"]
