"""Tables of people that cannot be read as they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_alps.errors import MetadataError, NoInputError
from bids_alps.io.phenotype import read_phenotype


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"cannot be read \(Is a directory\)"):
        read_phenotype(tmp_path)
    with pytest.raises(NoInputError, match="no such file"):
        read_phenotype(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("cell", "value"), [('"a b"', "a b"), ('"', '"'), ('"a', '"a'), ('a"', 'a"'), ('""', ""), ("' a '", "' a '")]
)
def test_quotes_around_a_cell_are_no_part_of_it(tmp_path: Path, cell: str, value: str) -> None:
    path = tmp_path / "participants.tsv"
    path.write_text(f"participant_id\tnote\tage\nsub-01\t{cell}\t30\n")
    assert read_phenotype(path).table["note"].tolist() == [value]
