"""What a stage says of itself for the methods text, kept with its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from bids_alps.model.arrays import frozen

Stage = Literal[
    "start", "preparation", "tensors", "registration", "regions", "index", "uncertainty", "quality", "atlas", "sessions"
]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""In the order of the text; each is a paragraph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A sentence of the methods text, made by the code that did what it says.

    Parameters
    ----------
    stage
        Paragraph that it belongs to.
    text
        A whole sentence. References are keys of ``resources/references.toml`` in ``[@key]``, numbers stand in braces
        with their format, such as ``{directions:g}``, so that runs that differ in them alone can be told together.
    values
        The numbers by name.

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
