"""Transforms that lie with preprocessed series."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bids_alps.io.inheritance import entities_of

_EXTENSIONS = (".h5", ".txt", ".mat", ".tfm", ".nii.gz")
_FOLDERS = ("anat", "dwi")


def find_transforms(root: Path, entities: Mapping[str, str]) -> dict[str, Path]:
    """Return the files that resample images of a run's space onto a template, by the name of the template.

    QSIPrep writes ``sub-01_from-ACPC_to-MNI152NLin2009cAsym_mode-image_xfm.h5`` into ``anat``; this program writes
    ``from-dwi_to-..._mode-image_xfm.nii.gz``. Of several for one template the one that shares most entities with the
    run is taken, none where two share as many.

    Parameters
    ----------
    root
        Root of the dataset.
    entities
        Of the run; ``space`` says where its image lies.
    """
    sources = {"dwi", entities.get("space", "dwi")}
    participant = root / f"sub-{entities['sub']}"
    session = participant / f"ses-{entities['ses']}" if "ses" in entities else participant
    found: dict[str, list[tuple[int, Path]]] = {}
    for folder in {level / kind for level in (participant, session) for kind in _FOLDERS}:
        for path in folder.glob(f"{participant.name}_*_xfm.*"):
            named = entities_of(path.name)
            source, target, mode = (named.pop(key, "") for key in ("from", "to", "mode"))
            fits = named.items() <= entities.items() and path.name.endswith(_EXTENSIONS)
            if fits and source in sources and target and mode == "image":
                found.setdefault(target, []).append((len(named), path))
    nearest = {target: _nearest(paths) for target, paths in sorted(found.items())}
    return {target: path for target, path in nearest.items() if path is not None}


def _nearest(found: list[tuple[int, Path]]) -> Path | None:
    most = max(count for count, _ in found)
    nearest = [path for count, path in found if count == most]
    return nearest[0] if len(nearest) == 1 else None
