"""What a browser keeps for us and can neither read nor change: a login that is under way."""

import base64
import json
from dataclasses import asdict

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tracelab.services.auth.oauth import FLOW_S, Flow, FlowBroken


class Seal:
    """Seals with a key that all instances derive from the platform's service token."""

    def __init__(self, service_token: str) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=b"tracelab login flow").derive(service_token.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def close(self, flow: Flow) -> str:
        """Return a flow for a cookie; good for `FLOW_S` seconds."""
        return self._fernet.encrypt(json.dumps(asdict(flow)).encode()).decode()

    def open(self, sealed: str) -> Flow:
        """Return the flow of a cookie; raise `FlowBroken`."""
        try:
            return Flow(**json.loads(self._fernet.decrypt(sealed.encode(), ttl=FLOW_S)))
        except (InvalidToken, UnicodeEncodeError) as error:
            raise FlowBroken("no login was begun in this browser within the last minutes; begin again") from error
