"""Settings of the phantom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Storage = Literal["LAS", "RAS", "LPS", "sagittal"]
FieldmapLayout = Literal["epi", "pair", "phasediff", "phases", "fieldmap"]
FIELDMAPS: tuple[FieldmapLayout, ...] = ("epi", "pair", "phasediff", "phases", "fieldmap")
STORAGES: tuple[Storage, ...] = ("LAS", "RAS", "LPS", "sagittal")


def choice(default: Any, description: str) -> Any:
    """Return a dataclass field with its help text."""
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomSettings:
    """Settings of a phantom; lengths in mm, angles in degrees, b-values in s/mm²."""

    participants: int = choice(2, "number of participants")
    sessions: int = choice(0, "sessions per participant; 0 for a dataset without sessions")
    runs: int = choice(1, "runs per session")
    seed: int = choice(0, "random seed")
    voxel_size: float = choice(2.0, "voxel size, mm")
    slice_thickness: float = choice(0.0, "slice thickness, mm; 0 for isotropic voxels")
    slab: float = choice(0.0, "height of a slab around the ventricles, mm; 0 for the whole head")
    shells: tuple[float, ...] = choice((1000.0,), "b-values, s/mm²")
    directions: int = choice(30, "number of directions per shell")
    b0: int = choice(3, "number of b=0 volumes")
    snr: float = choice(25.0, "SNR of the b=0 signal in white matter; 0 for no noise")
    rotation: float = choice(15.0, "maximum head rotation about each axis, degrees")
    warp: float = choice(2.0, "root mean square of the smooth deformation, mm")
    storage: tuple[Storage, ...] = choice(("LAS",), "storage orders, used in turn")
    oblique: float = choice(0.0, "angle of the slices to the scanner axes, degrees")
    motion: float = choice(0.0, "standard deviation of head motion per volume, mm and degrees")
    eddy: float = choice(0.0, "distortion by eddy currents at the edge of the head at b = 1000 s/mm², mm")
    susceptibility: float = choice(0.0, "maximum displacement by susceptibility, mm; adds a fieldmap")
    fieldmap: FieldmapLayout = choice(
        "epi",
        "type of fieldmap: one reverse-phase image, a pair, a phase difference, two phases, or a field in Hz",
    )
    phase_encoding: str = choice("j-", "PhaseEncodingDirection")
    t1w: bool = choice(False, "write a T1-weighted image")
    scalp: bool = choice(True, "include a scalp")
    group_effect: bool = choice(False, "patients and controls with mean and SD of Park 2023")
