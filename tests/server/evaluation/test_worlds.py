import dataclasses

import pytest

from envs import ENVS, env_class
from server.evaluation.protocols import PROTOCOLS, PairStream
from server.evaluation.worlds import ALL, NOMINAL, world_names


@pytest.mark.parametrize("env_id", sorted(ENVS))
def test_every_world_differs_in_its_factor_alone_and_has_possible_pairs(env_id: str):
    env = env_class(env_id)(render_mode=None)
    factors = {field.name for field in dataclasses.fields(env.variation_class)}
    names = world_names(env.variation_class)
    stream = PairStream(env_id=env_id, protocol=PROTOCOLS["variation"], seed=0)
    assert names[0] == NOMINAL and set(names[1:-1]) == factors and names[-1] == ALL
    for name in names:
        world = stream.world(env.variation_class, name, episode=3)
        assert world == stream.world(env.variation_class, name, episode=3)
        wanted = {NOMINAL: set(), ALL: factors}.get(name, {name})
        assert set(world.changed()) == wanted
        pair = stream.pair(env, 3, world)
        env.reset(options={"state": pair.start, "goal_state": pair.goal, "variation": world})
        assert env.variation == world
    assert stream.world(env.variation_class, ALL, 3) != stream.world(env.variation_class, ALL, 4)
