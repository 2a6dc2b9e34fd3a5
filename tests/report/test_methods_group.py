"""The methods text of the group level cites entries of the bibliography."""

import inspect
import re
import tomllib
from importlib.resources import files

from bids_alps.report import methods_group
from bids_alps.report.methods_group import write_group_methods
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan

LIBRARY = tomllib.loads(files("bids_alps").joinpath("resources", "references.toml").read_text())


def test_every_citation_has_its_reference():
    keys = set(re.findall(r"@(\w+)\]", inspect.getsource(methods_group)))
    assert len(keys) > 20
    assert keys <= set(LIBRARY)


def test_without_findings_there_is_no_text():
    assert write_group_methods(Findings(), Plan()).paragraphs == ()
