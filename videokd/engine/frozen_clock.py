"""Measurement of the share of a training's time that frozen networks take."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class FrozenClock:
    """Timer of the forwards of some networks that does not wait for the device.

    On the CPU it uses the wall clock. On a GPU it uses events in the stream, which are read only
    when the total is requested. A network inside another timed network would count twice.

    Args:
        networks: Networks to time, on their device.
        device: Device of the networks.
    """

    is_running: bool
    """Whether forwards are timed; False during evaluations."""

    def __init__(self, networks: Sequence[nn.Module], device: torch.device) -> None:
        self.is_running = True
        self._networks = tuple(networks)
        self._is_cuda = device.type == "cuda"
        self._hooks: list[RemovableHandle] = []
        self._begun: Any = None
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @property
    def has_networks(self) -> bool:
        """Whether there is a network to time."""
        return bool(self._networks)

    def attach(self) -> None:
        """Add the timing hooks to the networks."""
        for network in self._networks:
            self._hooks.append(network.register_forward_pre_hook(self._begin))
            self._hooks.append(network.register_forward_hook(self._end))

    def detach(self) -> None:
        """Remove the timing hooks from the networks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def take_sec(self) -> float:
        """Return the seconds since the last call; waits for a GPU's last timed forward."""
        if self._events:
            self._events[-1][1].synchronize()
        seconds = self._seconds + sum(a.elapsed_time(b) for a, b in self._events) / 1000
        self._seconds, self._events = 0.0, []
        return seconds

    def _begin(self, module: nn.Module, args: Any) -> None:
        if self.is_running:
            self._begun = self._mark()

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self.is_running:
            return
        if self._is_cuda:
            self._events.append((self._begun, self._mark()))
        else:
            self._seconds += self._mark() - self._begun

    def _mark(self) -> Any:
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
