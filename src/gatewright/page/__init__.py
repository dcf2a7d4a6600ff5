"""The page of `gatewright look`: a model, its data and an engine that runs it in the browser."""
