"""Columns of the tables of a run, as their data dictionaries describe them."""

from __future__ import annotations

from bids_alps.io.derivative_kinds import DIFFUSIVITY_UNIT
from bids_alps.io.tables import Column
from bids_alps.model import REGIONS

ELEMENTS = {"dxx": 0, "dyy": 3, "dzz": 5}
"""Diagonal elements of the tensor, by their index in Dxx, Dxy, Dxz, Dyy, Dyz, Dzz."""

_CONVENTIONS = {
    "anatomical": "tensors rotated to the template's axes, regions in native space",
    "alps.sh": "as in the script alps.sh: 12-parameter affine, tensors by least squares on all shells in image axes, "
    "resampled to 1 mm; but denoising and unringing are options, and the registration is to the white matter of the "
    "template instead of the JHU FA map",
}
_FRAMES = {
    "cross-sectional": "in each scan separately",
    "longitudinal": "in the midpoint space of the sessions of the participant, and transformed to the scan",
}
_STATUS = {"pass": "all checks passed", "warn": "inspect before use", "fail": "do not use; the index is withheld"}


ALPS_COLUMNS: tuple[Column, ...] = (
    Column(name="roi_preset", description="ROI definition."),
    Column(name="hemisphere", description="Hemisphere; bilateral is the mean of left and right."),
    Column(
        name="alps",
        description="DTI-ALPS index, tensors rotated to template axes (pose-corrected) unless switched off.",
    ),
    Column(name="alps_se", description="Standard error of the index, all sources combined.", optional=True),
    Column(name="alps_ci_low", description="Lower end of the 95 % interval.", optional=True),
    Column(name="alps_ci_high", description="Upper end of the 95 % interval.", optional=True),
    Column(
        name="alps_se_noise",
        description="Standard error from noise: wild bootstrap of the tensor fit.",
        optional=True,
    ),
    Column(name="alps_se_placement", description="Standard error from the placement of the regions.", optional=True),
    Column(name="alps_se_pose", description="Standard error from the estimated pose of the head.", optional=True),
    Column(
        name="alps_se_resolution",
        description="Standard error from the voxel size (effect of blurring by one more voxel) and from other tissue.",
        optional=True,
    ),
    Column(
        name="alps_se_calibration",
        description="Standard error from the gradient strength: half of the change by its measured error, and all of "
        "the change by the part on which tissues agree, if it is not corrected.",
        optional=True,
    ),
    Column(
        name="alps_se_noise_floor",
        description="Standard error from the noise floor of magnitude images: the whole change by it.",
        optional=True,
    ),
    Column(
        name="alps_se_regions",
        description="Standard error from the choice of the regions: the difference from the index of the 2.5 mm "
        "spheres of most studies, beyond noise, placement and pose.",
        optional=True,
    ),
    Column(name="alps_uncorrected", description="Index with tensors in scanner axes."),
    Column(
        name="alps_unreliable",
        description="Index of a run with a failed quality check; alps is then n/a, unless --keep-failed.",
        optional=True,
    ),
    Column(name="alps_uncalibrated", description="Index with the b-values of the gradient table.", optional=True),
    Column(
        name="alps_calibrated",
        description="Index with b-values corrected per gradient axis, where different tissues agree.",
        optional=True,
    ),
    Column(
        name="alps_tissue_weighted",
        description="Index with voxels weighted by their similarity to white matter.",
        optional=True,
    ),
    Column(name="alps_spheres", description="Index in spheres of 2.5 mm radius (preset alps-sphere).", optional=True),
    Column(
        name="alps_crossing",
        description="Experimental: index of the main tracts, without crossing fibers and free water; "
        "needs 45 directions and two shells, or one shell with b >= 1900.",
        optional=True,
    ),
    Column(name="alps_crossing_se", description="Standard error of alps_crossing from noise.", optional=True),
    Column(name="alps_water_corrected", description="Free-water-corrected index; needs two shells."),
    Column(
        name="alps_with_lesions",
        description="Index with all voxels, including lesions; needs a lesion mask.",
        optional=True,
    ),
    Column(
        name="alps_without_lesions",
        description="Index without voxels that overlap a lesion; needs a lesion mask.",
        optional=True,
    ),
    *(
        Column(
            name=f"{element}_{region}",
            description=f"Mean {element} in the {region} region, axes of the index.",
            unit=DIFFUSIVITY_UNIT,
        )
        for region in REGIONS
        for element in ELEMENTS
    ),
    *(
        Column(name=f"{scalar}_{region}", description=f"Mean {scalar.upper()} in the {region} region.", unit=unit)
        for region in REGIONS
        for scalar, unit in (("fa", ""), ("md", DIFFUSIVITY_UNIT))
    ),
    *(
        Column(name=f"{scalar}_{region}", description=f"{description} in the {region} region.")
        for region in ("projection", "association")
        for scalar, description in (
            ("mode", "Mean mode of anisotropy, -1 planar to 1 linear,"),
            ("lambda2_lambda3", "Ratio of the second to the third eigenvalue of the mean tensor"),
            ("other_tissue", "Fraction that is not white matter"),
        )
    ),
    *(
        Column(
            name=f"free_water_{region}", description=f"Fraction of free water in the {region} region; needs two shells."
        )
        for region in ("projection", "association")
    ),
    *(
        Column(
            name=f"lesion_overlap_{region}", description=f"Fraction of the {region} region in lesions, excluded or not."
        )
        for region in REGIONS
    ),
    Column(name="lesion_volume", description="Volume of lesions inside the brain mask.", unit="mL", optional=True),
    Column(
        name="lesion_space",
        description="Space of the lesion mask: dwi, T1w, or a template.",
        optional=True,
    ),
    Column(name="pitch", description="Rotation of the head about the left-right axis.", unit="degrees"),
    Column(name="roll", description="Rotation of the head about the posterior-anterior axis.", unit="degrees"),
    Column(name="yaw", description="Rotation of the head about the inferior-superior axis.", unit="degrees"),
    Column(name="pose_se", description="Standard error of the head rotation.", unit="degrees"),
    Column(name="roi_radius", description="Radius of spherical regions.", unit="mm"),
    Column(
        name="roi_semi_axes",
        description="Semi-axes of ellipsoids along x, y and z of the template, and their tilt towards the "
        "midline, mm along x per mm along z.",
        unit="mm",
    ),
    Column(name="conventions", description="How the index was measured.", levels=_CONVENTIONS),
    Column(
        name="roi_source",
        description="Where the regions were defined.",
        levels={"template": "by the preset in the template", "scan": "by manual ROIs in the scan"},
    ),
    Column(
        name="b_value",
        description="Mean b-value of the fitted diffusion-weighted volumes, from the gradient table.",
        unit="s/mm^2",
    ),
    Column(name="n_directions", description="Number of fitted diffusion-weighted volumes."),
    Column(name="n_b0", description="Number of fitted b=0 volumes."),
    Column(name="echo_time", description="Echo time.", unit="s"),
    Column(name="scanner", description="Manufacturer and model of the scanner, from the sidecar.", optional=True),
    Column(name="field_strength", description="Field strength of the scanner.", unit="T", optional=True),
    Column(name="voxel_size", description="Voxel size along each axis.", unit="mm", optional=True),
    Column(name="frame", description="Space in which the regions were placed.", levels=_FRAMES),
    Column(
        name="settings_hash",
        description="Hash of the settings that can change the index, the preset and the version: rows with "
        "different hashes were processed differently.",
    ),
    Column(name="pose_correction", description="Whether the tensors were rotated to the axes of the template."),
    Column(name="preprocessed", description="Whether the series was preprocessed by another program."),
    Column(
        name="motion_corrected",
        description="Whether head motion and eddy currents were corrected by bids-alps; n/a for preprocessed series.",
    ),
    Column(
        name="distortion_corrected",
        description="Whether susceptibility distortion was corrected by bids-alps; n/a for preprocessed series.",
    ),
    Column(
        name="distortion_method",
        description="How the susceptibility field was estimated; none if it was not corrected.",
    ),
    Column(name="gradient_calibration", description="Whether b-values were changed by --gradient-calibration."),
    Column(name="version", description="Version of bids-alps."),
    Column(name="status", description="Overall status of the quality checks.", levels=_STATUS),
)

ROI_COLUMNS: tuple[Column, ...] = (
    Column(name="roi_preset", description="ROI definition."),
    Column(name="roi", description="Region and side of the subject."),
    Column(name="n_voxels", description="Effective number of voxels, (sum of weights)^2 / sum of squared weights."),
    Column(name="coverage", description="Fraction of the region inside the brain mask and the field of view."),
    *(Column(name=axis, description=f"Center of the region, {axis}, scanner RAS+.", unit="mm") for axis in "xyz"),
    *(
        Column(
            name=name, description=f"Mean {name}, axes of the index (template axes by default).", unit=DIFFUSIVITY_UNIT
        )
        for name in ELEMENTS
    ),
    *(
        Column(name=f"{name}_uncorrected", description=f"Mean {name}, scanner axes.", unit=DIFFUSIVITY_UNIT)
        for name in ELEMENTS
    ),
    Column(name="fa", description="Mean fractional anisotropy."),
    Column(name="md", description="Mean diffusivity.", unit=DIFFUSIVITY_UNIT),
    Column(name="ad", description="Mean axial diffusivity.", unit=DIFFUSIVITY_UNIT),
    Column(name="rd", description="Mean radial diffusivity.", unit=DIFFUSIVITY_UNIT),
    Column(name="free_water", description="Fraction of free water; needs two shells.", optional=True),
    Column(
        name="lesion_overlap",
        description="Fraction of the region in lesions, excluded or not; needs a lesion mask.",
        optional=True,
    ),
    Column(name="mode", description="Mean mode of anisotropy, -1 planar to 1 linear."),
    *(
        Column(name=f"v1_{axis}", description=f"Mean fiber direction, {axis} component, template axes.")
        for axis in "xyz"
    ),
    Column(
        name="v1_angle", description="Angle between the mean fiber direction and the expected axis.", unit="degrees"
    ),
    Column(name="v1_dispersion", description="Angular dispersion of the fiber directions.", unit="degrees"),
    Column(name="lambda2_lambda3", description="Ratio of the second to the third eigenvalue of the mean tensor."),
    Column(
        name="off_tract_fraction",
        description="Fraction of the region with FA below 0.2 or a fiber direction more than 45 degrees off axis.",
    ),
    Column(
        name="other_tissue",
        description="Fraction of the region that is not white matter by FA (below 0.2) or MD (above 1.1e-3 mm²/s).",
    ),
    *(
        Column(
            name=f"fraction_{axis}",
            description=f"Experimental: fraction of {'free water' if axis == 'water' else f'fibers along {axis}'}.",
            optional=True,
        )
        for axis in ("x", "y", "z", "water")
    ),
)

QUALITY_COLUMNS: tuple[Column, ...] = (
    Column(name="roi_preset", description="ROI preset of the checked index."),
    Column(name="name", description="Name of the check."),
    Column(name="value", description="Measured value."),
    Column(name="unit", description="Unit of the value."),
    Column(name="warn", description="Threshold for a warning."),
    Column(name="fail", description="Threshold for a failure."),
    Column(name="direction", description="On which side of the thresholds a value warns or fails."),
    Column(name="status", description="Result of the check.", levels=_STATUS),
    Column(name="reason", description="Why the check matters."),
)
