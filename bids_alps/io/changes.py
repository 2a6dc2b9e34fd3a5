"""Table of changes of the index between the sessions of a participant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bids_alps.io.tables import Column
from bids_alps.model import Status
from bids_alps.numerics.index.change import Change

CHANGE_COLUMNS: tuple[Column, ...] = (
    Column(name="roi_preset", description="ROI definition."),
    Column(name="hemisphere", description="Hemisphere; bilateral is the mean of left and right."),
    Column(name="first_session", description="Reference session, the first by label."),
    Column(name="second_session", description="Session that is compared with it."),
    Column(name="alps_first", description="Index of the first session, longitudinal."),
    Column(name="alps_second", description="Index of the second session, longitudinal."),
    Column(name="change", description="Index of the second session minus that of the first."),
    Column(name="change_percent", description="Change relative to the first session.", unit="%"),
    Column(name="change_se", description="Standard error of the change, all sources combined."),
    Column(name="change_ci_low", description="Lower end of the 95 % interval."),
    Column(name="change_ci_high", description="Upper end of the 95 % interval."),
    Column(name="change_se_noise", description="Standard error from noise of both sessions."),
    Column(
        name="change_se_placement",
        description="Standard error from the placement of regions in midpoint space: the part that does not cancel.",
    ),
    Column(
        name="change_se_pose",
        description="Standard error from the pose of the midpoint space: the part that does not cancel.",
    ),
    Column(
        name="change_se_alignment", description="Standard error from the alignment of the sessions with each other."
    ),
    Column(
        name="change_se_resolution",
        description="Standard error from the voxel size and other tissue: the part that does not cancel.",
    ),
    Column(
        name="protocol",
        description="Whether both sessions have the same protocol; if not, the change includes its effect.",
        levels={"same": "same protocol", "different": "compare with caution"},
    ),
    Column(name="differs", description="Differences of the protocol."),
    Column(
        name="status",
        description="Worst status of both sessions; at least a warning if protocols differ.",
        levels={"pass": "all checks passed", "warn": "inspect before use", "fail": "do not use"},
    ),
)


def change_row(change: Change, labels: Mapping[str, str], differs: Sequence[str], status: Status) -> dict[str, Any]:
    """Return a row of the table.

    Parameters
    ----------
    change
        Change of the index.
    labels
        ``roi_preset``, ``hemisphere``, ``first_session`` and ``second_session``.
    differs
        Differences of the protocol.
    status
        Worst status of both sessions.
    """
    return {
        **labels,
        "alps_first": change.first,
        "alps_second": change.second,
        "change": change.difference,
        "change_percent": 100 * change.difference / change.first,
        "change_se": change.se,
        "change_ci_low": change.low,
        "change_ci_high": change.high,
        **{f"change_{name}": getattr(change, name) for name in Change.__slots__ if name.startswith("se_")},
        "protocol": "different" if differs else "same",
        "differs": "; ".join(differs) or None,
        "status": "warn" if differs and status == "pass" else status,
    }
