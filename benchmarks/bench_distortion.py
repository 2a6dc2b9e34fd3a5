"""Susceptibility distortion: error of the field in several storage orders, CPU time and peak memory."""

from __future__ import annotations

import numpy as np
from alone import alone
from moving_head import Head, Protocol, make_head, make_pose, make_volume, world_grid
from scipy import ndimage

from bids_alps.numerics.distortion import EncodedImage, estimate_distortion


def field_mm(points: np.ndarray) -> np.ndarray:
    """Return displacement along the encoding axis at undistorted world points (3, n): sinus, ears, a slow ramp."""

    def bump(centre: tuple[float, float, float], width: float, height: float) -> np.ndarray:
        return height * np.exp(-(((points - np.array(centre)[:, None]) / width) ** 2).sum(0) / 2)

    local = bump((0, 45, -15), 16, 7) + bump((42, 5, -25), 14, -5) + bump((-42, 5, -25), 14, -5)
    return local + bump((0, -60, 30), 25, 1.5) + 0.01 * (points[2] - 18) + 0.3


def make_pair(head: Head, protocol: Protocol, ratio: float, moved: bool) -> list[np.ndarray]:
    """Return two images, displaced by the field and by `ratio` times the field."""
    random, points = np.random.default_rng(5), world_grid(protocol)
    row, images = "xyz".index(protocol.phase_axis), []
    for factor in (1.0, ratio):
        source = points.copy()
        for _ in range(25):
            source[row] = points[row] - factor * field_mm(source)
        pose = make_pose(random, 0.8, 0.8) if moved and factor != 1 else np.eye(4)
        clean = make_volume(head, protocol, 0, pose, (factor * field_mm(source)).reshape(protocol.shape))
        noise = random.normal(scale=24, size=(2, *protocol.shape))
        images.append(np.hypot(clean + noise[0], noise[1]))
    return images


def main() -> None:
    head = make_head()
    cases = [
        ("LAS", (104, 104, 72), 2.0, "y", -1.0, False),
        ("LAS", (104, 104, 72), 2.0, "y", -1.0, True),
        ("RAS", (72, 72, 48), 3.0, "y", -1.0, False),
        ("LPS", (72, 72, 48), 3.0, "y", -0.6, False),
        ("PSR", (72, 56, 56), 3.0, "y", -1.0, False),
        ("LAS", (72, 72, 48), 3.0, "x", -1.0, False),
    ]
    print(
        "storage  mm  direction  ratio  moved | error mm: median   95 %  | difference before, after | CPU s  peak MiB"
    )
    for axes, shape, voxel, phase, ratio, moved in cases:
        protocol = Protocol(
            shape=shape, voxel_mm=voxel, axes=axes, bvals=np.zeros(1), bvecs=np.zeros((1, 3)), phase_axis=phase
        )
        axis = int(np.argmax(np.abs(protocol.affine["xyz".index(phase), :3])))
        step = protocol.affine["xyz".index(phase), axis]
        sign = int(np.sign(step))
        images = [
            EncodedImage(data=image, affine=protocol.affine, phase_axis=axis, polarity=polarity, readout=readout)
            for image, polarity, readout in zip(
                make_pair(head, protocol, ratio, moved), (sign, -sign), (0.05, -0.05 * ratio), strict=True
            )
        ]
        rest = ndimage.binary_opening(make_volume(head, protocol, 0, np.eye(4)) > 250, iterations=2)
        mask = ndimage.binary_dilation(rest, iterations=2)
        measured = alone(estimate_distortion, images[0], images[1], mask)
        found = measured.result
        true = field_mm(world_grid(protocol)).reshape(shape) / step
        error = (found.displacement - true)[rest] * voxel
        error = np.abs(error - np.median(error))  # a shift of all of the head cannot be told from a move
        direction = "ijk"[axis] + ("" if sign > 0 else "-")
        print(
            f"{axes:7} {voxel:4.1f} {direction:>9} {ratio:7.1f} {moved!s:>6} | {np.median(error):17.3f} "
            f"{np.percentile(error, 95):7.3f} | {found.difference_before:10.4f} {found.difference_after:12.4f} | "
            f"{measured.seconds:5.1f} {measured.peak:9.0f} {'applied' if found.proven else 'not applied'}"
        )


if __name__ == "__main__":
    main()
