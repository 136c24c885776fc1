import os
import signal

import pytest

from videokd.engine.stop import Stopped, StopRequest, ignore_signals


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered_until_asked_for(number):
    with StopRequest() as stop:
        stop.raise_if_set()
        assert not stop.is_set
        os.kill(os.getpid(), number)
        assert stop.is_set
        with pytest.raises(Stopped, match="^$"):
            stop.raise_if_set()


def test_a_second_interrupt_interrupts_at_once():
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="^$"):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupt_after_another_signal_is_the_first_interrupt(first):
    with StopRequest() as stop:
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), first)
        assert stop.is_set
        with pytest.raises(KeyboardInterrupt, match="^$"):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_old_handlers_come_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    with StopRequest():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_worker_leaves_signals_to_the_trainer():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    try:
        ignore_signals(0)
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 3
        for number in numbers:
            os.kill(os.getpid(), number)  # would end the tests if it were not ignored
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
