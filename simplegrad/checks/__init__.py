"""Is a hand-written backward right, at every order asked for, and if not: which value, which line, and why?

What is judged: a `Subject` (subjects/), a function as a whole, and in it each `Rule`, one backward by hand beside its
forward, whether it stands on the tape, in a torch.autograd.Function or in an operator of torch.library.

How a verdict is made: check.py takes the arguments, functions.py opens a PyTorch function; on_functions.py and
on_tape.py say what is theirs on the road that both take, road.py. It tries the clauses (clauses/, a question each: is
it linear, does it take None, does it give the same again …) on each rule, and holds gradients against differences of
values at order 1, 2 and up: measure/looks.py takes one look, measure/holding.py says at which points, measure/kinks.py
what can be told where a point has no slope. report.py notes what came of it: a verdict is the gravest fault.

How a cause is found, once numbers are wrong: causes/first_order.py for a Function's gradient, diagnosis.py for its
second order (causes/detector.py measures what autograd does not see, causes/constants.py tells it), tape/blame.py for
Variables. Rules go from the plainest cause to the least plain, and the first that accounts for the numbers is told.

How a line is found: by running. causes/trail.py notes which statement computes what; causes/suspects.py changes one
value after another, causes/repair.py one expression of the text after another, and causes/accused.py names the
statement whose change makes the gradient right. source.py knows where statements begin and end.

Beside these: runs/ makes every run alike, watches its lines and puts back what it changed; tape/ is what only Variables
need; commands/ is what a person calls besides `check`: `simplegrad check FILE`, `simplegrad run`, `check_calls`.
"""
