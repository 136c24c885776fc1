import pickle

from videokd.utils.errors import InputError, VideoError


def test_video_error_comes_whole_out_of_a_worker():
    error = pickle.loads(pickle.dumps(VideoError("a/b.avi", "no video stream")))
    assert (error.path, error.cause) == ("a/b.avi", "no video stream")
    assert str(error) == "a/b.avi: no video stream"


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)
