"""Training loop and its parts: checkpoints, logs, distributed runs. Independent of distillation."""
