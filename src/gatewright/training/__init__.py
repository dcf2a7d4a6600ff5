"""Training: models that are saved as directories, a plain loop, networks side by side."""
