"""Interrupt: the first signal is a wish, the second is an order."""

from __future__ import annotations

import signal
import threading

import pytest

from tenon.train.interrupt import Interrupt

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_remembered(number):
    with Interrupt() as interrupt:
        assert not interrupt.wished
        signal.raise_signal(number)
        assert interrupt.wished


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_stops_at_once(first, second):
    with Interrupt() as interrupt:
        signal.raise_signal(first)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(second)
        assert interrupt.wished


def test_what_was_there_before_is_there_again():
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(ZeroDivisionError), Interrupt():
        assert [signal.getsignal(number) for number in SIGNALS] != before
        _ = 1 / 0
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_another_thread_may_use_it_and_hears_nothing():
    heard = []

    def work():
        with Interrupt() as interrupt:
            heard.append(interrupt.wished)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
    assert signal.getsignal(signal.SIGINT) is before
