"""What a network can be asked to do, one file a task."""
