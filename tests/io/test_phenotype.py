"""Tables of participants as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_alps.errors import MetadataError, NoInputError
from bids_alps.io.phenotype import read_levels, read_phenotype

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


DAMAGED = {
    "empty": b"",
    "truncated": b'{"age": {',
    "list": b'[{"age": 1}]',
    "null": b"null",
    "number": b"3",
    "latin-1": '{"age": {"Description": "\u00e2ge"}}'.encode("latin-1"),
    "binary": bytes(range(256)),
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_dictionary_is_reported_and_ignored(tmp_path: Path, kind: str) -> None:
    (tmp_path / "participants.json").write_bytes(DAMAGED[kind])
    levels, notes = read_levels(tmp_path / "participants.tsv")
    assert levels == {}
    assert [note.partition(":")[0] for note in notes] == ["participants.json"]


def test_a_dictionary_that_is_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "participants.json").mkdir()
    levels, notes = read_levels(tmp_path / "participants.tsv")
    assert levels == {}
    assert "cannot be read" in notes[0]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_dictionary_with_or_without_a_byte_order_mark_is_read(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "participants.json").write_bytes(start + b'{"age": {"Units": "year"}}')
    assert read_levels(tmp_path / "participants.tsv") == ({"age": {"Units": "year"}}, ())
