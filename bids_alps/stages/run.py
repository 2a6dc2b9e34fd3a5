"""The story of one run.

prepare -> tensors -> alignment -> lesions -> index -> regions of atlases -> figures
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_alps.io.atlases import atlas_label
from bids_alps.io.presets import read_presets, with_manual_rois
from bids_alps.io.templates import read_template
from bids_alps.model import DwiRun
from bids_alps.registration.checks import check_registration
from bids_alps.settings import Method
from bids_alps.stages.alps_sh import follow_alps_sh
from bids_alps.stages.atlas import measure_atlas, read_atlases
from bids_alps.stages.figures import draw
from bids_alps.stages.index import Measurement, measure, write_measures
from bids_alps.stages.lesions import place_lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.prepare import prepare
from bids_alps.stages.registration import make_registrar, subject_maps, write_transforms
from bids_alps.stages.tensors import fit, write_maps


def run_stages(run: DwiRun, method: Method, output_dir: Path) -> tuple[Measurement, ...]:
    """Take one run from its files to the index; return what was measured, one entry a preset."""
    atlases = read_atlases(method)
    template = read_template(method.template)
    presets = read_presets(method.rois, template=template.name, radius_mm=method.roi_radius)
    place = RunOutputs(output_dir=output_dir, run=run, template=template.name)
    prepared = prepare(run, method, output_dir)
    place.write("mask", prepared.series.image.like(prepared.mask), dtype=np.uint8)
    fitted = fit(prepared, method)
    write_maps(place, fitted)
    subject = subject_maps(fitted, run)
    registration = make_registrar(run, method).register(subject, template)
    write_transforms(place, registration, subject.mask, template.mask)
    lesions = place_lesions(place, subject, template, registration.transform, t1w_aligned=method.t1w_aligned)
    measured: tuple[Measurement, ...] = ()
    for preset in presets:
        touched = lesions.share if lesions else None
        checks = check_registration(registration, subject, template, preset.centres, touched)
        drawn = place.run.regions.get(atlas_label(preset.name))
        if drawn is not None:
            preset = with_manual_rois(preset, drawn, subject.mask, registration.transform.rotation)
        ways = (fitted, registration)
        if preset.conventions == "alps.sh":
            ways = follow_alps_sh(prepared, fitted, registration)
        measured += (measure(*ways, preset, method, (*checks, *prepared.correction.checks), lesions),)
    write_measures(place, fitted, measured)
    outlined = tuple(
        measure_atlas(place, fitted, registration.transform, atlas, method.atlas_threshold) for atlas in atlases
    )
    draw(place, fitted, registration, measured, (method, prepared.correction, outlined, lesions))
    return measured
