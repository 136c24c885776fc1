"""Three small generated action datasets in the file layouts of UCF101, HMDB51 and Kinetics."""

from videokd.data.synthetic.generate import generate_datasets
from videokd.data.synthetic.profiles import PROFILES
from videokd.data.synthetic.render import ClipSpec, render_clip

__all__ = ["PROFILES", "ClipSpec", "generate_datasets", "render_clip"]
