"""The older machines: one frame, and no answer to it.

That the broker has the frame for somebody is all that is ever known, so it counts as the machine's consent; what an
accepted command counts as at its deadline is the model's stated policy. A frame is sent once: nobody says that these
machines recognise an order that they have made already. One that the broker refuses, or has nobody to hand to, was not
sent.
"""

from datetime import UTC, datetime
from typing import Any

from device_bridge.domain.drivers import Answer, BrewInstruction, DriverPolicy, Handed, Target, not_sent
from device_bridge.drivers.frame.codec import make_drink
from device_bridge.drivers.mqtt.driver import Publisher, publish
from device_bridge.drivers.mqtt.profiles import FRAME_ROOT, address_id

POLICY = DriverPolicy(
    completion_signal=False,
    deadline_policy="assume_success",
    repeatable=False,
    revocable=False,
    reports_state=True,
    through="loop",
)
"""Whatever a machine publishes on its events topic is a sign of life; one that is silent for 90 s takes no money."""
SILENT_POLICY = DriverPolicy(
    completion_signal=False,
    deadline_policy="assume_success",
    repeatable=False,
    revocable=False,
    reports_state=False,
    through="loop",
)
"""The same machine without an events topic: whether it is on is not known, and the merchant answers for that."""


class FrameDriver:
    """Publishes the frame to `technical/<device>`, to `topic` of its address, or to a foreign broker's branch."""

    def __init__(self, publisher: Publisher, policy: DriverPolicy = POLICY) -> None:
        self._publisher = publisher
        self._policy = policy

    @property
    def policy(self) -> DriverPolicy:
        """What the model can do."""
        return self._policy

    async def brew(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Publish the frame once; the broker's receipt is the consent, unless it says that nobody gets the frame.

        The frame has no expiry of its own: the broker throws it away when the machine comes for it too late.
        """
        try:
            broker, topic = place(target.device_id, target.address)
            payload = make_drink(
                order_id=instruction.machine_order_id or str(instruction.order_id),
                drink=drink_number(target.address, instruction.drink_id, instruction.size),
                price_minor=instruction.price_minor,
                text_flag=str(target.address.get("text_flag", "1")),
            )
        except ValueError as error:
            return not_sent(instruction, "address", str(error))
        left_s = (instruction.expires_at - datetime.now(UTC)).total_seconds()
        if left_s <= 0:
            return not_sent(instruction, "expired", "its time was over before it was sent")
        answer = await publish(self._publisher, broker, topic, payload, left_s, needs_reader=True)
        return Answer(Handed.ACCEPTED) if answer.handed is Handed.SENT else answer

    async def revoke(self, target: Target, instruction: BrewInstruction) -> Answer:
        """There is no such frame."""
        return not_sent(instruction, "not_revocable", revoking=True)


def drink_number(address: dict[str, Any], drink_id: str, size: str) -> str:
    """Return the machine's own number of a drink: by `drink/size` or `drink` in its address, or our id as it is."""
    numbers = address.get("drinks", {})
    if not isinstance(numbers, dict):
        raise ValueError("the drinks of an address are a mapping of our ids to the machine's numbers")
    return str(numbers.get(f"{drink_id}/{size}") or numbers.get(drink_id) or drink_id)


def place(device_id: str, address: dict[str, Any]) -> tuple[str, str]:
    """Return the broker and the topic of a machine's frames; ValueError when its address makes no sense."""
    broker = address.get("broker", "own")
    if broker == "yandex":
        return "yandex", f"$devices/{address_id(device_id, address)}/commands"
    topic = address.get("topic", f"{FRAME_ROOT}/{device_id}")
    in_branch = isinstance(topic, str) and (topic == FRAME_ROOT or topic.startswith(f"{FRAME_ROOT}/"))
    if broker != "own" or not in_branch or len(topic) > 200 or any(sign in topic for sign in "+#\x00"):
        raise ValueError(f"the address of {device_id} names no topic below {FRAME_ROOT}")
    return "own", topic
