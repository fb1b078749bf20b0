"""`python -m biggan_scale.cli`, for torchrun."""

from __future__ import annotations

import sys

from biggan_scale.cli import main

sys.exit(main())
