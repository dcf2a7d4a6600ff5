"""Forecasts of time series, and the simple methods that a network has to beat."""
