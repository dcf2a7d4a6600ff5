"""Long sequences in chunks, from memory or from disk: `gatewright.chunks` without torch."""
