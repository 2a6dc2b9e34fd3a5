"""Reports show what is on disk, escape it, and need no network."""

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bids_alps.errors import NoInputError
from bids_alps.model import Check
from bids_alps.report.catalog import CATALOGUE, figure_path
from bids_alps.report.cohort import count_checks, make_group_page, render_cohort
from bids_alps.report.html import IndexScale, limit, render_group, render_participant
from bids_alps.report.page import CAVEAT, LITERATURE, Failure, IndexValue, ParticipantPage
from bids_alps.report.participant import read_participant_page, write_participant_page
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan

from .conftest import write_run

EVIL = "<script>alert(1)</script>&\"'"
VOID = {"meta", "link", "img", "input", "br", "hr"}


class Outline(HTMLParser):
    """Tags, addresses and unclosed elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.images, self.ids, self.styles = [], [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.addresses += [attrs[name] for name in ("src", "href") if name in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.styles += [attrs["style"]] if "style" in attrs else []
        if tag == "img":
            self.images.append(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def rendered(output, **how):
    return render_participant(read_participant_page(output, "01", **how))


def test_page_of_a_run(output):
    text = rendered(output)
    for value in ("1.51", "1.41 to 1.61", "1.46", "21.5", "below 10", "Noise widens", "0.612", CAVEAT, "Taoka", "32"):
        assert value in text, value
    assert len(text) < 6e6


def test_page_is_well_formed_and_accessible(output):
    outline = Outline(rendered(output))
    assert outline.open == []
    assert {"main", "nav", "header", "footer", "h1", "caption"} <= set(outline.tags)
    assert outline.tags.count("h1") == outline.tags.count("main") == 1
    assert all(image["alt"] for image in outline.images)
    assert len(outline.images) == 7
    assert len(set(outline.ids)) == len(outline.ids)
    targets = {address[1:] for address in outline.addresses if address.startswith("#")}
    assert targets <= set(outline.ids)


def test_the_page_needs_no_network(output):
    text = rendered(output)
    outline = Outline(text)
    assert all(image["src"].startswith("data:") for image in outline.images)
    assert not [address for address in outline.addresses if "//" in address.split(",")[0]]  # other pages and tables
    assert "default-src &#39;none&#39;" in text
    assert Outline(text).styles == []


def test_all_text_of_a_dataset_is_escaped(tmp_path, figures):
    write_run(tmp_path, "sub-01", figures, reason=EVIL, status="warn")
    text = rendered(tmp_path, failures=[Failure(run=EVIL, message=EVIL, details=EVIL)])
    rows = [{"participant_id": EVIL, "alps_left": 1.5, "alps_right": 1.4, "alps_bilateral": 1.45, "site": EVIL}]
    for page in (text, render_group(make_group_page(rows, columns=("site",), group="site"))):
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in page


def test_same_folder_same_bytes(output):
    assert rendered(output) == rendered(output)


def test_the_page_is_next_to_the_participant_folder(output):
    path = write_participant_page(output, "01")
    assert path == output / "sub-01.html"
    assert "sub-01_dir-AP" in path.read_text()


def test_nothing_to_report_on_is_an_error(tmp_path):
    with pytest.raises(NoInputError, match="Run the participant level first"):
        read_participant_page(tmp_path, "01")


def test_a_participant_whose_runs_all_failed(tmp_path):
    crash = tmp_path / "logs" / "sub-01" / "crash-sub-01_run-1.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text("sub-01_run-1_dwi.bval: 5 b-values for 6 volumes. Give one each.\n\nTraceback: here\n")
    page = read_participant_page(tmp_path, "01")
    assert page.status == "fail"
    text = render_participant(page)
    assert "No run of this participant produced a result" in text
    assert "5 b-values for 6 volumes" in text
    assert "Traceback: here" in text


def test_a_resolved_error_is_not_shown(output):
    crash = output / "logs" / "sub-01" / "2026" / "crash-sub-01_dir-AP.txt"
    crash.parent.mkdir()
    crash.write_text("a later attempt failed\n")
    os.utime(crash, (1, 1))  # as a copy may have it
    assert [failure.message for failure in read_participant_page(output, "01").failures] == ["a later attempt failed"]
    crash.rename(crash.with_name("resolved-sub-01_dir-AP.txt"))
    assert read_participant_page(output, "01").failures == ()


def test_a_failed_report_is_not_a_run(output):
    (output / "logs" / "sub-01" / "crash-sub-01_page.txt").write_text("disk full\n")
    assert read_participant_page(output, "01").failures == ()


def test_missing_derivatives_are_reported(output):
    folder = output / "sub-01" / "dwi"
    for kind in ("desc-quality", "seg-alps"):
        (folder / f"sub-01_dir-AP_{kind}_scalarstats.tsv").unlink()
    for path in (output / "sub-01" / "figures").iterdir():
        path.unlink()
    (run,) = read_participant_page(output, "01").runs
    assert [note.split()[1] for note in run.notes] == ["table", "table", "figures"]
    assert run.status == "warn"
    assert "data quality is unknown" in rendered(output)


def test_results_of_an_older_version_are_reported(output):
    table = output / "sub-01" / "dwi" / "sub-01_dir-AP_desc-alps_scalarstats.tsv"
    table.write_text("hemisphere\talps\nleft\t1.5\nright\tn/a\n")
    text = rendered(output)
    assert "written by another version: alps_ci_low" in text
    assert "<td>n/a</td>" in text


def test_a_damaged_table_affects_one_run_only(output, figures):
    write_run(output, "sub-01_dir-PA", figures)
    (output / "sub-01" / "dwi" / "sub-01_dir-AP_desc-alps_scalarstats.tsv").write_text("")
    page = read_participant_page(output, "01")
    assert [run.name for run in page.runs] == ["sub-01_dir-PA"]
    assert [failure.run for failure in page.failures] == ["sub-01_dir-AP"]


def test_methods_are_of_the_runs_of_the_page(output, figures):
    write_run(output, "sub-01_dir-PA", figures)
    write_run(output, "sub-02", figures)
    receipt = output / "logs" / "sub-01" / "sub-01_dir-PA_desc-receipt_dwi.json"
    receipt.write_text(receipt.read_text().replace('"n": 32', '"n": 64'))
    assert "of 32 to 64 volumes" in " ".join(read_participant_page(output, "01").methods.paragraphs)
    assert "of 32 volumes" in " ".join(read_participant_page(output, "02").methods.paragraphs)


@pytest.mark.parametrize("text", ["", "[]", '{"methods": [{"stage": "start"}]}', '{"methods": 3}'])
def test_a_receipt_of_another_version_is_ignored(output, text):
    (output / "logs" / "sub-01" / "sub-01_dir-AP_desc-receipt_dwi.json").write_text(text)
    assert read_participant_page(output, "01").methods.paragraphs == ()


def test_several_presets_are_labeled(output):
    table = output / "sub-01" / "dwi" / "sub-01_dir-AP_desc-alps_scalarstats.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, *(line.replace("alps\t", "alps.sh\t", 1) for line in lines[1:])]) + "\n")
    (run,) = read_participant_page(output, "01").runs
    assert [value.hemisphere for value in run.index][::3] == ["left, alps", "left, alps.sh"]


@pytest.mark.parametrize("alps", [0.2, 1.5, 4.0, float("nan")])
def test_every_value_is_within_the_scale(section, alps):
    value = IndexValue(hemisphere="left", alps=alps, low=alps - 0.3, high=alps + 0.3)
    scale = IndexScale((value,), LITERATURE)
    assert scale.at(scale.low) == 0
    assert scale.at(scale.high) == scale.width
    if alps == alps:
        assert scale.low <= value.low < value.high <= scale.high
        assert 0 <= scale.at(value.low) < scale.at(alps) < scale.at(value.high) <= scale.width


def test_the_page_has_the_status_of_its_worst_run(section):
    page = ParticipantPage(participant="01", version="1", runs=(section,))
    assert page.status == "pass"
    failed = Failure(run="sub-01_run-2", message="no")
    assert ParticipantPage(participant="01", version="1", runs=(section,), failures=(failed,)).status == "fail"


def test_cohort_lists_flagged_runs_first_and_links_them():
    rows = [
        {"participant_id": f"sub-{n}", "alps_left": 1.5, "alps_right": 1.4, "alps_bilateral": 1.45, "status": status}
        for n, status in enumerate(("pass", "fail", "warn"))
    ]
    text = render_group(make_group_page(rows))
    places = [text.index(f'href="sub-{n}.html#sub-{n}"') for n in (1, 2, 0)]
    assert places == sorted(places)
    assert Outline(text).open == []


def test_a_label_cannot_leave_the_folder():
    page = make_group_page([{"participant_id": "sub-../../x", "alps_left": 1.5}])
    assert page.rows[0].link == ""


def test_the_group_page_counts_checks_and_lists_failed_runs(output, figures):
    write_run(output, "sub-02_run-1", figures, status="warn")
    crash = output / "logs" / "sub-03" / "crash-sub-03_run-1.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text("sub-03_run-1: no b0. Give one.\n")
    rows = [{"participant_id": f"sub-0{n}", "alps_left": 1.5, "alps_right": 1.4, "roi_preset": "alps"} for n in (1, 2)]
    text = render_cohort(output, rows, {"alps": Findings()}, plan=Plan())
    assert "No result for sub-03_run-1: sub-03_run-1: no b0. Give one." in text
    assert count_checks(output) == {"snr_b0": {"pass": 1, "warn": 1}}
    assert "Number of runs by status for each quality check" in text


def test_thresholds_are_given_in_words():
    def check(name, bad):
        return Check(name=name, value=1, unit="", warn=8, fail=float("nan"), status="pass", direction=bad, reason="")

    assert limit(check("pitch", "outside"), 8) == "outside -8 to 8"
    assert limit(check("alps", "outside"), 0.55) == "outside 0.9 to 2"
    assert limit(check("snr_b0", "below"), 10) == "below 10"
    assert limit(check("snr_b0", "below"), float("nan")) == "–"


def test_an_empty_cohort_has_a_page():
    assert "0 runs" in render_group(make_group_page([]))


def test_every_figure_has_a_catalog_entry(figures):
    names = {name.removesuffix("Before").removesuffix("After") for name in figures}
    assert names <= set(CATALOGUE)
    assert figure_path(Path("out"), run_name="sub-01_run-1", desc="rois").name == ("sub-01_run-1_desc-rois_dwi.svg")
