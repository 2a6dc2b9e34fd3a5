"""Tables of participants as spreadsheets write them."""

from pathlib import Path

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
