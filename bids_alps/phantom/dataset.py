"""The phantom as a raw BIDS dataset, with the ground truth in ``derivatives``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps import __version__
from bids_alps.io.tables import Column, write_table
from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_json, write_map, write_text
from bids_alps.model import Array, Gradients, SpatialMap, sample_linear
from bids_alps.numerics.tensors.gradients import fsl_from_world
from bids_alps.phantom.scanner import ECHOES_S, READOUT_S
from bids_alps.phantom.settings import FieldmapLayout, PhantomSettings
from bids_alps.phantom.subject import FieldScan, Head, PhantomSubject, make_head, make_subject

TRUTH = "derivatives/truth"
_ORDER = ("sub", "ses", "dir", "run")

TRUTH_COLUMNS = (
    Column(name="participant_id", description="Participant."),
    Column(name="scan", description="Common prefix of the file names of the scan."),
    *(Column(name=f"alps_{side}", description=f"True index, {side}.") for side in ("left", "right", "bilateral")),
    *(
        Column(name=angle, description=f"True {angle} of the head.", unit="degrees")
        for angle in ("pitch", "roll", "yaw")
    ),
)
PARTICIPANT_COLUMNS = (
    Column(name="participant_id", description="Participant."),
    Column(name="age", description="Age.", unit="years"),
    Column(name="sex", description="Sex.", levels={"F": "female", "M": "male"}),
    Column(name="group", description="Group.", levels={"control": "healthy control", "patient": "patient"}),
    Column(name="site", description="Scanner."),
)


def write_phantom(out: Path, settings: PhantomSettings) -> list[dict[str, Any]]:
    """Write a dataset; return the ground truth, one row per scan, as in ``derivatives/truth/truth.tsv``.

    Parameters
    ----------
    out
        Root of the dataset, which is created.
    settings
        Settings of the phantom.
    """
    generated = [{"Name": "bids-alps-phantom", "Version": __version__}]
    description = {"Name": "Phantom brain", "BIDSVersion": "1.9.0", "License": "CC0", "GeneratedBy": generated}
    readme = "# Phantom brain\n\nSimulated by bids-alps-phantom; the ground truth is in derivatives/truth.\n"
    write_json(out / "dataset_description.json", {**description, "DatasetType": "raw"})
    write_text(out / "README.md", readme)
    write_json(out / TRUTH / "dataset_description.json", {**description, "DatasetType": "derivative"})
    write_text(out / TRUTH / "README.md", "# Truth of the phantom\n")
    write_text(out / TRUTH / ".bidsignore", "*.tsv\n*.json\n")
    write_json(out / TRUTH / "settings.json", asdict(settings))
    sessions = [{"ses": str(n + 1)} for n in range(settings.sessions)] or [{}]
    runs = [{"run": str(n + 1)} for n in range(settings.runs)] if settings.runs > 1 else [{}]
    scans = [{**session, **run} for session in sessions for run in runs]
    rows, people = [], []
    for n in range(settings.participants):
        label = f"{n + 1:02d}"
        group = "patient" if settings.group_effect and n % 2 else "control"
        rng = np.random.default_rng([settings.seed, n, 7])
        age, sex = int(rng.integers(20, 80)), "FM"[int(rng.integers(2))]
        people.append({"participant_id": f"sub-{label}", "age": age, "sex": sex, "group": group, "site": "phantom"})
        for scan, entities in enumerate(scans):
            subject = make_subject(settings, n, group=group, scan=scan)
            rows.append(_write_scan(out, {"sub": label, **entities}, subject, settings))
        if settings.t1w:
            _write_t1w(out, label, make_head(settings, n, group), settings)
    write_table(out / "participants.tsv", people, PARTICIPANT_COLUMNS)
    write_table(out / TRUTH / "truth.tsv", rows, TRUTH_COLUMNS)
    return rows


def _write_scan(
    out: Path, entities: dict[str, str], subject: PhantomSubject, settings: PhantomSettings
) -> dict[str, Any]:
    if settings.susceptibility:
        entities = {**entities, "dir": "AP"}
    folder = out / f"sub-{entities['sub']}"
    if "ses" in entities:
        folder /= f"ses-{entities['ses']}"
    name = "_".join(f"{key}-{value}" for key, value in sorted(entities.items(), key=lambda item: _ORDER.index(item[0])))
    sidecar: dict[str, Any] = {
        "EchoTime": 0.08,
        "RepetitionTime": 8.0,
        "PhaseEncodingDirection": settings.phase_encoding,
        "TotalReadoutTime": READOUT_S,
    }
    write_series(folder / "dwi" / f"{name}_dwi.nii.gz", subject.image, subject.gradients, sidecar)
    target = (folder / "dwi" / f"{name}_dwi.nii.gz").relative_to(out)
    intended_for = {"IntendedFor": f"bids::{target.as_posix()}"}
    if subject.reverse is not None:
        opposite = settings.phase_encoding[0] + ("" if settings.phase_encoding.endswith("-") else "-")
        fmap = name.replace("dir-AP", "dir-PA")
        fields = {**sidecar, "PhaseEncodingDirection": opposite, **intended_for}
        write_map(folder / "fmap" / f"{fmap}_epi.nii.gz", subject.reverse, sidecar=fields, dtype=np.int16)
        if settings.fieldmap == "pair":
            own = subject.image.like(subject.image.data[..., 0])
            write_map(folder / "fmap" / f"{name}_epi.nii.gz", own, sidecar={**sidecar, **intended_for}, dtype=np.int16)
    if subject.field is not None:
        stem = folder / "fmap" / name.replace("_dir-AP", "")
        _write_field(stem, subject.field, settings.fieldmap, intended_for)
    pose = subject.truth.pose
    return {
        "participant_id": f"sub-{entities['sub']}",
        "scan": name,
        **{f"alps_{side}": value for side, value in subject.truth.alps.items()},
        "pitch": pose.pitch,
        "roll": pose.roll,
        "yaw": pose.yaw,
    }


def _write_field(stem: Path, field: FieldScan, layout: FieldmapLayout, intended_for: dict[str, Any]) -> None:
    """Write the fieldmap as scanners store it: phases as integers, with 4096 for pi."""

    def write(suffix: str, image: SpatialMap, dtype: Any = np.int16, **sidecar: Any) -> None:
        write_map(
            stem.with_name(f"{stem.name}_{suffix}.nii.gz"), image, sidecar={**sidecar, **intended_for}, dtype=dtype
        )

    def stored(radians: Array) -> SpatialMap:
        return field.magnitude.like(np.round(radians * 4096 / np.pi))

    first, second = (phase.data for phase in field.phases)
    if layout == "phasediff":
        # wrapped, as scanners store it
        difference = np.angle(np.exp(1j * (second - first)))
        write("phasediff", stored(difference), EchoTime1=ECHOES_S[0], EchoTime2=ECHOES_S[1])
    elif layout == "phases":
        write("phase1", stored(first), EchoTime=ECHOES_S[0])
        write("phase2", stored(second), EchoTime=ECHOES_S[1])
    else:
        write("fieldmap", field.hertz, np.float32, Units="Hz")
    if layout == "fieldmap":
        write("magnitude", field.magnitude)
    else:
        write("magnitude1", field.magnitude, EchoTime=ECHOES_S[0])
        write("magnitude2", field.magnitude, EchoTime=ECHOES_S[1])


def write_series(path: Path, image: SpatialMap, gradients: Gradients, sidecar: dict[str, Any]) -> None:
    """Write a series with its sidecar and its gradient table in FSL convention."""
    write_map(path, image, sidecar=sidecar, dtype=np.int16)
    stem = path.with_name(path.name.removesuffix(".nii.gz"))
    write_text(stem.with_suffix(".bval"), " ".join(f"{b:g}" for b in gradients.bvals) + "\n")
    fsl = fsl_from_world(gradients.bvecs, image.affine).T
    write_text(stem.with_suffix(".bvec"), "".join(" ".join(f"{v:.6f}" for v in row) + "\n" for row in fsl))


def _write_t1w(out: Path, label: str, head: Head, settings: PhantomSettings) -> None:
    center = head.transform.subject_from_template(np.array([0.0, -18.0, 18.0]))
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    shape = (120, 144, 120)
    affine[:3, 3] = center - 1.5 * (np.array(shape) - 1) / 2
    grid = SpatialMap(data=np.broadcast_to(np.float32(0), shape), affine=affine)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    points = head.transform.template_from_subject(grid.world(voxels))
    signal = sample_linear(read_template().t1w, points) * 4
    if settings.scalp:
        signal = signal + 700 * head.anatomy.tissue(points)["scalp"]
    rng = np.random.default_rng([settings.seed, 11])
    noisy = np.abs(signal + rng.normal(scale=15, size=signal.shape)).reshape(shape).astype(np.float32)
    session = "_ses-1" if settings.sessions else ""
    folder = out / f"sub-{label}" / ("ses-1/anat" if settings.sessions else "anat")
    write_map(folder / f"sub-{label}{session}_T1w.nii.gz", grid.like(noisy), sidecar={}, dtype=np.int16)
