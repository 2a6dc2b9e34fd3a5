"""Thresholds of every quality check, with where they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bids_alps.model import Status

Direction = Literal["above", "below", "outside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Where a check warns and fails (NaN for never), and on which side trouble lies.

    For ``outside`` the thresholds are distances from `middle`. `unknown` is the status of a value that could not be
    measured, `source` where the thresholds come from; real scans are eight of two heads on two scanners.
    `withholds_index` tells whether an index whose check failed is not to be trusted: it is withheld then.
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


def _registration(limits: tuple[float, float], bad: Direction, reason: str, real: str, unit: str = "") -> Threshold:
    """Return the threshold of an alignment: one that cannot be measured is a failure."""
    warn, fail = limits
    source = f"real scans {real}"
    return Threshold(unit=unit, warn=warn, fail=fail, direction=bad, reason=reason, source=source, unknown="fail")


NEVER = math.nan
THRESHOLDS: Mapping[str, Threshold] = {
    "angle_projection": Threshold(
        unit="degrees",
        warn=25,
        fail=45,
        direction="above",
        reason="Fibres of the projection regions should run along z, else Dxx and Dyy are not across them.",
        source="real scans 10 to 16; at 45 another axis is as near",
    ),
    "angle_association": Threshold(
        unit="degrees",
        warn=25,
        fail=45,
        direction="above",
        reason="Fibres of the association regions should run along y, else Dxx and Dzz are not across them.",
        source="real scans 7 to 15; at 45 another axis is as near",
    ),
    "dispersion": Threshold(
        unit="degrees",
        warn=25,
        fail=NEVER,
        direction="above",
        reason="Directions that scatter inside a region mix tracts.",
        source="real scans 16 to 28, the most at b = 2500",
    ),
    "fa": Threshold(
        unit="",
        warn=0.3,
        fail=0.15,
        direction="below",
        reason="A region of low anisotropy lies outside white matter or in a crossing.",
        source="real scans .45 to .51; white matter is tracked from .2 on (Mori 2002, doi 10.1002/nbm.781)",
    ),
    "lambda2_lambda3": Threshold(
        unit="",
        warn=1.8,
        fail=NEVER,
        direction="above",
        reason="A flat tensor hints at crossing fibres, which change the index whatever happens along vessels.",
        source="real scans 1.7 to 2.4",
    ),
    "off_tract_fraction": Threshold(
        unit="",
        warn=0.3,
        fail=0.7,
        direction="above",
        reason="Voxels of other tissue or tracts do not belong here.",
        source="real scans .07 to .28",
    ),
    "other_tissue": Threshold(
        unit="",
        warn=0.2,
        fail=0.7,
        direction="above",
        reason="CSF, grey matter or a lesion in a region takes the index towards 1, whatever happens along vessels.",
        source="share of a region that FA and MD tell from white matter; real scans up to .06",
    ),
    "effective_voxels": Threshold(
        unit="voxels",
        warn=4,
        fail=1.5,
        direction="below",
        reason="A region of few voxels averages little noise away.",
        source="a 2.5 mm sphere at 2.5 mm has 4: noise alone gives an SD near .07 with 30 directions at SNR 20",
    ),
    "coverage": Threshold(
        unit="",
        warn=0.95,
        fail=0.5,
        direction="below",
        reason="A region at the edge of the brain mask or the field of view is measured in part.",
        source="real scans 1",
    ),
    "lesion_overlap": Threshold(
        unit="",
        warn=0.05,
        fail=0.5,
        direction="above",
        reason="A lesion changes diffusion whatever happens along vessels; left out, it leaves less to measure.",
        source="1.5e-3 mm^2/s all around in a twentieth of a region: a side's index falls by 3 %; half: coverage",
    ),
    "lesion_t1w_shift": Threshold(
        unit="mm",
        warn=2.5,
        fail=5.0,
        direction="above",
        reason="Lesions drawn on a T1w and taken as they lie miss their place by as much as the head moved.",
        source="a region of the index is 5 mm wide; a real scan without distortion correction 1.5 to 2.0",
        withholds_index=False,  # it is the lesion columns that are wrong
    ),
    "pitch": Threshold(
        unit="degrees",
        warn=8,
        fail=NEVER,
        direction="outside",
        reason="Pitch changes the index where tensors are not turned, and strains the alignment.",
        source="5 degrees cost 1.5 % of an uncorrected index, 10 degrees 5.7 % (simulated)",
    ),
    "alps": Threshold(
        unit="",
        warn=0.55,
        fail=NEVER,
        direction="outside",
        reason="An index outside .9 to 2.0 is rare in the literature: look at the figures.",
        source="1.60 +- .25 in 51 healthy adults (Park 2023, doi 10.1093/sleep/zsad239)",
        middle=1.45,
    ),
    "snr_b0": Threshold(
        unit="",
        warn=10,
        fail=3,
        direction="below",
        reason="At low signal the noise floor bends diffusivities, along the fibres most of all.",
        source="below 3 noise is not Gaussian (Gudbjartsson 1995, doi 10.1002/mrm.1910340618); real scans 37 to 48",
    ),
    "noise_floor": Threshold(
        unit="%",
        warn=1,
        fail=2,
        direction="above",
        reason="Magnitudes never sink below the noise: along the fibres diffusivities come out too low.",
        source="effect on the index, computed; simulated, its error is below 1.2 % of the index from an SNR of 8 on",
    ),
    "b_value": Threshold(
        unit="s/mm^2",
        warn=550,
        fail=NEVER,
        direction="outside",
        reason="Far from b = 1000 the tensor model measures something else: compare within a protocol only.",
        source="shells of the literature, 500 to 1500, and what scanners write for 1500",
        middle=1000,
    ),
    "directions": Threshold(
        unit="",
        warn=12,
        fail=6,
        direction="below",
        reason="Few directions leave the tensor to chance.",
        source="a tensor has six elements; 20 and more are advised (Jones 2004, doi 10.1002/mrm.20033)",
    ),
    "gradient_spread": Threshold(
        unit="%",
        warn=2,
        fail=4,
        direction="above",
        reason="Gradients stronger along one axis than the table says make tissue without a direction anisotropic.",
        source="well-kept scanners .4 to 1.0, one of the real ones 1.3 to 3.0; 4 is some 7 % along an axis",
    ),
    "gradient_axes": Threshold(
        unit="",
        warn=0.94,
        fail=0.92,
        direction="below",
        reason="Fibres that continue better with flipped or exchanged axes point to a wrong gradient table.",
        source="right tables 1.10 to 1.20, wrong .73 to .91 (Schilling 2019, doi 10.1016/j.mri.2019.01.018); not "
        "measured where slices are over 1.3 times as thick as pixels are wide",
    ),
    "framewise_displacement": Threshold(
        unit="mm",
        warn=1.0,
        fail=3.0,
        direction="above",
        reason="Head motion blurs tracts and loses signal.",
        source="mean over volumes; real scans .4 to .6; half a voxel and more than one",
    ),
    "outlier_slices": Threshold(
        unit="",
        warn=0.02,
        fail=0.1,
        direction="above",
        reason="Slices whose signal was lost to motion bias the tensor.",
        source="real scans up to .004; a tenth of all slices is a tenth of the data",
    ),
    "distortion_left": Threshold(
        unit="mm",
        warn=1.0,
        fail=NEVER,
        direction="above",
        reason="Displacement by susceptibility that was not corrected: regions miss their tracts by as much.",
        source="typical of 20 Hz at the regions where no fieldmap tells it; half a small voxel",
    ),
    "sides_known": Threshold(
        unit="",
        warn=0.5,
        fail=NEVER,
        direction="below",
        reason="Without sform and qform, or where the two contradict each other, left and right cannot be told.",
        source="0 unknown, 1 known",
    ),
    "session_similarity": Threshold(
        unit="",
        warn=0.85,
        fail=0.75,
        direction="below",
        reason="Sessions of one head look alike once aligned; another head, or an alignment that failed, does not.",
        source="real scans of one head .90 to .97, of two heads .58",
    ),
    "registration_overlap": _registration(
        (0.85, 0.75),
        "below",
        "Dice of the scan's mask and the template's brain where the scan covers it.",
        ".95 to .96",
    ),
    "registration_similarity": _registration(
        (0.6, 0.45), "below", "Correlation of the scan's contrast with the template's.", ".82 to .85"
    ),
    "registration_similarity_margin": _registration(
        (0.12, 0.06), "below", "What the pose gains over the best of a hundred random poses.", ".24 to .28"
    ),
    "registration_orientation_margin": _registration(
        (0.08, 0.0), "below", "What the pose gains over heads turned by quarter and half turns.", ".18 to .23"
    ),
    "registration_scale_min": _registration(
        (0.75, 0.65), "below", "Smallest stretch from template to subject: heads differ less than this.", ".80 to .86"
    ),
    "registration_scale_max": _registration(
        (1.2, 1.35), "above", "Largest stretch from template to subject.", ".91 to .99"
    ),
    "registration_jacobian_low": _registration(
        (0.35, 0.0), "below", "Smallest change of volume (1st percentile): space folds below 0.", ".83 to .86"
    ),
    "registration_jacobian_high": _registration(
        (2.5, 4.0), "above", "Largest change of volume (99th percentile).", "1.03 to 1.12"
    ),
    "registration_pose_se": _registration(
        (2.0, 5.0),
        "above",
        "How well starts, channels and halves of the data agree on the pose.",
        ".8 to 1.6",
        "degrees",
    ),
    "registration_roi_white_matter": _registration(
        (0.45, 0.25), "below", "White matter by anisotropy at the least of the ROI centres, 0 to 1.", ".35 to .66"
    ),
    "registration_ventricle_contrast": _registration(
        (0.1, 0.02), "below", "CSF where ventricles should be, between the ROIs, less that at ROIs.", ".18 to .48"
    ),
    "registration_tract_shift": Threshold(
        unit="mm",
        warn=2,
        fail=3,
        direction="outside",
        reason="How far the tracts lie along x from where the regions expect them, as the tensors tell.",
        source="real scans -1.2 to .5; neighbouring tracts begin 4 to 6 mm from the middle of a region",
    ),
    "registration_hemisphere_distance": _registration(
        (30.0, 20.0), "below", "Distance of left and right ROIs along x, left being at smaller x.", "46 to 49", "mm"
    ),
}
"""By the name of the check."""
