"""Where the time of a scan goes: CPU seconds by stage and by kernel, peak memory, the size of the page.

A simulated head, 88 x 106 x 88 x 70 voxels at 2 mm, with head motion, eddy currents and susceptibility distortion, and a
reverse-phase image. An argument is another voxel size, mm.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from isolated import run_isolated
from scipy import ndimage

from bids_alps.io import writing
from bids_alps.io.layout import find_runs
from bids_alps.numerics import interpolation
from bids_alps.numerics.preprocessing import correction, distortion_solver
from bids_alps.phantom import PhantomSettings, write_phantom
from bids_alps.registration import staged
from bids_alps.report.participant import write_participant_page
from bids_alps.settings import Method
from bids_alps.stages import index, prepare, preprocessing, run

HEAD = PhantomSettings(
    seed=3, voxel_size=2.0, directions=64, b0=6, snr=25, motion=0.1, eddy=1.0, susceptibility=6.0, participants=1
)
STAGES = {
    "read, mask, preprocess, write": (run, "prepare"),
    "  of these motion, eddy, distortion": (preprocessing, "correct_series"),
    "tensors and calibration": (run, "fit"),
    "maps written": (run, "write_maps"),
    "alignment with the template": (run, "make_registrar"),
    "transforms written": (run, "write_transforms"),
    "index, checks and uncertainty": (run, "measure"),
    "  of these uncertainty": (index, "measure_intervals"),
    "tables written": (run, "write_measures"),
    "figures": (run, "draw"),
}
KERNELS = {
    "reading and decompression": (prepare, "read_series"),
    "compression and writing": (writing, "write_nifti"),
    "brain mask (twice)": (prepare, "find_mask"),
    "motion: estimation": (correction, "estimate_motion"),
    "motion and distortion: resampling": (correction, "resample_series"),
    "distortion: solver": (distortion_solver.Problem, "minimize"),
    "cubic interpolation (interpn)": (interpolation.CubicSpline, "__call__"),
    "linear interpolation (interpn)": (interpolation.LinearImage, "__call__"),
    "distance transforms": (ndimage, "distance_transform_edt"),
    "greedy": (staged, "fit_displacement"),
}
"""Functions inside the stages; some call others."""
SPENT: dict[str, float] = defaultdict(float)


def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        result = work(*args, **options)
        SPENT[name] += time.process_time() - began
        return result

    return call


class TimedRegistrar:
    """A registrar that measures its CPU time."""

    def __init__(self, name: str, registrar: Any) -> None:
        self.register = timed(name, registrar.register)


def process(folder: Path, method: Method) -> tuple[dict[str, float], float, str]:
    """Return CPU seconds by stage and kernel, the size of the page, MiB, and the index of one simulated scan."""
    for name, (module, function) in (STAGES | KERNELS).items():
        work = getattr(module, function)
        if function == "make_registrar":
            setattr(module, function, lambda *args, name=name, work=work: TimedRegistrar(name, work(*args)))
        else:
            setattr(module, function, timed(name, work))
    (scan,) = find_runs(folder / "bids", "01")
    measured = run.run_stages(scan, method, folder / "out").measured
    timed("page", write_participant_page)(folder / "out", "01")
    result = measured[0].result
    return dict(SPENT), (folder / "out" / "sub-01.html").stat().st_size / 2**20, f"{result.alps['bilateral']:.3f}"


def main() -> None:
    voxel = float(sys.argv[1]) if len(sys.argv) > 1 else HEAD.voxel_size
    settings = replace(HEAD, voxel_size=voxel)
    columns = {"default": Method(), "as it is": Method(skip_preprocessing=True), "denoised": Method(denoising=True)}
    rows: dict[str, list[float]] = {}
    names = (*STAGES, "page", *KERNELS)
    with tempfile.TemporaryDirectory() as scratch:
        truth = write_phantom(Path(scratch) / "bids", settings)
        print(f"true bilateral index {truth[0]['alps_bilateral']:.3f}")
        for title, method in columns.items():
            measured = run_isolated(process, Path(scratch), method)
            spent, page, alps = measured.result
            rows[title] = [*(spent.get(name, 0.0) for name in names), measured.seconds, measured.peak, page]
            print(f"{title}: index {alps}", flush=True)
    print(f"\n{'CPU s':40s}" + "".join(f"{title:>12s}" for title in rows))
    for n, name in enumerate((*names, "whole, CPU s", "peak memory, MiB", "size of the page, MiB")):
        print(f"{name:40s}" + "".join(f"{values[n]:12.1f}" for values in rows.values()))


if __name__ == "__main__":
    main()
