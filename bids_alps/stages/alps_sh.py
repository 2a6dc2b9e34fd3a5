"""The conventions of the script ``alps.sh``, for comparison with published values.

Tensors are fitted by ordinary least squares to all shells and kept in image axes; maps are resampled to 1 mm in the
template by a 12-parameter affine registration of the white matter, and averaged in the regions there:
https://github.com/gbarisano/alps. Differences: denoising and unringing are options here, and the registration target is
not the JHU FA map, which cannot be redistributed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import polar
from scipy.optimize import linear_sum_assignment

from bids_alps.model import Array, RoiPreset, SpatialTransform, Statement, SubjectMaps, Template
from bids_alps.numerics.tensors.tensor import fit_tensor
from bids_alps.registration.staged import fit_whole_brain
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.statements import literal, make_statement
from bids_alps.stages.tensors import check_acquisition

SENTENCE = (
    "With the preset {preset}, the index was measured with the conventions of the script alps.sh ([@liu2024]): tensors "
    "fitted by ordinary least squares to all shells (DIPY; [@garyfallidis2014]) and left in the axes of the image, and "
    "spheres of {radius:g} mm radius placed by an affine registration of the whole brain's white matter, in maps "
    "interpolated trilinearly at 1 mm."
)


def alps_sh_statement(preset: RoiPreset) -> tuple[Statement, ...]:
    """Return the statements of the measurement of a preset by these conventions."""
    return make_statement("index", SENTENCE.replace("{preset}", literal(preset.name)), radius=preset.radius_mm)


def measure_alps_sh(prepared: PreparedSeries, aligned: AlignedRun, maps: tuple[SubjectMaps, Template]) -> AlignedRun:
    """Return the run with the tensor fit, axes and registration of ``alps.sh``; the head pose is kept.

    The rotation of the registration is that to image axes, so pose correction is always on: it is what makes the index
    use them.
    """
    series = prepared.series
    weighted = series.gradients.bvals > aligned.method.b0_threshold
    fitted = replace(
        aligned.fitted,
        field=fit_tensor(series, prepared.mask, reweightings=-1),
        series=series,
        weighted=weighted,
        b_value=float(series.gradients.bvals[weighted].mean()),
    )
    affine = fit_whole_brain(*maps, aligned.registration.transform.affine)
    rigid = np.eye(4)
    rigid[:3, :3] = image_axes(series.image.affine)
    coarse = ("similarity_coarse", "similarity_random", "similarity_rotated")  # the affine starts from this stage
    registration = replace(
        aligned.registration,
        transform=SpatialTransform(affine=affine, rigid=rigid),
        metrics={name: value for name, value in aligned.registration.metrics.items() if name in coarse},
    )
    return replace(
        aligned,
        method=replace(aligned.method, roi_weighting="fraction", pose_correction=True),
        fitted=replace(fitted, checks=check_acquisition(fitted)),
        registration=registration,
    )


def image_axes(affine: Array) -> Array:
    """Return the rotation from world axes to image axes, in the order and sign closest to RAS+, shape (3, 3).

    Examples
    --------
    >>> image_axes(np.array([[0, 0, -3.0, 0], [2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    directions, _ = polar(affine[:3, :3])
    axes, columns = linear_sum_assignment(-np.abs(directions))
    nearest = directions[:, columns[np.argsort(axes)]]
    return (nearest * np.sign(np.diag(nearest))).T + 0.0
