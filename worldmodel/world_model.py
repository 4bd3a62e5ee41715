"""A trained recipe as the world model that a planner uses."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from worldmodel.recipes.lewm import LeWM
from worldmodel.rollout import Prefix, begin, cached_rollout, naive_rollout, stack


class LatentWorldModel(nn.Module):
    """LeWM for inference: one latent token a frame (n = 1), no gradients, BatchNorm on its running statistics."""

    def __init__(self, recipe: LeWM) -> None:
        super().__init__()
        self.recipe = recipe.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.recipe.pixel_scale.device

    def encode(self, observation: UInt8[Tensor, "b height width 3"]) -> Float[Tensor, "b 1 d"]:
        """Latent of one RGB image a robot. The image has the size that the recipe was trained on."""
        side = self.recipe.config.image_px
        if observation.shape[1:3] != (side, side):
            raise ValueError(
                f"images are {tuple(observation.shape[1:3])} px; wanted ({side}, {side}): resize them first"
            )
        return self.recipe.encode(observation).unsqueeze(1)

    def begin(self, context: Float[Tensor, "b t 1 d"], past_actions: Float[Tensor, "b t-1 a"]) -> Prefix:
        """Take in t frames, one model step apart, and the t - 1 model actions between them."""
        return begin(self.recipe.predictor, context.squeeze(2), past_actions)

    def stack(self, states: Sequence[Prefix]) -> Prefix:
        """One prefix of all these robots, in this order; each has taken in equally many frames."""
        return stack(states)

    def rollout(self, state: Prefix, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h 1 d"]:
        """Latents imagined after each model step of each candidate."""
        relative = self.recipe.config.predictor.positions == "rotary"
        return (cached_rollout if relative else naive_rollout)(self.recipe.predictor, state, actions).unsqueeze(3)

    def surprise(self, latents: Float[Tensor, "b t 1 d"], actions: Float[Tensor, "b t-1 a"]) -> Float[Tensor, "b t-1"]:
        """Squared distance between each frame's latent and its prediction from the frames and actions before it.

        LeWorldModel's violation of expectation (arXiv:2603.19312, section 5): summed over the latent's channels. The
        predictor is given its window, the newest frames.
        """
        predictor, flat = self.recipe.predictor, latents.squeeze(2)
        reach = predictor.config.window
        errors = []
        for end in range(1, flat.shape[1]):
            start = max(0, end - reach)
            predicted = predictor(flat[:, start:end], actions[:, start:end])[:, -1]
            errors.append((predicted - flat[:, end]).square().sum(-1))
        return torch.stack(errors, dim=1)
