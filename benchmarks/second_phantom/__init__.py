"""A second phantom, designed to differ from `bids_alps.phantom` in as many ways as possible.

It shares no code with the package: it imports nothing from it, reads the tissue maps of the template itself, and has its
own conventions (a flow from template to subject where the package's phantom has a displacement from subject to template,
fiber directions transformed by the full deformation instead of its rotation). It serves for evaluation only: nothing in
the package may be tuned on it.

Assumptions:

- **Anatomy.** White matter, gray matter and CSF of MNI152NLin2009aSym, sharpened, with a random field that moves every
  boundary by one to two millimeters, so that no head is a smooth copy of the template. Cortex may be thinned and sulci widened.
- **Shape.** Rotation, three scales (children: 0.78), a smooth flow, a rough flow that no registration can follow, and a
  flow away from the walls of the lateral ventricles, of another size on each side. The template's centers, carried by these
  known maps, are the true positions of the regions.
- **Fibers.** Corona radiata that fans out, a superior longitudinal fasciculus that is an arc of an ellipse and ends in front
  and behind, callosal fibers that rise as they leave the midline, and all other fibers either radial to the cortex or along x. Their
  borders vary from head to head; directions waver smoothly by some degrees. Populations cross: callosal and association
  fibers inside the corona radiata.
- **Signal.** A sum of Gaussian compartments, one for each population, gray matter (slightly anisotropic), CSF and free water.
- **Scanner.** Any voxel, any table, several shells; a smooth bias field, Rician noise whose level varies in space, gradient
  axes that are stronger or weaker than the table says, distortion along the phase-encoding axis.
- **Truth.** The measurement of a noise-free scanner with infinitely small voxels in spheres of 2.5 mm about the true centers,
  fitted at the same b-values, rotated by the true rotation; and the index of the tracts alone.
"""

from second_phantom.head import Head, HeadChoices, make_head
from second_phantom.scanner import Scan, ScanChoices, acquire, make_t1w, susceptibility_shift, true_index

__all__ = [
    "Head",
    "HeadChoices",
    "Scan",
    "ScanChoices",
    "acquire",
    "make_head",
    "make_t1w",
    "susceptibility_shift",
    "true_index",
]
