"""Profiles, follows, search, leaving (sections 2 to 4)."""

import uuid
from typing import Any

from tracelab.testing.contract.target import Contract, eventually, nobody


class ProfileContract:
    """What profile must do."""

    async def test_profile(self, contract: Contract) -> None:
        """Any logged-in person reads it; times are UTC; 404 for nobody, 422 for no id, 401 for strangers."""
        ann, bob = await contract.people(2)
        path = f"/api/users/{ann.id}"
        shown = await contract.document("GET", path, bob)
        assert shown == await contract.document("GET", path, ann)
        assert (shown["id"], shown["username"], shown["avatar"]) == (ann.id, ann.username, None)
        assert shown["created_at"].endswith("Z")
        assert ann.email not in str(shown)
        assert await contract.status("GET", f"/api/users/{nobody()}", bob) == 404
        assert await contract.status("GET", "/api/users/ann", bob) == 422
        assert await contract.status("GET", path) == 401

    async def test_update(self, contract: Contract) -> None:
        """Own alone (403); seen at once; what is absent stays; 422; an avatar comes with its URLs and goes by null."""
        ann, bob = await contract.people(2)
        path = f"/api/users/{ann.id}/profile"
        await contract.document("POST", path, ann, body={"bio": "I read."})
        await contract.document("POST", path, ann, body={"display_name": "Ann"})
        shown = await contract.document("GET", f"/api/users/{ann.id}", bob)
        assert (shown["bio"], shown["display_name"]) == ("I read.", "Ann")
        assert await contract.status("POST", path, bob, body={"bio": "x"}) == 403
        for wrong in ({"display_name": " "}, {"bio": "x" * 501}, {"nick": "a"}, {"bio": "a\0b"}):
            assert await contract.status("POST", path, ann, body=wrong) == 422, wrong
        avatar = await contract.picture(ann)
        changed = await contract.document("POST", path, ann, body={"avatar_id": avatar})
        assert changed["avatar"]["urls"]["thumb"] == f"/media/{avatar}/thumb"
        assert (await contract.document("POST", path, ann, body={"avatar_id": None}))["avatar"] is None

    async def test_profiles_are_revalidated(self, contract: Contract) -> None:
        """`ETag` and `private, no-cache`; 304 without a body until it changes."""
        (ann,) = await contract.people(1)
        path = f"/api/users/{ann.id}"
        first = await contract.ask("GET", path, ann)
        assert first.headers["Cache-Control"] == "private, no-cache"
        known = {"If-None-Match": first.headers["ETag"]}
        again = await contract.ask("GET", path, ann, headers=known)
        assert (again.status, again.document) == (304, None)
        await contract.document("POST", f"{path}/profile", ann, body={"bio": "new"})
        assert await contract.status("GET", path, ann, headers=known) == 200

    async def test_follows(self, contract: Contract) -> None:
        """Idempotent both ways; on both sides at once although cached; not oneself (422), not nobody (404)."""
        ann, bob = await contract.people(2)
        path = f"/api/users/{bob.id}/follow"

        async def lists() -> tuple[list[str], list[str]]:
            following = await contract.document("GET", f"/api/users/{ann.id}/following", bob)
            followers = await contract.document("GET", f"/api/users/{bob.id}/followers", ann)
            return [p["id"] for p in following["items"]], [p["id"] for p in followers["items"]]

        assert await lists() == ([], [])
        for method, expected in (("POST", ([bob.id], [ann.id])), ("DELETE", ([], []))):
            for _ in range(2):
                assert await contract.status(method, path, ann) == 204
                assert await lists() == expected
        assert await contract.status("POST", f"/api/users/{ann.id}/follow", ann) == 422
        assert await contract.status("POST", f"/api/users/{nobody()}/follow", ann) == 404

    async def test_lists_are_paged(self, contract: Contract) -> None:
        """Everybody once, by cursor; a limit out of range and a cursor of nobody's are 422."""
        ann, *others = await contract.people(4)
        for other in others:
            await contract.ask("POST", f"/api/users/{other.id}/follow", ann)
            await contract.ask("POST", f"/api/users/{ann.id}/follow", other)
        for which in ("following", "followers"):
            path = f"/api/users/{ann.id}/{which}"
            assert sorted(p["id"] for p in await contract.pages(path, ann, limit=2)) == sorted(o.id for o in others)
            for wrong in ("limit=0", "limit=101", "cursor=first"):
                assert await contract.status("GET", f"{path}?{wrong}", ann) == 422, wrong

    async def test_search(self, contract: Contract) -> None:
        """By prefix, and by likeness; paged; an empty query and a cursor that nobody gave are 422."""
        people = await contract.people(3)
        word = uuid.uuid4().hex[:10]
        for number, person in enumerate(people):
            body = {"display_name": f"{word} number {number}"}
            await contract.document("POST", f"/api/users/{person.id}/profile", person, body=body)
        found = await contract.pages(f"/api/users/search?q={word[:8].upper()}", people[0], limit=2)
        assert {p["id"] for p in found} == {p.id for p in people}
        misspelt = word[:4] + "_" + word[5:] + " number 1"
        like = await contract.document("GET", f"/api/users/search?q={misspelt}", people[0])
        assert people[1].id in [p["id"] for p in like["items"]]
        for wrong in ("q=", "q=%20", "q=a&cursor=x", "q=a&limit=0", ""):
            assert await contract.status("GET", f"/api/users/search?{wrong}", people[0]) == 422, wrong

    async def test_leaving(self, contract: Contract) -> None:
        """202, own alone; within 10 s no session, profile, follow, post or medium; messages name nobody any more."""
        ann, bob = await contract.people(2)
        await contract.ask("POST", f"/api/users/{bob.id}/follow", ann)
        medium = await contract.picture(ann)
        post = await contract.post(ann)
        talk = await contract.chatter(ann)
        said = (await talk.send(to=bob.id, body="remember me", client_id="1"))["message"]
        assert await contract.status("DELETE", f"/api/users/{ann.id}", bob) == 403
        assert await contract.status("DELETE", f"/api/users/{ann.id}", ann) == 202

        async def left() -> Any:
            history = f"/api/conversations/{said['conversation_id']}/messages"
            return {
                "session": await contract.status("GET", "/api/auth/me", ann),
                "profile": await contract.status("GET", f"/api/users/{ann.id}", bob),
                "follows": (await contract.document("GET", f"/api/users/{bob.id}/followers", bob))["items"],
                "post": await contract.status("GET", f"/api/posts/{post['id']}", bob),
                "medium": await contract.status("GET", f"/api/media/{medium}", bob),
                "senders": [m["sender_id"] for m in (await contract.document("GET", history, bob))["items"]],
            }

        gone = {"session": 401, "profile": 404, "follows": [], "post": 404, "medium": 404, "senders": [None]}
        await eventually(left, gone)
