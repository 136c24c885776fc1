"""Videos on disk in, batches of clips out. Importing this imports no decoder and no torch."""
