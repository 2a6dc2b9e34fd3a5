"""One head, registered once by every engine, for all tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from heads import Head, make_head

from bids_alps.io.templates import read_template
from bids_alps.model import SpatialTransform, SubjectMaps, Template
from bids_alps.registration.base import Registrar, Registration
from bids_alps.registration.engines import ENGINES
from bids_alps.registration.precomputed import Precomputed


@pytest.fixture(scope="session")
def template() -> Template:
    return read_template()


@pytest.fixture(scope="session")
def turned_head(template: Template) -> tuple[SubjectMaps, SpatialTransform]:
    head = Head(angles=(14.0, -5.0, 10.0), warp_mm=2.5, voxel_mm=3.0, order="LAS", oblique_degrees=8.0)
    return make_head(head, template)


@pytest.fixture(scope="session")
def engines(turned_head: tuple[SubjectMaps, SpatialTransform]) -> dict[str, Registrar]:
    """Every engine; the precomputed one is given the truth."""
    truth = turned_head[1]
    named = {name: engine.make() for name, engine in ENGINES.items() if not engine.needs_transform}
    return {**named, "precomputed": Precomputed(subject_from_template=truth.subject_from_template)}


class Registrations(dict[str, Registration]):
    """Registrations of one head by the names of the engines, each made when it is first asked for."""

    def __init__(self, engines: dict[str, Registrar], subject: SubjectMaps, template: Template) -> None:
        super().__init__()
        self.engines, self.subject, self.template = engines, subject, template

    def __missing__(self, name: str) -> Registration:
        self[name] = self.engines[name].register(self.subject, self.template)
        return self[name]


@pytest.fixture(scope="session")
def registrations(
    engines: dict[str, Registrar], turned_head: tuple[SubjectMaps, SpatialTransform], template: Template
) -> Registrations:
    return Registrations(engines, turned_head[0], template)
