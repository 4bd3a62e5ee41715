"""A trained encoder and world model in the form that planning uses: folded, packed, with keys and values kept."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.inference.fast_predictor import FastPredictor, Prefix, stack
from worldmodel.inference.folding import FoldedProjector
from worldmodel.observation import ObservationBatch
from worldmodel.parts.frames import FrameEncoder
from worldmodel.parts.precision import DTYPES, Precision
from worldmodel.parts.tokens import vector_token
from worldmodel.parts.world_model import CausalWorldModel, SeenFrames
from worldmodel.recipe import Encoder, Latents, WorldModel


class FastEncoder:
    """`FrameEncoder` in evaluation mode, in float32, with BatchNorm folded into the projectors.

    It freezes the module in evaluation mode and copies its weights: change or move them before.
    """

    def __init__(self, module: FrameEncoder) -> None:
        self._module = module.eval().requires_grad_(False)
        self._cameras = {
            spec.name: (encoder, FoldedProjector(head, torch.float32)) for spec, encoder, head in module.cameras
        }

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Tokens and width of a frame."""
        return self._module.latent_shape

    @property
    def learned(self) -> list[int]:
        """Indices of the learned tokens."""
        return self._module.learned

    def encode(self, observation: ObservationBatch) -> Latents:
        """Latents [b n d]. Images have the size, and vectors the entries, that the model was trained on."""
        tokens = []
        for spec in self._module.sensors:
            values = observation.values[spec.name]
            if tuple(values.shape[1:]) != spec.shape:
                raise ValueError(f"sensor {spec.name} is {list(values.shape[1:])}; wanted {list(spec.shape)}")
            if spec.name in self._cameras:
                encoder, projector = self._cameras[spec.name]
                tokens.append(projector(encoder(self._module.pixels(values))))
            else:
                tokens.append(vector_token(spec.standardised(values), self._module.latent_width))
        return Latents(torch.stack(tokens, dim=1))


class FastWorldModel:
    """`CausalWorldModel` in evaluation mode, without gradients of the weights; `precision` is that of imagining.

    It freezes the predictor in that mode and copies its weights: change or move them before.
    """

    def __init__(self, plain: CausalWorldModel, precision: Precision = "float32") -> None:
        plain.predictor.eval().requires_grad_(False)
        self.plain = plain
        self._predictor = FastPredictor(plain.predictor, DTYPES[precision])

    def begin(self, context: Latents, past_actions: Float[Tensor, "b past a"]) -> Prefix:
        """The state after t frames, one model step apart, and the t - 1 model actions between them."""
        return self._predictor.begin(context.tokens.flatten(-2), past_actions)

    def stack(self, states: Sequence[Prefix]) -> Prefix:
        """The prefixes of several robots as one, in this order; all have seen equally many frames."""
        return stack(states)

    def rollout(self, state: Prefix, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h n d"]:
        """Latents imagined after each model step of each candidate.

        Where `actions` require gradients, the plain form computes them.
        """
        if actions.requires_grad:
            return self.plain.rollout(SeenFrames(state.context, state.past_actions), actions)
        return self.plain.split(self._predictor.rollout(state, actions))

    def predictions(
        self, latents: Float[Tensor, "b t n d"], actions: Float[Tensor, "b t-1 a"]
    ) -> Float[Tensor, "b t-1 n d"]:
        """Predicted latents of each frame but the first, from the plain form, with which surprise is calibrated."""
        return self.plain.predictions(latents, actions)


def fast_encoder(plain: Encoder) -> Encoder:
    """The same encoder, in its fast form where it has one."""
    return FastEncoder(plain) if isinstance(plain, FrameEncoder) else plain


def fast_world_model(plain: WorldModel, precision: Precision) -> WorldModel:
    """The same world model, in its fast form where it has one."""
    return FastWorldModel(plain, precision) if isinstance(plain, CausalWorldModel) else plain
