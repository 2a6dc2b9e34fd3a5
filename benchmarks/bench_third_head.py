"""A third simulation, run from BIDS files by the program: silent errors under effects that no other simulation has.

CSF that moves between volumes, an asymmetric and rotated head, gradient nonlinearity, non-Gaussian diffusion at high b with
noise that varies in space, a table in scanner axes, and signal drift with a Nyquist ghost. Shares no code with the package
or the other simulations; only the tissue maps of the template are common. The truth is what points inside the published
spheres, at their true place and orientation, show without noise at the same b-values, with gradients as in the table.

An error is silent if the status is pass or warn and the truth is outside the interval by more than 0.05. Words: names of
cases (default: all).
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

SILENT = 0.05
CENTERS = {"projection": (26.1, -16.1, 27.6), "association": (38.7, -16.4, 27.6)}
"""Published centers in the template, right side, mm."""
MIDDLE = np.array([0.0, -18.0, 10.0])


@dataclass(frozen=True)
class Options:
    """A head and its scan: mm, degrees, s/mm².

    `pulsation` moves the border of CSF by so much (SD, over volumes); `asymmetry` widens the left half and narrows the
    right one by this fraction and shears one forward; `nonlinearity` is the error of gradients 80 mm from the
    isocenter; `kurtosis` that of white matter; `noise_rise` how much higher noise is in the middle than at the surface;
    `drift` the loss of signal over the series; `ghost` the fraction of signal half a field of view away.
    """

    index: tuple[float, float]
    voxel: tuple[float, float, float] = (3.0, 3.0, 3.0)
    b: float = 1000.0
    directions: int = 24
    snr: float = 25.0
    angles: tuple[float, float, float] = (8.0, 4.0, -5.0)
    slices_tilt: float = 0.0
    pulsation: float = 0.0
    asymmetry: float = 0.0
    nonlinearity: float = 0.0
    isocenter: tuple[float, float, float] = (0.0, 0.0, 0.0)
    kurtosis: float = 0.0
    noise_rise: float = 0.0
    scanner_axes: bool = False
    drift: float = 0.0
    ghost: float = 0.0


CASES = {
    "plain": Options(index=(1.45, 1.60)),
    "pulsating CSF": Options(index=(1.30, 1.42), pulsation=1.5),
    "asymmetric, turned": Options(index=(1.62, 1.34), asymmetry=0.07, angles=(-16.0, 12.0, 20.0)),
    "gradient nonlinearity": Options(index=(1.25, 1.38), nonlinearity=0.06, isocenter=(0.0, 0.0, -45.0)),
    "noise, b 2500": Options(index=(1.70, 1.52), b=2500.0, directions=30, snr=22.0, kurtosis=0.9, noise_rise=1.0),
    "table in scanner axes": Options(index=(1.50, 1.36), slices_tilt=20.0, scanner_axes=True),
    "oblique, right table": Options(index=(1.50, 1.36), slices_tilt=20.0),
    "drift and ghost": Options(index=(1.40, 1.55), drift=0.06, ghost=0.05),
}


@cache
def tissue_maps() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return white matter, gray matter, CSF (fractions on a grid of the template) and the affine."""
    folder = Path(__file__).parents[1] / "bids_alps" / "resources" / "brain"
    images = [nib.load(folder / f"tpl-MNI152NLin2009aSym_res-1_label-{name}_probseg.nii.gz") for name in ("WM", "GM")]
    white, gray = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    white, gray = white / white.max(), gray / gray.max()
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(white + gray > 0.4, iterations=6))
    return white, gray, np.clip(1 - white - gray, 0, 1) * brain, images[0].affine


@cache
def sheet_directions() -> np.ndarray:
    """Return the direction of white matter that belongs to no tract: along its sheets, shape (i, j, k, 3)."""
    white = ndimage.gaussian_filter(tissue_maps()[0], 2.0)
    slopes = np.stack(np.gradient(white), axis=-1)
    products = np.einsum("...i,...j->...ij", slopes, slopes)
    products = ndimage.gaussian_filter(products, (3, 3, 3, 0, 0)) + 1e-9 * np.diag([3.0, 2.0, 1.0])
    return np.linalg.eigh(products)[1][..., 0].astype(np.float32)


def sampled(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    affine = tissue_maps()[3]
    voxels = (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    return ndimage.map_coordinates(image, voxels.T, order=1, output=np.float32)


@dataclass(frozen=True)
class Shape:
    """Template to subject: an asymmetric smooth deformation, three scales, a rotation."""

    options: Options
    seed: int

    @property
    def rotation(self) -> np.ndarray:
        return Rotation.from_euler("xyz", self.options.angles, degrees=True).as_matrix()

    def forward(self, points: np.ndarray) -> np.ndarray:
        x, y, z = (points - MIDDLE).T
        rng = np.random.default_rng([self.seed, 1])
        waves = rng.normal(0, 1, (6, 3))
        phases, lengths = rng.uniform(0, 6.3, 6), rng.uniform(70, 130, 6)
        bent = sum(
            0.9 * wave * np.sin((points @ np.roll(wave, 1) / np.linalg.norm(wave)) * 6.28 / length + phase)[:, None]
            for wave, phase, length in zip(waves, phases, lengths, strict=True)
        )
        side = np.tanh(x / 25)
        one_sided = np.stack([-self.options.asymmetry * np.abs(x), 60 * self.options.asymmetry * side, 0 * z], axis=1)
        scaled = np.stack([x, y, z], axis=1) * [0.93, 0.97, 0.95]
        return (scaled + one_sided + bent) @ self.rotation.T + [3.0, -8.0, 5.0]

    def back(self, points: np.ndarray) -> np.ndarray:
        found = (points - [3.0, -8.0, 5.0]) @ self.rotation / [0.93, 0.97, 0.95] + MIDDLE
        for _ in range(6):
            found = found + ((points - self.forward(found)) @ self.rotation) / [0.93, 0.97, 0.95]
        return found

    def pushed(self, points: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return unit directions in the subject of directions in the template."""
        moved = self.forward(points + vectors) - self.forward(points - vectors)
        return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)


def smooth_step(values: np.ndarray, width: float = 1.2) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-values / width, -50, 50)))


def tracts(points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return share and direction of projection, association, callosal and other white matter at template points."""
    x, y, z = points.T
    out, sign = np.abs(x), np.sign(x)
    zero, one = 0 * x, 1 + 0 * x
    projection = smooth_step(out - 20.5 - 0.06 * (z - 27)) * smooth_step(32 + 0.06 * (z - 27) - out)
    projection = projection * smooth_step(y + 42) * smooth_step(14 - y) * smooth_step(z + 5) * smooth_step(56 - z)
    fan = np.stack([sign * (0.06 + 0.004 * (z - 27)), 0.004 * (y + 16), one], axis=1)
    arc = np.hypot(out - 38.5, (z - 27 + 0.002 * (y + 16) ** 2) / 1.25)
    association = smooth_step(6.0 - arc) * smooth_step(y + 58) * smooth_step(22 - y) * (1 - projection)
    along = np.stack([zero, one, -0.004 * (y + 16)], axis=1)
    callosal = (
        smooth_step(20.5 - out) * smooth_step(z - 8) * smooth_step(44 - z) * smooth_step(y + 50) * smooth_step(35 - y)
    )
    callosal = callosal * (1 - projection) * (1 - association)
    across = np.stack([one, zero, -sign * 0.02 * out], axis=1)
    other = np.clip(1 - projection - association - callosal, 0, 1)
    field = sheet_directions()
    loose = np.stack([sampled(field[..., n], np.round(points)) for n in range(3)], axis=1)
    return [(projection, fan), (association, along), (callosal, across), (other, loose)]


def radial_of(index: float) -> tuple[float, float]:
    """Return the diffusivities across a tract that give an index: along x and along the third axis, mm²/s."""
    return 1.04e-3 * index / (1 + index), 1.04e-3 / (1 + index)


@dataclass(frozen=True)
class Head:
    """Signal at subject points."""

    options: Options
    shape: Shape

    def signal(self, place: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray, moved: float = 0.0) -> np.ndarray:
        """Return the noise-free signal, shape (places, volumes); `bvecs` (volumes, 3) or (places, volumes, 3) in world axes.

        `place`: template points; `moved`: how far the border of CSF has moved outward, mm.
        """
        white, gray, fluid = (sampled(image, place) for image in tissue_maps()[:3])
        if moved:
            shifted = place + moved * (place - MIDDLE) / np.maximum(np.linalg.norm(place - MIDDLE, axis=1), 1)[:, None]
            fluid = np.clip(sampled(tissue_maps()[2], shifted), 0, 1)
            tissue = np.maximum(white + gray, 1e-6)
            white, gray = white / tissue * (1 - fluid) * (tissue > 0.05), gray / tissue * (1 - fluid) * (tissue > 0.05)
        total = 3.0 * fluid[:, None] * np.exp(-bvals * 3.0e-3) + 1.3 * gray[:, None] * self._decay(bvals * 0.82e-3, 0.4)
        left = place[:, 0] < 0
        axial = (1.25e-3, 1.20e-3, 1.5e-3, 1.1e-3)
        for n, (share, direction) in enumerate(tracts(place)):
            chosen = np.flatnonzero(share * white > 1e-3)
            if not len(chosen):
                continue
            fiber = self.shape.pushed(place[chosen], direction[chosen])
            x_axis = self.shape.pushed(place[chosen], np.broadcast_to([1.0, 0.0, 0.0], (len(chosen), 3)))
            across = x_axis - (x_axis * fiber).sum(1, keepdims=True) * fiber
            across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
            third = np.cross(fiber, across)
            sides = (radial_of(index) for index in self.options.index)
            radial = np.where(left[chosen, None], *(np.array([one]) for one in sides))
            if n > 1:
                radial = np.full_like(radial, 0.42e-3)
            table = bvecs if bvecs.ndim == 2 else bvecs[chosen]
            squares = [
                np.einsum("pi,vi->pv" if table.ndim == 2 else "pi,pvi->pv", axis, table) ** 2
                for axis in (fiber, across, third)
            ]
            diffusivity = axial[n] * squares[0] + radial[:, :1] * squares[1] + radial[:, 1:] * squares[2]
            decay = self._decay((bvals if bvals.ndim == 1 else bvals[chosen]) * diffusivity, self.options.kurtosis)
            total[chosen] += (share * white)[chosen, None] * decay
        return total

    @staticmethod
    def _decay(exponent: np.ndarray, kurtosis: float) -> np.ndarray:
        """Return exp(-bD + (bD)² K / 6), which for large bD stays flat instead of rising again."""
        if kurtosis:
            exponent = np.minimum(exponent, 3 / kurtosis)
        return np.exp(-exponent + exponent**2 * kurtosis / 6)


def directions(n: int, seed: int) -> np.ndarray:
    """Return n unit vectors by repulsion, randomly rotated."""
    rng = np.random.default_rng([seed, 9])
    vectors = rng.normal(size=(n, 3))
    for _ in range(400):
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        both = np.concatenate([vectors, -vectors])
        apart = vectors[:, None] - both[None]
        distance = np.maximum((apart**2).sum(-1, keepdims=True), 1e-3)
        vectors = vectors + 0.02 * (apart / distance**1.5 * (distance > 2e-3)).sum(1) / n**0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def felt_table(
    points: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray, options: Options
) -> tuple[np.ndarray, np.ndarray]:
    """Return b-values and unit vectors that points feel, (points, volumes) and (points, volumes, 3).

    Gradient coils as of a head scanner: strength along z falls with the square of z and rises with x and y; x and y tilt.
    """
    x, y, z = ((points - options.isocenter) / 80).T
    size = options.nonlinearity
    zero = 0 * x
    matrix = np.stack(
        [
            np.stack([1 + size * (0.5 * z**2 - 0.8 * x**2), size * 0.3 * x * y, size * x * z], axis=1),
            np.stack([size * 0.3 * x * y, 1 + size * (0.5 * z**2 - 0.8 * y**2), size * y * z], axis=1),
            np.stack([zero, zero, 1 - size * (z**2 - 0.5 * (x**2 + y**2))], axis=1),
        ],
        axis=1,
    )
    felt = np.einsum("pij,vj->pvi", matrix, bvecs)
    strength = (felt**2).sum(-1)
    return bvals * np.where(bvals > 0, strength, 1), felt / np.sqrt(np.maximum(strength, 1e-9))[..., None]


def acquire(head: Head, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return a scan (i, j, k, volumes), its affine, b-values and unit vectors in world axes."""
    options, rng = head.options, np.random.default_rng([seed, 4])
    order = np.insert(np.arange(options.directions), [0, options.directions // 2, options.directions], -1)
    table = directions(options.directions, seed)
    bvals = np.where(order < 0, 0.0, options.b)
    bvecs = np.where(order[:, None] < 0, 0.0, table[np.maximum(order, 0)])
    shape = tuple(int(n) for n in np.ceil(np.array([176, 216, 168]) / options.voxel))
    turn = Rotation.from_euler("xyz", [options.slices_tilt, 0.3 * options.slices_tilt, 0], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.array(options.voxel) * [-1, 1, 1])
    affine[:3, 3] = head.shape.forward(MIDDLE[None])[0] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    voxels = np.argwhere(np.ones(shape, dtype=bool))
    middles = voxels @ affine[:3, :3].T + affine[:3, 3]
    near = (((middles - head.shape.forward(MIDDLE[None])) @ head.shape.rotation / [84, 104, 84]) ** 2).sum(1) < 1
    shifts = rng.normal(0, options.pulsation, len(bvals)) if options.pulsation else np.zeros(len(bvals))
    data = np.zeros((*shape, len(bvals)), dtype=np.float32)
    for start in range(0, near.sum(), 20_000):
        chosen = voxels[near][start : start + 20_000]
        data[tuple(chosen.T)] = voxel_signal(head, chosen, affine, (bvals, bvecs, shifts))
    data *= coil_profile(voxels, shape)[..., None]
    if options.ghost:
        data = (1 - options.ghost) * data + options.ghost * np.roll(data, shape[1] // 2, axis=1)
    data *= 1 - options.drift * np.linspace(0, 1, len(bvals), dtype=np.float32)
    radius = ((2 * voxels / np.array(shape) - 1) ** 2).sum(1).reshape(shape)
    sigma = (1 + options.noise_rise * np.exp(-radius / 0.4)) / options.snr
    for n in range(len(bvals)):
        data[..., n] = np.hypot(data[..., n] + sigma * rng.normal(size=shape), sigma * rng.normal(size=shape))
    return data * 500, affine, bvals, bvecs


def voxel_signal(head: Head, voxels: np.ndarray, affine: np.ndarray, table: tuple) -> np.ndarray:
    """Return the mean signal of points in voxels."""
    bvals, bvecs, shifts = table
    total = np.zeros((len(voxels), len(bvals)))
    corners = np.array([[-1, -1, -1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]]) * 0.25
    for corner in corners:
        points = (voxels + corner) @ affine[:3, :3].T + affine[:3, 3]
        places = head.shape.back(points)
        filled = sum(sampled(image, places) for image in tissue_maps()[:3]) > 1e-3
        points, places = points[filled], places[filled]
        felt = felt_table(points, bvals, bvecs, head.options) if head.options.nonlinearity else (bvals, bvecs)
        if shifts.any():
            volumes = [(bvals[n : n + 1], bvecs[n : n + 1], shift) for n, shift in enumerate(shifts)]
            total[filled] += np.concatenate([head.signal(places, *one) for one in volumes], axis=1)
        else:
            total[filled] += head.signal(places, *felt)
    return total / len(corners)


def coil_profile(voxels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    local = 2 * voxels / np.array(shape) - 1
    return np.exp(0.25 * (local**2).sum(1) + 0.1 * local @ [1.0, -0.6, 0.4]).reshape(shape).astype(np.float32)


def true_index(head: Head, bvals: np.ndarray) -> dict[str, float]:
    """Return the index of the published spheres seen by points without noise, by side."""
    b = bvals.max()
    vectors = np.concatenate([np.zeros((1, 3)), directions(64, 0)])
    weights = np.concatenate([[0.0], np.full(64, b)])
    columns = np.stack(
        [
            vectors[:, i] * vectors[:, j] * (1 if i == j else 2)
            for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
        ],
        1,
    )
    design = np.column_stack([-weights[:, None] * columns, np.ones(len(weights))])
    steps = np.linspace(-2.5, 2.5, 9)
    ball = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    ball = ball[(ball**2).sum(1) <= 6.26]
    found = {}
    for side, sign in (("left", -1), ("right", 1)):
        means = {}
        for name, (x, y, z) in CENTERS.items():
            signal = head.signal(ball + np.array([sign * x, y, z]), weights, vectors)
            fits = []
            for one in signal:
                weight = one / one.max()
                fits.append(np.linalg.lstsq(design * weight[:, None], np.log(one) * weight, rcond=None)[0][:6])
            xx, xy, xz, yy, yz, zz = np.mean(fits, axis=0)
            tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            means[name] = np.diag(head.shape.rotation.T @ tensor @ head.shape.rotation)
        found[side] = (means["projection"][0] + means["association"][0]) / (
            means["projection"][1] + means["association"][2]
        )
    return found


def write_bids(root: Path, scan: tuple[np.ndarray, ...], options: Options) -> None:
    data, affine, bvals, bvecs = scan
    folder = root / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "third head", "BIDSVersion": "1.10.0"}')
    stem = folder / "sub-01_dwi"
    image = nib.Nifti1Image(np.round(data).astype(np.int16), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, f"{stem}.nii.gz")
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    own = bvecs @ axes  # components along the voxel axes
    if options.scanner_axes:
        own = bvecs * [-1, 1, 1]  # what converters write that ignore the angle of the slices
    if np.linalg.det(axes) > 0:
        own = own * [-1, 1, 1]
    Path(f"{stem}.bval").write_text(" ".join(f"{b:g}" for b in bvals) + "\n")
    Path(f"{stem}.bvec").write_text("".join(" ".join(f"{v:.6f}" for v in row) + "\n" for row in own.T))
    fields = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.03, "EchoTime": 0.08, "RepetitionTime": 8.0}
    Path(f"{stem}.json").write_text(json.dumps(fields))


def run_program(root: Path, out: Path) -> tuple[dict[str, dict[str, str]], str]:
    """Return the rows of the index by hemisphere, none if it failed, and the checks that are not passed."""
    command = [sys.executable, "-m", "bids_alps", str(root), str(out), "participant", "--skip-bids-validation"]
    command += ["--keep-failed"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    tables = sorted(out.rglob("*_desc-alps_scalarstats.tsv"))
    if not tables:
        return {}, (ran.stdout + ran.stderr).strip().splitlines()[-1]
    rows = {row["hemisphere"]: row for row in read_table(tables[0])}
    checks = read_table(next(iter(out.rglob("*_desc-quality_scalarstats.tsv"))))
    marks = {"warn": "", "fail": "!"}
    told = [
        f"{one['name']} {float(one['value']):.3g}{marks[one['status']]}" for one in checks if one["status"] in marks
    ]
    return rows, ", ".join(dict.fromkeys(told))


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of the default regions."""
    with path.open() as lines:
        return [row for row in csv.DictReader(lines, delimiter="\t") if row["roi_preset"] in ("alps", "n/a")]


def number(text: str) -> float:
    return float("nan") if text == "n/a" else float(text)


def main() -> None:
    chosen = [name for name in CASES if not sys.argv[1:] or any(word in name for word in sys.argv[1:])]
    worst, name_of_worst = 0.0, "none"
    print(
        f"{'case':24s}{'true L, R':>12s}{'alps':>12s}{'interval left':>16s}{'interval right':>16s}{'missed':>8s}  status: checks"
    )
    for name in chosen:
        miss, status = run_case(name, 300 + list(CASES).index(name))
        if status != "fail" and miss > max(SILENT, worst):
            worst, name_of_worst = miss, name
    print(f"worst silent error: {name_of_worst}" + (f", outside its interval by {worst:.2f}" if worst else ""))


def run_case(name: str, seed: int) -> tuple[float, str]:
    """Print one case; return by how much its interval misses the truth, and its status."""
    options = CASES[name]
    head = Head(options, Shape(options, seed))
    scan = acquire(head, seed)
    truth = true_index(head, scan[2])
    with tempfile.TemporaryDirectory() as scratch:
        write_bids(Path(scratch) / "in", scan, options)
        rows, checks = run_program(Path(scratch) / "in", Path(scratch) / "out")
    if not rows:
        print(f"{name:24s}refused: {checks}", flush=True)
        return 0.0, "fail"
    found = {side: [number(rows[side][f"alps{end}"]) for end in ("", "_ci_low", "_ci_high")] for side in truth}
    miss = np.nanmax([0.0, *(max(low - truth[side], truth[side] - high) for side, (_, low, high) in found.items())])
    status = rows["bilateral"]["status"]
    pair = "  ".join(f"{truth[side]:.2f}" for side in truth)
    print(
        f"{name:24s}{pair:>12s}{'  '.join(f'{found[side][0]:.2f}' for side in truth):>12s}"
        + "".join(f"{f'{low:.2f} to {high:.2f}':>16s}" for _, low, high in found.values())
        + f"{miss:8.2f}  {status}: {checks}",
        flush=True,
    )
    return float(miss), status


if __name__ == "__main__":
    main()
