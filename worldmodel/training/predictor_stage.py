"""A second stage of training: the predictor alone, on latents of the frozen encoder, imagining as a planner does.

The mistakes that a plan runs into are the predictor's, and what a push in contact does is a hard function to learn.
With the encoder frozen every frame is encoded once, and latents cannot collapse, so none of the other losses is needed.
What is learnt is what a planner asks for: from one to `context` real frames, then from what was imagined. The error is
absolute, as that of V-JEPA 2-AC (arXiv:2506.09985), which also has a frozen encoder and one loss on real and one on
imagined frames: on PushT it left less squared error after as many steps than the squared error did.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor
from torch.optim import Optimizer

from worldmodel.data.latent_episodes import LatentEpisodes, actions_between
from worldmodel.heads.latent_training import train
from worldmodel.parts.precision import Precision, autocast
from worldmodel.parts.predictor import Predictor, band
from worldmodel.parts.rollout import naive_rollout
from worldmodel.training.saved_training import SavedTraining


@dataclass(frozen=True, kw_only=True)
class ImaginationTraining:
    """How the predictor learns by itself."""

    steps: int = 0
    """0 leaves it as it came out of the training with the encoder."""
    batch: int = 256
    learning_rate: float = 1e-3
    save_every_s: float = 30.0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch < 1:
            raise ValueError(f"steps={self.steps} must be at least 0 and batch={self.batch} at least 1")


def fit_imagination(
    predictor: Predictor,
    data: LatentEpisodes,
    actions: Float[Tensor, "rows x"],
    training: ImaginationTraining,
    *,
    context: int,
    horizon: int,
    control_steps: int,
    precision: Precision,
    seed: int,
    folder: Path,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train `predictor`, in place and with its BatchNorm as it is; `on_step(step, loss)` is called after each step.

    `actions` are unitless, row by row what was done after each latent. Episodes shorter than a
    clip of `context + horizon` frames are left out; one at least must not be. `folder` keeps how far it came: a call
    with the same predictor and data goes on from there. Raises DatasetError when other settings were kept there.
    """
    if training.steps == 0:
        return
    starts = data.starts(context + horizon, control_steps)
    generator = Generator().manual_seed(seed)

    def loss() -> Tensor:
        chosen = starts[torch.randint(len(starts), (training.batch,), generator=generator)]
        seen = int(torch.randint(1, context + 1, (1,), generator=generator))
        frames = seen + horizon
        latents = data.clips(chosen, frames, control_steps)
        done = actions_between(actions, chosen, frames, control_steps)
        with autocast(precision, data.device):
            predicted = imagine(predictor, latents[:, :seen], done)
        errors = F.l1_loss(predicted.float(), latents[:, 1:], reduction="none").mean((0, 2))  # [t-1]
        return errors[:seen].mean() + errors[seen:].mean()

    def saved_by(optimiser: Optimizer) -> SavedTraining:
        saved = SavedTraining(folder, predictor, optimiser, generator, training.save_every_s)
        saved.claim({**dataclasses.asdict(training), "precision": precision, "seed": seed})
        return saved

    predictor.eval().requires_grad_(True)
    train(
        predictor,
        loss,
        steps=training.steps,
        learning_rate=training.learning_rate,
        on_step=on_step,
        saved_by=saved_by,
    )


def imagine(
    predictor: Predictor, context: Float[Tensor, "b t d"], actions: Float[Tensor, "b steps a"]
) -> Float[Tensor, "b steps d"]:
    """What the predictor says after each action: the first t of them from the frames of `context`, the others from what
    it said before. With gradients; rotary positions let keys and values be kept, so each token runs once."""
    seen = context.shape[1]
    if predictor.config.positions != "rotary":
        told = predictor(context, actions[:, :seen])[:, :-1]
        imagined = naive_rollout(predictor, context, actions[:, : seen - 1], actions[:, None, seen - 1 :])[:, 0]
        return torch.cat([told, imagined], dim=1)
    conditions = predictor.action_encoder(actions)
    kept = _Kept(predictor)
    newest = kept.advance(context, conditions[:, :seen])
    said = [newest]
    for step in range(seen, actions.shape[1]):
        newest = kept.advance(newest[:, -1:], conditions[:, step : step + 1])
        said.append(newest)
    return torch.cat(said, dim=1)


class _Kept:
    """Keys and values of the tokens so far, in each block."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._tokens = 0
        self._keys_values: list[tuple[Tensor, Tensor] | None] = [None] * predictor.config.depth

    def advance(self, latents: Float[Tensor, "b t d"], conditions: Float[Tensor, "b t w"]) -> Float[Tensor, "b t d"]:
        """The predicted latents after these, which follow on those before."""
        predictor, steps = self._predictor, latents.shape[1]
        tokens = predictor.enter(latents)
        visible = band(self._tokens + steps, predictor.config.window, latents.device)[-steps:]
        for index, block in enumerate(predictor.every_block()):
            modulations = block.modulations(conditions)
            query, key, value = block.queries_keys_values(tokens, modulations[0], modulations[1], first=self._tokens)
            if (before := self._keys_values[index]) is not None:
                key, value = torch.cat([before[0], key], dim=-2), torch.cat([before[1], value], dim=-2)
            self._keys_values[index] = key, value
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
            tokens = block.finish(tokens, attended, modulations)
        self._tokens += steps
        return predictor.leave_from(tokens, latents)
