"""Head motion and eddy currents: error and CPU time beside SimpleITK and antspyx."""

from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np
import SimpleITK as sitk
from moving_head import MovingSeries, Protocol, make_directions, make_head, make_series, world_grid
from scipy import ndimage

from bids_alps.numerics.realignment import estimate_motion

PEER_VOLUMES = 3


def true_places(series: MovingSeries, volume: int, points: np.ndarray) -> np.ndarray:
    """Return where points of the resting head show up in a volume, world mm."""
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


def main() -> None:
    directions = make_directions(30)
    bvals = np.r_[0, np.full(30, 1000.0)]
    protocol = Protocol(bvals=bvals, bvecs=np.r_[np.zeros((1, 3)), directions])
    series = make_series(make_head(), protocol)
    points = world_grid(protocol)[:, series.mask.ravel()].T[::97]
    begin = time.process_time()
    motion = estimate_motion(series.data, protocol.affine, (bvals, protocol.bvecs), series.mask)
    seconds = (time.process_time() - begin) / len(bvals)
    errors = np.array([v.acquired(points) - true_places(series, n, points) for n, v in enumerate(motion.volumes)])
    true = np.array([vector @ pose[:3, :3] for vector, pose in zip(protocol.bvecs, series.poses, strict=True)])
    angles = np.rad2deg(np.arccos(np.clip((true * motion.bvecs).sum(1)[1:], -1, 1)))
    common = errors[1:].mean(0)
    print(
        f"{'program':12} {'rms mm, median':>15} {'worst':>7} {'CPU s a volume':>15}   (a shift common to all taken out)"
    )
    ours = [rms(error - common) for error in errors[1:]]
    print(f"{'bids-alps':12} {np.median(ours):15.3f} {max(ours):7.3f} {seconds:15.2f}")
    peers = {"SimpleITK": simpleitk_affine}
    if find_spec("ants"):
        peers["antspyx"] = antspyx_affine
    else:
        print("antspyx      not installed: skipped")
    mean = series.data[..., 1:].mean(-1)
    for name, align in peers.items():
        begin = time.process_time()
        places = [align(mean, series.data[..., n], protocol.affine)(points) for n in range(1, 1 + PEER_VOLUMES)]
        spent = (time.process_time() - begin) / PEER_VOLUMES
        off = np.array([place - true_places(series, n + 1, points) for n, place in enumerate(places)])
        peer = [rms(error - off.mean(0)) for error in off]
        print(f"{name:12} {np.median(peer):15.3f} {max(peer):7.3f} {spent:15.2f}   ratio of CPU {spent / seconds:.1f}")
    absolute = [rms(error) for error in errors[1:]]
    print(f"to the first b0: rms median {np.median(absolute):.3f} mm, worst {max(absolute):.3f} mm")
    print(f"b-vectors: median {np.median(angles):.3f}, worst {angles.max():.3f} degrees")


if __name__ == "__main__":
    main()
