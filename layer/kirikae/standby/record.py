"""Writes of notes: whatever becomes of them, what they are about is done."""

from collections.abc import Iterable, Mapping

from botocore.exceptions import BotoCoreError, ClientError

from kirikae import ec2
from kirikae.log import logger


def note(instance_id: str, notes: Mapping[str, str], instead_of: Iterable[str] = ()) -> bool:
    """Write the notes, and in the same call make these older ones say nothing; tell whether that was done.

    What is empty is removed afterwards, if EC2 lets us: only the call that writes may not be missed.
    """
    empty = dict.fromkeys((key for key in instead_of if key not in notes), "")
    try:
        ec2.tag([instance_id], {**notes, **empty})
    except (ClientError, BotoCoreError) as error:  # denied, throttled or lost: a note stands before no start
        logger.warning("notes could not be written", instance=instance_id, notes=dict(notes), problem=str(error))
        return False
    try:
        ec2.untag(instance_id, empty)
    except (ClientError, BotoCoreError) as error:
        logger.warning("empty notes stay", instance=instance_id, notes=list(empty), problem=str(error))
    return True


def forget(instance_id: str, notes: Mapping[str, str]) -> bool:
    """Remove these notes as they were seen, or empty them where they cannot be removed; tell whether that was done."""
    if not notes:
        return True
    try:
        ec2.untag(instance_id, notes)
    except (ClientError, BotoCoreError) as error:
        logger.warning("notes could not be removed", instance=instance_id, notes=list(notes), problem=str(error))
    else:
        return True
    try:
        [present] = ec2.instances([instance_id])
        if left := {key: "" for key, text in notes.items() if text and present.tags.get(key) == text}:
            ec2.tag([instance_id], left)
    except (ClientError, BotoCoreError) as error:
        logger.error("notes could not be emptied", instance=instance_id, notes=list(notes), problem=str(error))
        return False
    return True
