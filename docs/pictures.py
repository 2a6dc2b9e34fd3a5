"""Write the documentation's pictures from a report of the demonstration: ``python docs/pictures.py DEMO``.

The figures are those of the report. The screenshots need Chromium or Google Chrome.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bids_alps import demo

IMAGES = Path(__file__).parent / "images"
FIGURES = {"registration": "registrationBefore", "regions": "rois", "directions": "sticks", "motion": "headmotion"}
"""Picture of the documentation by its name: the `desc` entity of the figure."""
SCREENSHOTS = {"report": ("sub-01.html", "1200,900"), "group": ("group_alps.html", "1200,900")}
"""Page and window size, pixels, by the name of the picture."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")


def main() -> int:
    """Run the demonstration if it has not run, and write all pictures."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    out = root / "derivatives"
    if not (out / "group_alps.html").exists() and (code := demo.main([str(root)])):
        return code
    IMAGES.mkdir(exist_ok=True)
    for name, description in FIGURES.items():
        shutil.copyfile(out / "sub-01" / "figures" / f"sub-01_desc-{description}_dwi.svg", IMAGES / f"{name}.svg")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.stderr.write("docs/pictures.py: no Chromium or Google Chrome on PATH. Install one for the screenshots.\n")
        return 1
    for name, (page, size) in SCREENSHOTS.items():
        take_screenshot(browser, out / page, size, IMAGES / f"{name}.png")
    return 0


def take_screenshot(browser: str, page: Path, size: str, target: Path) -> None:
    """Write what a browser window of `size` shows first of a page."""
    with tempfile.TemporaryDirectory() as profile:
        options = (*OPTIONS, f"--user-data-dir={profile}", f"--window-size={size}", f"--screenshot={target}")
        subprocess.run(  # noqa: S603 -- a browser of PATH
            [browser, *options, page.resolve().as_uri()], check=True, capture_output=True, timeout=120
        )


if __name__ == "__main__":
    sys.exit(main())
