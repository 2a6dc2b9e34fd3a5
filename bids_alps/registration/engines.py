"""The registration engines by name. A new engine is a file of its own and one entry here.

Nothing heavy is imported until an engine is made, so that the command line can list the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bids_alps.registration.base import Registrar


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A registration engine, as the command line, the methods text and the stages know it.

    Parameters
    ----------
    name
        What ``--registrar`` calls it.
    constructor
        Module below `bids_alps.registration` and class in it, such as ``staged:Staged``.
    sentence
        What it does, for the methods text: completes "Each subject was ... <template>". References are
        keys of ``resources/references.toml`` in ``[@key]``.
    needs_transform
        Whether it takes the transform that lies with a preprocessed run, as ``subject_from_template``.
    """

    name: str
    constructor: str
    sentence: str
    needs_transform: bool = False

    def make(self, **options: Any) -> Registrar:
        """Return the engine, made with options of its constructor."""
        module, _, name = self.constructor.partition(":")
        return getattr(import_module(f"bids_alps.registration.{module}"), name)(**options)


ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            name="staged",
            constructor="staged:Staged",
            sentence="aligned, by a contrast computed from FA and MD, with tissue probability maps: rigidly from many "
            "starting poses, then by a similarity and a regularized affine transform (Gauss-Newton), and by a "
            "regularized deformation (greedy; [@yushkevich2016]), to the template",
        ),
        Engine(
            name="dipy",
            constructor="dipy:DipySyn",
            sentence="aligned, by a contrast computed from FA and MD, with tissue probability maps: by DIPY's "
            "([@garyfallidis2014]) rigid and affine registration and SyN ([@avants2008]), to the template",
        ),
        Engine(name="identity", constructor="identity:Identity", sentence="taken to be in the space of the template"),
        Engine(
            name="precomputed",
            constructor="precomputed:Precomputed",
            sentence="aligned, by the transform that was provided with the data, to the template",
            needs_transform=True,
        ),
    )
}
"""By name."""
