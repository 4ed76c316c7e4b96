"""Runs one job to one event, and says what went wrong in words."""

import traceback as tracebacks

from layersearch.errors import TrialOutOfMemory, TrialStopped
from layersearch.execution.messages import Failed, Finished, Stopped
from layersearch.space.trial import Job, Proposal, Reporter, TrialResult


def run_job(job: Job, proposal: Proposal, report: Reporter) -> Finished | Stopped | Failed:
    """Runs a trial; whatever the job raises becomes an event, but for KeyboardInterrupt."""
    try:
        result: object = job(proposal, report)
    except TrialStopped as stop:
        return Stopped(number=proposal.number, stop=stop)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
        reason, traceback = describe(error)
        if isinstance(error, TrialOutOfMemory):
            reason = error.reason
        return Failed(
            number=proposal.number,
            reason=reason,
            traceback=traceback,
            out_of_memory=isinstance(error, TrialOutOfMemory | MemoryError),
            splittable=isinstance(error, TrialOutOfMemory) and error.splittable,
        )
    if not isinstance(result, TrialResult):
        reason = f"the job gave {type(result).__name__}; it must return a TrialResult"
        return Failed(number=proposal.number, reason=reason)
    return Finished(number=proposal.number, result=result)


def describe(error: BaseException) -> tuple[str, str]:
    """An error as one line and as its traceback, without the frame that caught it."""
    lines = tracebacks.format_exception_only(error)
    reason = lines[-1].strip() if lines else type(error).__name__
    inner = error.__traceback__.tb_next if error.__traceback__ else None
    return reason, "".join(tracebacks.format_exception(type(error), error, inner))
