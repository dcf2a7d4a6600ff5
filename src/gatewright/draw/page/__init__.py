"""Pages: HTML elements, the frame of a page and its style sheet."""
