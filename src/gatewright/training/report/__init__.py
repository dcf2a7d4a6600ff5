"""The report of a comparison, and the card of its model."""
