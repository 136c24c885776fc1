"""Three small generated action datasets in the file layouts of UCF101, HMDB51 and Kinetics."""

from videokd.synthetic.generate import generate_datasets
from videokd.synthetic.profiles import PROFILES
from videokd.synthetic.render import ClipSpec, render_clip

__all__ = ["PROFILES", "ClipSpec", "generate_datasets", "render_clip"]
