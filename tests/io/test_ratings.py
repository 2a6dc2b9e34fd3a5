"""Ratings of readers."""

from pathlib import Path

import pytest

from bids_alps.errors import MetadataError, NoInputError
from bids_alps.io.ratings import Rating, read_ratings


def write(path, *rows):
    path.write_text("run\trating\tnote\ttime\n" + "".join("\t".join(row) + "\n" for row in rows))
    return path


def test_ratings_are_read_as_pages_save_them(tmp_path):
    path = write(tmp_path / "a.tsv", ("sub-01", "keep", "n/a", "t"), ("sub-02", "drop", "moved a lot", "t"))
    assert read_ratings([path]) == {
        ("", "sub-01"): Rating(rating="keep"),
        ("", "sub-02"): Rating(rating="drop", note="moved a lot"),
    }


def test_the_more_cautious_of_two_ratings_is_used_in_any_order(tmp_path):
    one = write(tmp_path / "a.tsv", ("sub-01", "keep", "fine", ""))
    two = write(tmp_path / "b.tsv", ("sub-01", "doubtful", "blurred", ""))
    assert read_ratings([one, two]) == {("", "sub-01"): Rating(rating="doubtful", note="fine; blurred")}
    assert read_ratings([two, one])[("", "sub-01")].rating == "doubtful"


@pytest.mark.parametrize(
    ("text", "message"),
    [("run\tvote\nsub-01\tkeep\n", "no column rating"), ("run\trating\nsub-01\tdropp\n", "did you mean drop?")],
)
def test_tables_of_another_kind_are_refused(tmp_path, text, message):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(MetadataError) as caught:
        read_ratings([tmp_path / "a.tsv"])
    assert message in str(caught.value)


def test_a_missing_table(tmp_path):
    with pytest.raises(NoInputError):
        read_ratings([tmp_path / "a.tsv"])


def test_ratings_tell_their_dataset_and_may_be_saved_by_excel(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes("run\trating\tnote\tdataset\nsub-01\tdrop\tunschön\tsiteB\n".encode("cp1252"))
    assert read_ratings([path]) == {("siteB", "sub-01"): Rating(rating="drop", note="unschön")}
