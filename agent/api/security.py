"""Who may clear the cache: whoever shows the admin token."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from fastapi.security import HTTPAuthorizationCredentials
    from pydantic import SecretStr

bearer = HTTPBearer(auto_error=False, scheme_name="adminToken", description="The value of CACHE_ADMIN_TOKEN.")
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def check_token(shown: HTTPAuthorizationCredentials | None, expected: SecretStr | None) -> None:
    """Let a request pass that shows the admin token; how long it takes tells nothing about the token.

    Raises:
        HTTPException: 403 where no token is configured, 401 where none or a wrong one is shown.
    """
    if expected is None:
        detail = "clearing over HTTP is switched off: set CACHE_ADMIN_TOKEN to allow it to who shows that token"
        raise HTTPException(HTTPStatus.FORBIDDEN, detail)
    if shown is None:
        detail = "expected the header 'Authorization: Bearer <the admin token>', got none"
        raise HTTPException(HTTPStatus.UNAUTHORIZED, detail, headers=_CHALLENGE)
    if not hmac.compare_digest(shown.credentials.encode(), expected.get_secret_value().encode()):
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise HTTPException(HTTPStatus.UNAUTHORIZED, "that is not the admin token", headers=challenge)
