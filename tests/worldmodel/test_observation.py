"""Readings of sensors: checked and resized in one place, for training, serving and evaluation alike."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import PROPRIOCEPTION, SEVERAL, TOP, WRIST
from worldmodel.errors import CheckpointError, SensorError
from worldmodel.observation import ObservationBatch, SensorSpec, observe

GRIPPER = SensorSpec(
    name="gripper",
    kind="vector",
    shape=(2,),
    names=("turn", "opening"),
    units=("rad", "m"),
    low=(-3.2, 0.0),
    high=(3.2, 0.1),
)


def camera(height_px: int, width_px: int, resize: Any = "area") -> SensorSpec:
    return SensorSpec(name="top", kind="camera", shape=(height_px, width_px, 3), resize=resize)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def honest() -> dict[str, np.ndarray]:
    """Readings of every sensor of SEVERAL, as a robot sends them."""
    return {"top": picture(32, 32), "wrist": picture(48, 64), "proprioception": np.full(7, 0.05)}


class TestCameras:
    def test_an_image_of_the_right_size_is_left_alone(self) -> None:
        image = picture(32, 48)
        assert camera(32, 48).reading(image) is image

    @pytest.mark.parametrize("resize", ["area", "bilinear"])
    def test_height_and_width_are_not_confused(self, resize: str) -> None:
        assert camera(32, 48, resize).reading(picture(100, 60)).shape == (32, 48, 3)

    def test_area_is_the_mean_of_the_covered_pixels(self) -> None:
        """Blocks of 2 x 2 pixels, averaged by hand; rows, then columns are rounded half up: one level may be added."""
        image = picture(64, 64)
        blocks = image.reshape(32, 2, 32, 2, 3).astype(float).mean((1, 3))
        assert np.abs(camera(32, 32).reading(image) - blocks).max() <= 1

    def test_golden_resizes(self) -> None:
        """A ramp of 8 a pixel, halved. At the edge bilinear's triangle is cut: (3 * 0 + 3 * 8 + 1 * 16) / 7 = 5.7."""
        ramp = np.zeros((32, 32, 3), np.uint8)
        ramp[..., 0] = (8 * np.arange(32))[None, :]
        assert camera(16, 16, "area").reading(ramp)[5, :6, 0].tolist() == [4, 20, 36, 52, 68, 84]
        assert camera(16, 16, "bilinear").reading(ramp)[5, :6, 0].tolist() == [6, 20, 36, 52, 68, 84]

    def test_colour_channels_keep_their_places(self) -> None:
        image = np.zeros((64, 64, 3), np.uint8)
        image[...] = (10, 20, 30)
        assert (camera(32, 32).reading(image) == (10, 20, 30)).all()

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((32, 32, 3), np.float32),
            np.zeros((32, 32, 3), np.int64),
            np.zeros((32, 32), np.uint8),
            np.zeros((32, 32, 4), np.uint8),
            np.zeros((3, 32, 32), np.uint8),
            np.zeros((1, 32, 32, 3), np.uint8),
            np.zeros((0, 32, 3), np.uint8),
        ],
        ids=["float", "int64", "grey", "alpha", "channels first", "batch", "empty"],
    )
    def test_what_is_not_an_rgb_image_is_refused(self, image: np.ndarray) -> None:
        given = f"sensor top is {image.dtype} {list(image.shape)}; wanted uint8 [height, width, 3] in RGB order"
        with pytest.raises(SensorError) as caught:
            camera(32, 32).reading(image)
        assert str(caught.value) == given and caught.value.sensor == "top"

    @pytest.mark.parametrize("size", [32, 64], ids=["own size", "resized"])
    def test_an_image_that_is_read_backwards_is_taken(self, size: int) -> None:
        """BGR becomes RGB with [..., ::-1], of which torch takes no tensor."""
        image = picture(size, size)
        backwards = observe([TOP], {"top": image[..., ::-1]}).values["top"]
        assert torch.equal(backwards, observe([TOP], {"top": image[..., ::-1].copy()}).values["top"])
        assert not torch.equal(backwards, observe([TOP], {"top": image}).values["top"])


class TestVectors:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8])
    def test_any_real_numbers_become_float32(self, dtype: type) -> None:
        reading = GRIPPER.reading(np.array([1, 0], dtype))
        assert reading.dtype == np.float32 and reading.tolist() == [1.0, 0.0]

    @pytest.mark.parametrize("dtype", [np.bool_, np.complex64, np.str_, object])
    def test_what_is_not_a_number_is_refused(self, dtype: type) -> None:
        with pytest.raises(SensorError, match=r"sensor gripper is .*\[2\]; wanted \[2\]: turn, opening"):
            GRIPPER.reading(np.array([1, 0]).astype(dtype))

    @pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 2), (2, 1), (0,)])
    def test_another_shape_is_refused_and_the_entries_are_named(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(SensorError) as caught:
            GRIPPER.reading(np.zeros(shape))
        assert str(caught.value) == f"sensor gripper is float64 {list(shape)}; wanted [2]: turn, opening"

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("index", [0, 1])
    def test_a_number_that_is_not_finite_is_refused(self, value: float, index: int) -> None:
        reading = np.zeros(2)
        reading[index] = value
        with pytest.raises(SensorError, match="sensor gripper holds a number that is not finite; every number must be"):
            GRIPPER.reading(reading)

    @pytest.mark.parametrize(
        ("reading", "message"),
        [
            ([90.0, 0.05], "has turn = 90; wanted -3.2 to 3.2 rad: send it in that unit"),
            ([1.57, 50.0], "has opening = 50; wanted 0 to 0.1 m: send it in that unit"),
            ([1.57, -0.05], "has opening = -0.05; wanted 0 to 0.1 m: send it in that unit"),
            ([1e300, 0.05], r"has turn = 1e\+300; wanted -3.2 to 3.2 rad"),
        ],
        ids=["degrees", "millimetres", "below", "beyond float32"],
    )
    def test_a_reading_in_another_unit_is_refused_by_entry_range_and_unit(
        self, reading: list[float], message: str
    ) -> None:
        with pytest.raises(SensorError, match=f"sensor gripper {message}"):
            GRIPPER.reading(np.array(reading))

    @pytest.mark.parametrize(("beyond", "taken"), [(0.04, True), (0.06, False)])
    @pytest.mark.parametrize("side", ["low", "high"])
    def test_noise_at_an_end_stop_is_taken(self, beyond: float, taken: bool, side: str) -> None:
        """A twentieth of the range; the reading is passed on as it is, not clamped."""
        value = 3.2 + beyond * 6.4 if side == "high" else -3.2 - beyond * 6.4
        reading = np.array([value, 0.05])
        if taken:
            assert GRIPPER.reading(reading)[0] == np.float32(value)
        else:
            with pytest.raises(SensorError, match="has turn"):
                GRIPPER.reading(reading)

    @settings(deadline=None)
    @given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=2, max_size=2))
    def test_what_is_taken_is_finite_and_near_its_range(self, values: list[float]) -> None:
        try:
            reading = GRIPPER.reading(np.array(values))
        except SensorError as error:
            assert error.sensor == "gripper" and error.reason in str(error)
        else:
            low, high = np.array(GRIPPER.low), np.array(GRIPPER.high)
            assert np.isfinite(reading).all()
            assert (reading >= low - 0.051 * (high - low)).all() and (reading <= high + 0.051 * (high - low)).all()

    def test_readings_are_standardised_by_the_training_episodes(self) -> None:
        mean, std = torch.tensor(PROPRIOCEPTION.mean), torch.tensor(PROPRIOCEPTION.std)
        readings = mean + std * torch.tensor([[0.0], [1.0], [-2.0]])
        torch.testing.assert_close(
            PROPRIOCEPTION.standardised(readings), torch.tensor([[0.0], [1.0], [-2.0]]).expand(3, 7)
        )

    def test_where_nothing_was_measured_readings_stay_in_their_units(self) -> None:
        readings = torch.tensor([[1.5, 0.02]])
        assert torch.equal(GRIPPER.standardised(readings), readings)


class TestObservations:
    def test_every_sensor_is_there_once_for_one_robot(self) -> None:
        observation = observe(SEVERAL, honest())
        assert {name: (value.dtype, list(value.shape)) for name, value in observation.values.items()} == {
            "top": (torch.uint8, [1, 32, 32, 3]),
            "wrist": (torch.uint8, [1, 32, 32, 3]),
            "proprioception": (torch.float32, [1, 7]),
        }
        assert list(observation.values) == ["top", "wrist", "proprioception"]

    def test_the_order_of_the_readings_is_of_no_matter(self) -> None:
        given, turned = observe(SEVERAL, honest()), observe(SEVERAL, dict(reversed(honest().items())))
        assert list(turned.values) == list(given.values)
        assert all(torch.equal(turned.values[name], given.values[name]) for name in given.values)

    def test_the_readings_are_copied(self) -> None:
        """A robot's driver may write its next image into the same memory."""
        readings = honest()
        observation = observe(SEVERAL, readings)
        before = {name: value.clone() for name, value in observation.values.items()}
        for value in readings.values():
            value[...] = 0
        assert all(torch.equal(observation.values[name], before[name]) for name in before)

    @pytest.mark.parametrize("missing", [spec.name for spec in SEVERAL])
    def test_a_missing_sensor_is_named(self, missing: str) -> None:
        readings = {name: value for name, value in honest().items() if name != missing}
        with pytest.raises(SensorError) as caught:
            observe(SEVERAL, readings)
        assert caught.value.sensor == missing
        assert str(caught.value) == f"sensor {missing} is missing; wanted all of proprioception, top, wrist"

    def test_a_surplus_sensor_is_named(self) -> None:
        with pytest.raises(SensorError) as caught:
            observe((TOP, WRIST), honest())
        assert caught.value.sensor == "proprioception"
        assert caught.value.reason == "is not a sensor of this model; wanted exactly top, wrist"

    def test_a_sensor_under_another_name_is_surplus(self) -> None:
        with pytest.raises(SensorError, match="sensor Top is not a sensor of this model; wanted exactly top"):
            observe([TOP], {"Top": picture(32, 32)})

    @pytest.mark.parametrize(
        ("wrong", "value", "message"),
        [
            ("wrist", np.zeros((32, 32), np.uint8), r"is uint8 \[32, 32\]; wanted uint8 \[height, width, 3\]"),
            ("proprioception", np.zeros(6), r"is float64 \[6\]; wanted \[7\]: pan, lift"),
            ("proprioception", np.full(7, 45.0), "has pan = 45; wanted -3.2 to 3.2 rad"),
            ("proprioception", np.full(7, np.nan), "holds a number that is not finite"),
        ],
        ids=["mis-shaped camera", "mis-shaped vector", "degrees", "not finite"],
    )
    def test_a_wrong_reading_among_good_ones_is_found(self, wrong: str, value: np.ndarray, message: str) -> None:
        with pytest.raises(SensorError, match=message) as caught:
            observe(SEVERAL, {**honest(), wrong: value})
        assert caught.value.sensor == wrong

    def test_a_batch_moves_as_a_whole(self) -> None:
        moved = observe(SEVERAL, honest()).to(torch.device("meta"))
        assert isinstance(moved, ObservationBatch)
        assert {value.device.type for value in moved.values.values()} == {"meta"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (8, 32, 3)},
        {"shape": (32, 5000, 3)},
        {"shape": (32, 32)},
        {"shape": (32, 32, 4)},
        {"name": ""},
        {"units": ("m",)},
    ],
    ids=lambda wrong: "-".join(map(str, next(iter(wrong.items())))),
)
def test_a_camera_that_this_build_does_not_know_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"sensor|camera"):
        dataclasses.replace(TOP, **wrong)


def test_numbers_in_one_reading() -> None:
    assert (TOP.size, PROPRIOCEPTION.size) == (32 * 32 * 3, 7)
