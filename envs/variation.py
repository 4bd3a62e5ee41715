"""Factors of variation: properties that differ between worlds of one environment (colours, light, sizes, friction).

An environment lists its factors in one frozen dataclass whose fields are made by `factor`. The default value of a
field is the nominal world; the range is what `sample` draws from and what a caller may ask for.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Self

import numpy as np


def factor(nominal: float | tuple[float, ...], low: float, high: float, unit: str, meaning: str) -> Any:
    """A dataclass field for one factor; `low` and `high` bound every component of `nominal`. Unit "1" is unitless."""
    return dataclasses.field(default=nominal, metadata={"low": low, "high": high, "unit": unit, "meaning": meaning})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variation:
    """Base of every environment's factors: checks ranges, samples, and reads reset options."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check(field)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Factors named in `options`, the others nominal.

        Raises:
            ValueError: an unknown factor, or a value out of its range.
        """
        known = sorted(field.name for field in dataclasses.fields(cls))
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(f"unknown factors of variation {unknown}; {cls.__name__} has {known}")
        return cls(**{name: _as_plain(value) for name, value in options.items()})

    @classmethod
    def of(cls, given: Any) -> Self:
        """`given` if it is a variation, or `from_options` of a mapping. Raises ValueError for anything else."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ValueError(f"variation={given!r}; give factors by name, or a {cls.__name__}")
        return cls.from_options(given)

    @classmethod
    def sample(cls, rng: np.random.Generator, factors: Collection[str] | None = None) -> Self:
        """Every factor, or each of `factors`, drawn uniformly and independently from its range; the others nominal.

        The value drawn for a factor does not depend on which others are drawn.
        """
        drawn = {field.name: _draw(field, rng) for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in drawn.items() if factors is None or name in factors})

    @classmethod
    def factors(cls, names: Collection[str]) -> tuple[str, ...]:
        """The factors that `names` stand for: whole names, or the beginning of several, such as "light" or "camera".

        Raises:
            ValueError: a name that stands for none.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in names if not any(_is_of(each, name) for each in known)]:
            raise ValueError(f"unknown factors of variation {unknown}; {cls.__name__} has {sorted(known)}")
        return tuple(each for each in known if any(_is_of(each, name) for name in names))

    @classmethod
    def looks(cls) -> tuple[str, ...]:
        """The factors that change how a world looks and nothing else: colours and light."""
        names = [field.name for field in dataclasses.fields(cls)]
        return tuple(name for name in names if name.endswith("_rgb") or name.startswith("light_"))

    @classmethod
    def sample_one(cls, name: str, rng: np.random.Generator) -> Self:
        """The factor `name` drawn from its range, the others nominal. Raises KeyError for an unknown one."""
        field = {field.name: field for field in dataclasses.fields(cls)}[name]
        return cls(**{name: _draw(field, rng)})

    def changed(self) -> dict[str, float | tuple[float, ...]]:
        """The factors that are not nominal."""
        values = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        return {name: value for name, (value, nominal) in values.items() if value != nominal}

    def _check(self, field: dataclasses.Field[Any]) -> None:
        low, high, unit = field.metadata["low"], field.metadata["high"], field.metadata["unit"]
        value, nominal = np.asarray(getattr(self, field.name), dtype=np.float64), np.asarray(field.default)
        if value.shape != nominal.shape or not bool(np.all((value >= low) & (value <= high))):
            raise ValueError(
                f"{field.name}={getattr(self, field.name)!r} ({field.metadata['meaning']}): give {nominal.size} "
                f"value(s) in [{low}, {high}] {unit}; nominal is {field.default}"
            )


def _is_of(factor: str, name: str) -> bool:
    return factor == name or factor.startswith(f"{name}_")


def _as_plain(value: Any) -> float | tuple[float, ...]:
    """Floats and tuples only, so that two equal variations compare equal."""
    array = np.asarray(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else tuple(float(item) for item in array.ravel())


def _draw(field: dataclasses.Field[Any], rng: np.random.Generator) -> float | tuple[float, ...]:
    shape = np.asarray(field.default).shape
    return _as_plain(rng.uniform(field.metadata["low"], field.metadata["high"], size=shape))
