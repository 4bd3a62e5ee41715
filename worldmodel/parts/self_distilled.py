"""The part of an encoder alone that all masked JEPAs share: it learns from a moving average of itself."""

from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.parts.targets import Momentum, TargetEncoder
from worldmodel.recipe import ParameterGroup, Step, decayed_matrices


class SelfDistilled(nn.Module):
    """An encoder and its moving average, which gives the targets and is what is served.

    A recipe's constructor sets these three, `target` after the encoder's weights are initialised.
    """

    encoder: nn.Module
    target: TargetEncoder
    momentum: Momentum

    def groups(self) -> list[ParameterGroup]:
        """Everything but the target encoder."""
        return decayed_matrices(each for each in self.parameters() if each.requires_grad)

    def after_step(self, step: Step) -> None:
        """The target follows the encoder."""
        self.target.follow(self.encoder, self.momentum.at(step.progress))

    def _targets(self, pixels: Float[Tensor, "b 3 t height width"]) -> Float[Tensor, "b n d"]:
        """The target encoder's latents of all pixels."""
        latents = self.target(pixels)
        assert isinstance(latents, Tensor)
        return latents
