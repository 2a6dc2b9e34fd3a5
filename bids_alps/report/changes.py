"""Tables of the change between sessions on the page of a participant."""

from __future__ import annotations

from pathlib import Path

from bids_alps.io.tables import read_table
from bids_alps.report.html import number
from bids_alps.report.page import Table

_END = "_desc-change_scalarstats.tsv"
_NOTE = (
    "Regions were placed once, in the midway space between the sessions, so that errors of registration and pose "
    "shared by the sessions cancel out. An interval that contains 0 is no evidence of a change."
)


def read_changes(folder: Path) -> tuple[Table, ...]:
    """Read the tables of changes of a participant from its folder, one table per kind of run."""
    columns = ("Sessions", "First", "Second", "Change", "95 % interval", "Status", "Remark")
    tables = []
    for path in sorted(folder.glob(f"**/*{_END}")):
        rows = [{str(name): value for name, value in row.items()} for row in read_table(path).to_dict("records")]
        several = len({row["roi_preset"] for row in rows}) > 1
        cells = tuple(
            (
                f"{row['first_session']} to {row['second_session']}, {row['hemisphere']}"
                + (f", {row['roi_preset']}" if several else ""),
                number(row["alps_first"]),
                number(row["alps_second"]),
                f"{row['change']:+.3f}",
                f"{row['change_ci_low']:+.3f} to {row['change_ci_high']:+.3f}",
                str(row["status"]),
                f"other protocol: {row['differs']}" if row["protocol"] == "different" else "",
            )
            for row in rows
        )
        tables.append(Table(title=path.name.removesuffix(_END), columns=columns, rows=cells, note=_NOTE))
    return tuple(tables)
