"""Print what an image is made of, as CycloneDX 1.6: Python packages with their licenses, and Debian packages.

docker run --rm -i --entrypoint python bids/alps - < .ci/sbom.py > sbom.cdx.json
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions, version
from pathlib import Path
from typing import Any
from urllib.parse import quote


def license_of(package: Distribution) -> str:
    """Return the license of a Python package: its expression, its classifiers, or its own words."""
    metadata = package.metadata
    classifiers = [
        text.split(" :: ")[-1] for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")
    ]
    words = (metadata.get("License") or "").strip().partition("\n")[0][:100]
    return metadata.get("License-Expression") or " AND ".join(classifiers) or words or "not declared"


def python_packages() -> list[dict[str, Any]]:
    """Return every installed Python package but the program itself."""
    found = []
    for package in distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        if name != "bids-alps":
            found.append(component(name, package.version, f"pkg:pypi/{name}@{package.version}", license_of(package)))
    return found


def debian_packages() -> list[dict[str, Any]]:
    """Return every Debian package of the base, with the licenses that its copyright file names."""
    command = ["dpkg-query", "-W", "-f=${Package}\t${Version}\t${Architecture}\n"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for name, number, machine in (line.split("\t") for line in listed.splitlines()):
        path = Path(f"/usr/share/doc/{name}/copyright")
        text = path.read_text(errors="replace") if path.is_file() else ""
        licenses = sorted({one.strip() for one in re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE)})
        purl = f"pkg:deb/debian/{quote(name)}@{quote(number)}?arch={machine}"
        found.append(component(name, number, purl, "; ".join(licenses) or f"see /usr/share/doc/{name}/copyright"))
    return found


def component(name: str, number: str, purl: str, license_name: str) -> dict[str, Any]:
    """Return a part as CycloneDX says it."""
    licenses = [{"license": {"name": license_name}}]
    return {"type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl, "licenses": licenses}


def main() -> None:
    """Print the bill; the same image gives the same bytes."""
    ours = version("bids-alps")
    interpreter = component("python", sys.version.split()[0], f"pkg:generic/python@{sys.version.split()[0]}", "PSF-2.0")
    parts = [interpreter, *python_packages(), *debian_packages()]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "bids-alps", "name": "bids-alps", "version": ours}
        },
        "components": sorted(parts, key=lambda part: part["purl"]),
    }
    sys.stdout.write(json.dumps(bill, indent=1) + "\n")


if __name__ == "__main__":
    main()
