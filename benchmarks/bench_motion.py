"""Head motion and eddy currents: error, CPU time and peak memory compared with SimpleITK, ANTs (antspyx) and DIPY."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import SimpleITK as sitk
from isolated import Measurement, run_isolated
from motion_phantom import MovingSeries, Protocol, make_directions, make_head, make_series, world_grid
from scipy import ndimage

from bids_alps.numerics.preprocessing.realignment import estimate_motion

PEER_VOLUMES = 3


def true_places(series: MovingSeries, volume: int, points: np.ndarray) -> np.ndarray:
    """Return where points of the head at rest appear in a volume, world mm."""
    pose, displacement = series.poses[volume], series.displacements[volume]
    moved = points @ pose[:3, :3].T + pose[:3, 3]
    if displacement is None:
        return moved
    inverse, shown = np.linalg.inv(series.protocol.affine), moved
    for _ in range(4):
        voxels = inverse[:3, :3] @ shown.T + inverse[:3, 3:]
        shown = moved.copy()
        shown[:, 1] += ndimage.map_coordinates(displacement, voxels, order=1, mode="nearest")
    return shown


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).sum(1).mean()))


def to_itk(image: np.ndarray, affine: np.ndarray) -> sitk.Image:
    size = np.linalg.norm(affine[:3, :3], axis=0)
    converted = sitk.GetImageFromArray(np.ascontiguousarray(image.transpose(2, 1, 0)).astype(np.float32))
    converted.SetSpacing(size.tolist())
    converted.SetDirection((affine[:3, :3] / size).ravel().tolist())
    converted.SetOrigin(affine[:3, 3].tolist())
    return converted


def simpleitk_affine(fixed: np.ndarray, moving: np.ndarray, affine: np.ndarray):
    """Return a function from fixed to moving world points."""
    transform = sitk.AffineTransform(3)
    transform.SetCenter([0.0, -18.0, 18.0])
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetOptimizerAsRegularStepGradientDescent(0.2, 1e-4, 60)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform, inPlace=True)
    method.SetNumberOfThreads(1)
    method.Execute(to_itk(fixed, affine), to_itk(moving, affine))
    return lambda points: np.array([transform.TransformPoint(point.tolist()) for point in points])


def antspyx_affine(fixed: np.ndarray, moving: np.ndarray, affine: np.ndarray):
    import ants

    size = np.linalg.norm(affine[:3, :3], axis=0)
    place = {"origin": affine[:3, 3].tolist(), "spacing": size.tolist(), "direction": affine[:3, :3] / size}
    images = [ants.from_numpy(np.asarray(image, dtype=np.float32), **place) for image in (fixed, moving)]
    found = ants.registration(images[0], images[1], type_of_transform="BOLDAffine", random_seed=1)
    transform = ants.read_transform(found["fwdtransforms"][0])
    return lambda points: np.array([transform.apply_to_point(point.tolist()) for point in points])


def dipy_affine(fixed: np.ndarray, moving: np.ndarray, affine: np.ndarray):
    from dipy.align import affine_registration

    steps = {"pipeline": ["rigid", "affine"], "level_iters": [1000, 100], "sigmas": [1.0, 0.0], "factors": [2, 1]}
    _, found = affine_registration(
        moving, fixed, moving_affine=affine, static_affine=affine, static_mask=None, moving_mask=None, **steps
    )
    return lambda points: points @ found[:3, :3].T + found[:3, 3]


PEERS = {"SimpleITK": simpleitk_affine, "antspyx": antspyx_affine, "dipy": dipy_affine}


def ours(series: MovingSeries, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return position errors, mm, shape (n, points, 3), and of b-vectors, degrees, of the weighted volumes."""
    protocol = series.protocol
    motion = estimate_motion(series.data, protocol.affine, (protocol.bvals, protocol.bvecs), series.mask)
    errors = np.array([v.acquired(points) - true_places(series, n, points) for n, v in enumerate(motion.volumes)])
    true = np.array([vector @ pose[:3, :3] for vector, pose in zip(protocol.bvecs, series.poses, strict=True)])
    return errors[1:], np.rad2deg(np.arccos(np.clip((true * motion.bvecs).sum(1)[1:], -1, 1)))


def peer(name: str, series: MovingSeries, points: np.ndarray) -> np.ndarray:
    """Return position errors of the first diffusion-weighted volumes, registered to their mean."""
    mean, affine = series.data[..., 1:].mean(-1), series.protocol.affine
    places = [PEERS[name](mean, series.data[..., n], affine)(points) for n in range(1, 1 + PEER_VOLUMES)]
    return np.array([place - true_places(series, n + 1, points) for n, place in enumerate(places)])


def print_row(name: str, errors: np.ndarray, measured: Measurement, own: float | None = None) -> float:
    """Print a row without the shift common to all volumes; return CPU seconds per volume."""
    off = [rms(error - errors.mean(0)) for error in errors]
    each = measured.seconds / len(errors)
    ratio = "" if own is None else f"{each / own:15.1f}"
    print(
        f"{name:12} {np.median(off):15.3f} {max(off):7.3f} {each:15.2f} {measured.peak:9.0f} {ratio}",
        flush=True,
    )
    return each


def main() -> None:
    directions = make_directions(30)
    protocol = Protocol(bvals=np.r_[0, np.full(30, 1000.0)], bvecs=np.r_[np.zeros((1, 3)), directions])
    series = make_series(make_head(), protocol)
    points = world_grid(protocol)[:, series.mask.ravel()].T[::97]
    print("30 directions, 0.8 mm and 0.8 degrees of motion, eddy currents; without the shift common to all volumes")
    print(
        f"{'program':12} {'rms mm, median':>15} {'worst':>7} {'CPU s per vol.':>15} {'peak MiB':>9} {'ratio of CPU':>15}"
    )
    measured = run_isolated(ours, series, points)
    errors, angles = measured.result
    own = print_row("bids-alps", errors, measured)
    for name, module in {"SimpleITK": "SimpleITK", "antspyx": "ants", "dipy": "dipy"}.items():
        if find_spec(module) is None:
            print(f"{name:12} not installed: skipped")
            continue
        found = run_isolated(peer, name, series, points)
        print_row(name, found.result, found, own)
    absolute = [rms(error) for error in errors]
    print(f"to the first b0: rms median {np.median(absolute):.3f} mm, worst {max(absolute):.3f} mm")
    print(f"b-vectors: median {np.median(angles):.3f}, worst {angles.max():.3f} degrees")


if __name__ == "__main__":
    main()
