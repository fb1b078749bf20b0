"""`python -m launch`: the command `biggan-launch`."""

from __future__ import annotations

import sys

from launch.cli import main

sys.exit(main())
