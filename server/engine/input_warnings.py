"""Warnings about unusual readings in a request that is answered all the same."""

from collections.abc import Iterator, Mapping

from server import schemas
from server.engine.images import CheckedImage
from server.validation import pointer_to
from worldmodel import NoveltySpec, SensorSpec

ASPECT_TOLERANCE = 0.03
"""A picture stretched by less passes without a warning: cameras round their sides."""


def aspect_warning(spec: SensorSpec, image: CheckedImage) -> schemas.InputWarning | None:
    """A warning where the resize to the model's shape stretches a camera's picture as training's was not."""
    if spec.aspect_change(image.width, image.height) <= ASPECT_TOLERANCE:
        return None
    given = f"is {image.width} x {image.height} px, and the model learned from pictures of {shape_of(spec)}"
    reason = f"{given}: crop it to that shape before you send it, or else it is squeezed"
    return schemas.InputWarning(code="aspect-changed", pointer=image.pointer, reason=reason)


def shape_of(spec: SensorSpec) -> str:
    """The shape of a camera's pictures as training had them, in words."""
    ratio = spec.picture_ratio
    return "equal sides" if ratio == 1 else f"{ratio:.3g} times their height in width"


def novelty_warnings(
    novelty: Mapping[str, float], sensors: Mapping[str, SensorSpec], calibration: NoveltySpec, pointer: str
) -> Iterator[schemas.InputWarning]:
    """A warning for each sensor of the observation at `pointer` whose reading is unlike the training's."""
    for name, value in novelty.items():
        if value > 1:
            field = "images" if sensors[name].kind == "camera" else "arrays"
            yield schemas.InputWarning(
                code="unlike-training", pointer=pointer + pointer_to(field, name), reason=unlike(value, calibration)
            )


def unlike(novelty: float, calibration: NoveltySpec) -> str:
    """Meaning of a novelty above 1, in words."""
    rare = f"at most {calibration.false_alarm_rate:.2g} of normal readings exceed 1"
    return f"has novelty {novelty:.2f}, and {rare}: the model never learned from such readings; see telos check"
