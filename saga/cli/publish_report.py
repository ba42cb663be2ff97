"""What ``saga publish`` tells in the end: what was sent, what was refused, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from saga.cli.request_lines import BadLine
from saga.cli.waiting import has_ended
from saga.cli.wording import duration, heading, status, table
from saga.engine.state import Status
from saga.generate import Kind
from saga.publishing import Published
from saga.store.reading import Summary

_SHOWN = 20
_WANTED = frozenset({Status.CONFIRMED})


@dataclass(frozen=True, slots=True)
class Report:
    """One run. ``outcomes`` None: nobody waited; ``kinds`` says what generated bookings were meant to come to."""

    published: Sequence[Published]
    refused: Sequence[BadLine] = ()
    outcomes: Mapping[str, Summary] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    seed: int | None = None
    duration_s: float = 0.0
    lost_spans: int = 0

    def settled(self, outcome: Summary) -> bool:
        """Whether nothing is left to wait for: one that is to be cancelled may be confirmed on its way there."""
        return has_ended(outcome) and (outcome.status is not Status.CONFIRMED or self._as_meant(outcome))

    def _as_meant(self, outcome: Summary) -> bool:
        kind = self.kinds.get(outcome.id)
        return outcome.status in (_WANTED if kind is None else kind.expected)

    @property
    def unexpected(self) -> list[str]:
        """Bookings that did not come to what they were meant to come to (in time)."""
        if self.outcomes is None:
            return []
        found = ((one.booking_id, self.outcomes.get(one.booking_id)) for one in self.published)
        return [booking_id for booking_id, outcome in found if outcome is None or not self._as_meant(outcome)]

    @property
    def good(self) -> bool:
        """Whether nothing was refused and everything came to what it was meant to come to."""
        return not self.refused and not self.unexpected

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        report: dict[str, Any] = {
            "published": len(self.published),
            "refused": [{"line": bad.line, "reason": bad.reason} for bad in self.refused],
            "duration_s": round(self.duration_s, 3),
            "lost_spans": self.lost_spans,
        }
        if self.seed is not None:
            report["seed"] = self.seed
        if self.outcomes is not None:
            report["outcomes"] = dict(self._counts())
            report["unexpected"] = self.unexpected
        report["bookings"] = [self._booking(one) for one in self.published]
        return report

    def _booking(self, one: Published) -> dict[str, Any]:
        booking: dict[str, Any] = {"booking_id": one.booking_id, "trace_id": one.trace_id}
        if one.booking_id in self.kinds:
            booking["kind"] = self.kinds[one.booking_id].value
        if self.outcomes is None:
            return booking
        outcome = self.outcomes.get(one.booking_id)
        if outcome is None:
            return {**booking, "status": None}
        took = outcome.duration_us
        return {
            **booking,
            "trace_id": outcome.trace_id,  # that of the first request, if this was published before
            "status": outcome.status.value,
            "error_type": outcome.error_type,
            "duration_ms": None if took is None else took / 1_000,
        }

    def _counts(self) -> Counter[str]:
        assert self.outcomes is not None
        found = (self.outcomes.get(one.booking_id) for one in self.published)
        return Counter("UNSEEN" if outcome is None else outcome.status.value for outcome in found)

    def show(self) -> None:
        """For people."""
        if len(self.published) == 1 and not self.refused:
            self._show_one(self.published[0])
        else:
            self._show_many()
        for bad in self.refused[:_SHOWN]:
            click.echo(f"line {bad.line}: {bad.reason}", err=True)
        if len(self.refused) > _SHOWN:
            click.echo(f"... and {len(self.refused) - _SHOWN} more lines; --json tells all", err=True)
        if self.refused:
            click.echo(f"{len(self.refused)} lines were refused; correct them and publish them again", err=True)
        if self.outcomes is not None and (unseen := self._counts()["UNSEEN"]):
            click.echo(f"no orchestrator has seen {unseen} of them: is one running? see `saga doctor`", err=True)

    def _show_one(self, one: Published) -> None:
        if self.outcomes is None:
            click.echo(f"{one.booking_id} published; follow it with `saga show {one.booking_id}`")
        else:
            click.echo(self._table([one]))

    def _show_many(self) -> None:
        sent = len(self.published)
        took = f" in {self.duration_s:.1f} s, {sent / self.duration_s:.0f} a second" if self.duration_s >= 0.1 else ""
        seed = f", seed {self.seed}" if self.seed is not None else ""
        click.echo(f"{sent} booking{'s' if sent != 1 else ''} published{took}{seed}")
        if self.outcomes is None:
            if self.published:
                click.echo("follow them with `saga list`")
            return
        if len(self.published) <= _SHOWN:
            click.echo(self._table(self.published))
            return
        click.echo(self._summary())
        odd = set(self.unexpected)
        if odd:
            click.echo(heading(f"\n{len(odd)} did not come to what they were meant to:"))
            click.echo(self._table([one for one in self.published if one.booking_id in odd][:_SHOWN]))
            if len(odd) > _SHOWN:
                click.echo(f"... and {len(odd) - _SHOWN} more; --json tells all")

    def _summary(self) -> str:
        assert self.outcomes is not None
        groups: dict[tuple[Status, str], list[int]] = {}
        for outcome in self.outcomes.values():
            groups.setdefault((outcome.status, outcome.error_type), []).append(outcome.duration_us or 0)
        rows = []
        for (state, error_type), took in sorted(groups.items(), key=lambda group: -len(group[1])):
            took.sort()
            typical, slowest = (duration(took[len(took) // 2]), duration(took[-1])) if took[-1] else ("", "")
            rows.append((status(state), str(len(took)), error_type, typical, slowest))
        return table(("STATUS", "BOOKINGS", "ERROR", "MEDIAN", "SLOWEST"), rows)

    def _table(self, published: Sequence[Published]) -> str:
        assert self.outcomes is not None
        rows = []
        for one in published:
            outcome = self.outcomes.get(one.booking_id)
            if outcome is None:
                rows.append((one.booking_id, "not seen yet", "", "", one.trace_id))
                continue
            took = outcome.duration_us
            ended = "" if took is None else duration(took)
            rows.append((one.booking_id, status(outcome.status), outcome.error_type, ended, outcome.trace_id))
        return table(("BOOKING", "STATUS", "ERROR", "TOOK", "TRACE"), rows)
