"""The kinds of values that sections are made of: sizes, durations, names of Python objects, ranges.

YAML gives numbers, text and booleans; nothing is turned silently into something else ('5' is not 5,
nor is 5.0), but sizes ('4GiB'), durations ('30m') and shares are read here.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

GIVEN = "given"  # the name of what a Python call hands over as an object: a module, a sampler …

_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZES |= {f"{letter}i": 1024**power for power, letter in enumerate("kmgt", start=1)}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>([kmgt]i?)?)b?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[a-z]+)", re.IGNORECASE)
OBJECT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Section(BaseModel):
    """A part of the description; unknown keys and wrong types are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def wrong(what: str, remedy: str = "") -> PydanticCustomError:
    """An error for a validator to raise: the rule and what was broken, then what to write."""
    return PydanticCustomError("rule", "{what}", {"what": what, "remedy": remedy})


def shown(value: object) -> str:
    """A value as a message shows it, in YAML's words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else value[:80] + "…")
    return repr(value)


def exactly(count: int) -> BeforeValidator:
    """A validator of lists with `count` members."""

    def check(value: object) -> object:
        if not isinstance(value, (list, tuple)) or len(value) != count:
            got = f"{len(value)}" if isinstance(value, (list, tuple)) else shown(value)
            raise wrong(f"must be a list of {count} numbers, got {got}")
        return tuple(value)

    return BeforeValidator(check)


def read_size(value: object) -> object:
    """Bytes of 4096, '512MB' or '4GiB'; what is no size is passed on."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise wrong(f"must be a size, got {value!r}", "write 512MB, 4GiB or a number of bytes")
        return int(float(match["number"]) * _SIZES[match["unit"].lower()])
    return value


def read_seconds(value: object) -> object:
    """Seconds of 90, '90s', '30m' or '1h30m'; what is no duration is passed on."""
    if not isinstance(value, str):
        return value
    amounts = read_amounts(value)
    if not amounts or set(amounts) != {"seconds"}:
        raise wrong(f"must be a duration, got {value!r}", "write 90s, 30m, 1h30m or seconds")
    return amounts["seconds"]


def read_amounts(text: str) -> dict[str, float]:
    """Amounts by unit of '1h30m' or '2h 200epochs'; empty if the text is something else.

    Times add up as 'seconds'; any other unit ('epochs') is kept under its name, in the plural.
    """
    amounts: dict[str, float] = {}
    if _DURATION.sub("", text).strip(" ,") or not text.strip():
        return {}
    for match in _DURATION.finditer(text):
        number, unit = float(match["number"]), match["unit"].lower()
        name = "seconds" if unit in _SECONDS else unit.removesuffix("s") + "s"
        amounts[name] = amounts.get(name, 0.0) + number * _SECONDS.get(unit, 1.0)
    return amounts


def is_object_name(text: str) -> bool:
    """Whether the text names a Python object as 'package.module:object'."""
    return OBJECT.fullmatch(text) is not None


def listed(value: object) -> object:
    """A list as a tuple: sections are frozen."""
    return tuple(value) if isinstance(value, list) else value


def one_or_more(value: object) -> object:
    """A single text as a tuple of one."""
    return (value,) if isinstance(value, str) else listed(value)


Names = Annotated[tuple[str, ...], BeforeValidator(listed)]
Triple = Annotated[tuple[float, float, float], exactly(3)]
Bytes = Annotated[int, Field(ge=0), BeforeValidator(read_size)]
Seconds = Annotated[float, Field(gt=0), BeforeValidator(read_seconds)]
Options = dict[str, Any]  # handed on to what the name beside them stands for


class FloatRange(Section):
    """Numbers that a sampler may try: low to high, both included."""

    low: float
    high: float
    log: bool = False  # equal steps are equal factors


class IntRange(Section):
    """Whole numbers that a sampler may try: low to high, both included."""

    low: int
    high: int
    log: bool = False
    step: Annotated[int, Field(ge=1)] = 1


class FloatChoices(Section):
    """The numbers that a sampler may try."""

    choices: Annotated[tuple[float, ...], BeforeValidator(listed), Field(min_length=2)]


class IntChoices(Section):
    """The whole numbers that a sampler may try."""

    choices: Annotated[tuple[int, ...], BeforeValidator(listed), Field(min_length=2)]


Searched = FloatRange | IntRange | FloatChoices | IntChoices
FORMS = ("fixed", "range", "choices")  # pydantic puts the chosen one into an error's place


def _form(value: object) -> Literal["fixed", "range", "choices"]:
    if isinstance(value, (FloatChoices, IntChoices)):
        return "choices"
    if isinstance(value, (FloatRange, IntRange)):
        return "range"
    if isinstance(value, Mapping):
        return "choices" if "choices" in value else "range"
    return "fixed"


SearchableFloat = Annotated[
    Annotated[float, Tag("fixed")]
    | Annotated[FloatRange, Tag("range")]
    | Annotated[FloatChoices, Tag("choices")],
    Discriminator(_form),
]
SearchableInt = Annotated[
    Annotated[int, Tag("fixed")]
    | Annotated[IntRange, Tag("range")]
    | Annotated[IntChoices, Tag("choices")],
    Discriminator(_form),
]
