"""Headers of written images, as nibabel reads them."""

from __future__ import annotations

import gzip
import io

import nibabel as nib
import numpy as np
import pytest

from bids_alps.io.writing import write_nifti

AFFINE = np.array([[0.0, 0, 3.0, -10], [-1.5, 0, 0, 20], [0, 2.0, 0, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 2), (3, 4, 5, 1, 3)])
def test_a_written_image_has_its_grid_in_both_forms_and_unit_steps_beyond_space(shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    stream = io.BytesIO()
    write_nifti(stream, data, AFFINE, dtype=np.float32)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(stream.getvalue()))
    np.testing.assert_array_equal(np.asarray(image.dataobj), data)
    np.testing.assert_allclose(image.header.get_zooms(), [1.5, 2, 3, *[1] * (len(shape) - 3)], rtol=1e-6)
    for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        np.testing.assert_allclose(form, AFFINE, atol=1e-5)
        assert code == 1
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header.get_slope_inter() in ((1.0, 0.0), (None, None))
