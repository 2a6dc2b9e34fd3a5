"""Files that are there, links and pointers without content, and headers that promise more than there is."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import nifti_bytes

from bids_alps.errors import ImageError, NoInputError
from bids_alps.io.availability import check_available, check_series
from bids_alps.model import SpatialMap


def test_what_is_there_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_bytes(SpatialMap(data=np.ones((4, 4, 4, 3)), affine=np.eye(4))))
    check_available(path)
    check_series(path)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", ImageError, "an empty file"),
        (b"/annex/objects/MD5E-s1--a.nii.gz\n", NoInputError, "a pointer to content.*datalad get"),
        (None, NoInputError, "no such file"),
    ],
)
def test_what_has_no_content_is_told(tmp_path: Path, content: bytes | None, error: type, words: str) -> None:
    path = tmp_path / "a.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words):
        check_available(path)


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    with pytest.raises(NoInputError, match="a link to content that is not available"):
        check_available(tmp_path / "a")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("full", [True, False])
def test_a_header_may_not_promise_more_than_deflate_can_hold(tmp_path: Path, packed: bool, full: bool) -> None:
    """Plain files hold what they hold; deflate packs at most 1032 to 1."""
    image = nib.Nifti1Image(np.ones((8, 8, 8, 4), np.float32), np.eye(4))
    content = image.to_bytes()
    if not full:
        grown = nib.Nifti1Image(np.ones((8, 8, 8, 4), np.float32), np.eye(4)).header
        grown.set_data_shape((200, 200, 200, 400))
        content = grown.binaryblock + content[348:]
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    if full:
        check_series(path)
        return
    with pytest.raises(ImageError, match="its header implies 12800000000 bytes"):
        check_series(path)


def test_a_map_is_no_series(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_bytes(SpatialMap(data=np.ones((4, 4, 4)), affine=np.eye(4))))
    with pytest.raises(ImageError, match="3-D image"):
        check_series(path)
