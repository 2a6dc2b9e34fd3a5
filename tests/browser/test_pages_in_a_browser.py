"""Pages in a real browser: no error on the console, no request that leaves the page, controls that work."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from bids_alps.model import Check
from bids_alps.report.cohort import make_group_page
from bids_alps.report.figures_group import draw_left_right
from bids_alps.report.html import render_group, render_participant
from bids_alps.report.page import Failure, IndexValue, ParticipantPage, Picture, RunSection, Table

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [pytest.mark.medium, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000"),
)


def browse(path, tmp_path):
    """Open a page; return its document and its console lines."""
    found = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return found.stdout, [line for line in found.stderr.splitlines() if "CONSOLE" in line]


def participant():
    svg = draw_left_right(np.array([1.4, 1.5]), np.array([1.5, 1.4]), ["pass", "warn"])
    pair = Picture(title="Step", caption="c", alt="a", svg=(svg, svg), labels=("before", "after"))
    check = Check(
        name="pitch", value=9.0, unit="degrees", warn=8, fail=20, status="warn", direction="above", reason="Tilt."
    )
    run = RunSection(
        name="sub-01_run-1",
        status="warn",
        index=(IndexValue(hemisphere="left", alps=1.5, low=1.4, high=1.6, se=0.05),),
        checks=(check,),
        pictures=(pair,),
        regions=(Table(title="Regions", columns=("Region", "FA"), rows=(("left", "0.5"),)),),
    )
    failure = Failure(run="sub-01_run-2", message="<img src=http://192.0.2.1/x onerror=alert(1)>")
    return render_participant(ParticipantPage(participant="01", version="1", runs=(run,), failures=(failure,)))


def cohort():
    rows = [
        {
            "participant_id": f"sub-{n:02d}",
            "alps_left": float(alps),
            "alps_right": 1.4,
            "alps_bilateral": 1.45,
            "status": status,
        }
        for n, (alps, status) in enumerate(((1.5, "pass"), (11.2, "pass"), (1.2, "fail"), (float("nan"), "warn")))
    ]
    return render_group(make_group_page(rows))


def acted(page, script, tmp_path):
    """Return the result of a script on a page without its content policy."""
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    run = f"document.title = JSON.stringify((() => {{ {script} }})())"
    ending = f"<script>addEventListener('load', () => {{ {run} }});</script></body>"
    path = tmp_path / "acted.html"
    path.write_text(bare.replace("</body>", ending))
    document, _ = browse(path, tmp_path)
    return json.loads(re.search(r"<title>(.*?)</title>", document, re.S)[1])


@pytest.mark.parametrize("page", [participant, cohort])
def test_the_content_policy_allows_the_page_without_console_messages(page, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page())
    document, console = browse(path, tmp_path)
    assert 'class="live"' in document
    assert console == []


OUTSIDE = "return performance.getEntriesByType('resource').map((e) => e.name).filter((n) => !n.startsWith('data:'));"


@pytest.mark.parametrize("page", [participant, cohort])
def test_the_page_makes_no_outside_request(page, tmp_path):
    assert acted(page(), OUTSIDE, tmp_path) == []


@pytest.mark.slow
def test_an_outside_request_is_blocked_and_detected(tmp_path):
    leaky = cohort().replace("<body>", '<body><img alt="" src="http://127.0.0.1:9/x.png">')
    path = tmp_path / "leaky.html"
    path.write_text(leaky)
    assert "Content Security Policy" in "".join(browse(path, tmp_path)[1])
    assert acted(leaky, OUTSIDE, tmp_path) == ["http://127.0.0.1:9/x.png"]


def test_the_table_sorts_with_missing_values_last(tmp_path):
    script = """
    const heads = [...document.querySelectorAll("table.sortable th button")];
    const left = heads.find((head) => head.textContent === "ALPS left");
    const column = [...left.closest("tr").cells].indexOf(left.closest("th"));
    const rows = () => [...document.querySelectorAll("table.sortable tbody tr")];
    const read = () => rows().map((row) => row.cells[column].textContent);
    left.click(); const up = read(); left.click(); const down = read();
    return [up, down, left.closest("th").getAttribute("aria-sort")];
    """
    up, down, state = acted(cohort(), script, tmp_path)
    assert up == ["1.20", "1.50", "11.2", "n/a"]
    assert down == ["11.2", "1.50", "1.20", "n/a"]
    assert state == "descending"


def test_the_table_filters_by_word_and_status(tmp_path):
    script = """
    const seen = () => [...document.querySelectorAll("table.sortable tbody tr")].filter((row) => !row.hidden).length;
    const text = document.getElementById("filter"), choice = document.getElementById("status");
    text.value = "SUB-02"; text.dispatchEvent(new Event("input")); const one = seen();
    text.value = ""; text.dispatchEvent(new Event("input"));
    choice.value = "pass"; choice.dispatchEvent(new Event("change"));
    return [one, seen(), document.getElementById("shown").textContent];
    """
    assert acted(cohort(), script, tmp_path) == [1, 2, "2 of 4"]


def test_slider_and_flicker_compare_two_pictures(tmp_path):
    script = """
    const slider = document.querySelector("figure input[type=range]"), above = document.querySelector(".above");
    slider.value = 20; slider.dispatchEvent(new Event("input"));
    const share = getComputedStyle(above).opacity;
    const button = document.querySelector(".flicker"); button.click();
    return [share, button.getAttribute("aria-pressed"), getComputedStyle(above).animationName];
    """
    assert acted(participant(), script, tmp_path) == ["0.2", "true", "flicker"]


@pytest.mark.slow
@pytest.mark.parametrize("page", [participant, cohort])
def test_no_horizontal_scrolling_on_a_phone(page, tmp_path):
    narrow = page().replace("<body>", '<body style="width:340px;margin:0">')
    script = "return [...document.body.children].map((e) => e.getBoundingClientRect().right).filter((x) => x > 341);"
    assert acted(narrow, script, tmp_path) == []


def test_a_rating_is_kept_and_can_be_saved(tmp_path):
    script = """
    const box = document.querySelector(".rating"), saved = [];
    HTMLAnchorElement.prototype.click = function () { saved.push([this.download, decodeURIComponent(this.href)]); };
    const drop = [...box.querySelectorAll("input[type=radio]")].find((choice) => choice.value === "drop");
    drop.checked = true; drop.dispatchEvent(new Event("change"));
    const note = box.querySelector("input[type=text]");
    note.value = "a\\tb  c"; note.dispatchEvent(new Event("change"));
    box.querySelector(".export").click();
    return [saved[0][0], saved[0][1].split(",")[1].split("\\n")];
    """
    name, (head, row, end) = acted(participant(), script, tmp_path)
    assert (name, head, end) == ("ratings.tsv", "run\trating\tnote\ttime", "")
    assert row.split("\t")[:3] == ["sub-01_run-1", "drop", "a b c"]


def test_the_sidebar_scrolls_along_and_sliders_start_at_the_result(tmp_path):
    script = """
    const here = document.querySelectorAll(".contents > .here > a");
    const slider = document.querySelector("input[type=range]");
    return [[...here].map((link) => link.getAttribute("aria-current")), slider.value];
    """
    assert acted(participant(), script, tmp_path) == [["true"], "100"]


@pytest.mark.slow
def test_runs_are_explored_by_family_and_selections_are_listed(tmp_path):
    script = """
    const panels = document.getElementById("explore-panels");
    const points = () => panels.querySelectorAll(".point").length;
    const first = points();
    panels.emit("plotly_selected", { points: [{ pointIndex: 2 }, { pointIndex: 0 }] });
    const listed = document.getElementById("explore-selected").value;
    document.getElementById("explore-clear").click();
    return [first, listed, document.getElementById("explore-selected").value, points()];
    """
    first, listed, cleared, after = acted(cohort(), script, tmp_path)
    assert first == after == 11  # one index of four is n/a
    assert listed == "sub-00\nsub-02"
    assert cleared == ""
