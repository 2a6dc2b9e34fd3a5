"""Stage: selection of shells, tensor fit and scalar maps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bids_alps.io.results import Acquisition
from bids_alps.model import Array, Check, DwiRun, DwiSeries, Gradients, RoiPreset, SpatialMap, Statement, TensorField
from bids_alps.numerics.index.crossing import choose_crossing_volumes, single_fiber_response
from bids_alps.numerics.tensors.calibration import WeightingError, estimate_weighting_error, reweight
from bids_alps.numerics.tensors.coherence import measure_coherence_gain
from bids_alps.numerics.tensors.free_water import choose_volumes
from bids_alps.numerics.tensors.gradients import choose_shells, count_directions
from bids_alps.numerics.tensors.noise import residual_noise, spatial_noise
from bids_alps.numerics.tensors.tensor import (
    design_matrix,
    eigen_system,
    fit_coefficients,
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
)
from bids_alps.numerics.volumes import mean_volume
from bids_alps.quality.checks import evaluate
from bids_alps.settings import Method
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.statements import fit_statements


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFit:
    """Tensors, the fitted volumes, and scalar maps.

    Parameters
    ----------
    field, series
        Tensors, and the fitted volumes with the b-values that were used.
    fa, md, ad, rd, b0
        Fractional anisotropy, mean, axial and radial diffusivity (mm^2/s), and mean b=0 image.
    v1
        Principal eigenvectors in RAS+ world axes, shape (i, j, k, 3).
    snr, noise_sd
        SNR of the b=0 signal in white matter, from the residuals of the fit, and SD of the noise in signal units.
    weighting
        Estimated error of the gradient strength along each axis.
    as_recorded
        The same volumes with the b-values of the gradient table.
    all_shells
        The series with all shells.
    water_volumes
        Volumes of `all_shells` for the free-water fit; None without two shells.
    crossing
        Volumes of `all_shells` for the fit of crossing fibers, and the response of single fibers (diffusivity along
        and across, mm^2/s); None without enough directions.
    b_value, weighted
        Mean b-value of the diffusion-weighted volumes, from the gradient table, s/mm^2, and their mask in `series`,
        shape (n,).
    checks
        Quality checks of the acquisition.
    statements
        Statements for the methods text.
    """

    field: TensorField
    series: DwiSeries
    fa: SpatialMap
    md: SpatialMap
    ad: SpatialMap
    rd: SpatialMap
    b0: SpatialMap
    v1: SpatialMap
    snr: float
    noise_sd: float
    weighting: WeightingError
    as_recorded: DwiSeries
    all_shells: DwiSeries
    water_volumes: Array | None
    crossing: tuple[Array, tuple[float, float]] | None
    b_value: float
    weighted: Array
    checks: tuple[Check, ...] = ()
    statements: tuple[Statement, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether b-values were changed by gradient calibration."""
        return bool((self.series.gradients.bvals != self.as_recorded.gradients.bvals).any())


def fit(prepared: PreparedSeries, method: Method) -> TensorFit:
    """Select the shells, fit the tensors and compute scalar maps."""
    series = prepared.series
    volumes = choose_shells(series.gradients, wanted=method.shells, b0_threshold=method.b0_threshold)
    selected = series.take(volumes)
    field, as_recorded = fit_tensor(selected, prepared.mask), selected
    weighting = estimate_weighting_error(field)
    if method.gradient_calibration and weighting.corrected.any():
        selected = reweight(selected, weighting.corrected)
        field = fit_tensor(selected, prepared.mask)
    inside = field.image.data[field.mask]
    fa, (values, vectors) = fractional_anisotropy(inside), eigen_system(inside)
    snr, noise_sd = measure_noise(selected, field, fa)
    bvals = series.gradients.bvals[volumes]
    weighted = bvals > method.b0_threshold
    fitted = TensorFit(
        field=field,
        series=selected,
        fa=on_grid(field, fa),
        md=field.image.like(mean_diffusivity(field.image.data)),
        ad=on_grid(field, values[:, 0]),
        rd=on_grid(field, values[:, 1:].astype(np.float32).mean(-1)),
        v1=on_grid(field, vectors[..., 0]),
        b0=field.image.like(mean_volume(selected.image.data, ~weighted)),
        snr=snr,
        noise_sd=noise_sd,
        weighting=weighting,
        as_recorded=as_recorded,
        all_shells=series,
        water_volumes=choose_volumes(series, b0_threshold=method.b0_threshold),
        crossing=prepare_crossing(series.gradients, values, fa, method.b0_threshold),
        statements=fit_statements(
            as_recorded.gradients,
            selected.gradients,
            b0_threshold=method.b0_threshold,
            compared=method.gradient_calibration,
        ),
        b_value=float(bvals[weighted].mean()),
        weighted=weighted,
    )
    return replace(fitted, checks=check_acquisition(fitted))


def on_grid(field: TensorField, values: Array) -> SpatialMap:
    """Return values of the voxels of the mask, shape (v[, n]), as an image, float32; 0 outside."""
    image = np.zeros((*field.mask.shape, *values.shape[1:]), dtype=np.float32)
    image[field.mask] = values
    return field.image.like(image)


def prepare_crossing(
    gradients: Gradients, eigenvalues: Array, fa: Array, b0_threshold: float
) -> tuple[Array, tuple[float, float]] | None:
    """Return the volumes for the fit of crossing fibers and the response of single fibers; None if not possible."""
    volumes = choose_crossing_volumes(gradients, b0_threshold=b0_threshold)
    if volumes is None:
        return None
    return volumes, single_fiber_response(eigenvalues, fa)


def write_maps(outputs: RunOutputs, fitted: TensorFit) -> None:
    """Write the tensors and the scalar maps."""
    elements = fitted.field.image.data
    maps = {
        "txx": elements[..., 0],
        "tyy": elements[..., 3],
        "tzz": elements[..., 5],
        "tensor": elements,
    }
    for key, image in measures_of(fitted).items():
        outputs.write(key, image)
    for key, data in maps.items():
        outputs.write(key, fitted.field.image.like(data))


def measures_of(fitted: TensorFit) -> dict[str, SpatialMap]:
    """Return the maps of FA and of MD, AD and RD (mm^2/s)."""
    return {"fa": fitted.fa, "md": fitted.md, "ad": fitted.ad, "rd": fitted.rd}


def measure_noise(series: DwiSeries, field: TensorField, fa: Array, *, voxels: int = 5000) -> tuple[float, float]:
    """Return the SNR of the b0 in white matter and the SD of the noise, from at most `voxels` evenly spread voxels.

    `fa` is the fractional anisotropy of the voxels of the mask.

    Noise is estimated from the residuals of the fit or, if there are none, from neighboring voxels. NaN without white
    matter.
    """
    design = design_matrix(series.gradients.bvals, series.gradients.bvecs)
    white = np.argwhere(field.mask)[fa > 0.3]
    if not len(white):
        return float("nan"), float("nan")
    voxel_indices = white[:: max(1, len(white) // voxels)]
    signal = series.image.data[tuple(voxel_indices.T)].astype(np.float64)
    prediction = np.exp(fit_coefficients(signal, design) @ design.T)
    noise = residual_noise(signal, prediction, design.shape[1])
    if np.isnan(noise).all():
        noise = np.full(len(signal), spatial_noise(series, field.mask))
    usable = noise > 0
    if not usable.any():
        return float("nan"), float("nan")
    return float(np.median(prediction.max(1)[usable] / noise[usable])), float(np.median(noise[usable]))


def check_acquisition(fitted: TensorFit) -> tuple[Check, ...]:
    """Return the checks of the acquisition."""
    return (
        evaluate("snr_b0", fitted.snr),
        evaluate("gradient_spread", 100 * fitted.weighting.spread),
        evaluate("gradient_axes", measure_coherence_gain(fitted.field)),
        evaluate("b_value", round(fitted.b_value, -1)),  # scanners write 1500 as 1495 to 1505
        evaluate("directions", float(count_directions(fitted.series.gradients.bvecs[fitted.weighted]))),
    )


def describe_acquisition(preset: RoiPreset, fitted: TensorFit, run: DwiRun) -> Acquisition:
    """Return the acquisition columns of the index table."""
    return Acquisition(
        roi_preset=preset.name,
        conventions=preset.conventions,
        roi_radius=preset.radius_mm,
        roi_semi_axes=preset.description,
        roi_source="scan" if preset.native else "template",
        b_value=fitted.b_value,
        n_directions=int(fitted.weighted.sum()),
        n_b0=int((~fitted.weighted).sum()),
        echo_time=run.metadata.get("EchoTime"),
        scanner=_scanner(run),
        field_strength=run.metadata.get("MagneticFieldStrength"),
        voxel_size=" ".join(f"{edge:.3g}" for edge in fitted.field.image.voxel_size),
    )


def _scanner(run: DwiRun) -> str | None:
    """Return manufacturer and model of the scanner, without repeating the manufacturer."""
    maker, model = (str(run.metadata.get(key) or "").strip() for key in ("Manufacturer", "ManufacturersModelName"))
    return (model if maker.lower() in model.lower() else f"{maker} {model}".strip()) or None
