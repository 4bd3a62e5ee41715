"""A world of many latent tokens: each step mixes them with each other and with the action, as a token model does."""

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor


@dataclass
class TokenWorldModel:
    """An MLP mixer (Tolstikhin et al. 2021, arXiv:2105.01601) with random weights, one block a model step."""

    down: Tensor
    """[hidden n], mixes tokens"""
    up: Tensor
    """[n hidden]"""
    channels: Tensor
    """[d d]"""
    push: Tensor
    """[a n*d], how each action moves each token"""
    chunks: list[int] = field(default_factory=list)
    """Candidates of one robot in each rollout."""

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """Latents [b s h n d] from the latents [b n d] of the newest frame."""
        self.chunks.append(actions.shape[1])
        latents = state.repeat_interleave(actions.shape[1], dim=0)  # [b*s n d]
        imagined = []
        for action in actions.flatten(0, 1).unbind(1):
            latents = self._step(latents, action)
            imagined.append(latents)
        return torch.stack(imagined, dim=1).unflatten(0, actions.shape[:2])

    def _step(self, latents: Tensor, action: Tensor) -> Tensor:
        moved = torch.addmm(latents.flatten(1), action, self.push).view_as(latents)
        mixed = torch.baddbmm(moved, self.up.expand(len(moved), -1, -1), torch.tanh(self.down @ moved))
        return torch.add(mixed, torch.relu_(mixed @ self.channels), alpha=0.3)


def token_world(*, tokens: int = 256, width: int = 128, actions: int = 2, hidden: int = 32) -> TokenWorldModel:
    """The same weights each time."""
    generator = Generator().manual_seed(0)

    def weights(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    return TokenWorldModel(
        down=weights(hidden, tokens),
        up=0.3 * weights(tokens, hidden),
        channels=weights(width, width),
        push=torch.randn(actions, tokens * width, generator=generator),
    )
