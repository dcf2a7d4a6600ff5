"""The base of a forecast: the best simple method, which is inside the network from the start."""
