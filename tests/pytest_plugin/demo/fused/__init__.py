"""A small package of hand-written backwards, four of them wrong: what `pytest --simplegrad fused` is tried on."""
