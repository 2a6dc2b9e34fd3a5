"""Output paths of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps.io.derivatives import derivative_path, sidecar_of
from bids_alps.io.writing import write_json, write_map
from bids_alps.model import DwiRun, SpatialMap


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutputs:
    """Output paths of a run."""

    output_dir: Path
    run: DwiRun
    template: str

    def path(self, key: str, **fill: str) -> Path:
        """Return the path of a derivative; `fill` has the labels to fill in."""
        return derivative_path(self.output_dir, self.run, key, template=self.template, **fill)

    def write_sidecar(self, key: str, **fields: Any) -> None:
        """Write the sidecar of a file that is not an image."""
        path = self.path(key)
        sidecar = sidecar_of(self.run, key, **fields)
        write_json(path.with_name(f"{path.name.partition('.')[0]}.json"), sidecar)

    def write(self, key: str, image: SpatialMap, *, dtype: Any = np.float32, preset: str = "", **fields: Any) -> None:
        """Write an image with its sidecar; `preset` is the label of its ROI preset, if any."""
        write_map(self.path(key, preset=preset), image, sidecar=sidecar_of(self.run, key, **fields), dtype=dtype)
