"""What stands on a page, as data: sections, figures, tables. How it looks is the templates' affair."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

from bids_alps.model import STATUSES, Check, Status, worst_status

CAVEAT = "The index is an asymmetry of diffusion. It is not a measure of glymphatic clearance."
_SAFE = " /:=;,+()!*@?~"  # what may stand in an address inside double quotes; a third smaller than base64


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure, or two of the same places to be laid one over the other.

    Parameters
    ----------
    title, caption, alt
        Heading, explanation, and what a screen reader says instead.
    svg
        One or two SVG files.
    labels
        What each of the two is, such as ``before`` and ``after``; empty for one.
    chart
        Whether it is a chart on white, not a picture of a brain.
    folded
        Whether the reader opens it.
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
        """Data addresses of the SVG files, so that the page needs no other file."""
        return tuple(f"data:image/svg+xml,{quote(svg, safe=_SAFE)}" for svg in self.svg)


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
        As many cells each as there are columns; the first one names the row.
    note
        Said below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexValue:
    """The index of a hemisphere (or of both) with its 95 % interval; NaN where there is none, or it is withheld."""

    hemisphere: str
    alps: float
    low: float = float("nan")
    high: float = float("nan")
    se: float = float("nan")
    withheld: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A range to see an index against: mean, standard deviation, and whose."""

    mean: float
    sd: float
    source: str


LITERATURE = Reference(mean=1.601, sd=0.245, source="51 healthy adults at b = 1000 (Park 2023)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSection:
    """What is told of one run.

    Parameters
    ----------
    name
        Common beginning of its files' names.
    status
        Overall status of its checks.
    index
        Left, right, bilateral.
    checks
        Quality checks.
    regions, confounds
        Tables of what was measured in the regions.
    pictures
        In the order of the page.
    provenance
        Tables of versions, settings, inputs and hashes.
    facts
        Preset, b-value, pose and so on, as (name, value).
    notes
        What the reader must know, such as a missing file.
    scan
        Scanner, field, b-values, directions and voxel, as far as they are known.
    remarks
        What was done and is no cause for doubt.
    otherwise
        The index with other choices.
    files
        Title and address, relative to the page, of each table.
    reference
        Range of the same protocol to see the index against, if there is one.
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
    otherwise: Table | None = None
    files: tuple[tuple[str, str], ...] = ()
    reference: Reference | None = LITERATURE

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """End of the anchor and title of each part that there is."""
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
        """All but the one on the first screen, which is of a brain."""
        return self.pictures[1:] if self.pictures and not self.pictures[0].chart else self.pictures

    @property
    def passed(self) -> tuple[Check, ...]:
        """Checks that passed."""
        return tuple(check for check in self.checks if check.status == "pass")

    @property
    def flagged(self) -> tuple[Check, ...]:
        """Checks that did not pass, the worst first."""
        doubtful = [check for check in self.checks if check.status != "pass"]
        return tuple(sorted(doubtful, key=lambda check: -STATUSES.index(check.status)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run that gave no result, and what was said when it stopped."""

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
        The same as BibTeX.
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
        Labels of the participants whose pages come before and after; empty where there is none.
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
        """The worst of its runs; fail where a run gave no result or there is none."""
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
        Its numbers and figures, in sight.
    folded
        Further tables, which the reader opens.
    """

    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    folded: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explorer:
    """What the explorer of the group page shows.

    Parameters
    ----------
    families
        Names of the sets of measures, in the order of the choice.
    colours
        Columns to colour by, as they are called on the page.
    data
        JSON: runs with label, link and status; values by family and measure; levels or numbers by colour.
    """

    families: tuple[str, ...]
    colours: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """A run in the cohort's table: its cells, its status, and the address of its participant's page."""

    cells: tuple[str, ...]
    status: Status
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPage:
    """The page of a cohort.

    Parameters
    ----------
    columns, rows
        One row a run; the first column names it.
    banners
        What changes how everything else must be read.
    results
        What was found, in the order of the page.
    variables
        What each of the participants' variables was taken for; None where there are none.
    pictures
        Distributions and checks of the runs.
    notes
        What else the reader should know.
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

    @property
    def sorted_rows(self) -> tuple[GroupRow, ...]:
        """Flagged runs first, otherwise as given."""
        return tuple(sorted(self.rows, key=lambda row: -STATUSES.index(row.status)))

    @property
    def counts(self) -> tuple[tuple[Status, int], ...]:
        """How many runs have each status."""
        return tuple((status, sum(row.status == status for row in self.rows)) for status in STATUSES)
