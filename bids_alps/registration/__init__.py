"""Alignment of template and subject: one protocol, several engines."""

from bids_alps.registration.base import Registrar, Registration, SubjectMaps, Template
from bids_alps.registration.engines import REGISTRARS

__all__ = ["REGISTRARS", "Registrar", "Registration", "SubjectMaps", "Template"]
