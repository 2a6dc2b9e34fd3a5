"""Content of the report pages as data: sections, figures, tables. The templates define the layout."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bids_alps.model import STATUSES, Check, Status, worst_status

CAVEAT = "The index is an asymmetry of diffusion. It is not a measure of glymphatic clearance."
_QUOTED = re.compile(rb"[^A-Za-z0-9_.\- /:=;,+()!*@?~]")  # in a data URI; the result is a third smaller than base64


def _quoted(svg: bytes) -> str:
    """Return what `urllib.parse.quote` does, in a tenth of the time: few characters of base64 are quoted."""
    return _QUOTED.sub(lambda found: b"%%%02X" % found[0][0], svg).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure, or a pair of figures with the same geometry to be overlaid.

    Parameters
    ----------
    title, caption, alt
        Heading, explanation, and alternative text for screen readers.
    svg
        One or two SVG files.
    labels
        Labels of the pair, such as ``before`` and ``after``; empty for a single figure.
    chart
        Whether it is a chart on a white background, not an image of the brain.
    folded
        Whether it is collapsed until the reader opens it.
    """

    title: str
    caption: str
    alt: str
    svg: tuple[bytes, ...]
    labels: tuple[str, ...] = ()
    chart: bool = False
    folded: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """Data URIs of the SVG files, so that the page is self-contained."""
        return tuple(f"data:image/svg+xml,{_quoted(svg)}" for svg in self.svg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text.

    Parameters
    ----------
    title
        Its caption.
    columns
        Headings.
    rows
        One cell per column; the first cell names the row.
    note
        Printed below the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexValue:
    """The index of a hemisphere (or of both) with its 95 % interval; NaN if missing or withheld."""

    hemisphere: str
    alps: float
    low: float = float("nan")
    high: float = float("nan")
    se: float = float("nan")
    withheld: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Reference range of the index: mean, standard deviation and source."""

    mean: float
    sd: float
    source: str


LITERATURE = Reference(mean=1.601, sd=0.245, source="51 healthy adults at b = 1000 (Park 2023)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSection:
    """Report section of one run.

    Parameters
    ----------
    name
        Common prefix of its file names.
    status
        Overall status of its checks.
    index
        Left, right, bilateral.
    checks
        Quality checks.
    regions
        Tables of the measurements in the regions.
    pictures
        Figures, in the order of the page.
    provenance
        Tables of versions, settings, inputs and hashes.
    facts
        Preset, b-value, pose and so on, as (name, value).
    notes
        Warnings for the reader, such as a missing file.
    scan
        Scanner, field strength, b-value, number of directions and voxel size, where known.
    remarks
        Processing steps that succeeded and need no attention.
    alternatives
        The index with alternative processing choices.
    files
        Title and link, relative to the page, of each table.
    reference
        Reference range of the same protocol, if there is one.
    """

    name: str
    status: Status
    index: tuple[IndexValue, ...] = ()
    checks: tuple[Check, ...] = ()
    regions: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    provenance: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    scan: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    alternatives: Table | None = None
    files: tuple[tuple[str, str], ...] = ()
    reference: Reference | None = LITERATURE

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """Anchor suffix and title of each section that has content."""
        parts = {
            "index": ("Index", self.index),
            "quality": ("Quality", self.checks),
            "figures": ("Figures", self.more_pictures),
            "regions": ("Regions", self.regions),
            "files": ("Tables and provenance", (*self.files, *self.provenance)),
        }
        return tuple((name, title) for name, (title, content) in parts.items() if content)

    @property
    def more_pictures(self) -> tuple[Picture, ...]:
        """All figures but the brain image at the top of the section."""
        return self.pictures[1:] if self.pictures and not self.pictures[0].chart else self.pictures

    @property
    def passed(self) -> tuple[Check, ...]:
        """Checks that passed."""
        return tuple(check for check in self.checks if check.status == "pass")

    @property
    def flagged(self) -> tuple[Check, ...]:
        """Checks that did not pass, failures first."""
        doubtful = [check for check in self.checks if check.status != "pass"]
        return tuple(sorted(doubtful, key=lambda check: -STATUSES.index(check.status)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run without a result, with its error message."""

    run: str
    message: str
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodsText:
    """Methods text with its references.

    Parameters
    ----------
    paragraphs
        Plain text with citations such as (Taoka et al., 2017).
    references
        Formatted references, in order.
    bibtex
        The references as BibTeX.
    """

    paragraphs: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    bibtex: str = ""

    @property
    def markdown(self) -> str:
        """The text with its references as Markdown."""
        references = "\n".join(f"- {reference}" for reference in self.references)
        return "# Methods\n\n" + "\n\n".join(self.paragraphs) + f"\n\n## References\n\n{references}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantPage:
    """The page of a participant.

    Parameters
    ----------
    changes
        How the index changed between sessions.
    before, after
        Labels of the previous and next participant; empty if there is none.
    """

    participant: str
    version: str
    runs: tuple[RunSection, ...] = ()
    failures: tuple[Failure, ...] = ()
    changes: tuple[Table, ...] = ()
    methods: MethodsText = field(default_factory=MethodsText)
    before: str = ""
    after: str = ""

    @property
    def status(self) -> Status:
        """Worst status of its runs; fail if a run has no result or there are no runs."""
        if self.failures or not self.runs:
            return "fail"
        return worst_status(run.status for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to one question about a cohort.

    Parameters
    ----------
    title
        The question as a heading.
    sentences
        The answer in words, the most important first.
    tables, pictures
        Tables and figures shown at once.
    folded
        Further tables, collapsed until the reader opens them.
    """

    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folded: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explorer:
    """Data of the interactive explorer on the group page.

    Parameters
    ----------
    families
        Names of the sets of measures, in the order of the menu.
    colors
        Columns to color by, as labeled on the page.
    data
        JSON: runs with label, link and status; values by family and measure; levels or numbers by color.
    """

    families: tuple[str, ...]
    colors: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """Row of a run in the table of the cohort: cells, status, and link to the page of its participant."""

    cells: tuple[str, ...]
    status: Status
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPage:
    """The page of a cohort.

    Parameters
    ----------
    columns, rows
        One row per run; the first column names it.
    banners
        Warnings that affect the interpretation of the whole page.
    results
        Results, in the order of the page.
    variables
        Type assigned to each variable of the participants; None if there are none.
    pictures
        Charts of the distributions and checks of the runs.
    notes
        Further remarks for the reader.
    files
        Tables to download, relative to the page.
    """

    title: str
    version: str
    columns: tuple[str, ...]
    rows: tuple[GroupRow, ...]
    banners: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    variables: Table | None = None
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    methods: MethodsText = field(default_factory=MethodsText)
    explorer: Explorer | None = None
    files: tuple[str, ...] = ()

    @property
    def sorted_rows(self) -> tuple[GroupRow, ...]:
        """Flagged runs first, in the given order within each status."""
        return tuple(sorted(self.rows, key=lambda row: -STATUSES.index(row.status)))

    @property
    def counts(self) -> tuple[tuple[Status, int], ...]:
        """Number of runs by status."""
        return tuple((status, sum(row.status == status for row in self.rows)) for status in STATUSES)
