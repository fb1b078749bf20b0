"""The training step of NVlabs/stylegan2-ada-pytorch, from a checkout, on a CPU: who `step.py --game stylegan2 --peer PATH` races.

Its networks, losses and augmentation are imported as they are. Its loop asks for CUDA, so the round is written here after its
training/training_loop.py: one optimizer step for each due phase, the exponential average, the steering of p. On a CPU its custom
operations take the reference path that the project itself provides.

Needs `requests`, and `scipy` where the page augments; written against commit d72cc7d.
"""

from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from biggan_scale.config import ConfigError, RunConfig

warnings.filterwarnings("ignore", message=".*conv2d_gradfix not supported.*")


class Stylegan2Ada:
    """Steps like its `training_loop`, with the widths, batch and regularisers of one of our pages; random images in memory."""

    def __init__(self, checkout: Path, config: RunConfig) -> None:
        if not (checkout / "training" / "networks.py").is_file():
            raise ConfigError(f"--peer {checkout}: not a checkout of stylegan2-ada-pytorch (no training/networks.py)")
        if config.game.type != "stylegan2" or config.precision != "fp32":
            raise ConfigError("--peer: stylegan2-ada-pytorch is compared in game stylegan2 and precision fp32 only")
        sys.path.insert(0, str(checkout))
        from training import augment, loss, networks  # type: ignore[import-not-found]

        game, spec = config.game.config, config.image_spec()
        g, d, latent = game.generator.config, game.discriminator.config, game.prior.config
        sizes: dict[str, Any] = {"c_dim": spec.num_classes, "img_resolution": spec.height, "img_channels": spec.channels}
        synthesis = {"channel_base": g.channel_base, "channel_max": g.channel_max, "num_fp16_res": 0, "architecture": g.architecture}
        mapping = {"num_layers": g.mapping_layers, "w_avg_beta": game.w_decay}
        self.G = networks.Generator(
            z_dim=latent.dim, w_dim=g.w_dim, mapping_kwargs=mapping, synthesis_kwargs=synthesis | {"conv_clamp": g.conv_clamp}, **sizes
        )
        self.D = networks.Discriminator(
            architecture=d.architecture,
            channel_base=d.channel_base,
            channel_max=d.channel_max,
            conv_clamp=d.conv_clamp,
            mapping_kwargs={"num_layers": d.label_layers},
            epilogue_kwargs={"mbstd_group_size": d.mbstd_group},
            **sizes,
        )
        for network in (self.G, self.D):
            network.train().requires_grad_(False)
        self.G_ema = copy.deepcopy(self.G).eval()
        self.ada = game.augment.config if game.augment is not None else None
        self.augment = None
        if self.ada is not None:
            if game.augment.type != "ada" or max(self.ada.filter, self.ada.noise, self.ada.cutout) > 0:
                raise ConfigError("--peer: augmentation by ada with blit, geometry and color, or none")
            blit = dict.fromkeys(("xflip", "rotate90", "xint"), self.ada.blit)
            geometry = dict.fromkeys(("scale", "rotate", "aniso", "xfrac"), self.ada.geometry)
            color = dict.fromkeys(("brightness", "contrast", "lumaflip", "hue", "saturation"), self.ada.color)
            self.augment = augment.AugmentPipe(**blit, **geometry, **color).train().requires_grad_(False)
            self.augment.p.fill_(self.ada.p)
        self.loss = loss.StyleGAN2Loss(
            torch.device("cpu"),
            self.G.mapping,
            self.G.synthesis,
            self.D,
            augment_pipe=self.augment,
            style_mixing_prob=game.mixing,
            r1_gamma=game.r1,
            pl_batch_shrink=game.path_shrink,
            pl_decay=game.path_decay,
            pl_weight=game.path_length,
        )
        self.phases: list[tuple[str, torch.nn.Module, torch.optim.Optimizer, int]] = []
        for name, network, every in (("G", self.G, game.path_every), ("D", self.D, game.r1_every)):
            optimizer, c = config.optim[name], every / (every + 1)
            adam = torch.optim.Adam(
                network.parameters(), lr=optimizer.lr.from_ * c, betas=tuple(b**c for b in optimizer.betas), eps=optimizer.eps
            )
            self.phases += [(f"{name}main", network, adam, 1), (f"{name}reg", network, adam, every)]
        assert config.ema.half_life is not None, "base/stylegan2.yaml gives one"
        self.half_life = float(config.ema.half_life.images(config.batch_size) or 0)
        self.rampup = config.ema.rampup
        self.spec, self.batch, self.dim = spec, config.batch_size, latent.dim
        self.images_per_round, self.round_number = config.batch_size, 0
        self.parameters = {name: sum(p.numel() for p in network.parameters()) for name, network in (("D", self.D), ("G", self.G))}
        self.new_data()

    def new_data(self) -> None:
        """Outside of the time taken, as for ours."""
        self.images = torch.rand(self.batch, self.spec.channels, self.spec.height, self.spec.width) * 2 - 1
        labels = torch.randint(max(self.spec.num_classes, 1), (self.batch,))
        no_labels = torch.zeros(self.batch, 0)
        self.labels = torch.nn.functional.one_hot(labels, self.spec.num_classes).float() if self.spec.num_classes else no_labels

    def step(self) -> None:
        for name, network, optimizer, every in self.phases:
            if self.round_number % every:
                continue
            z = torch.randn(self.batch, self.dim)
            optimizer.zero_grad(set_to_none=True)
            network.requires_grad_(True)
            self.loss.accumulate_gradients(name, self.images, self.labels, z, self.labels, sync=True, gain=every)
            network.requires_grad_(False)
            for parameter in network.parameters():
                if parameter.grad is not None:
                    torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
            optimizer.step()
        nimg = self.round_number * self.batch
        half_life = self.half_life if self.rampup is None else min(self.half_life, nimg * self.rampup)
        beta = 0.5 ** (self.batch / max(half_life, 1e-8))
        for average, parameter in zip(self.G_ema.parameters(), self.G.parameters(), strict=True):
            average.copy_(parameter.lerp(average, beta))
        for average, buffer in zip(self.G_ema.buffers(), self.G.buffers(), strict=True):
            average.copy_(buffer)
        self.round_number += 1
