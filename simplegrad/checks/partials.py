def explained_partials(case, run, answer, only_order=False):
    return []
