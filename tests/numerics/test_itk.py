from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from bids_alps.numerics.itk import itk_text


def test_itk_reads_the_same_map_in_lps(tmp_path):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() * 1.1
    matrix[:3, 3] = [5, -7, 11]
    path = tmp_path / "a.txt"
    path.write_text(itk_text(matrix))
    point = np.array([12.0, -30.0, 40.0])
    moved = np.array(sitk.ReadTransform(str(path)).TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
    np.testing.assert_allclose(moved, (matrix @ [*point, 1])[:3], atol=1e-6)
