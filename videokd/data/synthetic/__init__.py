"""The embedded datasets: three small action datasets, generated, in the layouts of real ones."""

from videokd.data.synthetic.generate import generate_datasets
from videokd.data.synthetic.profiles import PROFILES
from videokd.data.synthetic.render import ClipSpec, render_clip

__all__ = ["PROFILES", "ClipSpec", "generate_datasets", "render_clip"]
