"""Trainings of which several processes, the ranks of `torchrun`, do every step together."""
