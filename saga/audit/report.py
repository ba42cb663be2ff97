"""What an audit found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from saga.audit.invariants import INVARIANTS


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Violation(_Frozen):
    """One broken invariant: which, of which saga (empty: of none in particular), and what was seen."""

    invariant: str
    saga_id: str
    detail: str


class Checked(_Frozen):
    """One invariant and how it fared. ``unavailable`` counts what could not be examined: it is no longer kept."""

    number: int
    name: str
    description: str
    examined: int
    violations: int
    unavailable: int = 0


class AuditReport(_Frozen):
    """The whole verdict. ``checked`` is by invariant; ``sagas`` counts those in scope by status.

    ``traces_complete`` and ``traces_incomplete`` count the traces that were examined; ``traces_unavailable`` those that
    are not, or no longer, kept. ``notes`` say what was left out and why.
    """

    checked: dict[str, Checked]
    violations: tuple[Violation, ...]
    sagas: dict[str, int]
    compensated: int
    traces_complete: int
    traces_incomplete: int
    traces_unavailable: int
    notes: tuple[str, ...]
    duration_s: float

    @property
    def clean(self) -> bool:
        """Whether no invariant was found broken."""
        return not self.violations


@dataclass(slots=True)
class Findings:
    """Collects what the checks find; :meth:`report` makes the report."""

    violations: list[Violation] = field(default_factory=list)
    examined: Counter[str] = field(default_factory=Counter)
    unavailable: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def violated(self, invariant: str, saga_id: str, detail: str) -> None:
        """An invariant is broken."""
        self.violations.append(Violation(invariant=invariant, saga_id=saga_id, detail=detail))

    def note(self, text: str) -> None:
        """Something the reader should know; said once."""
        if text not in self.notes:
            self.notes.append(text)

    def checked(self, left_out: Iterable[str] = ()) -> dict[str, Checked]:
        """Every invariant that was looked at, in order."""
        broken = Counter(violation.invariant for violation in self.violations)
        skipped = set(left_out)
        return {
            invariant.name: Checked(
                number=invariant.number,
                name=invariant.name,
                description=invariant.description,
                examined=self.examined[invariant.name],
                violations=broken[invariant.name],
                unavailable=self.unavailable[invariant.name],
            )
            for invariant in INVARIANTS
            if invariant.name not in skipped
        }
