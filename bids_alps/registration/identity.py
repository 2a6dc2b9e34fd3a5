"""Identity registration, for data already in template space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_alps.model import Pose, SpatialTransform, SubjectMaps, Template
from bids_alps.registration.base import Registration, check_subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Identity transform."""

    def register(self, subject: SubjectMaps, template: Template) -> Registration:  # noqa: ARG002 (signature of the protocol)
        """Return the identity registration.

        Raises
        ------
        RegistrationError
            If the mask is empty.
        """
        check_subject(subject)
        return Registration(
            transform=SpatialTransform(affine=np.eye(4), rigid=np.eye(4)),
            pose=Pose(pitch=0.0, roll=0.0, yaw=0.0),
            placement_se_mm=0.0,
            engine="identity",
        )
