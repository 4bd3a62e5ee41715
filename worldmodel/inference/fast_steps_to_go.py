"""Steps to go for planning: many latents, one goal a robot.

The first layer reads latent, goal and their difference. Its weights fold into two parts, so that the goal's part is
computed once for all latents.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.heads.steps_to_go import StepsToGo
from worldmodel.inference.folding import affine
from worldmodel.inference.packed_linear import PackedLinear
from worldmodel.parts.tokens import pool
from worldmodel.recipe import LatentDistance


class FastStepsToGo:
    """`StepsToGo` in evaluation mode, in float32.

    It copies the weights: later changes to `head`, which keeps the trained form, have no effect.
    """

    def __init__(self, head: StepsToGo) -> None:
        self.head = head.eval().requires_grad_(False)
        weight, bias = affine(head.layers[0])
        of_latent, of_goal, of_difference = weight.chunk(3, dim=1)
        self._from_latents = PackedLinear(of_latent + of_difference, torch.zeros_like(bias), torch.float32)
        self._from_goal = PackedLinear(of_goal - of_difference, bias, torch.float32)
        self._hidden = PackedLinear(*affine(head.layers[3]), torch.float32)

    def __call__(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]:
        """Model steps from each latent to its robot's goal, in (0, longest). Has gradients where they have."""
        if latents.requires_grad:
            return self.head(latents, goal)
        _, norm, act, _, hidden_norm, _, leave = cast(list[nn.Module], list(self.head.layers))
        read, wanted = (pool(each, self.head.config.pooling) for each in (latents, goal))
        entered = self._from_latents(read) + self._from_goal(wanted)[:, None, None]
        return self.head.in_range(leave(act(hidden_norm(self._hidden(act(norm(entered)))))))


def fast_distance(head: nn.Module) -> LatentDistance:
    """The same distance, in its fast form where it has one."""
    return FastStepsToGo(head) if isinstance(head, StepsToGo) else head
