"""Arbitrary bytes and file names give numbers, or an error that names the file."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import nifti_bytes
from hypothesis import example, given
from hypothesis import strategies as st

from bids_alps.errors import AlpsError
from bids_alps.io.availability import check_series
from bids_alps.io.gradient_tables import read_bvals, read_bvecs, read_world_bvecs
from bids_alps.io.images import read_volumes
from bids_alps.io.inheritance import entities_of, read_json, suffix_of
from bids_alps.io.layout import UnusableRun, find_runs
from bids_alps.io.queries import read_filters
from bids_alps.io.tables import read_table
from bids_alps.model import DwiRun, SpatialMap

SERIES = nifti_bytes(SpatialMap(data=np.ones((2, 2, 2, 3)), affine=np.eye(4)))
TABLES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.lists(st.lists(st.floats(), max_size=4), max_size=4).map(
        lambda rows: "\n".join(" ".join(map(str, row)) for row in rows).encode()
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


def survive(read: Callable[[Path], object], content: bytes, name: str) -> None:
    """Read a file of any content: a value, or one of our errors with the file's name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            read(path)
        except AlpsError as error:
            assert name in str(error) or "--bids-filter-file" in str(error)  # noqa: PT017 -- no error is as good


@given(TABLES)
@example(b"\xef\xbb\xbf0 1000\n")
@example(b"1e400 0\n")
@example(b"0\x0c1000\n")
def test_gradient_tables(content: bytes) -> None:
    survive(read_bvals, content, "a.bval")
    survive(lambda path: read_bvecs(path, volumes=2), content, "a.bvec")
    survive(lambda path: read_world_bvecs(path, np.array([0.0, 1000.0])), content, "a.b")


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b"\xff\xfe{\x00}\x00")
def test_sidecars_filters_and_tables(content: bytes) -> None:
    survive(read_json, content, "a.json")
    survive(read_filters, content, "a.json")
    survive(read_table, content, "a.tsv")


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 351))
def test_images(content: bytes, packed: bool, where: int) -> None:
    plain = gzip.decompress(SERIES)
    changed = plain[:where] + content + plain[where + len(content) :]
    for data in (content, changed):
        name = "a.nii.gz" if packed else "a.nii"
        held = gzip.compress(data) if packed else data
        survive(check_series, held, name)


@pytest.mark.filterwarnings("ignore")
@given(st.binary(min_size=1, max_size=8), st.integers(0, 351))
def test_a_file_that_passes_the_quick_check_is_read_or_refused(content: bytes, where: int) -> None:
    plain = gzip.decompress(SERIES)
    changed = plain[:where] + content + plain[where + len(content) :]
    survive(lambda path: (check_series(path), read_volumes(path)), gzip.compress(changed), "a.nii.gz")


@given(st.text(max_size=40))
def test_names_of_files(name: str) -> None:
    assert all(isinstance(label, str) for label in entities_of(name).values())
    assert isinstance(suffix_of(name), str)


@pytest.mark.slow
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60))
@example("a b")
@example("$(touch x)")
@example("..")
@example("é'\"`;&|<script>")
@example("x" * 200)
def test_labels_of_runs(label: str) -> None:
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        folder = root / "sub-01/dwi"
        folder.mkdir(parents=True)
        try:
            for extension, content in (("nii.gz", SERIES), ("bval", b"0 1 1\n"), ("bvec", b"0 1 1\n")):
                (folder / f"sub-01_acq-{label}_dwi.{extension}").write_bytes(content)
        except OSError:  # longer in bytes than a name may be
            return
        for run in find_runs(root, "01"):
            assert isinstance(run, UnusableRun) or re.fullmatch("[a-zA-Z0-9+]+", run.entities["acq"])
        assert [path.name for path in root.iterdir()] == ["sub-01"]


def test_folders_of_any_name(tmp_path: Path) -> None:
    root = tmp_path / "ä b (1) '$x' & <i>" / ("long" * 50)
    folder = root / "sub-01/dwi"
    folder.mkdir(parents=True)
    for extension, content in (("nii.gz", SERIES), ("bval", b"0 1 1\n"), ("bvec", b"0 1 1\n")):
        (folder / f"sub-01_dwi.{extension}").write_bytes(content)
    (run,) = find_runs(root, "01")
    assert isinstance(run, DwiRun)
    assert run.image.parent == folder
