"""The course: lessons as data, one file each in texts/, and what an answer to an exercise means.

`judge("9a", text)` gives the Reply that the Learn page shows; a teacher's script may call it too.
"""

from .beside import beside
from .course import Exercise, Lesson, Prediction, Remark, Scene, course, exercise
from .judge import Reply, judge
from .runs import traces_of
from .steps import step_of

__all__ = [
    "Exercise",
    "Lesson",
    "Prediction",
    "Remark",
    "Reply",
    "Scene",
    "beside",
    "course",
    "exercise",
    "judge",
    "step_of",
    "traces_of",
]
