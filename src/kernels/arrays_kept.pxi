# What was computed of a call's arguments (sizes, windows, taps) is kept for the next call like it:
# computing it takes longer than a small call's arithmetic.

cdef enum:
    MOST_KEPT = 256


cdef bint by_value(tuple values, uint64_t *kinds) except -1:
    """Whether all are plain numbers, words, None, or tuples of these; folds in which are which."""
    for value in values:
        kinds[0] = kinds[0] * 3
        if PyLong_CheckExact(value) or value is None or type(value) is str:
            continue
        if type(value) is bool:
            kinds[0] += 1
        elif type(value) is float:
            kinds[0] += 2
        elif type(value) is not tuple or not by_value(<tuple> value, kinds):
            return False
    return True


cdef int keep(dict kept, object key, object found) except -1:
    """kept[key] = found; the oldest go."""
    if len(kept) >= MOST_KEPT:
        kept.pop(next(iter(kept)), None)
    kept[key] = found
    return 0


def look_up(dict kept not None, function, tuple arguments not None):
    """function(*arguments), from `kept` where it was called so before; the oldest go.

    True and 1.0 equal 1, but may be refused where 1 is not: they are told apart. Arguments of other
    types than a configuration's are never looked up.
    """
    cdef uint64_t kinds = 0
    if not by_value(arguments, &kinds):
        return function(*arguments)
    key = arguments if kinds == 0 else (kinds, arguments)
    found = kept.get(key)
    if found is None:
        found = function(*arguments)
        keep(kept, key, found)
    return found
