"""Published LeWorldModel files give the latents and predictions that the published code would have given.

The published forward pass is written here once more, from the paper's sheet and in plain functions of a state dict.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from server.cli import main
from worldmodel.checkpoint import Checkpoint, load_checkpoint
from worldmodel.errors import CheckpointError
from worldmodel.manifest import ActionSpec, LatentSpec, PlanningSpec
from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.published.lewm import Published, import_lewm
from worldmodel.recipe import Latents

WIDTH, HEADS, DEPTH, SIDE, PATCH = 192, 3, 12, 28, 14  # the published ViT-Tiny, with a small image
PREDICTOR = {
    "_target_": "stable_worldmodel.wm.lewm.module.Predictor",
    "num_frames": 3,
    "input_dim": WIDTH,
    "hidden_dim": WIDTH,
    "output_dim": WIDTH,
    "depth": 2,
    "heads": 4,
    "mlp_dim": 96,
    "dim_head": 16,
    "dropout": 0.1,
    "emb_dropout": 0.0,
}
CONFIG: dict[str, Any] = {
    "_target_": "stable_worldmodel.wm.lewm.LeWM",
    "encoder": {"_target_": "vit_hf", "size": "tiny", "patch_size": PATCH, "image_size": SIDE, "pretrained": False},
    "predictor": PREDICTOR,
    "action_encoder": {"_target_": "Embedder", "input_dim": 10, "emb_dim": WIDTH},
    "projector": {"input_dim": WIDTH, "output_dim": WIDTH, "hidden_dim": 64},
    "pred_proj": {"input_dim": WIDTH, "output_dim": WIDTH, "hidden_dim": 64},
}
ACTION = ActionSpec(names=("x", "y"), units=("m", "m"), low=(-1.0, 0.0), high=(3.0, 0.5), dt_s=0.1, control_steps=5)
MEAN, STD = (0.25, 0.1), (0.7, 0.05)
WEIGHTS: dict[str, tuple[int, ...]] = {
    "encoder.embeddings.patch_embeddings.projection": (WIDTH, 3, PATCH, PATCH),
    **{
        f"encoder.layers.{i}.{name}": shape
        for i in range(DEPTH)
        for name, shape in {
            **{f"attention.{part}_proj": (WIDTH, WIDTH) for part in "qkvo"},
            "mlp.fc1": (768, WIDTH),
            "mlp.fc2": (WIDTH, 768),
        }.items()
    },
    **{
        f"predictor.transformer.layers.{i}.{name}": shape
        for i in range(2)
        for name, shape in {
            "attn.to_qkv": (192, WIDTH),
            "attn.to_out.0": (WIDTH, 64),
            "mlp.net.1": (96, WIDTH),
            "mlp.net.4": (WIDTH, 96),
            "adaLN_modulation.1": (6 * WIDTH, WIDTH),
        }.items()
    },
    "action_encoder.patch_embed": (10, 10, 1),
    "action_encoder.embed.0": (768, 10),
    "action_encoder.embed.2": (WIDTH, 768),
    **{
        f"{name}.net.{i}": shape
        for name in ("projector", "pred_proj")
        for i, shape in ((0, (64, WIDTH)), (3, (WIDTH, 64)))
    },
}
NORMS = {
    **{f"encoder.layers.{i}.layernorm_{where}": WIDTH for i in range(DEPTH) for where in ("before", "after")},
    "encoder.layernorm": WIDTH,
    **{f"predictor.transformer.layers.{i}.{name}": WIDTH for i in range(2) for name in ("attn.norm", "mlp.net.0")},
    "predictor.transformer.norm": WIDTH,
    "projector.net.1": 64,
    "pred_proj.net.1": 64,
}
State = dict[str, Tensor]


def published_state() -> State:
    """Random weights under the names of transformers 5; attention of the predictor has no bias."""
    generator = Generator().manual_seed(0)

    def normal(*shape: int, scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=generator)

    state = {
        "encoder.embeddings.cls_token": normal(1, 1, WIDTH, scale=1),
        "encoder.embeddings.position_embeddings": normal(1, (SIDE // PATCH) ** 2 + 1, WIDTH, scale=1),
        "predictor.pos_embedding": normal(1, 3, WIDTH, scale=1),
    }
    for name, shape in WEIGHTS.items():
        state[f"{name}.weight"] = normal(*shape, scale=shape[1] ** -0.5)
        if not name.endswith("to_qkv"):
            state[f"{name}.bias"] = normal(shape[0], scale=0.3)
    for name, width in NORMS.items():
        state[f"{name}.weight"] = 1 + normal(width, scale=0.3)
        state[f"{name}.bias"] = normal(width, scale=0.3)
        if name.endswith("net.1"):
            state[f"{name}.running_mean"] = normal(width, scale=1)
            state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=generator)
            state[f"{name}.num_batches_tracked"] = torch.tensor(1000)
    return state


def old_names(state: State) -> State:
    """The same under the names of transformers 4."""
    words = {"q": "query", "k": "key", "v": "value"}

    def old(key: str) -> str:
        key = re.sub(r"\.attention\.([qkv])_proj", lambda m: f".attention.attention.{words[m[1]]}", key)
        for new, name in (("attention.o_proj", "attention.output.dense"), ("mlp.fc1", "intermediate.dense")):
            key = key.replace(new, name)
        return key.replace("mlp.fc2", "output.dense").replace("encoder.layers.", "encoder.encoder.layer.")

    return {old(key): value for key, value in state.items()}


class PublishedForward:
    """The published model, from its sheet."""

    def __init__(self, state: State) -> None:
        self.state = state

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps)

    def mlp(self, name: str, x: Tensor) -> Tensor:
        """Linear, BatchNorm on running statistics, GELU, Linear."""
        hidden, s = self.linear(f"{name}.net.0", x), self.state
        mean, variance = s[f"{name}.net.1.running_mean"], s[f"{name}.net.1.running_var"]
        hidden = (hidden - mean) / (variance + 1e-5).sqrt() * s[f"{name}.net.1.weight"] + s[f"{name}.net.1.bias"]
        return self.linear(f"{name}.net.3", F.gelu(hidden))

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [b height width 3] to [b 192]."""
        pixels = frames.permute(0, 3, 1, 2).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = (pixels - mean[:, None, None]) / std[:, None, None]
        name = "encoder.embeddings.patch_embeddings.projection"
        patches = F.conv2d(pixels, self.state[f"{name}.weight"], self.state[f"{name}.bias"], stride=PATCH)
        x = torch.cat(
            [self.state["encoder.embeddings.cls_token"].expand(len(frames), -1, -1), patches.flatten(2).mT], 1
        )
        x = x + self.state["encoder.embeddings.position_embeddings"]
        for i in range(DEPTH):
            layer = f"encoder.layers.{i}"
            y = self.norm(f"{layer}.layernorm_before", x, 1e-12)
            q, k, v = (
                self.linear(f"{layer}.attention.{part}_proj", y).unflatten(-1, (HEADS, -1)).transpose(1, 2)
                for part in "qkv"
            )
            weights = (q @ k.mT / 8).softmax(-1)
            x = x + self.linear(f"{layer}.attention.o_proj", (weights @ v).transpose(1, 2).flatten(2))
            y = self.norm(f"{layer}.layernorm_after", x, 1e-12)
            x = x + self.linear(f"{layer}.mlp.fc2", F.gelu(self.linear(f"{layer}.mlp.fc1", y)))
        return self.mlp("projector", self.norm("encoder.layernorm", x, 1e-12)[:, 0])

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents [b t 192] and standardised actions [b t 10] to the next latent [b 192]; t is at most 3."""
        name = "action_encoder.patch_embed"
        a = F.conv1d(actions.mT, self.state[f"{name}.weight"], self.state[f"{name}.bias"]).mT
        a = self.linear("action_encoder.embed.2", F.silu(self.linear("action_encoder.embed.0", a)))
        steps = latents.shape[1]
        x = latents + self.state["predictor.pos_embedding"][:, :steps]
        for i in range(2):
            layer = f"predictor.transformer.layers.{i}"
            s1, c1, g1, s2, c2, g2 = self.linear(f"{layer}.adaLN_modulation.1", F.silu(a)).chunk(6, -1)
            y = F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + c1) + s1
            q, k, v = self.linear(f"{layer}.attn.to_qkv", self.norm(f"{layer}.attn.norm", y, 1e-5)).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (4, 16)).transpose(1, 2) for part in (q, k, v))
            later = torch.ones(steps, steps).triu(1).bool()
            weights = (q @ k.mT / 4).masked_fill(later, -torch.inf).softmax(-1)
            x = x + g1 * self.linear(f"{layer}.attn.to_out.0", (weights @ v).transpose(1, 2).flatten(2))
            y = F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + c2) + s2
            y = F.gelu(self.linear(f"{layer}.mlp.net.1", self.norm(f"{layer}.mlp.net.0", y, 1e-5)))
            x = x + g2 * self.linear(f"{layer}.mlp.net.4", y)
        return self.mlp("pred_proj", self.norm("predictor.transformer.norm", x, 1e-5)[:, -1])


def standardised(unitless: Tensor) -> Tensor:
    """What the published code would have made of the physical actions that Telos means, [... 10]."""
    steps = unitless.unflatten(-1, (5, 2))
    low, high = torch.tensor(ACTION.low), torch.tensor(ACTION.high)
    physical = low + (steps + 1) / 2 * (high - low)
    return ((physical - torch.tensor(MEAN)) / torch.tensor(STD)).flatten(-2)


def write(folder: Path, state: Any, config: Any = CONFIG) -> Published:
    torch.save(state, folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps(config))
    return Published(
        weights=folder / "weights.pt",
        config=folder / "config.json",
        action=ACTION,
        action_mean=MEAN,
        action_std=STD,
        camera="top",
        task="",
    )


def imported(folder: Path, state: Any) -> Checkpoint:
    import_lewm(write(folder, state), folder / "pusht", {})
    return load_checkpoint(folder / "pusht")


def close(given: Tensor, wanted: Tensor) -> None:
    assert float((given - wanted).norm() / wanted.norm()) < 1e-5


@pytest.mark.parametrize("form", ["transformers 5", "transformers 4", "wrapped"])
def test_latents_and_predictions_are_the_published_ones(tmp_path: Path, form: str) -> None:
    state = published_state()
    stored = {"transformers 5": state, "transformers 4": old_names(state), "wrapped": {"state_dict": state}}[form]
    loaded, published = imported(tmp_path, stored), PublishedForward(state)
    encoder, model = loaded.encoder, loaded.world_model
    assert encoder is not None and model is not None
    generator = Generator().manual_seed(1)
    frames = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    latents = encoder.encode(ObservationBatch({"top": frames})).tokens
    close(latents[:, 0], published.encode(frames))
    past = torch.rand(1, 1, 10, generator=generator) * 2 - 1
    future = torch.rand(1, 3, 4, 10, generator=generator) * 2 - 1
    imagined = model.rollout(model.begin(Latents(latents[None]), past), future)[0, :, :, 0]  # [s h d]
    for candidate in range(3):
        seen, taken = latents[None, :, 0], torch.cat([past, future[:, candidate]], 1)
        for step in range(4):
            window = slice(max(0, step - 1), step + 2)
            following = published.predict(seen[:, window], standardised(taken[:, window]))
            close(imagined[candidate, step], following[0])
            seen = torch.cat([seen, following[:, None]], 1)


def test_an_imported_model_raises_no_alarm_that_nobody_calibrated(tmp_path: Path) -> None:
    """It has a camera, latents and planning as published, and no calibration."""
    manifest = imported(tmp_path, published_state()).manifest
    assert manifest.calibration is None and not manifest.heads and not manifest.parents
    assert manifest.sensors == (SensorSpec(name="top", kind="camera", shape=(SIDE, SIDE, 3), resize="bilinear"),)
    assert manifest.latent == LatentSpec(tokens=1, width=WIDTH)
    assert manifest.planning == PlanningSpec(context_frames=3, horizon=5, goal_distance_scale=384.0)


def without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "pred_proj.net.1.running_var"), "lack pred_proj.net.1.running_var"),
        (
            lambda s: without(s, "encoder.layers.3.attention.k_proj.weight"),
            "lack encoder.layers.3.attention.k_proj.weight",
        ),
        (lambda s: {**s, "decoder.weight": torch.zeros(3)}, "unknown decoder.weight"),
        (lambda s: {}, "not a state dict"),
        (lambda s: [1, 2], "not a state dict"),
        (lambda s: {"epoch": 3, **s}, "not a state dict"),
        (
            lambda s: {**s, "predictor.pos_embedding": torch.zeros(1, 4, WIDTH)},
            r"is \[1, 4, 192\]; .* wants \[1, 3, 192\]",
        ),
        (
            lambda s: {**s, "predictor.transformer.norm.bias": torch.full((WIDTH,), torch.nan)},
            "norm.bias is not finite",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        imported(tmp_path, change(published_state()))
    assert not (tmp_path / "pusht").exists()


class Planted:
    """A pickle that runs a command when it is opened the careless way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    published = write(tmp_path, {**published_state(), "x": Planted(tmp_path / "ran")})
    with pytest.raises(CheckpointError, match=r"weights.pt is not a file of plain tensors and was refused"):
        import_lewm(published, tmp_path / "pusht", {})
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_no_pickle_and_one_that_is_not_there(tmp_path: Path) -> None:
    published = write(tmp_path, {})
    published.weights.write_bytes(b"weights")
    with pytest.raises(CheckpointError, match="was refused"):
        import_lewm(published, tmp_path / "pusht", {})
    published.weights.unlink()
    with pytest.raises(CheckpointError, match=r"weights.pt cannot be read"):
        import_lewm(published, tmp_path / "pusht", {})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "not a configuration of a published LeWorldModel"),
        ({**CONFIG, "encoder": {**CONFIG["encoder"], "size": "giant"}}, "encoder.size is 'giant'; wanted one of tiny"),
        ({**CONFIG, "predictor": {**PREDICTOR, "hidden_dim": 384}}, "must have one width"),
        ({**CONFIG, "predictor": {**PREDICTOR, "depth": "6"}}, "not a configuration"),
        (
            {**CONFIG, "action_encoder": {"input_dim": 15, "emb_dim": WIDTH}},
            "one model step has 15 actions; 2 names x 5",
        ),
        ({key: value for key, value in CONFIG.items() if key != "pred_proj"}, "KeyError 'pred_proj'"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        import_lewm(write(tmp_path, published_state(), config), tmp_path / "pusht", {})


def arguments(folder: Path) -> list[str]:
    given = ["models", "import", "lewm", "--weights", folder / "weights.pt", "--config", folder / "config.json"]
    given += ["--out", folder / "pusht", "--action-names", "x", "y", "--action-units", "m", "m", "--dt-s", 0.1]
    for name, values in (("low", ACTION.low), ("high", ACTION.high), ("mean", MEAN), ("std", STD)):
        given += [f"--action-{name}", *values]
    return list(map(str, given))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, old_names(published_state()))
    assert main(arguments(tmp_path)) == 0
    assert "telos models show pusht" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "pusht").manifest.action == ACTION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: [*a, "--action-std", "1"], "must have one value for each of x, y"),
        (lambda a: [*a, "--action-std", "1", "0"], "every std must be above 0"),
        (lambda a: ["models", "import", "dreamer", *a[3:]], "give the kind of published files, which is lewm"),
        (lambda a: a[:-3], "import also needs --action-std"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    write(tmp_path, published_state())
    assert main(change(arguments(tmp_path))) == 2
    assert message in capsys.readouterr().err
