"""Registration engines by name. A new engine is one module and one entry here.

Engines are imported only when created, so that the command line can list them quickly.
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
    """Entry of a registration engine for the command line, the methods text and the stages.

    Parameters
    ----------
    name
        Name for ``--registrar``.
    constructor
        Module below `bids_alps.registration` and class in it, such as ``staged:Staged``.
    sentence
        Description for the methods text: completes "Each subject was ... <template>". References are
        keys of ``resources/references.toml`` in ``[@key]``.
    needs_transform
        Whether it uses the transform provided with a preprocessed run, as ``subject_from_template``.
    """

    name: str
    constructor: str
    sentence: str
    needs_transform: bool = False

    def make(self, **options: Any) -> Registrar:
        """Return an engine, created with the options of its constructor."""
        module, _, name = self.constructor.partition(":")
        return getattr(import_module(f"bids_alps.registration.{module}"), name)(**options)


ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            name="staged",
            constructor="staged:Staged",
            sentence="registered, using a contrast computed from FA and MD and tissue probability maps, with rigid "
            "registration from multiple starting poses, a similarity and a regularized affine transform "
            "(Gauss-Newton), and a regularized deformation (greedy; [@yushkevich2016]), to the template",
        ),
        Engine(
            name="dipy",
            constructor="dipy:DipySyn",
            sentence="registered, using a contrast computed from FA and MD and tissue probability maps, with rigid and "
            "affine registration and SyN ([@avants2008]) of DIPY ([@garyfallidis2014]), to the template",
        ),
        Engine(name="identity", constructor="identity:Identity", sentence="assumed to be in the space of the template"),
        Engine(
            name="precomputed",
            constructor="precomputed:Precomputed",
            sentence="registered, using the transform provided with the data, to the template",
            needs_transform=True,
        ),
    )
}
"""Registration engines by name."""
