"""Finding diffusion runs in a BIDS dataset, one participant at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bids_alps.errors import AlpsError, AmbiguityError, InvalidBidsError, NoInputError, NothingSelectedError
from bids_alps.io.inheritance import entities_of, find_inherited, read_json, read_sidecar
from bids_alps.model import DwiRun

_SKIPPED = ("func", "perf", "meg", "eeg", "ieeg", "beh", "pet", "micr", "nirs", "motion", "mrs", "figures", "xfm")
_COMPLEX_PARTS = ("phase", "real", "imag")
_IMAGE_EXTENSIONS = [".nii.gz", ".nii"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which runs are wanted; empty means all. `runs` are compared as integers."""

    sessions: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()

    def takes(self, entities: dict[str, str]) -> bool:
        """Whether a run with these entities is wanted."""
        if self.sessions and entities.get("ses") not in self.sessions:
            return False
        return not self.runs or (entities.get("run", "").isdigit() and int(entities["run"]) in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A run that cannot be processed: its name, and why."""

    name: str
    error: AlpsError


def find_participants(bids_dir: Path, wanted: Iterable[str] = ()) -> tuple[str, ...]:
    """Return participant labels, sorted, without ``sub-``.

    Parameters
    ----------
    bids_dir
        Root of the dataset.
    wanted
        Labels to take, with or without ``sub-``; all where empty.

    Raises
    ------
    NoInputError
        If there is no such folder.
    InvalidBidsError
        If it has no ``dataset_description.json``, or one that cannot be read.
    NothingSelectedError
        If a wanted participant is not there, or there is none at all.
    """
    if not bids_dir.is_dir():
        raise NoInputError(str(bids_dir), "no such folder", "give the root of a BIDS dataset")
    description = bids_dir / "dataset_description.json"
    if not description.exists():
        raise InvalidBidsError(str(bids_dir), "no dataset_description.json", "give the root of a BIDS dataset")
    try:
        read_json(description)
    except AlpsError as error:
        raise InvalidBidsError(error.where, error.what, error.remedy) from error
    there = {
        entry.name.removeprefix("sub-")
        for entry in bids_dir.iterdir()
        if re.fullmatch(r"sub-[a-zA-Z0-9+]+", entry.name) and entry.is_dir()
    }
    labels = {label.removeprefix("sub-") for label in wanted}
    if labels - there:
        lost = ", ".join(sorted(labels - there))
        raise NothingSelectedError(
            "--participant-label", f"{lost} not among the {len(there)} participants", "check the spelling"
        )
    if not there:
        raise NothingSelectedError(str(bids_dir), "no sub-* folder", "give the root of a BIDS dataset")
    return tuple(sorted(labels or there))


def find_runs(
    bids_dir: Path, participant: str, selection: Selection | None = None, *, preprocessed: bool = False
) -> list[DwiRun | Problem]:
    """Return the diffusion runs of a participant in a stable order, and the ones that cannot be used.

    Parameters
    ----------
    bids_dir
        Root of a raw dataset, or of a derivative one where `preprocessed`.
    participant
        Label without ``sub-``.
    selection
        Sessions and runs to take.
    preprocessed
        Take ``desc-preproc`` images as they are.
    """
    chosen = selection or Selection()
    found: dict[str, DwiRun | Problem] = {}
    files = _index(bids_dir, participant)
    for image in sorted(path for path in files if path.name.endswith(("_dwi.nii.gz", "_dwi.nii"))):
        entities = entities_of(image.name)
        if not chosen.takes(entities) or entities.get("part") in _COMPLEX_PARTS:
            continue
        if (entities.get("desc") == "preproc") != preprocessed:
            continue
        run = _find_run(image, bids_dir, files)
        name = run.name
        if name in found:
            error = AmbiguityError(str(image), f"a second image for the run {name}", "keep one of the two")
            found[name] = Problem(name=name, error=error)
        else:
            found[name] = run
    return [found[name] for name in sorted(found)]


def _index(bids_dir: Path, participant: str) -> list[Path]:
    """Return the files of a participant's anat, dwi and fmap folders, by pybids; no metadata is read."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer  # costs a second, which --version does not need

    here = re.escape(f"sub-{participant}")
    ignore = [
        re.compile(rf"^/?(?!{here}(/|$))[^/]+/?"),
        re.compile(rf"^/?{here}(/ses-[a-zA-Z0-9+]+)?/({'|'.join(_SKIPPED)})(/|$)"),
    ]
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
    layout = BIDSLayout(bids_dir, validate=False, config=["bids", "derivatives"], indexer=indexer)
    return [Path(path) for path in layout.get(extension=_IMAGE_EXTENSIONS, return_type="filename")]


def _find_run(image: Path, root: Path, files: list[Path]) -> DwiRun | Problem:
    entities = {key: label for key, label in entities_of(image.name).items() if key not in ("part", "desc")}
    name = "_".join(f"{key}-{label}" for key, label in entities.items())
    try:
        if not image.exists():
            raise NoInputError(str(image), "a link to content that is not there", f"run `datalad get {image}`")
        return DwiRun(
            entities=entities,
            image=image,
            bval=find_inherited(image, ".bval", root),
            bvec=find_inherited(image, ".bvec", root),
            metadata=read_sidecar(image, root),
            preprocessed="desc" in entities_of(image.name),
            mask=_mask_of(image),
            t1w=_t1w_of(entities, files),
            reverse_phase=_reverse_phase_of(image, root, files),
        )
    except AlpsError as error:
        return Problem(name=name, error=error)


def _mask_of(image: Path) -> Path | None:
    mask = image.with_name(image.name.replace("desc-preproc_dwi", "desc-brain_mask"))
    return mask if mask != image and mask.exists() else None


def _t1w_of(entities: dict[str, str], files: list[Path]) -> Path | None:
    """Return the one T1w image of the session, or of the participant; none where there are several."""
    images = [path for path in files if path.name.split(".", 1)[0].endswith("_T1w") and path.exists()]
    same = [path for path in images if entities_of(path.name).get("ses") == entities.get("ses")]
    candidates = same or images
    return candidates[0] if len(candidates) == 1 else None


def _reverse_phase_of(image: Path, root: Path, files: list[Path]) -> tuple[Path, ...]:
    """Return the fmap images that say that they are intended for an image."""
    found = []
    for path in files:
        if path.parent.name != "fmap" or not path.name.split(".", 1)[0].endswith("_epi"):
            continue
        try:
            sidecar = read_sidecar(path, root)
        except AlpsError:
            continue  # a broken sidecar of a fieldmap must not cost the run; the run says that it had none
        named = sidecar.get("IntendedFor", [])
        targets = [named] if isinstance(named, str) else named
        if any(_is_target(target, image, root) for target in targets if isinstance(target, str)):
            found.append(path)
    return tuple(found)


def _is_target(target: str, image: Path, root: Path) -> bool:
    relative = image.relative_to(root)
    if target.startswith("bids::"):
        return relative.as_posix() == target.removeprefix("bids::")
    return Path(*relative.parts[1:]).as_posix() == target
