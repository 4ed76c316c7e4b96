"""How many trials Tune may run at once. Who has resources for them, Ray's own scheduler decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.air.execution import AcquiredResources, ResourceManager, ResourceRequest


class Slots(ResourceManager):
    """Gives every actor its resources at once, up to a number of actors.

    Tune's own manager reserves a placement group for each actor, which takes Ray a second and more;
    an actor that asks for its resources itself waits as well until a node has them.

    Args:
        limit: actors at once, asked whenever one is to begin.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._requested: list[ResourceRequest] = []
        self._used = 0

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """An actor is wanted."""
        self._requested.append(resource_request)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """It is not wanted any more."""
        self._requested.remove(resource_request)

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Whether it may begin."""
        return resource_request in self._requested and self._used < self._limit()

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        """It begins."""
        if not self.has_resources_ready(resource_request):
            return None
        self._requested.remove(resource_request)
        self._used += 1
        return _Share(resource_request=resource_request)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:  # noqa: ARG002
        """It has ended."""
        self._used -= 1

    def clear(self) -> None:
        """Nothing is wanted and nothing runs."""
        self._requested = []
        self._used = 0


@dataclass
class _Share(AcquiredResources):
    """What one actor has."""

    def _annotate_remote_entity(
        self,
        entity: Any,
        bundle: dict[str, float],
        bundle_index: int,  # noqa: ARG002 (Ray's signature)
    ) -> Any:
        amounts = dict(bundle)
        return entity.options(
            num_cpus=amounts.pop("CPU", 0), num_gpus=amounts.pop("GPU", 0), resources=amounts
        )
