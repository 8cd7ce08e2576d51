"""What is judged: a function as a whole, and each backward by hand in it, whatever it stands in."""
