"""An image to the w that gives it: gradient descent through the synthesis (Karras et al. 2020, 1912.04958, appendix D).

From the mean w, Adam with a learning rate that is ramped up over the first twentieth and down over the last quarter of the steps;
in the first three quarters w is disturbed by ever less noise, so that it finds the valley before the bottom. In space w all layers share
one vector, in w+ each has its own (Abdal et al. 2019, 1904.03189), which fits nearly any image and is edited less well.

The distance compares pixels and the features of a fixed random network (`metrics/features.py`), which needs no download; the paper's
LPIPS is a trained network and agrees better with people's eyes. The noise images of the layers stay the constant ones, where the
paper optimises them, too: so the result is a w, and nothing hides in the noise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from biggan_scale.config import ConfigError, ImageSpec
from biggan_scale.data.convert import Conversion, fit, open_image, to_channels
from biggan_scale.data.pixels import save_png, tile, to_uint8
from biggan_scale.dist.seeds import Noise
from biggan_scale.editing.styles import images_of, style_game
from biggan_scale.engine.signals import StopFlag
from biggan_scale.engine.tensor_file import write_tensors
from biggan_scale.export.load import Model, one_thread
from biggan_scale.export.publish import new_folder
from biggan_scale.export.source import Weights, find
from biggan_scale.metrics.features import RandomNetwork, averaged_down

NUM_OF_MEAN = 10_000  # samples of w for its mean and its spread
RAMP_UP, RAMP_DOWN = 0.05, 0.25  # of the learning rate, shares of the steps
DISTURBED, DISTURBANCE = 0.75, 0.05  # share of the steps; noise at first, in units of w's spread
SIDE = 256  # px; larger images are compared averaged down to it
MAX_PIXELS = 100_000_000
RECORD_FILE, WEIGHTS_FILE = "projection.json", "w.safetensors"

Space = Literal["w", "w+"]


@dataclass(frozen=True)
class Settings:
    space: Space = "w"
    steps: int = 500
    lr: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Spread:
    """mean: (w_dim,). deviation: root mean square distance of w from it."""

    mean: Tensor
    deviation: float


class Apart(nn.Module):
    """How far images are from a target: mean square difference of pixels, plus that of features relative to the target's.

    A picture cuts off what a generator draws beyond [-1, 1]; where the target is at a limit, what lies beyond it is not held
    against an image.

    Args:
        target: (1, C, H, W) in [-1, 1].
    """

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        target = target.float()
        self.lower = torch.where(target <= -1, target, -torch.inf)
        self.upper = torch.where(target >= 1, target, torch.inf)
        self.target = averaged_down(target, SIDE)
        self.network = RandomNetwork(target.shape[1]).to(target.device)
        self.features = self.network(self.target).values

    def forward(self, images: Tensor) -> Tensor:
        """(B,) of images (B, C, H, W)."""
        images = averaged_down(images.float().clamp(self.lower, self.upper), SIDE)
        pixels = (images - self.target).square().flatten(1).mean(1)
        return pixels + (self.network(images).values - self.features).square().sum(1) / self.features.square().sum()


def descend(
    synthesis: Callable[[Tensor], Tensor],
    num_ws: int,
    spread: Spread,
    apart: Callable[[Tensor], Tensor],
    settings: Settings,
    tick: Callable[[int], object] = lambda step: None,
) -> tuple[Tensor, list[float]]:
    """The ws whose image is nearest, and the distance at each step.

    Args:
        synthesis: ws (1, num_ws, w_dim) to an image (1, C, H, W).
        apart: the distance (1,) of such an image.
        tick: called before each step with its number; may raise.

    Returns:
        (num_ws, w_dim), and a distance for each step, of the disturbed w while it is.
    """
    rows = num_ws if settings.space == "w+" else 1
    w = spread.mean.repeat(1, rows, 1).requires_grad_()
    adam = torch.optim.Adam([w], betas=(0.9, 0.999))
    noise = Noise(settings.seed, range(settings.steps), "projection", w.device, w.dtype).normal(rows, w.shape[2])
    course = []
    for step in range(settings.steps):
        tick(step)
        t = step / settings.steps
        adam.param_groups[0]["lr"] = settings.lr * learning_rate(t)
        strength = DISTURBANCE * spread.deviation * max(0.0, 1 - t / DISTURBED) ** 2
        distance = apart(synthesis((w + strength * noise[step]).expand(1, num_ws, -1))).sum()
        (w.grad,) = torch.autograd.grad(distance, w)
        adam.step()
        course.append(float(distance.detach()))
    return w.detach().expand(1, num_ws, -1)[0].contiguous(), course


def learning_rate(t: float) -> float:
    """The part of the full rate at fraction t of the steps."""
    down = min(1.0, (1 - t) / RAMP_DOWN)
    return (0.5 - 0.5 * math.cos(math.pi * down)) * min(1.0, (t + 1e-3) / RAMP_UP)


def project_to(
    source: str | Path,
    image: Path,
    out: Path,
    settings: Settings,
    *,
    label: int | None = None,
    weights: Weights = "ema",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Project an image file; the folder `out` gets target.png, projected.png, comparison.png (target, start, result), w.safetensors
    ("w": (num_ws, w_dim)) and projection.json, which is also returned.

    Args:
        label: whose mean w to start from; None: that of all classes.

    Raises:
        ConfigError: no model is at `source`, or it has no w; `image` is none. CheckpointError: it is damaged. Preempted: a signal came.
    """
    with StopFlag() as stop:
        model = Model(find(source, weights), "cpu", stop.check)
        game = style_game(model, "project")
        model.check_request(1, None, None if label is None else [label])
        target = read_image(image, model.spec).to(model.dtype)

        def tick(step: int) -> None:
            stop.check()
            progress(step + 1, settings.steps)

        with new_folder(out, lambda old: (old / RECORD_FILE).is_file()) as folder, one_thread():
            spread = spread_of(model, label, settings.seed)
            apart = Apart(target)
            ws, course = descend(game.G.synthesis, game.G.num_ws, spread, apart, settings, tick)
            start, found = images_of(model, torch.stack([spread.mean.expand_as(ws), ws])).split(1)
            record = {
                "image": str(image),
                "source": {"path": str(source), **model.provenance},
                **asdict(settings),
                "label": label,
                "distance": {"start": float(apart(start)), "result": float(apart(found))},
                "pixels_rms": {"start": rms(start.clamp(-1, 1), target), "result": rms(found.clamp(-1, 1), target)},
                "course": course,
            }
            for name, pictures in {"target": [target], "projected": [found], "comparison": [target, start, found]}.items():
                save_png(tile(to_uint8(torch.cat(pictures)), len(pictures)), folder / f"{name}.png")
            write_tensors(folder / WEIGHTS_FILE, {"w": ws})
            (folder / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n")
        return record


@torch.no_grad()
def spread_of(model: Model, label: int | None, seed: int) -> Spread:
    """Of w over the prior, and over the classes where no label is given."""
    draw = model.latents(range(NUM_OF_MEAN), seed, None, None if label is None else [label])
    w = style_game(model, "project").G.mapping(draw["z"], draw.get("y"))
    mean = w.mean(0)
    return Spread(mean, float((w - mean).square().sum(1).mean().sqrt()))


def read_image(file: Path, spec: ImageSpec) -> Tensor:
    """(1, C, H, W) in [-1, 1]: a picture file, its centre cut out and resized to what the model draws.

    Raises:
        ConfigError: it is none.
    """
    how = Conversion(spec.height, spec.width, spec.channels, "raw", 0, MAX_PIXELS, resize=True, drop_colour=True)
    try:
        picture = to_channels(open_image(file.read_bytes(), MAX_PIXELS), spec.channels)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {getattr(error, 'strerror', None) or error}; give a PNG, JPEG or WebP file") from error
    if picture.size != (spec.width, spec.height):
        picture = fit(picture, how)
    pixels = torch.from_numpy(np.array(picture)).view(spec.height, spec.width, spec.channels)
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def rms(a: Tensor, b: Tensor) -> float:
    """Root mean square difference of pixels in [-1, 1]."""
    return float((a - b).square().mean().sqrt())
