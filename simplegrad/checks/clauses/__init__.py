"""What autograd may do to a backward, a question each: a clause takes a rule and gives findings."""
