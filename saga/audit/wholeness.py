"""What a whole trace of an ended saga looks like, as a pure judgement: the state, the rows' spans and the trace go in,
what is wrong comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from saga.engine.narration import step_span_id
from saga.engine.state import Outcome, Run, State
from saga.telemetry.names import CONVERSATION_ID, SAGA_ATTEMPT
from saga.telemetry.scope import call_series, call_span_id
from saga.telemetry.spans import SpanRecord
from saga.traces.model import Trace, TraceSpan

_NAMED = 4
_ATTEMPTS = 20  # more than any schedule has within its deadline
_CALLS = 12  # more than any worker makes in one attempt
_MESSAGE_SPANS = ("send ", "process ")


@dataclass(frozen=True, slots=True)
class Expected:
    """The spans that committed rows say are in a saga's trace, by id. ``steps`` are the names of those of commands that
    were carried out; ``clashes`` tells of ids that two spans share."""

    spans: Mapping[int, SpanRecord]
    steps: frozenset[str]
    clashes: tuple[str, ...]

    @classmethod
    def of(cls, trace_id: int, kept: Iterable[tuple[bool, SpanRecord]]) -> Expected:
        """From the spans of all rows of one saga, each with whether its row stands for a command.

        The handling of a cancellation is part of the trace of whoever cancelled, so it is left out.
        """
        spans: dict[int, SpanRecord] = {}
        steps: set[str] = set()
        clashes: list[str] = []
        for command, span in kept:
            if span.context.trace_id != trace_id:
                continue
            other = spans.setdefault(span.context.span_id, span)
            if other.name != span.name:
                clashes.append(f"{other.name} and {span.name} have the same span id, so one of them is never seen")
            if command and not span.name.startswith(_MESSAGE_SPANS):
                steps.add(span.name)
        return cls(spans, frozenset(steps), tuple(clashes))


@dataclass(frozen=True, slots=True)
class Family:
    """What is known of all sagas in one trace, of which a publisher may have asked for several in a trace of its own.

    ``publishers`` are the spans that asked for them; ``reserved`` the spans that live ones have not emitted yet.
    """

    publishers: frozenset[int] = frozenset()
    reserved: frozenset[int] = frozenset()


def problems(name: str, state: State, trace: Trace, expected: Expected, family: Family) -> list[str]:
    """Everything that keeps ``trace`` from being the whole trace of ``state``; ``name`` is its definition's."""
    return [
        *expected.clashes,
        *_root(name, state, trace),
        *_missing(trace, expected),
        *_second_spans(name, state, trace, expected),
        *_rollback(name, state, trace),
        *_undos(name, state, trace),
        *_orphans(name, state, trace, family),
        *_unreachable(state, trace, expected),
    ]


def _root(name: str, state: State, trace: Trace) -> Iterator[str]:
    roots = [span for span in trace.named(f"{name}.create") if _is_of(name, state, span)]
    reserved = int(state.trace.root_span_id, 16)
    if [span.span_id for span in roots] != [reserved]:
        yield f"it has {len(roots)} spans called {name}.create, not the one that was reserved"
        return
    publisher = state.trace.publisher()
    if roots[0].parent_id != (publisher.span_id if publisher else 0):
        yield f"{name}.create is not under the publisher's span"
    told = roots[0].start_ns // 1000, roots[0].end_ns // 1000
    if told != (state.started_us, max(state.ended_us, state.started_us + 1)):
        yield f"{name}.create does not have the saga's true start and end"


def _missing(trace: Trace, expected: Expected) -> Iterator[str]:
    missing = []
    for span_id, kept in expected.spans.items():
        found = trace.by_id.get(span_id)
        if found is None:
            missing.append(kept.name)
        elif found.name != kept.name:
            yield f"the span of {kept.name} is called {found.name}"
    if missing:
        more = "" if len(missing) <= _NAMED else f" and {len(missing) - _NAMED} more"
        yield f"it lacks {len(missing)} of {len(expected.spans)} spans: {', '.join(missing[:_NAMED])}{more}"


def _second_spans(name: str, state: State, trace: Trace, expected: Expected) -> Iterator[str]:
    asked = [run.command_id for run in (*state.runs, *state.undos)]
    for step in sorted(expected.steps):
        extra = [span for span in trace.named(step) if span.span_id not in expected.spans and _is_of(name, state, span)]
        # A retry is seen, whether it failed or came too late to count; but then it is one of a command that was given.
        extra = [span for span in extra if not span.failed and not _is_retry(span, asked)]
        if extra:
            yield f"{len(extra)} more spans called {step} than committed steps"


def _is_retry(span: TraceSpan, asked: Sequence[str]) -> bool:
    attempt = span.attributes.get(SAGA_ATTEMPT, 1)
    return isinstance(attempt, int) and any(span.span_id == step_span_id(command, attempt) for command in asked)


def _rollback(name: str, state: State, trace: Trace) -> Iterator[str]:
    found = {span.span_id: span for span in trace.named(f"{name}.rollback") if _is_of(name, state, span)}
    if state.rollback is None:
        if found:
            yield f"it was not rolled back, but there is a {name}.rollback"
        return
    if int(state.rollback.span_id, 16) not in found:
        yield f"it was rolled back, but there is no {name}.rollback of that"
    root = int(state.trace.root_span_id, 16)
    if any(span.parent_id != root for span in found.values()):
        yield f"{name}.rollback is not under {name}.create"


def _undos(name: str, state: State, trace: Trace) -> Iterator[str]:
    runs = {run.command_id: run for run in state.runs}
    for undo in state.undos:
        span = trace.by_id.get(step_span_id(undo.command_id, undo.attempt))
        if undo.outcome is not Outcome.DONE or span is None or undo.undoes is None:
            continue  # not carried out; or missing, which is said elsewhere
        parent = trace.parent(span)
        if parent is None or parent.name != f"{name}.rollback":
            yield f"{span.name} is not under {name}.rollback"
        if not _links_to(span, runs[undo.undoes], trace):
            yield f"{span.name} has no link to the span of the {undo.step} that it undoes"


def _links_to(span: TraceSpan, undone: Run, trace: Trace) -> bool:
    target = step_span_id(undone.command_id, undone.seen_attempt)
    linked = any(link.span_id == target and link.trace_id == trace.trace_id for link in span.links)
    # Where nobody knows whether the step ever ran there may be nothing at the other end of the link.
    return linked and (undone.outcome is not Outcome.DONE or target in trace.by_id)


def _orphans(name: str, state: State, trace: Trace, family: Family) -> Iterator[str]:
    elsewhere = family.publishers | family.reserved
    orphans = [
        span
        for span in trace.orphans
        if span.parent_id not in elsewhere
        and span.span_id not in family.publishers
        and _owner(name, span) in {None, state.id}
    ]
    if any(span.kind == "server" for span in orphans):
        cut_off = _calls_cut_off(state)
        orphans = [span for span in orphans if span.kind != "server" or span.parent_id not in cut_off]
    if orphans:
        named = ", ".join(f"{span.name} ({span.service})" for span in orphans[:_NAMED])
        yield f"{len(orphans)} spans have a parent that is missing: {named}"


def _calls_cut_off(state: State) -> frozenset[int]:
    """The spans of all calls that attempts at the saga's commands may have made.

    A process that is killed takes along what it had not exported yet. Its commands come again and their calls are made
    again, under the same ids; but one that was a question about an answer that was lost is not asked when the answer
    comes at once. Of such a call there is only what the other side has seen, and whose it was.
    """
    commands = [run.command_id for run in (*state.runs, *state.undos)]
    series = [call_series(command, attempt) for command in commands for attempt in range(1, _ATTEMPTS + 1)]
    return frozenset(call_span_id(one, number) for one in series for number in range(1, _CALLS + 1))


def _unreachable(state: State, trace: Trace, expected: Expected) -> Iterator[str]:
    publisher = state.trace.publisher()
    tops = {int(state.trace.root_span_id, 16), *([publisher.span_id] if publisher else [])}
    for span_id, kept in expected.spans.items():
        if (span := trace.by_id.get(span_id)) is not None and not _leads_to(span, tops, trace):
            yield f"{kept.name} is not under the saga's root"


def _leads_to(span: TraceSpan, tops: Collection[int], trace: Trace) -> bool:
    """Whether climbing from ``span`` ends at one of ``tops``, or at a missing parent (which is said elsewhere)."""
    seen: set[int] = set()
    current: TraceSpan | None = span
    while current is not None and current.span_id not in seen:
        if current.span_id in tops or current.parent_id in tops:
            return True
        seen.add(current.span_id)
        above = trace.parent(current)
        if above is None and current.parent_id:
            return True
        current = above
    return False


def _is_of(name: str, state: State, span: TraceSpan) -> bool:
    return _owner(name, span) == state.id or span.span_id == int(state.trace.root_span_id, 16)


def _owner(name: str, span: TraceSpan) -> str | None:
    owner = span.attributes.get(f"{name}.id") or span.attributes.get(CONVERSATION_ID)
    return None if owner is None else str(owner)
