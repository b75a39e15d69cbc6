"""Parameters of Systems Manager: the write that several runs may try at the same moment."""

import time

from botocore.exceptions import ClientError

from kirikae import aws

_PAUSES_SECONDS = (0.2, 0.5, 1.0)


def put(name: str, text: str) -> int:
    """Make the parameter hold the text; return the version that it became.

    Of two writes at the same moment Systems Manager may refuse one with TooManyUpdates, which the SDK does not repeat.
    Its version shows what the other one wrote.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
    """
    for pause in _PAUSES_SECONDS:
        try:
            return _put(name, text)
        except ClientError as error:
            if error.response["Error"]["Code"] != "TooManyUpdates":
                raise
        time.sleep(pause)
    return _put(name, text)


def replaced(name: str, text: str, known: int, written: int) -> int:
    """Return the version that a write replaced: the last one of another writer after `known`, or `known`.

    text: what was written as the version `written`.  What the SDK writes again because an answer was lost becomes a
    version of its own, so that those right below may be of this writer, too.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    for version in range(written - 1, known, -1):
        if aws.client("ssm").get_parameter(Name=f"{name}:{version}")["Parameter"]["Value"] != text:
            return version
    return known


def _put(name: str, text: str) -> int:
    stored = aws.client("ssm").put_parameter(Name=name, Value=text, Type="String", Overwrite=True)
    return int(stored["Version"])
