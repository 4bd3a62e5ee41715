"""A causal predictor as a world model: the plain form, the reference for the fast one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.parts.predictor import Predictor
from worldmodel.parts.rollout import naive_rollout
from worldmodel.recipe import Latents


@dataclass(frozen=True)
class SeenFrames:
    """Frames [b t n*d] seen so far, and the actions [b t-1 a] between them."""

    context: Tensor
    past_actions: Tensor


@dataclass(frozen=True)
class CausalWorldModel:
    """Imagines with a `Predictor`, which reads the tokens of a frame side by side, as one vector."""

    predictor: Predictor
    tokens: int
    """Number of tokens of one frame."""

    def begin(self, context: Latents, past_actions: Float[Tensor, "b past a"]) -> SeenFrames:
        """The state after t frames, one model step apart, and the t - 1 model actions between them."""
        return SeenFrames(context.tokens.flatten(-2), past_actions)

    def stack(self, states: Sequence[SeenFrames]) -> SeenFrames:
        """The states of several robots as one batch, in this order; all have seen equally many frames."""
        return SeenFrames(
            torch.cat([state.context for state in states]), torch.cat([state.past_actions for state in states])
        )

    def rollout(self, state: SeenFrames, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h n d"]:
        """Latents imagined after each model step of each candidate. Has gradients where actions or weights have."""
        return self.split(naive_rollout(self.predictor, state.context, state.past_actions, actions))

    def predictions(
        self, latents: Float[Tensor, "b t n d"], actions: Float[Tensor, "b t-1 a"]
    ) -> Float[Tensor, "b t-1 n d"]:
        """Predicted latents of each frame but the first, from at most a window of frames before it."""
        flat, window = latents.flatten(-2), self.predictor.config.window
        predicted = []
        for end in range(1, flat.shape[1]):
            start = max(0, end - window)
            predicted.append(self.predictor(flat[:, start:end], actions[:, start:end])[:, -1])
        return self.split(torch.stack(predicted, dim=1))

    def split(self, flat: Float[Tensor, "*b nd"]) -> Float[Tensor, "*b n d"]:
        """Frames of side-by-side tokens as tokens."""
        return flat.unflatten(-1, (self.tokens, -1))
