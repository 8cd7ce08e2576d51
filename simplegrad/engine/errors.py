"""What the engine says when a program, or a hand-written `propagate`, gave it something that it cannot use."""


class TapeError(Exception):
    """Base of every error that the engine raises on purpose. The message says where, what came, what was expected."""


class RawTensorError(TapeError, TypeError):
    """A raw tensor (or another object) stands where a Variable belongs, so that no gradient could flow through it."""


class WrongCountError(TapeError, ValueError):
    """`propagate` returned another number of gradients than its entry has inputs."""


class WrongShapeError(TapeError, ValueError):
    """A gradient that `propagate` returned, or a tensor that was put in place of another, has not the shape it must."""


class UnknownNameError(TapeError, LookupError):
    """A TapeEntry names a Variable that is not on the tape."""


class OtherTapeError(TapeError, ValueError):
    """A Variable of another tape, or of before a reset, stands where an entry of this tape has to reach it."""


class ChangedInPlaceError(TapeError, RuntimeError):
    """A value that a pass has yet to read was changed in place or replaced since its entry was recorded."""
