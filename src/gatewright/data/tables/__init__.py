"""From a table of any format to data for a task: the role of each column, then the rows."""
