"""An output folder is taken only if it is new, empty or ours; whatever belongs to others keeps every byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import nifti_bytes

from bids_alps.cli import main
from bids_alps.errors import OutputError
from bids_alps.io.output import check_links, check_output, is_within, mounted_from
from bids_alps.io.root import write_root
from bids_alps.model import SpatialMap

SERIES = nifti_bytes(SpatialMap(data=np.ones((2, 2, 2, 3)), affine=np.eye(4)))


def put_dataset(root: Path, name: str, **description: object) -> Path:
    folder = root / "sub-01/dwi"
    folder.mkdir(parents=True)
    for extension, content in (("nii.gz", SERIES), ("bval", b"0 1000 1000\n"), ("bvec", b"0 1 0\n0 0 1\n0 0 0\n")):
        (folder / f"sub-01_dwi.{extension}").write_bytes(content)
    described = {"Name": name, "BIDSVersion": "1.8.0", **description}
    (root / "dataset_description.json").write_text(json.dumps(described))
    (root / "participants.tsv").write_text("participant_id\nsub-01\n")
    return root


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two raw datasets, one with the output of another app, and a project that contains one of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    put_dataset(tmp_path / "raw", "the input")
    put_dataset(tmp_path / "other", "another dataset")
    app = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "QSIPrep"}]}
    put_dataset(tmp_path / "raw/derivatives/qsiprep", "QSIPrep", **app)
    put_dataset(tmp_path / "project/rawdata", "the input")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/thesis.txt").write_text("years of work")
    (tmp_path / "Upper").mkdir()
    (tmp_path / "a_file").write_text("a file")
    (tmp_path / "sub-07").mkdir()
    for link, target in (("to_other", "other"), ("to_raw", "raw"), ("to_sub", "raw/sub-01"), ("loop", "loop")):
        (tmp_path / link).symlink_to(target)
    return tmp_path


def bytes_below(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, and the target of every link."""
    return {
        str(path.relative_to(root)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


FOREIGN = {
    "another raw dataset": ("raw", "other"),
    "with a trailing slash": ("raw", "other/"),
    "by a relative path": ("raw", "./notes/../other"),
    "by a symbolic link": ("raw", "to_other"),
    "by a link with a slash": ("raw", "to_other/"),
    "the input": ("raw", "raw"),
    "the input by a link": ("raw", "to_raw"),
    "the input, given by a link": ("to_raw", "raw"),
    "the input by a relative path": ("raw", "raw/sub-01/../../raw"),
    "a participant of the input": ("raw", "raw/sub-01"),
    "new, in a participant of the input": ("raw", "raw/sub-01/out"),
    "new, in a participant by a link": ("raw", "to_sub/out"),
    "new, in a folder of images": ("raw", "raw/sub-01/dwi/out"),
    "new, as a participant of the input": ("raw", "raw/sub-99"),
    "new, in a participant of another dataset": ("raw", "other/sub-01/out"),
    "new, in the input": ("raw", "raw/out"),
    "new, in another dataset": ("raw", "other/code/out"),
    "a folder that holds the input": ("project/rawdata", "project"),
    "the parent of everything": ("raw", "."),
    "the root of the disk": ("raw", "/"),
    "the output of another app": ("raw", "raw/derivatives/qsiprep"),
    "new, in the output of another app": ("raw", "raw/derivatives/qsiprep/out"),
    "a folder of derivatives": ("raw", "raw/derivatives"),
    "a folder of notes": ("raw", "notes"),
    "new, in a folder called like a participant": ("raw", "sub-07/out"),
    "a file": ("raw", "a_file"),
    "new, below a file": ("raw", "a_file/out"),
    "a link to itself": ("raw", "loop"),
}


@pytest.mark.parametrize("level", ["participant", "group", "--dry-run"])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_folder_is_refused_and_unchanged(
    place: Path, name: str, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = FOREIGN[name]
    before = bytes_below(place)
    options = ("participant", "--dry-run") if level == "--dry-run" else (level,)
    assert main([source, target, *options, "--skip-bids-validation"]) == 73
    printed = capsys.readouterr()
    assert bytes_below(place) == before
    assert printed.out.splitlines()[-1] == "bids-alps finished with errors (exit code 73)."
    assert len(printed.err.splitlines()) == 1
    print(f"{name}: {printed.err.strip()} {len(before)} files as before.")  # noqa: T201 -- shown by -s


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Mount a folder at another place."""
    mounted: list[Path] = []

    def mount(folder: Path) -> Path:
        point = tmp_path / f"mount{len(mounted)}"
        point.mkdir()
        if os.geteuid() or subprocess.run(["mount", "--bind", str(folder), str(point)], check=False).returncode:
            pytest.skip("only root may mount")
        mounted.append(point)
        return point

    yield mount
    for point in mounted:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.parametrize(
    ("shown", "below"),
    [
        ("raw", ""),
        ("raw", "out"),
        ("raw", "sub-01/out"),
        ("raw/sub-01", "out"),
        ("raw/sub-01/dwi", "out"),
        ("other", ""),
        ("other/sub-01", "out"),
        ("raw/derivatives/qsiprep", ""),
    ],
)
def test_bind_mounts_are_resolved(place: Path, bind: Callable[[Path], Path], shown: str, below: str) -> None:
    target = bind(place / shown) / below
    before = bytes_below(place)
    assert main(["raw", str(target), "participant", "--skip-bids-validation"]) == 73
    assert bytes_below(place) == before


def test_a_bind_mount_of_the_input_is_the_input(place: Path, bind: Callable[[Path], Path]) -> None:
    assert main([str(bind(place / "raw")), "raw", "participant"]) == 73


def test_names_are_compared_without_case(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """On a case-insensitive file system, Raw and raw are the same folder."""
    disk, point = tmp_path_factory.mktemp("disk") / "disk.img", place / "vfat"
    point.mkdir()
    if os.geteuid() or shutil.which("mkfs.vfat") is None:
        pytest.skip("only root may mount, and mkfs.vfat makes the disk")
    disk.write_bytes(b"\0" * (16 << 20))
    subprocess.run(["mkfs.vfat", str(disk)], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", str(disk), str(point)], check=False).returncode:
        pytest.skip("no loop device")
    try:
        put_dataset(point / "raw", "the input")
        before = bytes_below(point)
        for target in ("RAW", "Raw/out", "RAW/sub-01/out", "rAw/SUB-01"):
            assert main([str(point / "raw"), str(point / target), "participant"]) == 73
        assert bytes_below(point) == before
    finally:
        subprocess.run(["umount", str(point)], check=True)


OURS = ("out", "Upper", "raw/derivatives/bids-alps", "project/derivatives/bids-alps", "other/derivatives/bids-alps")


@pytest.mark.parametrize("target", OURS)
def test_new_empty_and_own_folders_are_accepted(place: Path, target: str) -> None:
    out = place / target
    check_output(out, place / "raw", {})
    write_root(out, place / "raw")
    check_output(out, place / "raw", {})


@pytest.mark.parametrize(
    "names", [("logs/slurm-1.out",), ("work/x",), (".git/config", ".datalad/config"), ("lost+found/",)]
)
def test_files_of_batch_systems_and_datalad_are_allowed(place: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (place / "out" / name).parent.mkdir(parents=True)
        (place / "out" / name).mkdir() if name.endswith("/") else (place / "out" / name).write_text("x")
    check_output(place / "out", place / "raw", {})


@pytest.mark.parametrize(
    "described",
    [
        {"Name": "x"},
        {"DatasetType": "derivative"},
        {"DatasetType": "raw", "GeneratedBy": [{"Name": "bids-alps"}]},
        {"DatasetType": "derivative", "GeneratedBy": [{"Name": "QSIPrep"}, {"Name": "bids-alps"}]},
        {"DatasetType": "derivative", "GeneratedBy": {"Name": "bids-alps"}},
        {"DatasetType": "derivative", "GeneratedBy": []},
        {"DatasetType": "derivative", "GeneratedBy": ["bids-alps"]},
        [],
    ],
)
def test_only_our_dataset_description_marks_an_own_folder(place: Path, described: object) -> None:
    (place / "Upper/dataset_description.json").write_text(json.dumps(described))
    with pytest.raises(OutputError, match="did not write"):
        check_output(place / "Upper", place / "raw", {})


@pytest.mark.parametrize("where", ["derivatives/bids-alps-x", "sub-01"])
def test_derivative_datasets_are_inputs_too(place: Path, where: str) -> None:
    with pytest.raises(OutputError, match="is also the dataset q"):
        check_output(place / "other", place / "raw", {"q": place / "to_other"})
    with pytest.raises(OutputError, match="contains the dataset q"):
        check_output(place / "project", place / "raw", {"q": place / "project/rawdata"})


def test_results_of_another_dataset_are_not_mixed_in(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_root(place / "out", place / "other")
    before = bytes_below(place / "out")
    for options in ([], ["--dry-run"], ["--force"]):
        assert main(["raw", "out", "participant", "--skip-bids-validation", *options]) == 73
    assert "'bids-alps derivatives of another dataset'" in capsys.readouterr().err
    assert bytes_below(place / "out") == before


@pytest.mark.parametrize("link", ["sub-01", "sub-01/dwi", "sub-01/figures", "logs", "logs/sub-01", "logs/sub-01/x"])
@pytest.mark.parametrize("options", [["--dry-run"], []])
def test_nothing_is_written_through_a_link_that_leads_out(place: Path, link: str, options: list[str]) -> None:
    write_root(place / "out", place / "raw")
    path = place / "out" / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(place / "notes")
    before = bytes_below(place / "notes")
    code = main(["raw", "out", "participant", "--skip-bids-validation", "--run-uuid", "x", *options])
    assert code in ((73,) if options else (1, 73))  # 1 where there is not even an error that a page could tell
    assert bytes_below(place / "notes") == before


@pytest.mark.parametrize("link", ["figures", "logs/settings", "logs/group"])
@pytest.mark.parametrize("level", ["participant", "group", "figures"])
def test_shared_folders_that_link_out_are_refused(place: Path, link: str, level: str) -> None:
    write_root(place / "out", place / "raw")
    (place / "out" / link).parent.mkdir(exist_ok=True)
    (place / "out" / link).symlink_to(place / "notes")
    assert main(["raw", "out", level, "--skip-bids-validation"]) == 73
    assert list((place / "notes").iterdir()) == [place / "notes/thesis.txt"]


def test_links_inside_the_output_are_fine(place: Path) -> None:
    write_root(place / "out", place / "raw")
    (place / "out/disk2").mkdir()
    (place / "out/sub-01").symlink_to("disk2")
    check_links(place / "out", "01")


def test_scratch_space_and_databases_stay_out_of_the_input(place: Path) -> None:
    before = bytes_below(place)
    for option in ("--work-dir", "--bids-database-dir"):
        for folder in ("raw/x", "to_raw/x", "to_sub", "raw"):
            assert main(["raw", "out", "participant", option, folder]) == 64
    assert bytes_below(place) == before


def test_the_source_of_a_mount_is_identified(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 8:1 /data/sub-01 /out rw - ext4 /dev/sda1 rw\n"
        "31 30 8:1 /a\\040b /out/deep rw - ext4 /dev/sda1 rw\n"
    )
    for path, root in (("/elsewhere", "/"), ("/out/x", "/data/sub-01"), ("/out/deep/x", "/a b"), ("/outer", "/")):
        assert mounted_from(Path(path), mounts) == Path(root)
    assert mounted_from(Path("/out"), tmp_path / "none") == Path("/")


def test_folders_within_a_folder_are_recognized(place: Path) -> None:
    assert is_within(place / "raw/new", place / "to_raw")
    assert is_within(place / "to_sub/x", place / "raw")
    assert not is_within(place / "raw2", place / "raw")
    assert not is_within(place / "raw", place / "nowhere")
