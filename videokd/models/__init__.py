"""Video networks that map clips to feature maps per level, with one file per family."""
