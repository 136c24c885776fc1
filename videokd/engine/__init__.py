"""One plain training loop and what it stands on. Knows tasks, not distillation."""
