"""The engines by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bids_alps.model import Pose, SpatialTransform
from bids_alps.registration.base import Registrar, Registration, SubjectMaps, Template
from bids_alps.registration.dipy import DipySyn
from bids_alps.registration.staged import Staged, check_subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """For data that lie in the template's space already: nothing is moved or turned."""

    def register(self, subject: SubjectMaps, template: Template) -> Registration:  # noqa: ARG002 (the protocol's)
        """Return the identity.

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


REGISTRARS: Mapping[str, Callable[[], Registrar]] = MappingProxyType(
    {"staged": Staged, "dipy": DipySyn, "identity": Identity}
)
"""Name -> constructor of every engine that needs nothing but the maps; `Precomputed` needs a transform too."""
