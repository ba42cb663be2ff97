"""The class of our verbs: what a command line must not hold is refused, and what it got wrong is not repeated aloud."""

from __future__ import annotations

import logging
import os
from typing import Any

import click

from saga.telemetry.redaction import contains_card_number, redact_text

CARD_REFUSED = (
    "refused, nothing was done: the command line holds what looks like a card number; "
    "use the payment provider's token (tok_...) instead, and clear it from your shell's history"
)


class CarefulCommand(click.Command):
    """Refuses card numbers before anything is parsed, masks what click would quote, and silences the libraries.

    The libraries' loggers would explain on standard error, in many lines, what our one line says. ``SAGA_LOG_LEVEL``
    lets them speak.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        if contains_card_number(" ".join(args)):
            raise click.UsageError(CARD_REFUSED, ctx)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            told = error.format_message()
            if redact_text(told) == told:
                raise
            raise click.UsageError(redact_text(told), ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        if "SAGA_LOG_LEVEL" in os.environ:
            from saga.logging import configure_logging
            from saga.stacks.environment import resolve_settings

            configure_logging(resolve_settings())
        elif not logging.getLogger().handlers:
            logging.getLogger().addHandler(logging.NullHandler())
        return super().invoke(ctx)
