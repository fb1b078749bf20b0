"""Where configuration pages are: the checkout's configs/, or its copy inside an installed package."""

from __future__ import annotations

from pathlib import Path

from biggan_scale.config.errors import ConfigError, did_you_mean

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = PACKAGE / "pages"  # setup.cfg puts configs/ here in a wheel
FOLDER = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "configs"


def names() -> list[str]:
    """The names of all pages: "tiny", "base/run"."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))


def find(page_or_path: str, beside: Path | None = None) -> Path:
    """The file meant by a path (relative to the folder `beside`, if given) or by the name of a page."""
    for folder in (beside or Path(), FOLDER):
        for name in (page_or_path, f"{page_or_path}.yaml"):
            if (folder / name).is_file():
                return (folder / name).resolve()
    raise ConfigError(f"no file and no page '{page_or_path}'; {did_you_mean(page_or_path, names(), 'pages')}")
