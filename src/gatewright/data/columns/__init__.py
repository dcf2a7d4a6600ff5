"""From the cells of one column, as text, to an array: numbers, times, names, flags."""
