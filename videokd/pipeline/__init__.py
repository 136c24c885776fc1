"""One experiment from its config; start reading at ``experiment``.

TRAINING_STAGES lists the training stages in order, STAGES everything that ``--stage`` accepts.
"""

TRAINING_STAGES = ("experts", "joint", "generalist", "students", "baselines")
STAGES = (*TRAINING_STAGES, "test", "export", "report")
