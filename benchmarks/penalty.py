"""What a gradient penalty costs: R1 of StyleGAN2's discriminator and its backward, as one JSON object.

    python benchmarks/penalty.py
    python benchmarks/penalty.py --config stylegan2_emoji64 --batch 16 --rounds 5 game.augment=null

Four ways, which take turns: `eager` (autograd.grad), `functional` (torch.func.grad), `compiled` (the latter through torch.compile), and
`finite_difference`, which differentiates once. `first_call` is what the compiled one costs before it is as fast as that, with its C++
compilers; nothing is taken from a cache. Times are processor time of all threads, which suffers less from other work than the wall's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from biggan_scale import __version__
from biggan_scale.config import UserError, load_config
from biggan_scale.dist.seeds import Noise
from biggan_scale.engine.loop import build_game
from biggan_scale.games.stylegan2 import Stylegan2
from biggan_scale.losses.penalties import finite_difference, squared_gradient, squared_gradient_of

SIGMA = 0.01  # of the finite difference


def main() -> int:
    args = _arguments()
    torch.set_num_threads(args.threads)
    try:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
            print(json.dumps(measure(args), indent=1))
    except UserError as error:
        print(f"penalty.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed."""
    config = load_config(args.config, args.overrides).config
    game: Stylegan2 = build_game(config, torch.device("cpu"))  # type: ignore[assignment]
    spec, noise = config.image_spec(), Noise(0, range(args.batch), "benchmark")
    images = noise.uniform(spec.channels, spec.height, spec.width).mul_(2).sub_(1).contiguous(memory_format=torch.channels_last)
    labels = noise.integers(spec.num_classes) if spec.num_classes else None
    uniforms = game.augment_draws(noise, "real").get("augment_real")
    step = noise.normal(*images.shape[1:])

    def score(x: Tensor) -> Tensor:
        return game.score(x, labels, uniforms)

    def eager() -> Tensor:
        x = images.detach().requires_grad_()
        return squared_gradient(score(x), x)

    def functional() -> Tensor:
        return squared_gradient_of(score, images)[0]

    ways: dict[str, Callable[[], Tensor]] = {
        "eager": eager,
        "functional": functional,
        "finite_difference": lambda: finite_difference(score(images), score(images + SIGMA * step), SIGMA),
    }
    if args.compile:
        ways["compiled"] = torch.compile(functional)

    def gradients(way: str) -> dict[str, Tensor]:
        game.D.zero_grad(set_to_none=True)
        ways[way]().mean().backward()
        return {name: p.grad.clone() for name, p in game.D.named_parameters() if p.grad is not None}

    expected = gradients("eager")
    differences = {"functional": largest_difference(gradients("functional"), expected)}
    before, wall = cpu_s(), time.perf_counter()
    if args.compile:
        differences["compiled"] = largest_difference(gradients("compiled"), expected)
    first_call = {"cpu_s": round(cpu_s() - before, 1), "wall_s": round(time.perf_counter() - wall, 1)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way, taken in seconds.items():
            began = time.process_time()
            gradients(way)
            taken.append(time.process_time() - began)
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    return {
        "cpu_s": {way: {"median": medians[way], "min": min(taken)} for way, taken in seconds.items()},
        "eager / way": {
            way: round(statistics.median(e / t for e, t in zip(seconds["eager"], seconds[way], strict=True)), 3) for way in ways
        },
        "first_call": first_call if args.compile else None,
        "largest difference of gradients": differences,
        "batch": args.batch,
        "config": args.config,
        "overrides": args.overrides,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {"biggan_scale": __version__, "torch": torch.__version__},
    }


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Over parameters, as a part of each one's largest gradient."""
    assert found.keys() == expected.keys(), "the same parameters have gradients"
    return max(float((found[n] - e).abs().max() / e.abs().max().clamp(min=1e-30)) for n, e in expected.items())


def cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="stylegan2_emoji64", help="a page of the game stylegan2 (default stylegan2_emoji64)")
    parser.add_argument("--batch", type=int, default=16, help="images (default 16)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: all cores)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each way is timed (default 5)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="compile as well (default)")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings over the page's")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    sys.exit(main())
