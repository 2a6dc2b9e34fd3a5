"""Registration engines compared: error at the ROI centers, error of the pose, CPU seconds, peak memory.

Heads are made from the template's tissue maps with a known pose and warp. ANTs (antspyx) and DIPY get the same
contrast images as the own engine.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "registration"))

from heads import CENTERS, Head, center_errors, make_head, pose_error

from bids_alps.io.templates import read_template
from bids_alps.model import SpatialTransform, SubjectMaps, Template
from bids_alps.numerics.tissue_contrast import subject_contrast, template_contrast
from bids_alps.registration.engines import ENGINES
from bids_alps.registration.staged import Staged

HEADS = {
    "2 mm, rotated by 18 degrees": Head(angles=(12.0, -5.0, 13.0), warp_mm=2.5, voxel_mm=2.0, seed=11),
    "3 mm slab, oblique, scalp": Head(
        angles=(-10.0, 3.0, 6.0), warp_mm=3.0, oblique_degrees=12.0, slab_mm=84.0, scalp=True, order="LPS", seed=12
    ),
}


def main() -> None:
    template = read_template()
    engines = {
        "staged": Staged().register,
        "staged, affine only": Staged(deformable=False).register,
        "dipy affine + SyN": ENGINES["dipy"].make().register,
    }
    print(f"{'head':28s}{'engine':24s}{'median mm':>10s}{'largest mm':>11s}{'pose deg':>9s}{'CPU s':>7s}{'MiB':>6s}")
    for title, head in HEADS.items():
        subject, truth = make_head(head, template)
        for name, register in engines.items():
            began = time.process_time()
            transform = register(subject, template).transform
            _tell(
                title, name, center_errors(transform, truth), pose_error(transform, truth), time.process_time() - began
            )
        began = time.process_time()
        errors = ants_errors(subject, template, truth)
        if errors is None:
            print(f"{title:28s}{'antspyx SyN':24s}  skipped: antspyx is not installed")
        else:
            _tell(title, "antspyx SyN", errors, float("nan"), time.process_time() - began)


def ants_errors(subject: SubjectMaps, template: Template, truth: SpatialTransform) -> np.ndarray | None:
    """Return the error at the ROI centers of antspyx SyN, mm; None without antspyx."""
    try:
        import ants
        import pandas
    except ImportError:
        return None
    flip = np.array([-1.0, -1.0, 1.0])

    def image(one):
        affine = np.diag([*flip, 1.0]) @ one.affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return ants.from_numpy(
            np.asarray(one.data, dtype=np.float32),
            origin=affine[:3, 3].tolist(),
            spacing=spacing.tolist(),
            direction=affine[:3, :3] / spacing,
        )

    found = ants.registration(
        image(template_contrast(template)), image(subject_contrast(subject)), "SyN", random_seed=1
    )
    points = pandas.DataFrame(CENTERS * flip, columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, points, found["fwdtransforms"]).to_numpy() * flip
    return np.linalg.norm(moved - truth.subject_from_template(CENTERS), axis=1)


def _tell(head: str, engine: str, errors: np.ndarray, pose: float, seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{head:28s}{engine:24s}{np.median(errors):10.2f}{errors.max():11.2f}{pose:9.2f}{seconds:7.1f}{peak:6.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
