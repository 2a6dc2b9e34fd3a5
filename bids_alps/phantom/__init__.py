"""A simulated digital brain phantom with known index, as arrays or as a BIDS dataset.

The command ``bids-alps-phantom OUT`` writes a dataset, with which an installation can be tested.
"""

from __future__ import annotations

from bids_alps.phantom.anatomy import PARK_2023, Anatomy, true_index
from bids_alps.phantom.dataset import write_phantom
from bids_alps.phantom.settings import PhantomSettings
from bids_alps.phantom.subject import PhantomSubject, Truth, make_subject

__all__ = [
    "PARK_2023",
    "Anatomy",
    "PhantomSettings",
    "PhantomSubject",
    "Truth",
    "make_subject",
    "true_index",
    "write_phantom",
]
