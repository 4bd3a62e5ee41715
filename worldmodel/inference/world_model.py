"""A trained recipe as the world model that a planner uses."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from worldmodel.inference.fast_predictor import FastPredictor, Prefix, stack
from worldmodel.inference.folding import FoldedProjector
from worldmodel.parts.precision import DTYPES, Precision
from worldmodel.parts.rollout import naive_rollout
from worldmodel.recipes.joint_embedding import JointEmbedding


class LatentWorldModel(nn.Module):
    """A recipe for inference: one latent token a frame (n = 1), no gradients, BatchNorm on its running statistics.

    `recipe` keeps the trained weights, which are what a checkpoint stores and what surprise was calibrated with.
    Encoding and imagining use copies of them, folded and laid out for speed when the model is made or moved:
    change weights before. `precision` is that of imagining; frames are always encoded in float32.
    """

    def __init__(self, recipe: JointEmbedding, precision: Precision = "float32") -> None:
        super().__init__()
        self.recipe = recipe.eval().requires_grad_(False)
        self.precision: Precision = precision
        self._fold()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.recipe.pixel_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """What imagining computes its matrix products in. Latents are float32 whatever it is."""
        return DTYPES[self.precision]

    def encode(self, observation: UInt8[Tensor, "b height width 3"]) -> Float[Tensor, "b 1 d"]:
        """Latent of one RGB image a robot. The image has the size that the recipe was trained on."""
        side = self.recipe.config.image_px
        if observation.shape[1:3] != (side, side):
            raise ValueError(
                f"images are {tuple(observation.shape[1:3])} px; wanted ({side}, {side}): resize them first"
            )
        return self._projector(self.recipe.features(observation)).unsqueeze(1)

    def begin(self, context: Float[Tensor, "b t 1 d"], past_actions: Float[Tensor, "b t-1 a"]) -> Prefix:
        """Take in t frames, one model step apart, and the t - 1 model actions between them."""
        return self._predictor.begin(context.squeeze(2), past_actions)

    def stack(self, states: Sequence[Prefix]) -> Prefix:
        """One prefix of all these robots, in this order; each has taken in equally many frames."""
        return stack(states)

    def rollout(self, state: Prefix, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h 1 d"]:
        """Latents imagined after each model step of each candidate.

        Where `actions` want gradients, the plain way, which has them.
        """
        if actions.requires_grad:
            return naive_rollout(self.recipe.predictor, state.context, state.past_actions, actions).unsqueeze(3)
        return self._predictor.rollout(state, actions).unsqueeze(3)

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

    def _fold(self) -> None:
        self._projector = FoldedProjector(self.recipe.projector, torch.float32)
        self._predictor = FastPredictor(self.recipe.predictor, self.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LatentWorldModel":
        """Moving the weights moves their folded copies."""
        super()._apply(fn, recurse)
        self._fold()
        return self
