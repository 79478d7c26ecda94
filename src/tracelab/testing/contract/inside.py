"""What services ask one another, and what runtimes ask them (section 2, at an instance's own URL)."""

import pytest

from tracelab.testing.contract.target import Contract, nobody

SERVICES = ("auth", "profile", "feed", "messaging", "media")
ENDPOINTS = (
    ("auth", "POST", "/internal/users/{id}/delete", None, 204),
    ("profile", "GET", "/internal/following?user_id={id}", None, 200),
    ("profile", "GET", "/internal/followers?user_id={id}", None, 200),
    ("feed", "POST", "/internal/timeline/invalidate", {"user_ids": [nobody()]}, 204),
    ("feed", "POST", "/internal/users/{id}/delete", None, 204),
    ("messaging", "POST", "/internal/users/{id}/anonymise", None, 204),
    ("media", "POST", "/internal/media/urls", {"ids": [nobody()]}, 200),
    ("media", "POST", "/internal/users/{id}/delete", None, 202),
)


class InsideContract:
    """What an instance must do for its siblings and for its runtime."""

    @pytest.mark.parametrize("service", SERVICES)
    async def test_health(self, contract: Contract, service: str) -> None:
        """`live` says that it serves, `ready` what each of its stores answered."""
        assert await contract.inside(service, "GET", "/health/live") == (200, {"status": "live"})
        status, document = await contract.inside(service, "GET", "/health/ready")
        assert (status, document["status"]) == (200, "ready")
        assert document["checks"]
        assert all(check["ok"] for check in document["checks"].values())

    @pytest.mark.parametrize(("service", "method", "path", "body", "status"), ENDPOINTS)
    async def test_internal_endpoints_need_the_service_token(
        self, contract: Contract, service: str, method: str, path: str, body: object, status: int
    ) -> None:
        """403 without it and with another; with it as often as one likes."""
        path = path.format(id=nobody())
        for token in ("", "another"):
            assert (await contract.inside(service, method, path, body=body, token=token))[0] == 403
        for _ in range(2):
            assert (await contract.inside(service, method, path, body=body))[0] == status

    async def test_a_profile_is_created_once(self, contract: Contract) -> None:
        """What auth tells of a new account may be told again."""
        person = nobody()
        body = {"user_id": person, "username": f"inside_{person[:8]}", "display_name": "Inside"}
        first, again = [await contract.inside("profile", "POST", "/internal/profiles", body=body) for _ in range(2)]
        assert first[0] == again[0] == 200
        assert first[1]["id"] == again[1]["id"] == person

    async def test_urls_of_media_in_one_batch(self, contract: Contract) -> None:
        """Of each id the URLs of its variants."""
        ids = [nobody(), nobody()]
        _, document = await contract.inside("media", "POST", "/internal/media/urls", body={"ids": ids})
        assert document["items"].keys() == set(ids)
        assert document["items"][ids[0]]["thumb"] == f"/media/{ids[0]}/thumb"

    async def test_keys_are_rotated(self, contract: Contract) -> None:
        """A new key signs, the old one is published on, and its tokens stay good."""
        (ann,) = await contract.people(1)
        before = await contract.document("GET", "/.well-known/jwks.json")
        status, after = await contract.inside("auth", "POST", "/internal/keys/rotate")
        assert status == 200
        assert {k["kid"] for k in after["keys"]} > {k["kid"] for k in before["keys"]}
        assert await contract.status("GET", "/api/auth/me", ann) == 200
