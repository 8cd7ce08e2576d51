"""How programs with a known answer are collected."""


def collections():
    """FAULTS, HEALTHY, and the decorators that put a function into them, by its name."""
    faults, healthy = {}, {}

    def fault(parameter, state, *causes):
        def keep(function):
            faults[function.__name__] = (function, parameter, state, causes)
            return function

        return keep

    def well(function):
        healthy[function.__name__] = function
        return function

    return faults, healthy, fault, well
