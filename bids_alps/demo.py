"""Both analysis levels on a simulated phantom dataset, compared with the ground truth: ``make demo``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_alps import cli
from bids_alps.io.tables import read_table
from bids_alps.phantom import PhantomSettings, write_phantom

SETTINGS = PhantomSettings(participants=2, directions=30, storage=("LAS", "RAS"), oblique=8.0, snr=25.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate two participants, run both levels and print measured and true indices; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    root = Path(given[0] if given else "demo")
    data, out = root / "data", root / "derivatives"
    for folder in (data, out):
        shutil.rmtree(folder, ignore_errors=True)
    _say(f"Writing a phantom of {SETTINGS.participants} participants to {data} ...")
    write_phantom(data, SETTINGS)
    for level in ("participant", "group"):
        _say(f"bids-alps {data} {out} {level}")
        code = cli.main([str(data), str(out), level, "--nprocs", "2"])
        if code:
            return code
    for line in compare(data, out):
        _say(line)
    _say(f"Reports: {', '.join(str(page) for page in sorted(out.glob('*.html')))}")
    return 0


def compare(data: Path, out: Path) -> list[str]:
    """Return the lines of a table of true and measured indices, one line per participant, preset and side."""
    truth = read_table(data / "derivatives" / "truth" / "truth.tsv").set_index("participant_id")
    measured = read_table(out / "group_alps.tsv")
    lines = ["participant  preset       side       true   measured  95 % interval    uncorrected"]
    for _, row in measured.iterrows():
        for side in ("left", "right", "bilateral"):
            true = truth.loc[row["participant_id"], f"alps_{side}"]
            low, high = row[f"alps_{side}_ci_low"], row[f"alps_{side}_ci_high"]
            lines.append(
                f"{row['participant_id']:<12} {row['roi_preset']:<12} {side:<10} {true:.3f}  "
                f"{row[f'alps_{side}']:.3f}     {low:.3f} to {high:.3f}   {row[f'alps_{side}_uncorrected']:.3f}"
            )
    return lines


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
