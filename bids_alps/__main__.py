"""``python -m bids_alps`` is the command ``bids-alps``."""

from __future__ import annotations

import os
import sys

if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 -- no other import before this
    del sys.path[0]  # the working directory may be a dataset with a pickle.py of its own

from bids_alps.cli import main

if __name__ == "__main__":
    sys.exit(main())
