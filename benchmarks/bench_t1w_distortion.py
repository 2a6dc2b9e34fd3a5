"""Susceptibility distortion without a fieldmap: displacement along phase encoding by registration to a T1w image.

The b=0 image is registered to the T1w image of the same head, skull-stripped, with its contrast inverted or fitted: by
SyN of ANTs restricted to the phase-encoding axis (as SDCFlows does; skipped without antspyx), and by the solver of this
package. Error of the field in two simulations with known field and, if ALPS_REAL_DATA is set, against the field of the
reverse-phase pair (XA30), where both scans are also compared with each other: b=0 images and index.

Words: ``phantom``, ``second``, ``real`` (default: all).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")
)

import numpy as np
import SimpleITK as sitk
from bench_distortion import difference
from scipy import ndimage
from second_heads import METHOD, NOWHERE, make_case, the_template
from second_phantom import HeadChoices, ScanChoices, make_t1w, susceptibility_shift

from bids_alps.io.images import read_map
from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.model import Array, DwiRun, DwiSeries, SpatialMap, sample_linear
from bids_alps.numerics.itk import itk_image, spatial_map
from bids_alps.numerics.preprocessing.correction import Encoding, correct_series, encoding_from_sidecar
from bids_alps.numerics.preprocessing.distortion import Distortion, EncodedImage, estimate_distortion
from bids_alps.numerics.preprocessing.distortion_solver import EpiImage, Problem
from bids_alps.numerics.preprocessing.measured_field import corrected_image
from bids_alps.numerics.preprocessing.mutual_information import mutual_information
from bids_alps.phantom import PhantomSettings, write_phantom
from bids_alps.phantom.subject import make_subject
from bids_alps.registration.engines import ENGINES
from bids_alps.registration.t1w import align_t1w
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import measure
from bids_alps.stages.masking import find_mask
from bids_alps.stages.prepare import PreparedSeries, prepare
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import fit

PHANTOM = PhantomSettings(participants=1, seed=5, voxel_size=2.5, directions=12, b0=2, susceptibility=6.0, t1w=True)
SECOND = (
    HeadChoices(seed=41, index=(1.45, 1.55)),
    ScanChoices(seed=41, voxel=(2.5, 2.5, 2.5), shells=((1000.0, 12),), shift=8.0, per_edge=2),
)
SYN = {
    "SyN as SDCFlows": (
        {"syn_metric": "mattes", "syn_sampling": 32, "grad_step": 1.6, "flow_sigma": 4, "total_sigma": 4},
        {"syn_metric": "CC", "syn_sampling": 4, "grad_step": 1.0, "flow_sigma": 2, "total_sigma": 1},
    ),
    "SyN smooth, MI": (
        {"syn_metric": "mattes", "syn_sampling": 32, "grad_step": 0.2, "flow_sigma": 6, "total_sigma": 3},
    ),
}
WEIGHTS = (0.3, 2.0)
"""Smoothness of our solver; 0.01 for reverse-phase pairs."""
_LEVELS = ((8, 10), (4, 10), (2, 8), (1, 3))
_FLATTENED_MM = 12.0


@dataclass(frozen=True)
class Case:
    """A scan with its T1w image on the same grid, skull-stripped, and its true displacement in voxels.

    `centers` are voxel indices of the published centers; `index` is the truth, if known.
    """

    name: str
    image: EncodedImage
    series: DwiSeries
    mask: Array
    t1w: Array
    truth: Array
    truth_name: str
    centers: Array
    index: float = float("nan")

    @property
    def mm(self) -> float:
        return float(np.linalg.norm(self.image.affine[:3, self.image.phase_axis]))


def make(name: str, series: DwiSeries, t1w: SpatialMap, encoding: Encoding, **truth: object) -> Case:
    """Return a case: T1w aligned by the maps of the distorted scan, as they are all there is without a fieldmap."""
    mask = find_mask(series, b0_threshold=50.0)
    prepared = PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series))
    maps = subject_maps(fit(prepared, METHOD), NOWHERE)
    matrix = align_t1w(maps, t1w).subject_from_template
    transform = ENGINES["staged"].make().register(maps, the_template()).transform
    centers = np.array(
        [transform.subject_from_template(np.array([p]))[0] for p in read_preset("alps-sphere").centers.values()]
    )
    image = EncodedImage(
        data=series.image.data[..., series.gradients.bvals <= 50].mean(-1).astype(np.float32),
        affine=series.image.affine,
        phase_axis=encoding.phase_axis,
        polarity=encoding.polarity,
        readout=encoding.readout,
    )
    points = series.image.world(np.moveaxis(np.indices(mask.shape), 0, -1)) @ matrix[:3, :3].T + matrix[:3, 3]
    brain = brain_of(t1w)
    aligned = np.asarray(sample_linear(t1w.like(np.where(brain > 0.5, t1w.data, 0).astype(np.float32)), points))
    return Case(
        name=name,
        image=image,
        series=series,
        mask=mask,
        t1w=aligned * t1w.contains(points),
        centers=series.image.voxels(centers),
        **truth,
    )


def brain_of(t1w: SpatialMap) -> Array:
    """Return the brain of a T1w image: that of the template after an affine registration by mutual information."""
    template = the_template()
    fixed, moving = itk_image(t1w), itk_image(template.t1w)
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(48)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, relaxationFactor=0.7)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([3.0, 1.0])
    method.SetInitialTransform(sitk.AffineTransform(start), inPlace=False)
    found = method.Execute(fixed, moving)
    mask = itk_image(template.mask.like(np.asarray(template.mask.data, dtype=np.float32)))
    return np.asarray(spatial_map(sitk.Resample(mask, fixed, found, sitk.sitkLinear, 0.0)).data)


def cases(words: list[str]) -> Iterator[list[Case]]:
    """Yield the cases, real ones in a pair."""
    if "phantom" in words:
        yield [phantom_case()]
    if "second" in words:
        yield [second_case()]
    folder = os.environ.get("ALPS_REAL_DATA")
    if "real" in words and folder:
        yield real_pair(Path(folder) / "siemens_xa30")
    elif "real" in words:
        print("skipped: ALPS_REAL_DATA names no folder of real scans")


def phantom_case() -> Case:
    with tempfile.TemporaryDirectory() as scratch:
        write_phantom(Path(scratch), PHANTOM)
        t1w = read_map(Path(scratch) / "sub-01/anat/sub-01_T1w.nii.gz")
    subject = make_subject(PHANTOM, 0)
    encoding = Encoding(phase_axis=1, polarity=-1, readout=0.05)
    series = DwiSeries(image=subject.image, gradients=subject.gradients)
    return make(
        "phantom",
        series,
        t1w,
        encoding,
        truth=subject.truth.shift / PHANTOM.voxel_size,
        truth_name="true field",
        index=subject.truth.alps["bilateral"],
    )


def second_case() -> Case:
    choices = SECOND[1]
    case = make_case(*SECOND)
    t1w, grid = make_t1w(case.head)
    series = case.prepared.series
    points = series.image.world(np.moveaxis(np.indices(series.image.shape[:3]), 0, -1))
    shift = susceptibility_shift(case.head, points.reshape(-1, 3), choices.shift).reshape(points.shape[:3])
    return make(
        "second head",
        series,
        SpatialMap(data=t1w, affine=grid),
        Encoding(phase_axis=1, polarity=1, readout=0.05),
        truth=shift / series.image.affine[1, 1],
        truth_name="true field",
        index=case.truth["bilateral"],
    )


def real_pair(folder: Path) -> list[Case]:
    runs = [run for run in find_runs(folder, "01") if isinstance(run, DwiRun)]
    t1w = read_map(folder / "sub-01/anat/sub-01_rec-norm_T1w.nii.gz")
    pair = []
    for run in runs:
        with tempfile.TemporaryDirectory() as scratch:
            series = prepare(run, replace(METHOD, distortion_correction=False), Path(scratch)).series
        encoding = encoding_from_sidecar(run.metadata, series.image.shape)
        name = f"XA30 {run.entities['dir']}"
        pair.append(make(name, series, t1w, encoding, truth=np.zeros(1), truth_name="reverse phase"))
    found = [estimate_distortion(one.image, two.image, one.mask) for one, two in (pair, pair[::-1])]
    return [replace(one, truth=field.displacement) for one, field in zip(pair, found, strict=True)]


def estimates() -> dict[str, Callable[[Case], Array]]:
    """Return the ways to estimate a displacement, voxels."""
    ways: dict[str, Callable[[Case], Array]] = {"none": lambda case: np.zeros(case.mask.shape)}
    if find_spec("ants") is None:
        print("antspyx is not installed: SyN is skipped")
    else:
        ways |= {name: partial(by_syn, stages=stages) for name, stages in SYN.items()}
    ways |= {f"our solver, {weight:g}": partial(by_solver, weight=weight) for weight in WEIGHTS}
    return {**ways, "truth": lambda case: case.truth}


def flattened(image: Array, region: Array, case: Case, mm: float = _FLATTENED_MM) -> Array:
    """Return an image divided by its local mean in a region, as coils make b=0 images bright at the surface."""
    inside = region.astype(np.float32)
    sigma = mm / case.series.image.voxel_size
    mean = ndimage.gaussian_filter(image * inside, sigma) / np.maximum(ndimage.gaussian_filter(inside, sigma), 1e-3)
    return np.asarray(image / np.maximum(mean, 0.05 * np.percentile(image[case.mask], 90)))


def by_syn(case: Case, stages: tuple[dict[str, object], ...]) -> Array:
    """Return the displacement by SyN of the b=0 image to the inverted T1w image, along phase encoding alone."""
    import ants

    size = case.series.image.voxel_size
    region = ndimage.binary_dilation(case.mask)
    t1w = flattened(case.t1w, region, case, 30.0)
    inverted = np.where(case.t1w > 0, np.clip(np.percentile(t1w[case.mask], 99.8) - t1w, 0, None), 0) * region
    b0 = np.clip(flattened(case.image.data, region, case, 30.0), 0, 4) * region
    place = {"spacing": size.tolist()}  # in voxel axes, where the phase-encoding axis is an axis of the image
    fixed, moving, mask = (
        ants.from_numpy(np.asarray(one, dtype=np.float32), **place) for one in (inverted, b0, region)
    )
    axis, total, current = case.image.phase_axis, np.zeros(case.mask.shape), moving
    for stage, iterations in zip(stages, ((40, 40, 20), (20, 10, 0)), strict=False):
        found = ants.registration(
            fixed,
            current,
            type_of_transform="SyNOnly",
            initial_transform="Identity",
            mask=mask,
            reg_iterations=iterations,
            restrict_transformation=tuple(float(n == axis) for n in range(3)),
            random_seed=1,
            singleprecision=True,
            **stage,
        )
        warp = next(path for path in found["fwdtransforms"] if path.endswith(".nii.gz"))
        step = ants.image_read(warp).numpy()[..., axis]
        places = np.indices(total.shape).astype(float)
        places[axis] += step / size[axis]
        total = step + ndimage.map_coordinates(total, places, order=1, mode="nearest")
        current = ants.apply_transforms(fixed, current, [warp])
    return np.asarray(total / size[axis])


def by_solver(case: Case, weight: float) -> Array:
    """Return the displacement by the solver of pairs: the second image is what the T1w predicts, undistorted."""
    axis, shape = case.image.phase_axis, case.mask.shape
    region = ndimage.binary_dilation(case.mask)
    soft = ndimage.gaussian_filter(region.astype(np.float32), 0.7)
    t1w, b0 = flattened(case.t1w, region, case), np.clip(flattened(case.image.data, region, case), 0, 4)
    field = np.zeros(shape, dtype=np.float32)
    for _ in range(3):  # the relation of intensities and the field depend on each other
        corrected = flattened(corrected_image(case.image, field), region, case)
        predicted = predict_b0(t1w, corrected, case.mask & (case.t1w > 0))
        sides = tuple(
            EpiImage(
                data=(data * soft).astype(np.float32),
                voxels=np.eye(4),
                own_axis=axis,
                axis=axis,
                shift=moves,
                slope=moves,
            )
            for data, moves in ((b0, 1.0), (predicted, 0.0))
        )
        field = np.zeros([-(-n // _LEVELS[0][0]) for n in shape], dtype=np.float32)
        for stride, steps in _LEVELS:
            coarse = tuple(-(-n // stride) for n in shape)
            field = ndimage.zoom(ndimage.gaussian_filter(field, 0.7), np.divide(coarse, field.shape), order=1)
            images = tuple(side.smoothed(max(stride / 2, 1)) for side in sides)
            size = case.series.image.voxel_size
            problem = Problem(sides=sides, images=images, size=size, stride=stride, weight=weight)
            field = problem.minimize(field.astype(np.float32), steps)
    return np.asarray(field)


def predict_b0(t1w: Array, b0: Array, inside: Array, bins: int = 24) -> Array:
    """Return the b=0 signal that is typical of each T1w signal."""
    edges = np.unique(np.quantile(t1w[inside], np.linspace(0.005, 0.995, bins + 1)))
    which = np.clip(np.digitize(t1w[inside], edges) - 1, 0, len(edges) - 2)
    typical = [np.median(b0[inside][which == n]) for n in range(len(edges) - 1)]
    return np.interp(t1w, (edges[1:] + edges[:-1]) / 2, ndimage.gaussian_filter1d(typical, 1.0))


def corrected_series(case: Case, displacement: Array) -> DwiSeries:
    """Return the series corrected by a displacement."""
    known = Distortion(
        displacement=displacement.astype(np.float32),
        phase_axis=case.image.phase_axis,
        assumed="",
        difference_before=1.0,
        difference_after=0.0,
        proven=True,
        reason="",
    )
    encoding = Encoding(phase_axis=case.image.phase_axis, polarity=case.image.polarity, readout=case.image.readout)
    image = case.series.image
    copy = replace(case.series, image=image.like(image.data.copy()))  # the given series is overwritten
    return correct_series(copy, case.mask, encoding, fields=[lambda *_: known], motion=False).series


def process(series: DwiSeries) -> tuple[PreparedSeries, float]:
    """Return a corrected series with its mask, and its bilateral index."""
    mask = find_mask(series, b0_threshold=50.0)
    prepared = PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series))
    fitted = fit(prepared, METHOD)
    registration = ENGINES["staged"].make().register(subject_maps(fitted, NOWHERE), the_template())
    found = measure(AlignedRun(fitted=fitted, registration=registration, method=METHOD), read_preset("alps"))
    return prepared, found.result.alps["bilateral"]


def beyond_affine(values: Array, mask: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Return values of a mask without their affine part, and that part as a function of voxel indices."""
    voxels = np.argwhere(mask)
    middle = voxels.mean(0)
    columns = np.column_stack([np.ones(len(voxels)), voxels - middle])
    weights = np.linalg.lstsq(columns, values, rcond=None)[0]
    return values - columns @ weights, lambda where: np.column_stack([np.ones(len(where)), where - middle]) @ weights


def errors(case: Case, displacement: Array) -> tuple[float, ...]:
    """Return the error of a field, mm: median and 95 % without the median; beyond an affine one; of the regions, RMS."""
    error = (displacement - case.truth) * case.mm
    inside = error[case.mask]
    shifted = np.abs(inside - np.median(inside))
    rest, affine = beyond_affine(inside, case.mask)
    regions = ndimage.map_coordinates(error, case.centers.T, order=1) - affine(case.centers)
    return (
        float(np.median(shifted)),
        float(np.percentile(shifted, 95)),
        float(np.median(np.abs(rest))),
        float(np.percentile(np.abs(rest), 95)),
        float(np.sqrt(np.mean(regions**2))),
    )


def similarity(case: Case, displacement: Array) -> float:
    """Return the normalized mutual information with the T1w image, minus 1, in percent."""
    b0 = flattened(corrected_image(case.image, displacement), case.mask, case)
    return 100 * mutual_information(b0[case.mask], flattened(case.t1w, case.mask, case)[case.mask])


def main() -> None:
    words = sys.argv[1:] or ["phantom", "second", "real"]
    print(
        f"{'scan':14s}{'field':20s}{'error mm: median':>17s}{'95 %':>6s}{'Hz':>6s}{'beyond affine':>15s}{'95 %':>6s}"
        f"{'regions':>9s}{'MI with T1w %':>15s}{'reversed':>9s}{'index':>8s}{'true':>7s}{'CPU s':>7s}"
    )
    for group in cases(words):
        for name, way in estimates().items():
            processed = [print_case(case, name, way) for case in group]
            if len(processed) == 2:
                (one, first), (other, second) = processed
                print(
                    f"{'':14s}{group[0].truth_name if name == 'truth' else name:20s}pair: b=0 differ by {difference(one, other):.1f} % of the median, "
                    f"index by {100 * (second - first) / ((first + second) / 2):+.1f} %",
                    flush=True,
                )


def print_case(case: Case, name: str, way: Callable[[Case], Array]) -> tuple[PreparedSeries, float]:
    """Print the figures of one field; return the corrected scan and its index."""
    began = time.process_time()
    displacement = way(case)
    seconds = time.process_time() - began
    median, high, rest, rest_high, regions = errors(case, displacement)
    series = case.series if name == "none" else corrected_series(case, displacement)
    prepared, index = process(series)
    hertz = median / case.mm / (case.image.readout or float("nan"))
    shown = case.truth_name if name == "truth" else name
    print(
        f"{case.name:14s}{shown:20s}{median:17.2f}{high:6.2f}{hertz:6.1f}{rest:15.2f}{rest_high:6.2f}{regions:9.2f}"
        f"{similarity(case, displacement):15.2f}{similarity(case, -displacement):9.2f}{index:8.3f}{case.index:7.3f}"
        f"{seconds:7.0f}",
        flush=True,
    )
    return prepared, index


if __name__ == "__main__":
    main()
