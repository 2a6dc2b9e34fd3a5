from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_alps.errors import AlpsError, GradientError, ImageError, NoInputError
from bids_alps.io.gradient_tables import read_bvals, read_bvecs
from bids_alps.io.images import read_header, read_series
from bids_alps.model import DwiRun

N = 8
LAS = np.diag([-2.0, 2, 2, 1])


@pytest.fixture
def run(tmp_path):
    """A small valid run on disk."""
    rng = np.random.default_rng(0)
    data = rng.uniform(100, 200, (4, 5, 6, N)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([-2.0, 2, 2, 1])), tmp_path / "sub-01_dwi.nii.gz")
    vectors = rng.normal(size=(N, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[0] = 0
    np.savetxt(tmp_path / "sub-01_dwi.bval", [[0] + [1000] * (N - 1)], fmt="%d")
    np.savetxt(tmp_path / "sub-01_dwi.bvec", vectors.T, fmt="%.6f")
    names = {kind: tmp_path / f"sub-01_dwi.{kind}" for kind in ("bval", "bvec")}
    return DwiRun(entities={"sub": "01"}, image=tmp_path / "sub-01_dwi.nii.gz", **names)


def rewrite(path, change):
    path.write_text(change(path.read_text()))


def transposed(text):
    return "\n".join(" ".join(row) for row in zip(*[line.split() for line in text.splitlines()], strict=True))


def stretched(text, factor):
    return "\n".join(" ".join(str(factor * float(word)) for word in line.split()) for line in text.splitlines())


def test_a_valid_run_is_read_in_world_axes(run):
    series = read_series(run)
    fsl = np.loadtxt(run.bvec).T
    np.testing.assert_allclose(series.gradients.bvecs, fsl * [-1, 1, 1], atol=1e-5)
    assert series.image.data.dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("bval", lambda text: " ".join(text.split()[:-1]), "7 b-values for 8 volumes"),
        ("bval", lambda text: text.replace("1000", "nan", 1), "not finite"),
        ("bval", lambda text: "", "empty"),
        ("bval", lambda text: "b-values: " + text, "not a table of numbers"),
        ("bval", lambda text: "-" + text.replace("0", "5", 1), "negative"),
        ("bval", lambda text: text.replace("1000", "1"), "largest b-value is 1, implausible"),
        ("bval", lambda text: text.replace("1000", "1e9"), r"largest b-value is 1e\+09, implausible"),
        ("bvec", lambda text: text.rpartition(" ")[0] + " nan\n", "b-vector of volume 7 is not finite"),
        ("bvec", lambda text: "\n".join(text.splitlines()[:2]), "for 8 volumes"),
        ("bvec", lambda text: "\n".join(" ".join(["0"] * N) for _ in range(3)), "7 of 7 diffusion-weighted volumes"),
        (
            "bvec",
            lambda text: "\n".join(" ".join(str(1.2 * float(w)) for w in line.split()) for line in text.splitlines()),
            "length 1.200",
        ),
    ],
)
def test_a_bad_gradient_table_is_named_with_numbers(run, kind, change, words):
    rewrite(getattr(run, kind), change)
    with pytest.raises(GradientError, match=words) as caught:
        read_series(run)
    assert caught.value.exit_code == 65
    assert f"sub-01_dwi.{kind}" in str(caught.value)


def write_world_table(run, **changed):
    """Write the gradient table as MRtrix3 has it; return the run that has it."""
    gradients = read_series(run).gradients
    bvals = changed.get("bvals", gradients.bvals)
    path = run.bvec.with_suffix(".b")
    np.savetxt(path, np.column_stack([gradients.bvecs, bvals]), fmt="%.8f")
    return replace(run, bvec=path)


def test_a_table_in_world_axes_equals_that_of_fsl(run):
    expected = read_series(run).gradients.bvecs
    found = read_series(write_world_table(run)).gradients.bvecs
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_table_in_world_axes_of_another_series_is_refused(run):
    other = write_world_table(run, bvals=np.full(N, 700.0))
    with pytest.raises(GradientError, match=r"\.b: b = 700 in volume 0, 0 in the \.bval file"):
        read_series(other)
    other.bvec.write_text("1 0 0 1000\n")
    with pytest.raises(GradientError, match="Write 8 lines of x, y, z and b"):
        read_series(other)


def test_a_3d_image_is_refused(run):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), run.image)
    with pytest.raises(ImageError, match="3-D image"):
        read_series(run)


def change_image(run, change, affine=LAS):
    data = np.asarray(nib.Nifti1Image.from_filename(run.image).dataobj).copy()
    change(data)
    nib.save(nib.Nifti1Image(data, affine), run.image)


def test_non_finite_values_in_the_head_are_counted(run):
    def lose(data):
        data[2, 2, 2:4, 2] = np.nan

    change_image(run, lose)
    with pytest.raises(ImageError, match="2 values are not finite, 2 voxels of them in the head"):
        read_series(run)


def test_non_finite_values_in_the_background_are_noted(run):
    def lose(data):
        data[0] = np.nan  # the edge of the image
        data[2:] = 1.0
        data[3, 2, 2, 1] = np.inf  # among voxels without signal

    change_image(run, lose)
    series = read_series(run)
    assert np.isfinite(series.image.data).all()
    assert series.notes == (
        "241 values of sub-01_dwi.nii.gz that are not finite, all in the background, were read as 0",
    )


def test_an_empty_volume_is_refused_by_its_number(run):
    change_image(run, lambda data: data[..., 3].fill(0))
    with pytest.raises(ImageError, match=r"1 of 8 volumes are zero everywhere \(volume 3\)"):
        read_series(run)


def test_tolerated_defects_of_a_gradient_table_change_no_direction(run):
    expected = read_series(run)
    assert expected.notes == ()
    rewrite(run.bvec, lambda text: transposed(stretched(text, 1.05)).replace("0.0 0.0 0.0", "nan nan nan"))
    series = read_series(run)
    np.testing.assert_allclose(series.gradients.bvecs, expected.gradients.bvecs, atol=1e-5)
    np.testing.assert_array_equal(series.gradients.bvals, expected.gradients.bvals)
    words = ("transposed", "1 b-vectors of b=0 volumes", "normalized")
    assert all(word in note for word, note in zip(words, series.notes, strict=True))


def test_a_table_of_three_volumes_is_never_transposed(run):
    np.savetxt(run.bvec, np.eye(3)[[1, 2, 0]])
    np.testing.assert_array_equal(read_bvecs(run.bvec, volumes=3), np.eye(3)[[1, 2, 0]].T)


def test_volumes_below_the_threshold_need_no_direction(run):
    rewrite(run.bval, lambda text: text.replace("1000", "80", 1))
    rewrite(run.bvec, lambda text: "\n".join(" ".join(["0", "0", *line.split()[2:]]) for line in text.splitlines()))
    with pytest.raises(GradientError, match="1 of 7 diffusion-weighted volumes"):
        read_series(run)
    assert read_series(run, b0_threshold=100).gradients.bvecs[1].tolist() == [0, 0, 0]


SAGITTAL = np.array([[0.0, 0, 2, 0], [-2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("sform", "qform", "known"),
    [
        (LAS, LAS, True),
        (LAS, None, True),
        (None, LAS, True),
        (None, None, False),
        (LAS, np.diag([2.0, 2, 2, 1]), False),
        (LAS, np.diag([2.0, -2, 2, 1]), False),
        (SAGITTAL, SAGITTAL, True),
        (SAGITTAL, np.diag([-1.0, 1, 1, 1]) @ SAGITTAL, False),
        (
            np.array([[-1.9, 0.6, 0, 0], [-0.6, -1.9, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]]),
            np.diag([-2.0, -2, 2, 1]),
            True,
        ),
    ],
)
def test_a_header_may_distinguish_left_from_right(run, sform, qform, known):
    image = nib.Nifti1Image.from_filename(run.image)
    made = nib.Nifti1Image(np.asarray(image.dataobj), None)
    made.set_sform(sform, 0 if sform is None else 1)
    made.set_qform(qform, 0 if qform is None else 1)
    made.to_filename(run.image)
    header = read_header(run.image)
    assert header.left_right_known is known
    assert (header.sform_code, header.qform_code) == (0 if sform is None else 1, 0 if qform is None else 1)


@pytest.mark.parametrize("keep", [0, 10, 300, 2000])
def test_a_truncated_image_is_refused_by_name(run, keep):
    run.image.write_bytes(run.image.read_bytes()[:keep])
    with pytest.raises(ImageError, match=r"sub-01_dwi\.nii\.gz"):
        read_series(run)


def test_a_series_whose_last_volume_is_short_says_which(run):
    plain = gzip.decompress(run.image.read_bytes())
    run.image.write_bytes(gzip.compress(plain[:-10]))
    with pytest.raises(ImageError, match=rf"truncated or damaged \(volume {N} of {N}: "):
        read_series(run)


def test_a_header_larger_than_memory_is_refused(run):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 300, N))
    header.set_data_dtype(np.float32)
    run.image.write_bytes(gzip.compress(header.binaryblock + bytes(16)))
    with pytest.raises(ImageError, match="GiB"):
        read_series(run)


def test_a_dangling_link_is_reported_with_a_remedy(run, tmp_path):
    run.image.unlink()
    run.image.symlink_to(tmp_path / "annex" / "gone")
    with pytest.raises(NoInputError, match="datalad get"):
        read_series(run)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"1 2\n3", b"1e999", b"0x10 1", b"\x00" * 50])
def test_any_bytes_give_an_alps_error_or_numbers(tmp_path, content):
    path = tmp_path / "x.bval"
    path.write_bytes(content)
    for read in (read_bvals, lambda p: read_bvecs(p, volumes=2)):
        with pytest.raises(AlpsError, match=r"x\.bval"):
            read(path)


def test_an_image_whose_header_maps_space_to_a_plane_is_refused_by_name(tmp_path: Path) -> None:
    flat = nib.Nifti1Image(np.ones((4, 4, 4, 2), np.float32), None)
    flat.header.set_sform(np.diag([2.0, 2, 0, 1]), code=1)
    flat.header["qform_code"] = 0
    path = tmp_path / "flat.nii.gz"
    flat.to_filename(path)
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[280 + 32 : 280 + 48] = np.zeros(4, "<f4").tobytes()  # srow_z
    path.write_bytes(gzip.compress(bytes(header)))
    with pytest.raises(ImageError, match=f"^{re.escape(str(path))}: "):
        read_header(path)
