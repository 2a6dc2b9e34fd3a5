"""Tables and their data dictionaries, as strangers write them."""

from pathlib import Path

import numpy as np
import pytest

from bids_alps.errors import MetadataError
from bids_alps.io.tables import format_cell, read_dictionary, read_table

AGE = {"Description": "Age at scan", "Units": "year"}
DAMAGED = {
    "empty": b"",
    "truncated": b'{"age": {',
    "list": b'[{"age": 1}]',
    "null": b"null",
    "number": b"3",
    "latin-1": '{"age": {"Description": "\u00e2ge"}}'.encode("latin-1"),
    "binary": bytes(range(256)),
    "nested": b"[" * 100_000,
    "utf-16": '{"age": {}}'.encode("utf-16"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_dictionary_is_reported_and_ignored(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "participants.json").write_bytes(DAMAGED[kind])
    assert read_dictionary(tmp_path / "participants.tsv") == {}
    assert "participants.json" in caplog.text
    assert "no descriptions" in caplog.text


def test_a_dictionary_that_is_a_folder_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "participants.json").mkdir()
    assert read_dictionary(tmp_path / "participants.tsv") == {}
    assert "participants.json" in caplog.text


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_dictionary_with_or_without_a_byte_order_mark_is_read(tmp_path: Path, start: bytes) -> None:
    text = b'{"age": {"Description": "Age at scan", "Units": "year"}, "sex": "M or F", "site": null}'
    (tmp_path / "participants.json").write_bytes(start + text)
    assert read_dictionary(tmp_path / "participants.tsv") == {"age": AGE}


def test_a_folder_is_not_a_table(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").mkdir()
    with pytest.raises(MetadataError, match=r"participants\.tsv"):
        read_table(tmp_path / "participants.tsv")


def test_truth_values_of_numpy_are_written_as_those_of_python() -> None:
    assert [format_cell(value) for value in (np.bool_(True), np.bool_(False), True)] == ["true", "false", "true"]
