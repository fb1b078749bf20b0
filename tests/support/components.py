"""The components there are, for tests whose answers name them: a new file changes the answer and no test."""

from __future__ import annotations

from support.command import ROOT

LATENTS = ", ".join(sorted(file.stem for file in (ROOT / "biggan_scale/latent").glob("*.py") if "\nclass Config" in file.read_text()))
