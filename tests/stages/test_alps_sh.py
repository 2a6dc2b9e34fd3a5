import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bids_alps.stages.alps_sh import image_axes

ORDERS = [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1)]


@given(
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    order=st.sampled_from(ORDERS),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
def test_storage_order_leaves_the_image_axes(angles, order, signs):
    tilt = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = (tilt * signs)[:, list(order)] * 2.5
    assert image_axes(affine) == pytest.approx(tilt.T, abs=1e-9)
