import os
import socket

import pytest
import torch

from videokd.data.pool.channel import Channel, pack, unpack


@pytest.fixture
def channels():
    ends = socket.socketpair()
    pair = tuple(Channel(end) for end in ends)
    yield pair
    for channel in pair:
        channel.close()


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.bool, torch.int64, torch.bfloat16, torch.float64, torch.complex64]
)
def test_tensors_of_every_dtype_arrive_as_they_were(channels, dtype):
    tensor = torch.randint(2, (3, 4, 5)).to(dtype)
    messages = {"all": tensor, "one": tensor[0, 0, 0], "none": tensor[:0], "part": tensor[:, 1::2]}
    channels[0].send(messages)
    received = channels[1].receive()
    assert received.keys() == messages.keys()
    for name, value in messages.items():
        assert received[name].dtype == dtype
        assert torch.equal(received[name], value)


def test_a_tensor_that_is_kept_keeps_no_other(channels):
    channels[0].send([torch.zeros(1_000_000), torch.ones(3)])
    large, small = channels[1].receive()
    assert large.untyped_storage().nbytes() == 4_000_000
    assert small.untyped_storage().nbytes() == 12


def test_sending_waits_for_no_reader(channels):
    for number in range(50):
        channels[0].send((number, bytes(1_000_000)))
    assert [channels[1].receive()[0] for _ in range(50)] == list(range(50))
    assert not channels[1].has_message()


def test_what_was_sent_before_the_end_arrives(channels):
    channels[1].send("unread")
    channels[0].send("last")
    channels[0].close()
    assert channels[1].has_message()
    assert channels[1].receive() == "last"
    for _ in range(2):
        assert channels[1].has_message()
        with pytest.raises(EOFError, match="^$"):
            channels[1].receive()
    with pytest.raises(BrokenPipeError, match="Broken pipe"):
        channels[1].send("to nobody")


def test_a_packed_message_can_be_read_more_than_once():
    file = pack(["text", torch.arange(4)])
    for _ in range(2):
        text, numbers = unpack(file)
        assert (text, numbers.tolist()) == ("text", [0, 1, 2, 3])
    os.truncate(file, os.fstat(file).st_size - 1)
    with pytest.raises(EOFError, match="a message ends at byte .*, 1 bytes early"):
        unpack(file)
    os.close(file)


def test_a_message_that_does_not_pickle_leaves_no_file(channels):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(Exception, match="pickle"):
        channels[0].send(lambda: 5)
    assert os.listdir("/proc/self/fd") == before
    assert not channels[1].has_message()


def test_messages_without_memory_files_go_through_temporary_ones(channels, monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    channels[0].send(torch.arange(5))
    assert channels[1].receive().tolist() == [0, 1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []
