"""The heat map's place until version 0.1, for scripts that import it from here."""

from gatewright.draw.plots.heatmap import HeatMap, unit_order

__all__ = ["HeatMap", "unit_order"]
