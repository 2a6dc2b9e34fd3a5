"""A simulated lesion in one region of heads with known index: its overlap, and the index with and without it.

Each head is measured without a lesion, with a sphere of isotropic diffusion, and with that sphere excluded; masks are
given in subject space and in template space (transformed by the estimated registration). Also: the misalignment between
T1w and diffusion images of real heads.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from bids_alps.io.images import read_map, read_series
from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.model import DwiRun, DwiSeries, SpatialMap, SpatialTransform
from bids_alps.numerics.index.lesions import lesion_fraction_map
from bids_alps.phantom import PhantomSettings
from bids_alps.phantom.subject import PhantomSubject, make_subject
from bids_alps.registration.checks import check_registration
from bids_alps.registration.engines import ENGINES
from bids_alps.registration.t1w import align_t1w, shift_mm
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import Measurement, measure
from bids_alps.stages.lesions import Lesions
from bids_alps.stages.masking import find_mask
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import fit

HEADS = 4
SETTINGS = PhantomSettings(voxel_size=2.0, directions=30, b0=3, snr=25.0, rotation=12.0, warp=2.0, seed=9)
RADIUS_MM, LESION_MD, LESION_S0 = 6.0, 1.5e-3, 900.0
METHOD = Method(exclude_lesions=True, keep_failed=True)
PRESET = read_preset("alps")
HERE = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))
REGIONS = ("projection_left", "association_right", "projection_right", "association_left")


def make_ball(like: SpatialMap, center: np.ndarray) -> SpatialMap:
    """Return a mask of 1 mm voxels about an image, 1 in a ball."""
    corners = like.world(np.array(list(np.ndindex(2, 2, 2))) * (np.array(like.shape) - 1))
    affine = np.eye(4)
    affine[:3, 3] = corners.min(axis=0) - 2
    shape = tuple(np.ceil(np.ptp(corners, axis=0)).astype(int) + 5)
    x, y, z = (affine[n, 3] + np.arange(shape[n]) - center[n] for n in range(3))
    inside = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 <= RADIUS_MM**2
    return SpatialMap(data=inside.astype(np.uint8), affine=affine)


def measure_head(phantom: PhantomSubject, data: np.ndarray, masks: dict[str, SpatialMap]) -> dict[str, Measurement]:
    """Return measurements by the space of the mask; ``none`` without a mask."""
    series = DwiSeries(image=phantom.image.like(data.astype(np.float32)), gradients=phantom.gradients)
    mask = find_mask(series, b0_threshold=METHOD.b0_threshold)
    fitted = fit(PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series)), METHOD)
    nowhere = DwiRun(entities={"sub": "01"}, image=None, bval=None, bvec=None)
    subject = subject_maps(fitted, nowhere)
    registration = ENGINES[METHOD.registrar].make().register(subject, read_template())

    def checked(lesions: Lesions | None) -> Measurement:
        share = lesions.fraction if lesions else None
        checks = check_registration(registration, subject, read_template(), PRESET.centers, share)
        aligned = AlignedRun(fitted=fitted, registration=registration, method=METHOD, checks=checks, lesions=lesions)
        return measure(aligned, PRESET)

    found = {"none": checked(None)}
    for space, lesions in masks.items():
        began = time.process_time()
        share = lesion_fraction_map(lesions, HERE if space == "dwi" else registration.transform, subject.mask)
        seconds = time.process_time() - began
        found[space] = checked(Lesions(fraction=share, space=space))
        print(f"  lesions of the {space} mask placed in {seconds:.1f} CPU s", flush=True)
    return found


def true_overlap(phantom: PhantomSubject, region: str, center: np.ndarray) -> float:
    """Return the fraction of a region's ellipsoid (true transform) within the sphere."""
    points = np.random.default_rng(1).uniform(-1, 1, (40000, 3))
    outward = np.array([-1.0 if region.endswith("left") else 1.0, 1.0, 1.0])
    points = points * PRESET.shape(region).reach_mm
    points = points[PRESET.shape(region).contains(points)] * outward + PRESET.centers[region]
    carried = phantom.truth.transform.subject_from_template(points)
    return float((np.linalg.norm(carried - center, axis=1) <= RADIUS_MM).mean())


def main() -> None:
    print("head\tregion\tmask\toverlap_true\toverlap\tindex_healthy\twith\twithout\terror_with\terror_without")
    errors = []
    for n, region in zip(range(HEADS), REGIONS, strict=True):
        phantom = make_subject(SETTINGS, n)
        side = region.rpartition("_")[2]
        middle = np.add(PRESET.centers[region], [0.0, 4.0, 2.0])  # off-center: part of the region remains
        center = phantom.truth.transform.subject_from_template(middle)
        own, template = make_ball(phantom.image, center), read_template().mask
        carried = make_ball(template, middle)
        brain = phantom.image.like(np.ones(phantom.image.shape, dtype=bool))
        part = lesion_fraction_map(own, HERE, brain).data[..., None]
        lesion = LESION_S0 * np.exp(-phantom.gradients.bvals * LESION_MD)
        painted = (1 - part) * phantom.image.data + part * lesion
        healthy = measure_head(phantom, phantom.image.data, {})["none"].result.alps[side]
        found = measure_head(phantom, painted, {"dwi": own, PRESET.template: carried})
        unmasked = found["none"].result.alps[side]
        shown = "no index, as by a wrong alignment" if np.isnan(unmasked) else f"{unmasked:.3f}"
        print(f"  without a mask of the lesion: {shown}", flush=True)
        for space, one in found.items():
            effect = one.result.lesions
            if effect is None:
                continue
            every, without = effect.alps_with[side], effect.alps_without[side]
            overlap = one.result.roi(region).scalars["lesion_overlap"]
            errors.append((every - healthy, without - healthy))
            print(
                f"{n + 1}\t{region}\t{space}\t{true_overlap(phantom, region, center):.3f}\t{overlap:.3f}\t{healthy:.3f}"
                f"\t{every:.3f}\t{without:.3f}\t{every - healthy:+.3f}\t{without - healthy:+.3f}",
                flush=True,
            )
    every, without = np.abs(errors).mean(axis=0)
    print(f"mean error of the index: {every:.3f} with lesions, {without:.3f} without")
    if "ALPS_REAL_DATA" in os.environ:
        align_real(Path(os.environ["ALPS_REAL_DATA"]) / "siemens_xa30")
    else:
        print("skipped: the T1w of real scans (ALPS_REAL_DATA is not set)")


def align_real(folder: Path) -> None:
    """Print the misalignment of each T1w and diffusion run, and the difference between two starting poses."""
    print("run\tT1w\tshift_mm\tsimilarity\tdisagreement_mm\tcpu_seconds")
    for run in find_runs(folder, "01"):
        series = read_series(run)
        mask = find_mask(series, b0_threshold=METHOD.b0_threshold)
        fitted = fit(PreparedSeries(series=series, mask=mask, correction=PreprocessedSeries(series=series)), METHOD)
        subject = subject_maps(fitted, run)
        for path in sorted((folder / "sub-01" / "anat").glob("*_T1w.nii.gz")):
            t1w, began = read_map(path), time.process_time()
            found = align_t1w(subject, t1w)
            seconds = time.process_time() - began
            away = np.eye(4)
            away[:3, :3] = Rotation.from_euler("xyz", (6, -4, 5), degrees=True).as_matrix()
            away[:3, 3] = (5, -8, 6)
            again = align_t1w(subject, SpatialMap(data=t1w.data, affine=away @ t1w.affine)).subject_from_template
            gap = np.linalg.inv(found.subject_from_template) @ np.linalg.inv(away) @ again
            shift = shift_mm(found.subject_from_template, subject.mask)
            print(
                f"{run.name}\t{path.name}\t{shift:.1f}\t{found.similarity:.2f}\t{shift_mm(gap, subject.mask):.1f}"
                f"\t{seconds:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
