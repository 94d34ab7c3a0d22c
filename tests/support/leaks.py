"""One record looked up by itself."""

from fleming.refine.decontamination import Index, Match, Record


def find_leak(record: Record, index: Index) -> Match | None:
    """Return the benchmark question that a question, a trajectory or a text leaks, or None."""
    return next(index.leaks([record]))
