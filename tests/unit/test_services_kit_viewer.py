"""Whose token it is, where auth cannot be asked."""

from types import SimpleNamespace
from typing import Any, cast

import jwt
import pytest
from fastapi import Request

from tracelab.services.kit.edge import Edge
from tracelab.services.kit.problem import Problem
from tracelab.services.kit.viewer import Tokens, viewer


async def test_a_token_that_nobody_can_check_is_not_called_invalid() -> None:
    """Auth is away and its keys were never seen: 503, to try again. A 401 would end a session that stands."""
    edge = Edge("feed", "auth", ["http://127.0.0.1:9"])
    try:
        state = SimpleNamespace(tokens=Tokens(edge))
        token = jwt.encode({"sub": "x"}, "k" * 32, "HS256", headers={"kid": "unseen"})
        request: Any = SimpleNamespace(headers={"authorization": f"Bearer {token}"}, app=SimpleNamespace(state=state))
        with pytest.raises(Problem) as refused:
            await viewer(cast(Request, request))
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
        request.headers = {"authorization": "Bearer nonsense"}
        with pytest.raises(Problem) as invalid:
            await viewer(cast(Request, request))
        assert invalid.value.status == 401
    finally:
        await edge.close()
