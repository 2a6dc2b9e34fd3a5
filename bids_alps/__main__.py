"""``python -m bids_alps`` is the command ``bids-alps``."""

from __future__ import annotations

import sys

from bids_alps.cli import main

if __name__ == "__main__":
    sys.exit(main())
