"""Tables of participants as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_alps.errors import MetadataError, NoInputError
from bids_alps.io.phenotype import read_phenotype

TEXT = "participant_id\tcomment\tage\nsub-01\tmoved a lot… repeat\t30\nsub-02\tok\t40\n"


def test_bytes_of_windows_1252_are_no_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "participants.tsv"
    path.write_bytes(TEXT.encode("cp1252"))
    found = read_phenotype(path)
    assert found.table["participant_id"].tolist() == ["sub-01", "sub-02"]
    assert found.table.loc[0, "comment"] == "moved a lot… repeat"
    assert found.notes == ("participants.tsv: not UTF-8; read as Windows-1252.",)


def test_line_ends_of_every_system(tmp_path: Path) -> None:
    path = tmp_path / "participants.tsv"
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes(TEXT.replace("…", "\x85\u2028").replace("\n", end).encode())
        assert read_phenotype(path).table["age"].tolist() == ["30", "40"]


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
