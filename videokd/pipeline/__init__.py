"""One experiment from its config; start reading at ``experiment``.

STAGES are the training stages in order, PARTS everything that ``--stage`` accepts.
"""

STAGES = ("experts", "joint", "students", "baselines")
PARTS = (*STAGES, "test", "export", "report")
