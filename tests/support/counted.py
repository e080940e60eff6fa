"""A channel, blocking or async, that counts what a client calls over it and knows which of its streams are open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any


class CountedChannel:
    """Stands in for the channel that it is given, whichever kind that is."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._streams: list[Any] = []
        self.calls: Counter[str] = Counter()
        """By method."""

    @property
    def open_streams(self) -> int:
        """Streams from the server that are open now."""
        return sum(not stream.done() for stream in self._streams)

    def unary_unary(self, path: str, **options: Any) -> Callable[..., Any]:
        """A method, counted when it is called."""
        return self._counted(path, self._channel.unary_unary(path, **options))

    def unary_stream(self, path: str, **options: Any) -> Callable[..., Any]:
        """The same of one that answers with a stream."""
        counted = self._counted(path, self._channel.unary_stream(path, **options))

        def call(*arguments: Any, **options: Any) -> Any:
            self._streams.append(counted(*arguments, **options))
            return self._streams[-1]

        return call

    def close(self) -> Any:
        """Closes the channel; to be awaited where that is."""
        return self._channel.close()

    def _counted(self, path: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls[path.rpartition("/")[2]] += 1
            return method(*arguments, **options)

        return call
