"""A booking as ``saga show`` writes it for people; the waterfall follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from saga.cli.show_view import View
from saga.cli.wording import duration, faint, heading, moment, status, table
from saga.engine.state import Outcome, Run
from saga.telemetry.redaction import redact_text

_OUTCOME_COLOURS = {Outcome.DONE: "green", Outcome.REFUSED: "red", Outcome.UNKNOWN: "magenta", Outcome.PENDING: "cyan"}


def lines(view: View, *, messages: bool) -> Iterator[str]:
    """Everything but the trace."""
    yield from _head(view)
    yield ""
    yield _runs(view, view.state.runs, undos=False)
    if view.state.undos:
        yield ""
        yield _runs(view, view.state.undos, undos=True)
    if messages:
        yield ""
        yield _messages(view)


def _head(view: View) -> Iterator[str]:
    state, now_us = view.state, view.stored.now_us
    why = f"  {state.error_type}: {view.reason}" if state.error_type else ""
    yield f"{heading(state.id)}  {status(state.status)}{why}"
    facts = view.booking
    if facts:
        wish = f", {facts['room_type']}" if "room_type" in facts and "room_id" not in facts else ""
        guests = f"{facts['guests']} guest{'s' if facts['guests'] != '1' else ''}"
        yield _fact("stay", f"{facts['property_id']}, {facts['check_in']} to {facts['check_out']}, {guests}{wish}")
        if "room_id" in facts:
            tried = f" (offer {facts['offer_tried']} of {facts['offers']})" if facts["offers"] != "1" else ""
            yield _fact("room", f"{facts['room_id']}, {facts['room_type']}, {facts['total']}{tried}")
        ids = {"reservation": "reservation_id", "transaction": "transaction_id", "code": "confirmation_code"}
        if known := [f"{word} {facts[name]}" for word, name in ids.items() if name in facts]:
            yield _fact("ids", ", ".join(known))
        yield _fact("asked by", f"{facts['user_id']} ({facts['source']})")
    yield _fact("started", moment(state.started_us))
    if state.ended_us:
        yield _fact("ended", f"{moment(state.ended_us)}, after {duration(state.ended_us - state.started_us)}")
    else:
        left = duration(max(0, state.deadline_us - now_us))
        yield _fact("so far", f"{duration(max(0, now_us - state.started_us))}; its deadline is in {left}")
    if (rollback := state.rollback) is not None:
        done = ", ".join(rollback.done) or "nothing yet"
        left_over = f"; {len(rollback.todo)} still to undo" if rollback.todo else ""
        yield _fact("rollback", f"{redact_text(rollback.reason)}, undone: {done}{left_over}")
    yield from _waiting(view, now_us)
    yield _fact("trace", state.trace.trace_id)


def _waiting(view: View, now_us: int) -> Iterator[str]:
    run, timer = view.state.pending, view.state.timer
    if run is None or timer is None or not view.state.status.live:
        return
    what = run.step if run.undoes is None else view.undo_name(run)
    said = f"{what} for {duration(max(0, now_us - run.sent_us))}" if run.attempt else f"the time to send {what}"
    said += f"; sent again in {duration(max(0, timer.next_attempt_us - now_us))}"
    if timer.deadline_us is not None:
        said += f", given up in {duration(max(0, timer.deadline_us - now_us))}"
    yield _fact("waits for", said)


def _fact(name: str, value: str) -> str:
    return f"  {faint(f'{name:<10}')} {value}"


def _runs(view: View, runs: Sequence[Run], *, undos: bool) -> str:
    started = view.state.started_us
    rows = []
    for run in runs:
        name = view.undo_name(run) if undos else run.step
        outcome = click.style(run.outcome.value, fg=_OUTCOME_COLOURS[run.outcome])
        at = f"+{duration(max(0, run.sent_us - started))}"
        took = duration(max(0, run.ended_us - run.sent_us)) if run.ended_us else ""
        rows.append((name, outcome, str(run.attempt), at, took, run.undoes or "" if undos else run.command_id))
    last = "UNDOES COMMAND" if undos else "COMMAND"
    return table(("UNDO" if undos else "STEP", "OUTCOME", "ATTEMPTS", "AT", "TOOK", last), rows)


def _messages(view: View) -> str:
    started = view.state.started_us
    rows = []
    for message in view.messages():
        where = f"{message.topic}/{message.partition}/{message.offset}" if message.topic else ""
        if message.topic and message.offset is None:
            where = message.topic
        arrow = click.style("->", fg="yellow") if message.sent else click.style("<-", fg="cyan")
        offset_us = message.at_us - started
        at = f"+{duration(offset_us)}" if offset_us >= 0 else duration(offset_us)
        rows.append((at, arrow, message.what, where, message.message_id))
    return table(("AT", "", "MESSAGE", "TOPIC/PARTITION/OFFSET", "ID"), rows)
