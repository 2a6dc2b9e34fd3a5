"""Thresholds of all quality checks, with their sources."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bids_alps.model import Status

Direction = Literal["above", "below", "outside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Values at which a check warns and fails (NaN for never), and the direction in which values are bad.

    For ``outside`` the thresholds are distances from `middle`. `unknown` is the status of a value that could not be
    measured. `source` states where the thresholds come from; "real scans" are eight scans of two participants on two
    scanners. If `withholds_index`, a failure of the check withholds the index.
    """

    unit: str
    warn: float
    fail: float
    direction: Direction
    reason: str
    source: str
    middle: float = 0.0
    unknown: Status = "warn"
    withholds_index: bool = True


def _registration(
    limits: tuple[float, float], direction: Direction, reason: str, real: str, unit: str = ""
) -> Threshold:
    """Return the threshold of a registration check, which fails if it cannot be measured."""
    warn, fail = limits
    source = f"real scans {real}"
    return Threshold(unit=unit, warn=warn, fail=fail, direction=direction, reason=reason, source=source, unknown="fail")


NEVER = math.nan
THRESHOLDS: Mapping[str, Threshold] = {
    "angle_projection": Threshold(
        unit="degrees",
        warn=25,
        fail=45,
        direction="above",
        reason="Projection fibers should run along z; otherwise Dxx and Dyy are not perpendicular to them.",
        source="real scans 10 to 16; beyond 45 another axis is closer",
    ),
    "angle_association": Threshold(
        unit="degrees",
        warn=25,
        fail=45,
        direction="above",
        reason="Association fibers should run along y; otherwise Dxx and Dzz are not perpendicular to them.",
        source="real scans 7 to 15; beyond 45 another axis is closer",
    ),
    "tract_rotation": Threshold(
        unit="degrees",
        warn=9,
        fail=13,
        direction="above",
        reason="Fibers rotated alike in both hemispheres indicate a gradient table in other axes, such as scanner axes "
        "with oblique slices, or a wrong pose of the head.",
        source="real scans 0 to 7; the same with tables rotated by 20 degrees about any axis 11 to 26",
    ),
    "dispersion": Threshold(
        unit="degrees",
        warn=25,
        fail=NEVER,
        direction="above",
        reason="Dispersed directions within a region indicate a mixture of tracts.",
        source="real scans 16 to 28, highest at b = 2500",
    ),
    "fa": Threshold(
        unit="",
        warn=0.3,
        fail=0.15,
        direction="below",
        reason="Low anisotropy indicates a region outside white matter or in crossing fibers.",
        source="real scans 0.45 to 0.51; tractography commonly stops at 0.2 (Mori 2002, doi 10.1002/nbm.781)",
    ),
    "lambda2_lambda3": Threshold(
        unit="",
        warn=1.8,
        fail=NEVER,
        direction="above",
        reason="A planar tensor indicates crossing fibers, which change the index irrespective of perivascular "
        "diffusion.",
        source="real scans 1.7 to 2.4",
    ),
    "off_tract_fraction": Threshold(
        unit="",
        warn=0.3,
        fail=0.7,
        direction="above",
        reason="Voxels of other tissue or other tracts contaminate the region.",
        source="real scans 0.07 to 0.28",
    ),
    "other_tissue": Threshold(
        unit="",
        warn=0.2,
        fail=0.7,
        direction="above",
        reason="CSF, gray matter or lesions in a region shift the index towards 1, irrespective of perivascular "
        "diffusion.",
        source="fraction of a region whose FA and MD are not those of white matter; real scans up to 0.06",
    ),
    "effective_voxels": Threshold(
        unit="voxels",
        warn=4,
        fail=1.5,
        direction="below",
        reason="Noise averages out poorly over few voxels.",
        source="a 2.5 mm sphere has 4 voxels of 2.5 mm: noise alone gives an SD near 0.07 (30 directions, SNR 20)",
    ),
    "coverage": Threshold(
        unit="",
        warn=0.95,
        fail=0.5,
        direction="below",
        reason="A region at the edge of the brain mask or of the field of view is only partly measured.",
        source="real scans 1",
    ),
    "lesion_overlap": Threshold(
        unit="",
        warn=0.05,
        fail=0.5,
        direction="above",
        reason="Lesions change diffusion irrespective of perivascular diffusion; excluding them leaves fewer voxels.",
        source="isotropic 1.5e-3 mm²/s in 5 % of a region lowers the index of that side by 3 %; 50 %: as coverage",
    ),
    "lesion_t1w_shift": Threshold(
        unit="mm",
        warn=2.5,
        fail=5.0,
        direction="above",
        reason="A lesion mask from the T1w image, used without registration, is misaligned by the head motion "
        "between images.",
        source="regions are 5 mm wide; real scans without distortion correction 1.5 to 2.0",
        withholds_index=False,  # only the lesion columns are affected
    ),
    "pitch": Threshold(
        unit="degrees",
        warn=8,
        fail=NEVER,
        direction="outside",
        reason="Pitch biases the index if tensors are not rotated, and makes registration harder.",
        source="5 degrees lower an uncorrected index by 1.5 %, 10 degrees by 5.7 % (simulated)",
    ),
    "alps": Threshold(
        unit="",
        warn=0.55,
        fail=NEVER,
        direction="outside",
        reason="An index outside 0.9 to 2.0 is rare in the literature: inspect the figures.",
        source="1.60 ± 0.25 in 51 healthy adults (Park 2023, doi 10.1093/sleep/zsad239)",
        middle=1.45,
    ),
    "snr_b0": Threshold(
        unit="",
        warn=10,
        fail=3,
        direction="below",
        reason="At low SNR the noise floor biases diffusivities, most of all along the fibers.",
        source="below 3 the noise is not Gaussian (Gudbjartsson 1995, doi 10.1002/mrm.1910340618); real scans 37 to 48",
    ),
    "noise_floor": Threshold(
        unit="%",
        warn=1,
        fail=2,
        direction="above",
        reason="The Rician noise floor biases diffusivities along the fibers downwards.",
        source="predicted bias of the index; in simulations accurate within 1.2 % of the index at SNR 8 and above",
    ),
    "b_value": Threshold(
        unit="s/mm^2",
        warn=550,
        fail=NEVER,
        direction="outside",
        reason="The index depends on b; far from b = 1000, compare within one protocol only.",
        source="b-values of the literature, 500 to 1500, with the deviations that scanners write for 1500",
        middle=1000,
    ),
    "directions": Threshold(
        unit="",
        warn=12,
        fail=6,
        direction="below",
        reason="The tensor is poorly determined by few directions.",
        source="a tensor has six elements; at least 20 are recommended (Jones 2004, doi 10.1002/mrm.20033)",
    ),
    "gradient_spread": Threshold(
        unit="%",
        warn=2,
        fail=4,
        direction="above",
        reason="Gradient amplitudes that deviate from the table along one axis make isotropic tissue appear "
        "anisotropic.",
        source="well-calibrated scanners 0.4 to 1.0, one of the real scanners 1.3 to 3.0; 4 is about 7 % along an axis",
    ),
    "gradient_axes": Threshold(
        unit="",
        warn=0.94,
        fail=0.92,
        direction="below",
        reason="Better fiber coherence with flipped or permuted axes, or with a table in scanner axes if slices are "
        "oblique, indicates a wrong gradient table.",
        source="correct tables 1.05 to 1.20, axes flipped or permuted 0.73 to 0.91 (Schilling 2019, doi "
        "10.1016/j.mri.2019.01.018); if slice thickness exceeds 1.3 times the pixel size, the two axes of the slice "
        "only: correct 1.13 to 1.18, wrong 0.84 to 0.88; oblique slices of 28 and 38 degrees ignored: 0.93 to 0.95",
    ),
    "framewise_displacement": Threshold(
        unit="mm",
        warn=1.0,
        fail=3.0,
        direction="above",
        reason="Head motion blurs the images and causes signal dropout.",
        source="mean over volumes; real scans 0.4 to 0.6; thresholds are about half a voxel and more than one voxel",
    ),
    "outlier_slices": Threshold(
        unit="",
        warn=0.02,
        fail=0.1,
        direction="above",
        reason="Slices with motion-induced signal dropout bias the tensor.",
        source="real scans up to 0.004; 0.1 means that 10 % of the data are replaced",
    ),
    "residual_distortion": Threshold(
        unit="mm",
        warn=1.0,
        fail=NEVER,
        direction="above",
        reason="Uncorrected susceptibility distortion displaces the regions from their tracts.",
        source="without a fieldmap, expected from readout time and 4 Hz: the field at the regions beyond what "
        "registration absorbs is 1.7 to 6.0 Hz in two scanners; 1 mm changes the index by 0.9 %",
    ),
    "left_right_known": Threshold(
        unit="",
        warn=0.5,
        fail=NEVER,
        direction="below",
        reason="Without valid sform or qform, or if they disagree, left and right cannot be distinguished.",
        source="0 unknown, 1 known",
    ),
    "session_similarity": Threshold(
        unit="",
        warn=0.85,
        fail=0.75,
        direction="below",
        reason="Sessions of one participant are similar after registration; a different participant or a failed "
        "registration is not.",
        source="real scans of one participant 0.90 to 0.97, of two participants 0.58",
    ),
    "registration_overlap": _registration(
        (0.85, 0.75),
        "below",
        "Dice overlap of the brain mask and the template's brain within the field of view.",
        "0.95 to 0.96",
    ),
    "registration_similarity": _registration(
        (0.6, 0.45), "below", "Correlation of image contrast with the template.", "0.82 to 0.85"
    ),
    "registration_similarity_margin": _registration(
        (0.12, 0.06), "below", "Similarity gain over the best of 100 random poses.", "0.24 to 0.28"
    ),
    "registration_orientation_margin": _registration(
        (0.08, 0.0), "below", "Similarity gain over heads rotated by 90 and 180 degrees.", "0.18 to 0.23"
    ),
    "registration_scale_min": _registration(
        (0.75, 0.65),
        "below",
        "Smallest scaling from template to subject; lower values are anatomically implausible.",
        "0.80 to 0.86",
    ),
    "registration_scale_max": _registration(
        (1.2, 1.35), "above", "Largest scaling from template to subject.", "0.91 to 0.99"
    ),
    "registration_jacobian_low": _registration(
        (0.35, 0.0), "below", "Smallest Jacobian determinant (1st percentile); the warp folds below 0.", "0.83 to 0.86"
    ),
    "registration_jacobian_high": _registration(
        (2.5, 4.0), "above", "Largest Jacobian determinant (99th percentile).", "1.03 to 1.12"
    ),
    "registration_pose_se": _registration(
        (2.0, 5.0),
        "above",
        "Standard error of the pose over starts, channels and halves of the data.",
        "0.8 to 1.6",
        "degrees",
    ),
    "registration_roi_white_matter": _registration(
        (0.45, 0.25), "below", "Lowest white-matter fraction (from FA) at the ROI centers, 0 to 1.", "0.35 to 0.66"
    ),
    "registration_ventricle_contrast": _registration(
        (0.1, 0.02), "below", "CSF in the expected ventricles between the ROIs minus CSF at the ROIs.", "0.18 to 0.48"
    ),
    "registration_tract_shift": Threshold(
        unit="mm",
        warn=2,
        fail=3,
        direction="outside",
        reason="Offset along x between the tracts, as measured by the tensors, and the regions.",
        source="real scans -1.2 to 0.5; neighboring tracts begin 4 to 6 mm from the center of a region",
    ),
    "registration_hemisphere_distance": _registration(
        (30.0, 20.0),
        "below",
        "Distance between left and right ROIs along x; left must be at smaller x.",
        "46 to 49",
        "mm",
    ),
}
"""By the name of the check."""
