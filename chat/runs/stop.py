from uuid import UUID

from chat.models import Run
from chat.runs import claim
from chat.runs.finish import Ending, end_orphan
from chat.runs.owner import Owner


def request(owner: Owner | None, run_id: UUID) -> Ending | None:
    """Mark the run to be stopped, by its owner or (None) by an operator. The terminal event, if it ends right here.

    A run that nobody executes ends at once; one that is executed is ended by its worker, which hears of it by a notice
    or, should that be lost, when it renews its lease a second later. If the worker is dead, the end of its lease is it.
    """
    run = owner.run(run_id) if owner is not None else Run.objects.get(id=run_id)
    if run.ended is not None:
        return None
    if claim.waits(run_id) and (ending := end_orphan(run, Run.Status.STOPPED)):
        return ending
    Run.objects.filter(id=run_id, ended=None).update(stop_requested=True)
    return None
