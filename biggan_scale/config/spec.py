"""What the networks must know of the data: the shape of an image and the number of classes."""

from __future__ import annotations

from dataclasses import dataclass

from biggan_scale.config.errors import ConfigError


@dataclass(frozen=True)
class ImageSpec:
    """The images of a run, (channels, height, width) in [-1, 1], and their labels, 0 .. num_classes - 1."""

    height: int  # pixels
    width: int  # pixels
    channels: int  # 1 grey, 3 RGB
    num_classes: int  # 0: unconditional, no labels

    @property
    def resolution(self) -> int:
        """The side of a square image, for networks that know no other."""
        if self.height != self.width:
            raise ConfigError(f"data.resolution {self.height} x {self.width} is not square, and this network needs square images")
        return self.height
