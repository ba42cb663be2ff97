"""An attempt that could not be carried out now, and that shall be seen in the trace all the same."""

from __future__ import annotations

from saga.errors import TransientFailure
from saga.messaging.job import Report


class AttemptFailed(TransientFailure):
    """Nothing was stored; the orchestrator sends the command again. ``report`` is what the attempt's span shall say."""

    def __init__(self, failure: TransientFailure, report: Report) -> None:
        super(TransientFailure, self).__init__(str(failure))
        self.error_type = failure.error_type
        self.report = report
