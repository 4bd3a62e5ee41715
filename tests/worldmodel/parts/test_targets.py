"""A target encoder follows its source, and only that way."""

import torch
from torch import Tensor, nn

from worldmodel.parts.targets import TargetEncoder


def source() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def moved(module: nn.Module) -> nn.Module:
    """Every parameter and running statistic 1 higher."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.add_(1)
    return module


def copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_it_begins_as_a_copy_that_its_source_does_not_move() -> None:
    online = source()
    target = TargetEncoder(online)
    before = copies(target.module)
    assert all(torch.equal(value, online.state_dict()[name]) for name, value in before.items())
    moved(online)
    assert all(torch.equal(value, target.module.state_dict()[name]) for name, value in before.items())


def test_it_follows_by_the_rest_of_the_momentum_and_takes_statistics_as_they_are() -> None:
    online = source()
    target = TargetEncoder(online)
    before = copies(target.module)
    target.follow(moved(online), momentum=0.9)
    parameters = dict(target.module.named_parameters())
    for name, value in target.module.state_dict().items():
        step = 0.1 if name in parameters else 1
        torch.testing.assert_close(value, before[name] + step if value.is_floating_point() else before[name] + 1)


def test_no_gradient_enters_it() -> None:
    target = TargetEncoder(source())
    given = torch.randn(5, 3, requires_grad=True)
    wanted = target(given)
    assert isinstance(wanted, Tensor) and not wanted.requires_grad
    assert not any(parameter.requires_grad for parameter in target.parameters())


def test_it_is_saved_with_what_holds_it() -> None:
    target = TargetEncoder(source())
    assert {name.split(".")[0] for name in target.state_dict()} == {"module"}
    other = TargetEncoder(moved(source()))
    other.load_state_dict(target.state_dict())
    assert torch.equal(other(torch.ones(2, 3)), target(torch.ones(2, 3)))  # type: ignore[arg-type]
