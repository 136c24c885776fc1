"""Videos on disk in, batches of clips out. Importing this imports no decoder and no torch.

Open ``dataset.py`` first: a training clip's way from its record over frames to a sample. Before it
come ``batch_plan.py`` (which record when) and ``loader.py`` (workers); after it, ``batch.py``.
"""
