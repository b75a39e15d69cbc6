"""What the tests of the sandbox share."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.account import Account
from sandbox.iam import Role


def error_of(call: Any, **params: Any) -> str:
    """Return the code of the error with which a client's method is refused."""
    with pytest.raises(ClientError) as refused:
        call(**params)
    return str(refused.value.response["Error"]["Code"])


def make_function(account: Account, code_dir: Path, **changes: Any) -> str:
    """Create the function f of this code, or of one that returns its event, under the role `role`; return its ARN."""
    account.roles.setdefault("role", Role())
    if not (code_dir / "app.py").exists():
        (code_dir / "app.py").write_text("def lambda_handler(event, context):\n    return event\n")
    settings = {"handler": "app.lambda_handler", "role_name": "role", "environment": {}, "timeout": 20, "memory": 256}
    return account.functions.create("f", code_dir=code_dir, **{"layers": [], **settings, **changes})
