"""Mixed precision: which dtype convolutions run in, and the loss scale that half precision needs.

fp32: plain. bf16: autocast. fp16: autocast and a gradient scaler for each player, so that an overflow of D does not lower G's
scale. fp64: everything in double, for checks. Losses, penalties, normalisation statistics and spectral norms stay in fp32 (their
own code sees to that).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    def __init__(self, name: str, device: torch.device, players: Iterable[str]) -> None:
        self.dtype = torch.float64 if name == "fp64" else torch.float32  # of parameters, images and noise
        self._device_type = device.type
        self._autocast = _AUTOCAST.get(name)
        self._scalers = {player: GradScaler(device.type) for player in players} if name == "fp16" else {}

    def autocast(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._device_type, self._autocast)

    def scale(self, player: str, loss: Tensor) -> Tensor:
        """The loss to differentiate."""
        return self._scalers[player].scale(loss) if player in self._scalers else loss

    def unscale(self, player: str, optimizer: Optimizer) -> None:
        """Give gradients their true size back."""
        if player in self._scalers:
            self._scalers[player].unscale_(optimizer)

    def step(self, player: str, optimizer: Optimizer) -> None:
        """Step on finite gradients."""
        if player in self._scalers:
            self._scalers[player].step(optimizer)
            self._scalers[player].update()
        else:
            optimizer.step()

    def skip(self, player: str) -> bool:
        """After non-finite gradients: lower the scale. False where there is no scale to blame, or it has come down to 1 already."""
        if player not in self._scalers:
            return False
        blamed = self._scalers[player].get_scale() > 1
        self._scalers[player].update()
        return blamed

    def state_dict(self) -> dict[str, dict[str, float]]:
        return {player: scaler.state_dict() for player, scaler in self._scalers.items()}

    def load_state_dict(self, state: dict[str, dict[str, float]]) -> None:
        for player, scaler in self._scalers.items():
            scaler.load_state_dict(state[player])
