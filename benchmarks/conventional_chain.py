"""The conventional chain from a raw series to the index, for `bench_peers.py`: MRtrix3, antspyx and 2.5 mm spheres.

Runs in an environment of its own, which has antspyx and nibabel. Arguments: series, b-values, b-vectors, template map,
centers of the spheres (JSON, RAS+ mm of the template), folder for intermediate files. Prints the index as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ants
import nibabel as nib
import numpy as np

RADIUS_MM = 2.5
LPS = np.array([-1.0, -1.0, 1.0])


def mrtrix(*words: object) -> None:
    program, *arguments = map(str, words)
    subprocess.run([program, "-quiet", "-force", "-nthreads", "0", *arguments], check=True)


def correct_motion(series: Path, bvals: np.ndarray, bvecs: np.ndarray, folder: Path) -> tuple[Path, Path]:
    """Align each volume rigidly with the first b=0 volume, and rotate its b-vector; return series and b-vectors."""
    image = nib.load(series)
    data = np.asarray(image.dataobj, dtype=np.float32)
    first = int(np.flatnonzero(bvals <= 50)[0])
    paths = []
    for volume in range(data.shape[3]):
        paths.append(folder / f"volume{volume}.nii.gz")
        nib.save(nib.Nifti1Image(data[..., volume], image.affine), paths[-1])
    fixed = ants.image_read(str(paths[first]))
    flip = np.array([-1.0 if np.linalg.det(image.affine[:3, :3]) > 0 else 1.0, 1, 1])  # FSL's convention
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    corrected, rotated = np.empty_like(data), bvecs.copy()
    for volume, path in enumerate(paths):
        moving = ants.image_read(str(path))
        result = ants.registration(fixed, moving, type_of_transform="BOLDRigid", random_seed=1)
        matrix = ants.read_transform(result["fwdtransforms"][0]).parameters[:9].reshape(3, 3)
        corrected[..., volume] = result["warpedmovout"].numpy()
        world = LPS * (axes @ (bvecs[volume] * flip))  # the transform takes points of the first volume to this one
        rotated[volume] = (axes.T @ (LPS * (matrix.T @ world))) * flip
    out, table = folder / "moved.nii.gz", folder / "moved.bvec"
    nib.save(nib.Nifti1Image(corrected, image.affine), out)
    np.savetxt(table, rotated.T, fmt="%.6f")
    return out, table


def sphere_means(tensors: Path, centers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return mean Dxx, Dyy, Dzz in scanner axes within spheres about subject points, RAS+ mm."""
    image = nib.load(tensors)
    data = np.asarray(image.dataobj, dtype=np.float64)[..., :3]
    world = nib.affines.apply_affine(image.affine, np.moveaxis(np.indices(data.shape[:3]), 0, -1))
    means = {}
    for name, center in centers.items():
        distance = np.linalg.norm(world - center, axis=-1)
        means[name] = data[distance <= max(RADIUS_MM, distance.min())].mean(0)
    return means


def main() -> None:
    series, bval, bvec, template, centers, folder = sys.argv[1:]
    work = Path(folder)
    bvals, bvecs = np.loadtxt(bval), np.loadtxt(bvec).T
    mrtrix("dwidenoise", series, work / "denoised.nii.gz")
    mrtrix("mrdegibbs", work / "denoised.nii.gz", work / "unringed.nii.gz")
    moved, table = correct_motion(work / "unringed.nii.gz", bvals, bvecs, work)
    mrtrix("dwi2mask", "-fslgrad", table, bval, moved, work / "mask.nii.gz")
    mrtrix("dwi2tensor", "-fslgrad", table, bval, "-mask", work / "mask.nii.gz", moved, work / "tensors.nii.gz")
    mrtrix("tensor2metric", "-fa", work / "fa.nii.gz", work / "tensors.nii.gz")
    fixed, fa = (
        ants.resample_image(ants.image_read(template), (2.0, 2.0, 2.0)),
        ants.image_read(str(work / "fa.nii.gz")),
    )
    found = ants.registration(fixed, fa, type_of_transform="SyN", random_seed=1)
    names, points = zip(*json.loads(centers).items(), strict=True)
    import pandas as pd

    table = pd.DataFrame(np.array(points) * LPS, columns=["x", "y", "z"])
    mapped = ants.apply_transforms_to_points(3, table, found["fwdtransforms"])[["x", "y", "z"]].to_numpy() * LPS
    means = sphere_means(work / "tensors.nii.gz", dict(zip(names, mapped, strict=True)))
    index = {}
    for side in ("left", "right"):
        projection, association = (means[f"{tract}_{side}"] for tract in ("projection", "association"))
        index[side] = (projection[0] + association[0]) / (projection[1] + association[2])
    print(json.dumps(index | {"bilateral": (index["left"] + index["right"]) / 2}))


if __name__ == "__main__":
    main()
