"""The types that every data set is read into: series, recordings, tagged sequences, text."""
