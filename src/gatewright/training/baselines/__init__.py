"""What a practitioner tries first, and what a network therefore has to beat."""
