"""The tape as a subject: its runs, its truth, what escapes it, and the lines of its propagates."""
