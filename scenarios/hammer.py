"""Somebody floods the platform and sends it garbage; everybody else goes on with their day."""

from concurrent.futures import ThreadPoolExecutor

from tracelab.api import Device, Scenario, step

VOLLEY = 150  # requests without a pause,
AT_ONCE = 25  # so many at a time
LIMITED = 429
GARBAGE = ("no packet at all", "40{", '42["message:send",{}]', "9", b"\x00\x01\x02")


class Hammer(Scenario):
    """One account at one address asks far more often than it may, and opens sockets to send what is no packet.

    It is refused and hung up on, and what the others see is judged without it. Only the first of its role
    does any harm, however many people there are.
    """

    people = {"reader": 14, "writer": 2, "hammer": 1}
    hostile = ("hammer",)
    users = 102
    expects = (
        "flood.limited",
        "garbage.closed",
        "timeline.hit",
        "messages.delivered",
        "api.latency",
        "timeline.cached",
        "message.delivery",
        "errors",
    )

    # --- warm-up --------------------------------------------------------------------------------

    def settle(self, phone: Device) -> None:
        """Connect, follow a few people, and say something first."""
        if phone.role == "hammer":
            return
        phone.connect()
        others = [other for other in self.crowd if other.role != "hammer" and other is not phone]
        for other in phone.dice.sample(others, k=min(4, len(others))):
            phone.post("/api/users/{user_id}/follow", screen="Profile", user_id=other.me)
        if phone.role == "writer":
            self.publish(phone)

    def fill(self, phone: Device) -> None:
        """Read one's timeline once."""
        phone.get("/api/timeline/{me}", screen="Home")

    # --- what the others do ---------------------------------------------------------------------

    @step(weight=12, think_s=(1, 4), role="reader")
    def scroll(self, phone: Device) -> None:
        """Read one's own timeline."""
        phone.get("/api/timeline/{me}", screen="Home")

    @step(weight=2, think_s=(1, 4), role="reader")
    def look(self, phone: Device) -> None:
        """Look at somebody."""
        phone.get("/api/users/{user_id}", screen="Profile", user_id=phone.dice.choice(self.crowd).me)

    @step(weight=2, think_s=(1, 4), role="reader")
    def write_to_someone(self, phone: Device) -> None:
        """Send a message to somebody who is there."""
        other = phone.dice.choice(self.crowd)
        if other is not phone and other.role != "hammer":
            phone.message(other.me, phone.person.says())

    @step(weight=1, think_s=(30, 60), role="writer")
    def publish(self, phone: Device) -> None:
        """Post something."""
        phone.post("/api/posts", {"text": phone.person.says()}, screen="Compose")

    # --- what the hammer does -------------------------------------------------------------------

    @step(think_s=(0.2, 0.4), role="hammer")
    def flood(self, phone: Device) -> None:
        """Ask who one is, and unfollow oneself, again and again: an address has a limit, and an account another."""
        if self._is_hammering(phone):
            with ThreadPoolExecutor(AT_ONCE) as volley:
                for _ in range(VOLLEY // 2):
                    volley.submit(phone.get, "/api/auth/me", expect=(LIMITED,))
                    volley.submit(phone.delete, "/api/users/{me}/follow", expect=(LIMITED,))

    @step(think_s=(0.2, 0.4), role="hammer")
    def babble(self, phone: Device) -> None:
        """Open a socket and send garbage."""
        if self._is_hammering(phone):
            phone.send_garbage(phone.dice.choice(GARBAGE))

    def _is_hammering(self, phone: Device) -> bool:
        return phone is next((other for other in self.crowd if other.role == "hammer"), None)
