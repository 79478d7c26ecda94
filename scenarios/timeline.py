"""Commuters read their timelines, open posts, look at people, like, and write to one another."""

import io
from collections import deque

from PIL import Image

from tracelab.api import Device, Scenario, step

POPULAR = 60  # posts that people talk about at any one time
FOLLOWED = 6  # readers whom everybody follows, besides a writer
FRIENDS = 3  # to whom a person writes messages
PICTURE_PX = 96


class Timeline(Scenario):
    """Seven readers to one writer; a writer posts about once a minute.

    The pace makes the platform's own arithmetic come out: with r reads of a timeline to each
    invalidation, a share r/(r + 1) of them is answered by the cache. A post invalidates its writer's
    followers; that is why readers are followed more than writers here.
    """

    people = {"reader": 7, "writer": 1}
    expects = (
        "auth.registration",
        "timeline.hit",
        "timeline.miss",
        "messages.delivered",
        "api.latency",
        "timeline.cached",
        "message.delivery",
        "cache.hits",
        "errors",
    )

    def __init__(self) -> None:
        super().__init__()
        self.popular: deque[str] = deque(maxlen=POPULAR)
        self.friends: dict[str, list[str]] = {}

    # --- warm-up --------------------------------------------------------------------------------

    def settle(self, phone: Device) -> None:
        """Follow some readers and a writer, connect, and, as a writer, say something first."""
        phone.connect()
        writers = [other for other in self.crowd if other.role == "writer" and other is not phone]
        readers = [other for other in self.crowd if other.role == "reader" and other is not phone]
        followed = phone.dice.sample(readers, k=min(FOLLOWED, len(readers)))
        if writers:
            # The smaller of two draws: the first writers are the famous ones.
            followed.append(writers[min(phone.dice.randrange(len(writers)), phone.dice.randrange(len(writers)))])
        self.friends[phone.me] = [other.me for other in followed[:FRIENDS]]
        for other in followed:
            phone.post("/api/users/{user_id}/follow", screen="Profile", user_id=other.me)
        if phone.role == "writer":
            self.publish(phone)

    def fill(self, phone: Device) -> None:
        """Read everything once."""
        self.scroll(phone)
        self.whom_i_follow(phone)
        self.profile(phone)
        self.open_post(phone)

    # --- a day ----------------------------------------------------------------------------------

    @step(weight=56, think_s=(1, 4.2))
    def scroll(self, phone: Device) -> None:
        """Read one's own timeline."""
        page = phone.get("/api/timeline/{me}", screen="Home")
        if phone.recall("post_id") is None:
            for item in page["items"][:1]:
                phone.remember(post_id=item["id"])

    @step(weight=13, think_s=(1, 4.2))
    def open_post(self, phone: Device) -> None:
        """Open one of the posts that everybody talks about."""
        if self.popular:
            phone.get("/api/posts/{post_id}", screen="Post", post_id=phone.dice.choice(self.popular))

    @step(weight=8, think_s=(1, 4.2))
    def profile(self, phone: Device) -> None:
        """Look at somebody."""
        phone.get("/api/users/{user_id}", screen="Profile", user_id=phone.dice.choice(self.crowd).me)

    @step(weight=7, think_s=(1, 4.2))
    def like(self, phone: Device) -> None:
        """Like a post."""
        if self.popular:
            phone.post("/api/posts/{post_id}/like", screen="Post", post_id=phone.dice.choice(self.popular))

    @step(weight=7, think_s=(1, 4.2))
    def whom_i_follow(self, phone: Device) -> None:
        """Look through the people one follows."""
        phone.get("/api/users/{me}/following", screen="Following")

    @step(weight=9, think_s=(1, 4.2))
    def write_to_someone(self, phone: Device) -> None:
        """Send a message to somebody who is there."""
        other = phone.dice.choice(self.crowd)
        if other is not phone:
            phone.message(other.me, phone.person.says())

    @step(weight=4.5, think_s=(1, 4.2), role="writer")
    def publish(self, phone: Device) -> None:
        """Post something, one time in eight with a picture."""
        document: dict[str, object] = {"text": phone.person.says()}
        if phone.dice.random() < 1 / 8:
            picture = _picture(tuple(phone.dice.randrange(256) for _ in range(3)))
            document["media_ids"] = [phone.upload(picture, name="today.png", kind="image/png", screen="Compose")]
        post = phone.post("/api/posts", document, screen="Compose")
        self.popular.append(post["id"])


def _picture(colour: tuple[int, ...]) -> bytes:
    """Return a small PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (PICTURE_PX, PICTURE_PX), colour).save(out, "PNG")
    return out.getvalue()
