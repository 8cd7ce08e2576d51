"""The course: lessons as data, one file each in texts/, and what an answer to an exercise means.

`judge("9a", text)` gives the Reply that the Learn page shows; a teacher's script may call it too.
"""

from .course import Exercise, Lesson, Prediction, Remark, course, exercise
from .judge import Reply, judge
from .steps import step_of

__all__ = [
    "Exercise",
    "Lesson",
    "Prediction",
    "Remark",
    "Reply",
    "course",
    "exercise",
    "judge",
    "step_of",
]
