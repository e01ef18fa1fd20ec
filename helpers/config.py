"""Configurations of trainings: frozen dataclasses whose settings are checked and canonical (10 becomes 10.0)."""

import dataclasses
import functools
import hashlib
import json
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, ValidationError
from pydantic.dataclasses import dataclass

FORMAT = 2  # a part of every hash, so that a change of what models are can rename them all

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Nonnegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
AsTuple = Strict(False)  # also accepts a list, as JSON and TOML have it


def configuration(cls: type) -> type:
    """Make a frozen dataclass that refuses unknown settings and values out of range with ValueError, in one sentence.

    `dataclasses.replace` and `dataclasses.asdict` work as usual.
    """
    made = dataclass(config=ConfigDict(strict=True, extra="forbid"), frozen=True)(cls)
    validate = made.__init__

    @functools.wraps(validate)
    def __init__(self, *values, **settings):  # noqa: N807 (it becomes the method)
        try:
            validate(self, *values, **settings)
        except ValidationError as error:
            raise ValueError(_sentence(cls, error)) from None

    made.__init__ = __init__
    return made


def or_dictionary(cls: type) -> BeforeValidator:
    """An annotation of a setting that is itself a configuration: a dictionary of its settings is accepted, too."""
    return BeforeValidator(lambda value: cls(**value) if isinstance(value, dict) else value)


def one_of(choices: dict[str, Any]) -> AfterValidator:
    """An annotation of a setting that must be a key of a dictionary, as it is when the configuration is made."""

    def known(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}.")
        return value

    return AfterValidator(known)


def _sentence(cls: type, error: ValidationError) -> str:
    """The first error of a validation, as a sentence for the user."""
    first = error.errors()[0]
    if first["type"] == "unexpected_keyword_argument":
        names = ", ".join(field.name for field in dataclasses.fields(cls))
        return f"{cls.__name__} has no setting {first['loc'][-1]!r}: its settings are {names}."
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    if first["type"] == "value_error":  # raised by a function of ours
        said = str(first["ctx"]["error"])
        return f"{place} {said}" if said.startswith("must be") else said
    if first["type"] == "missing":
        return f"{cls.__name__} needs {place}."
    rule = first["msg"].replace("Input should", "must")
    return f"{place} {rule}, not {first['input']!r}."


def entries(config: Any) -> dict:
    """All settings of a configuration (or of a plain dictionary) as JSON reads them back."""
    settings = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else config
    return json.loads(json.dumps(settings))


def changes(config: Any) -> dict:
    """The settings that differ from their defaults, nested ones likewise, without `keep`; of a dictionary, all."""
    if not dataclasses.is_dataclass(config):
        return {name: value for name, value in config.items() if name != "keep"}
    found = {}
    for field in dataclasses.fields(config):
        value, default = getattr(config, field.name), field.default
        if field.name != "keep" and value != default:
            found[field.name] = changes(value) if dataclasses.is_dataclass(value) else value
    return found


def config_hash(config: Any) -> str:
    """Twelve hexadecimal digits that name a configuration.

    They cover only the settings that differ from their defaults, so that a new setting with a default renames nothing.
    """
    text = json.dumps({"format": FORMAT} | changes(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
