"""What can be chosen of a phantom."""

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
    """Choices of a phantom; every length in mm, every angle in degrees, every b-value in s/mm^2."""

    participants: int = choice(2, "participants")
    sessions: int = choice(0, "sessions per participant; 0 for a dataset without sessions")
    runs: int = choice(1, "runs per session")
    seed: int = choice(0, "seed of every random draw")
    voxel_size: float = choice(2.0, "edge of a voxel, mm")
    slice_thickness: float = choice(0.0, "thickness of a slice, mm; 0 for cubic voxels")
    slab: float = choice(0.0, "height of the scan about the ventricles, mm; 0 for the whole head")
    shells: tuple[float, ...] = choice((1000.0,), "b-values, s/mm^2")
    directions: int = choice(30, "directions per shell")
    b0: int = choice(3, "volumes without weighting")
    snr: float = choice(25.0, "signal to noise of white matter without weighting; 0 for no noise")
    rotation: float = choice(15.0, "largest rotation of a head about each axis, degrees")
    warp: float = choice(2.0, "root mean square of the smooth deformation, mm")
    storage: tuple[Storage, ...] = choice(("LAS",), "storage orders, taken in turn")
    oblique: float = choice(0.0, "angle of the slices against the scanner's axes, degrees")
    motion: float = choice(0.0, "standard deviation of head motion per volume, mm and degrees")
    eddy: float = choice(0.0, "distortion by eddy currents at the edge of the head at b = 1000, mm")
    susceptibility: float = choice(0.0, "largest shift by susceptibility, mm; adds a fieldmap")
    fieldmap: FieldmapLayout = choice(
        "epi",
        "fieldmap: one reverse-phase image or a pair of them, a phase difference, two phases, or a field in Hz",
    )
    phase_encoding: str = choice("j-", "PhaseEncodingDirection")
    t1w: bool = choice(False, "write a T1-weighted image")
    scalp: bool = choice(True, "put a scalp around the brain")
    group_effect: bool = choice(False, "patients and controls with the moments of Park 2023")
