"""Statements of a stage for the methods text, stored with its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from bids_alps.model.arrays import frozen

Stage = Literal[
    "start", "preparation", "tensors", "registration", "regions", "index", "uncertainty", "quality", "atlas", "sessions"
]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""In the order of the text; one paragraph each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A sentence of the methods text, written by the code that did what it describes.

    Parameters
    ----------
    stage
        Paragraph of the text.
    text
        A full sentence. References are keys of ``resources/references.toml`` in ``[@key]``; numbers are format fields
        such as ``{directions:g}``, so that runs that differ only in numbers can be reported together.
    values
        Numbers by name.

    Examples
    --------
    >>> Statement(stage="tensors", text="Tensors were fitted to {n:g} volumes.", values={"n": 32}).text
    'Tensors were fitted to {n:g} volumes.'
    """

    stage: Stage
    text: str
    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen(self.values))
