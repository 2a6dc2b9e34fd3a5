"""Effect of preprocessing on the index: simulated heads at rest, with motion, and with distortion."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_alps.io.layout import find_runs
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.phantom import PhantomSettings, write_phantom
from bids_alps.registration.engines import ENGINES
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import measure
from bids_alps.stages.prepare import prepare
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import fit

STILL = PhantomSettings(participants=2, seed=8, voxel_size=2.5, directions=30, b0=3, snr=25)
HEADS = {
    "still": STILL,
    "moving (0.8 mm, 0.8 degrees), eddy 2 mm": replace(STILL, motion=0.8, eddy=2.0),
    "distorted by up to 6 mm": replace(STILL, susceptibility=6.0),
}
WAYS = {
    "as it is": Method(skip_preprocessing=True),
    "corrected (default)": Method(),
    "denoised and corrected": Method(denoising=True),
    "unrung and corrected": Method(unringing=True),
}


def main() -> None:
    template = read_template()
    print(
        f"{'head':40s}{'way':26s}"
        + "".join(f"{name:>24s}" for name in ("alps: error, mean abs", "alps-sphere: the same"))
    )
    for title, settings in HEADS.items():
        with tempfile.TemporaryDirectory() as scratch:
            bids, out = Path(scratch) / "bids", Path(scratch) / "out"
            truth = write_phantom(bids, settings)
            for way, method in WAYS.items():
                errors: dict[str, list[float]] = {"alps": [], "alps-sphere": []}
                for row in truth:
                    (run,) = find_runs(bids, str(row["participant_id"]).removeprefix("sub-"))
                    prepared = prepare(run, method, out)
                    fitted = fit(prepared, method)
                    registration = ENGINES[method.registrar].make().register(subject_maps(fitted, run), template)
                    for name, found in errors.items():
                        alps = measure(
                            AlignedRun(fitted=fitted, registration=registration, method=method), read_preset(name)
                        ).result.alps
                        found += [alps[side] - float(row[f"alps_{side}"]) for side in ("left", "right")]
                cells = "".join(f"{np.mean(found):14.3f}, {np.mean(np.abs(found)):.3f}   " for found in errors.values())
                print(f"{title:40s}{way:26s}{cells}", flush=True)


if __name__ == "__main__":
    main()
