"""The help of `telos collect` lists the environments without importing them."""

from envs import ENVS
from server.commands.collect import ENVIRONMENTS


def test_the_environments_in_the_help_exist() -> None:
    assert set(ENVIRONMENTS) <= set(ENVS)
