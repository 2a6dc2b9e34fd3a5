"""Fieldmaps in every BIDS layout: which files are used, what is applied, and the error of the field.

A simulated head with known distortion; if ALPS_REAL_DATA is set, also a real scan with its reverse-phase image in several
layouts, and the resulting index.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from bench_distortion import measure_index

from bids_alps.io.images import read_series
from bids_alps.io.layout import find_runs
from bids_alps.model import Array, DwiRun, DwiSeries, FieldmapImage
from bids_alps.numerics.preprocessing.correction import encoding_from_sidecar
from bids_alps.numerics.preprocessing.distortion import EncodedImage, estimate_distortion
from bids_alps.numerics.preprocessing.measured_field import corrected_image
from bids_alps.numerics.tensors.mask import estimate_brain_mask
from bids_alps.phantom import PhantomSettings, write_phantom
from bids_alps.phantom.settings import FIELDMAPS
from bids_alps.phantom.subject import make_subject
from bids_alps.settings import Method
from bids_alps.stages.distortion import field_estimators
from bids_alps.stages.masking import find_mask
from bids_alps.stages.prepare import prepare

PHANTOM = PhantomSettings(participants=1, seed=3, voxel_size=2.5, directions=6, b0=1, susceptibility=6.0)
RUN = "dwi/sub-01_dir-AP_dwi"
AIM = f"{RUN}.nii.gz"
FIELD = {"B0FieldIdentifier": "field0"}
Change = dict[str, Any]
Files = dict[str, tuple[str, str, Change]]
"""What a layout adds: name -> (which phantom, which of its files, what changes in the sidecar; None takes it away)."""


def image(layout: str, name: str, **changes: Any) -> tuple[str, str, Change]:
    return layout, f"fmap/sub-01_{name}", {"IntendedFor": None, **changes}


def phases(layout: str, *names: str, **changes: Any) -> Files:
    return {f"fmap/sub-01_{name}": image(layout, name, **changes) for name in names}


PA = ("epi", "dir-PA_epi")
OWN = ("pair", "dir-AP_epi")
TWO = ("phase1", "phase2", "magnitude1", "magnitude2")
DIFFERENCE = ("phasediff", "magnitude1", "magnitude2")
LAYOUTS: dict[str, tuple[Files, Change]] = {
    "no fieldmap": ({}, {}),
    "PA, IntendedFor a path": ({"fmap/sub-01_dir-PA_epi": image(*PA, IntendedFor=AIM)}, {}),
    "PA, IntendedFor a bids:: URI": ({"fmap/sub-01_dir-PA_epi": image(*PA, IntendedFor=f"bids::sub-01/{AIM}")}, {}),
    "PA, IntendedFor a list": ({"fmap/sub-01_dir-PA_epi": image(*PA, IntendedFor=["x.nii.gz", AIM])}, {}),
    "PA, B0FieldIdentifier": ({"fmap/sub-01_dir-PA_epi": image(*PA, **FIELD)}, {"B0FieldSource": "field0"}),
    "PA, not assigned": ({"fmap/sub-01_acq-b0_dir-98_epi": image(*PA)}, {}),
    "PA for another image": ({"fmap/sub-01_dir-PA_epi": image(*PA, IntendedFor="func/sub-01_task-a_bold.nii.gz")}, {}),
    "PA without PhaseEncodingDirection": (
        {"fmap/sub-01_dir-PA_epi": image(*PA, IntendedFor=AIM, PhaseEncodingDirection=None)},
        {},
    ),
    "PA, the run without PhaseEncodingDirection": (
        {"fmap/sub-01_dir-PA_epi": image(*PA, IntendedFor=AIM)},
        {"PhaseEncodingDirection": None},
    ),
    "AP only": ({"fmap/sub-01_dir-AP_epi": image(*OWN, IntendedFor=AIM)}, {}),
    "AP and PA, IntendedFor": (
        {
            "fmap/sub-01_dir-AP_epi": image(*OWN, IntendedFor=AIM),
            "fmap/sub-01_dir-PA_epi": image(*PA, IntendedFor=AIM),
        },
        {},
    ),
    "AP and PA, B0FieldIdentifier": (
        {"fmap/sub-01_dir-AP_epi": image(*OWN, **FIELD), "fmap/sub-01_dir-PA_epi": image(*PA, **FIELD)},
        {"B0FieldSource": "field0"},
    ),
    "AP and PA, no word": ({"fmap/sub-01_dir-1_epi": image(*OWN), "fmap/sub-01_dir-2_epi": image(*PA)}, {}),
    "PA run of b0 in dwi/, with tables": ({"dwi/sub-01_dir-PA_dwi+tables": image(*PA)}, {}),
    "PA run of b0 in dwi/, without tables": ({"dwi/sub-01_acq-b0_run-2_dwi": image(*PA)}, {}),
    "PA sbref": ({"dwi/sub-01_dir-PA_sbref": image(*PA)}, {}),
    "phasediff, IntendedFor": (phases("phasediff", *DIFFERENCE, IntendedFor=AIM), {}),
    "phasediff, B0FieldIdentifier": (phases("phasediff", *DIFFERENCE, **FIELD), {"B0FieldSource": "field0"}),
    "phasediff, no word": (phases("phasediff", *DIFFERENCE), {}),
    "phasediff, EffectiveEchoSpacing only": (
        phases("phasediff", *DIFFERENCE, IntendedFor=AIM),
        {"TotalReadoutTime": None, "EffectiveEchoSpacing": "from the shape"},
    ),
    "phasediff without magnitude": (phases("phasediff", "phasediff", IntendedFor=AIM), {}),
    "phase1 and phase2": (phases("phases", *TWO, IntendedFor=AIM), {}),
    "field in Hz": (phases("fieldmap", "fieldmap", "magnitude", IntendedFor=AIM), {}),
    "field in Hz, not assigned": (phases("fieldmap", "fieldmap", "magnitude"), {}),
    "PA and phasediff": (
        {"fmap/sub-01_dir-PA_epi": image(*PA, IntendedFor=AIM), **phases("phasediff", *DIFFERENCE, IntendedFor=AIM)},
        {},
    ),
}


def write_sidecar(source: Path, target: Path, changes: Change) -> None:
    fields = json.loads(source.read_text()) | changes
    target.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))


def lay_out(root: Path, phantoms: dict[str, Path], files: Files, run_changes: Change) -> None:
    """Write a dataset of one run with the files of a layout."""
    for folder in ("dwi", "fmap"):
        (root / "sub-01" / folder).mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "a layout", "BIDSVersion": "1.10.0"}')
    source = phantoms["epi"] / "sub-01" / RUN
    for extension in ("nii.gz", "bval", "bvec"):
        shutil.copy(source.with_name(f"{source.name}.{extension}"), root / "sub-01" / f"{RUN}.{extension}")
    if run_changes.get("EffectiveEchoSpacing"):
        steps = nib.load(root / "sub-01" / AIM).shape[1]
        run_changes = run_changes | {"EffectiveEchoSpacing": 0.05 / (steps - 1)}
    write_sidecar(source.with_suffix(".json"), root / "sub-01" / f"{RUN}.json", run_changes)
    for name, (phantom, file, changes) in files.items():
        stem, tables, _ = name.partition("+tables")
        taken, given = phantoms[phantom] / "sub-01" / file, root / "sub-01" / stem
        shutil.copy(taken.with_name(f"{taken.name}.nii.gz"), given.with_name(f"{given.name}.nii.gz"))
        write_sidecar(taken.with_name(f"{taken.name}.json"), given.with_name(f"{given.name}.json"), changes)
        if tables:
            given.with_name(f"{given.name}.bval").write_text("0\n")
            given.with_name(f"{given.name}.bvec").write_text("0\n0\n0\n")


def the_run(root: Path, name: str = "sub-01_dir-AP") -> DwiRun:
    return next(run for run in find_runs(root, "01") if isinstance(run, DwiRun) and run.name == name)


def estimate(run: DwiRun, series: DwiSeries, mask: Array, known: dict[Any, Any]) -> Iterator[Any]:
    """Yield the estimate of each fieldmap until one is applied; known files are not estimated again."""
    encoding = encoding_from_sidecar(run.metadata, series.image.shape[:3])
    b0 = EncodedImage(
        data=series.image.data[..., 0],
        affine=series.image.affine,
        phase_axis=encoding.phase_axis,
        polarity=encoding.polarity,
        readout=encoding.readout,
    )
    for fieldmap, found in zip(run.fieldmaps, field_estimators(run, b0_threshold=50.0), strict=False):
        key = (
            fieldmap.method,
            round(encoding.readout or 0, 6),
            *(path.read_bytes()[:20_000] for path in fieldmap.files),
        )
        if key not in known:
            known[key] = found(b0, mask)
        yield known[key]
        if known[key].proven:
            return


def main() -> None:
    asked = sys.argv[1:] or ["simulated", "real"]
    if "simulated" in asked:
        measure_simulated()
    folder = os.environ.get("ALPS_REAL_DATA")
    if "real" in asked and folder:
        measure_real(Path(folder) / "siemens_xa30")
    elif "real" in asked:
        print("skipped: ALPS_REAL_DATA names no folder of real scans")


def measure_simulated() -> None:
    """Print what is done in each layout, and the error of the field."""
    with tempfile.TemporaryDirectory() as scratch:
        phantoms = {}
        for layout in FIELDMAPS:
            phantoms[layout] = Path(scratch) / layout
            write_phantom(phantoms[layout], phantom_settings(layout))
        truth = make_subject(phantom_settings("epi"), 0).truth.shift
        print(f"{'layout':45s}{'taken':60s}{'applied':>9s}{'error mm: median':>18s}{'95 %':>7s}")
        known: dict[Any, Any] = {}
        for number, (title, (files, changes)) in enumerate(LAYOUTS.items()):
            root = Path(scratch) / f"layout{number}"
            lay_out(root, phantoms, files, changes)
            print_layout(title, root, truth, known)


def phantom_settings(layout: Any) -> PhantomSettings:
    from dataclasses import replace

    return replace(PHANTOM, fieldmap=layout)


def print_layout(title: str, root: Path, truth: Array, known: dict[Any, Any]) -> None:
    run = the_run(root)
    series = read_series(run)
    mask = find_mask(series, b0_threshold=50.0)
    results = list(estimate(run, series, mask, known))
    taken = "; ".join(f"{one.method}: {', '.join(i.path.name[7:-7] for i in one.images)}" for one in run.fieldmaps)
    size = float(series.image.voxel_size[1])
    applied = results[-1] if results and results[-1].proven else None
    error = np.abs((applied.displacement * size if applied else 0 * truth) - truth)[mask]
    if applied is not None and applied.method != "reverse phase encoding":
        error = np.abs((signed := (applied.displacement * size - truth)[mask]) - np.median(signed))  # its mean is free
    said = "yes" if applied else "no"
    print(
        f"{title:45s}{taken or 'nothing':60s}{said:>9s}{np.median(error):18.3f}{np.percentile(error, 95):7.2f}",
        flush=True,
    )


def measure_real(source: Path) -> None:
    """Print the index of a real scan with its reverse-phase image in several layouts."""
    print(f"\n{'XA30, dir-AP':45s}{'used':60s}{'corrected by':25s}{'index':>9s}")
    opposite = source / "sub-01/fmap/sub-01_dir-PA_epi"
    own = source / f"sub-01/{RUN}"
    layouts: dict[str, Callable[[Path], None]] = {
        "no fieldmap": lambda _: None,
        "PA epi, IntendedFor": lambda root: put_b0(root, "fmap/sub-01_dir-PA_epi", opposite, IntendedFor=AIM),
        "PA epi, not assigned": lambda root: put_b0(root, "fmap/sub-01_acq-x_dir-98_epi", opposite, IntendedFor=None),
        "AP and PA epi, IntendedFor": lambda root: (
            put_b0(root, "fmap/sub-01_dir-PA_epi", opposite, IntendedFor=AIM),
            put_b0(root, "fmap/sub-01_dir-AP_epi", own, IntendedFor=AIM),
        )[0],
        "b0 run in dwi/": lambda root: put_b0(root, "dwi/sub-01_acq-b0_dwi", opposite, IntendedFor=None),
        "sbref": lambda root: put_b0(root, "dwi/sub-01_dir-PA_sbref", opposite, IntendedFor=None),
        "phasediff, made from the pair": lambda root: put_field(root, own, opposite, "phasediff"),
        "phase1 and phase2, made from the pair": lambda root: put_field(root, own, opposite, "phase1", "phase2"),
        "field in Hz, made from the pair": lambda root: put_field(root, own, opposite, "fieldmap"),
    }
    known: dict[Any, tuple[str, float]] = {}
    for title, put in layouts.items():
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch) / "in"
            for folder in ("dwi", "fmap"):
                (root / "sub-01" / folder).mkdir(parents=True)
            (root / "dataset_description.json").write_text('{"Name": "a layout", "BIDSVersion": "1.10.0"}')
            for extension in ("nii.gz", "bval", "bvec", "json"):
                shutil.copy(own.with_name(f"{own.name}.{extension}"), root / "sub-01" / f"{RUN}.{extension}")
            put(root)
            run = the_run(root)
            taken = ", ".join(image.path.name[7:-7] for one in run.fieldmaps for image in one.images) or "nothing"
            key = tuple(used(image) for fieldmap in run.fieldmaps for image in fieldmap.images)
            if key not in known:
                prepared = prepare(run, Method(), Path(scratch) / "out")
                known[key] = prepared.correction.distortion_method, measure_index(run, prepared, Method())
        way, index = known[key]
        print(f"{title:45s}{taken:60s}{way:25s}{index:9.4f}", flush=True)


@cache
def field_of_pair(own: Path, opposite: Path) -> tuple[Array, Array, Array]:
    """Return the field of two first volumes in Hz, the corrected first one, and the affine."""
    images = []
    for stem in (own, opposite):
        picture = nib.load(stem.with_name(f"{stem.name}.nii.gz"))
        data = picture.get_fdata(dtype=np.float32)
        encoding = encoding_from_sidecar(json.loads(stem.with_name(f"{stem.name}.json").read_text()), picture.shape)
        image = EncodedImage(
            data=data[..., 0] if data.ndim == 4 else data,
            affine=picture.affine,
            phase_axis=encoding.phase_axis,
            polarity=encoding.polarity,
            readout=encoding.readout,
        )
        images.append(image)
    first = images[0]
    mask = estimate_brain_mask(first.data, np.linalg.norm(first.affine[:3, :3], axis=0))
    found = estimate_distortion(*images, mask).displacement
    return found / (first.readout * first.polarity), corrected_image(first, found), first.affine


def put_field(root: Path, own: Path, opposite: Path, *suffixes: str) -> None:
    """Write the field of a pair as a scanner would that measures it: phases with 4096 for pi, or Hz."""
    hertz, magnitude, affine = field_of_pair(own, opposite)
    dark = magnitude < 0.1 * np.percentile(magnitude, 98)
    noise = np.random.default_rng(4).uniform(-np.pi, np.pi, (2, *hertz.shape))

    def stored(seconds: float, background: Array) -> Array:
        return np.angle(np.exp(1j * np.where(dark, background, 2 * np.pi * hertz * seconds))) * 4096 / np.pi

    first, second = 0.00492, 0.00738
    pictures: dict[str, tuple[Array, Change]] = {
        "phasediff": (stored(second - first, noise[0]), {"EchoTime1": first, "EchoTime2": second}),
        "phase1": (stored(first, noise[0]), {"EchoTime": first}),
        "phase2": (stored(second, noise[1]), {"EchoTime": second}),
        "fieldmap": (hertz, {"Units": "Hz"}),
    }
    names = ("magnitude",) if "fieldmap" in suffixes else ("magnitude1", "magnitude2")
    for suffix, (data, fields) in [(one, pictures[one]) for one in suffixes] + [
        (one, (magnitude, {})) for one in names
    ]:
        stem = root / "sub-01/fmap" / f"sub-01_{suffix}"
        nib.save(nib.Nifti1Image(data.astype(np.float32), affine), f"{stem}.nii.gz")
        Path(f"{stem}.json").write_text(json.dumps({**fields, "IntendedFor": AIM}))


def used(image: FieldmapImage) -> tuple[bytes, str, str]:
    """Return the values of an image and of the metadata that its use depends on."""
    fields = [str(image.metadata.get(name)) for name in ("PhaseEncodingDirection", "TotalReadoutTime")]
    return np.asanyarray(nib.load(image.path).dataobj).tobytes(), fields[0], fields[1]


def put_b0(root: Path, stem: str, source: Path, **changes: Any) -> None:
    """Copy the first volume of a scan, with its sidecar."""
    picture = nib.load(source.with_name(f"{source.name}.nii.gz"))
    data = np.asanyarray(picture.dataobj)
    first = nib.Nifti1Image(data[..., 0] if data.ndim == 4 else data, picture.affine, picture.header)
    nib.save(first, root / "sub-01" / f"{stem}.nii.gz")
    target = root / "sub-01" / f"{stem}.json"
    write_sidecar(source.with_name(f"{source.name}.json"), target, changes)


if __name__ == "__main__":
    main()
