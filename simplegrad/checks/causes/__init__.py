"""Why numbers are wrong, and which line makes them so; a file a family of causes."""
