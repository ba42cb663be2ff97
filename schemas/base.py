"""What every message has in common, and the register by which a ``ce_type`` finds its class.

A message type is named ``booking.<Class>.v<N>``. Compatible changes (a new optional field) keep N; anything else is a
new class with N+1 beside the old one, because running sagas finish on what they started with.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas import limits

_TYPE = re.compile(r"(?:booking\.)?(?P<name>[A-Za-z]{1,60})(?:\.v(?P<version>[0-9]{1,3}))?")

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", max_length=limits.MAX_ID)]
MessageId = Annotated[str, StringConstraints(min_length=1, max_length=4 * limits.MAX_ID)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Email = Annotated[
    str, StringConstraints(pattern=r"^[^@\s<>,;:\"]+@[^@\s<>,;:\"]+\.[^@\s<>,;:\"]+$", max_length=limits.MAX_EMAIL)
]
Token = Annotated[str, StringConstraints(pattern=r"^tok_[A-Za-z0-9_]+$", max_length=limits.MAX_TOKEN)]
LastFour = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")]
Reason = Annotated[str, StringConstraints(max_length=limits.MAX_REASON)]
Name = Annotated[str, StringConstraints(max_length=limits.MAX_NAME)]
Guests = Annotated[int, Field(ge=1, le=limits.MAX_GUESTS)]
AmountMinor = Annotated[int, Field(ge=0, le=limits.MAX_AMOUNT_MINOR, description="integer minor units, such as cents")]
Source = Literal["web", "mobile", "api"]
Day = date


class Message(BaseModel):
    """Base of every body on a topic: immutable, tolerant of fields it does not know, strict about those it does."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=False, hide_input_in_errors=True)

    VERSION: ClassVar[int] = 1
    _register: ClassVar[dict[str, type[Message]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__name__.startswith("_") or cls.__name__ == "Offer":
            return  # a part or a base of messages, never a message itself
        Message._register[cls.type_name()] = cls

    @classmethod
    def type_name(cls) -> str:
        """The canonical ``ce_type``."""
        return f"booking.{cls.__name__}.v{cls.VERSION}"


def message_class(ce_type: str) -> type[Message] | None:
    """The class a ``ce_type`` names, or None. A foreign publisher may leave out the prefix and the version (then 1)."""
    found = Message._register.get(ce_type)
    if found is None and (match := _TYPE.fullmatch(ce_type)):
        found = Message._register.get(f"booking.{match['name']}.v{int(match['version'] or 1)}")
    return found


def message_classes() -> tuple[type[Message], ...]:
    """Every registered message class, ordered by type name."""
    return tuple(Message._register[name] for name in sorted(Message._register))
