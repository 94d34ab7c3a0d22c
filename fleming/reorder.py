"""Whether a question's options may be shown in another order.

Left out: which orders are shown (refine/label_check.py, evaluation/items.py).
"""

import re

from fleming.records import Question

# Options that speak of others by place or letter: moved, they would be false. Better one too many than one too few.
_LIST = r"[(]?[a-j][)]?(?: ?(?:,|and|or|nor|&|\+|/|、|和|或|与|及) ?[(]?[a-j][)]?)+"
_REFERS = re.compile(
    r"\b(?:all|none|both|any|either|neither) (?:of )?(?:the )?(?:above|below|these|those|them|others?|options)\b"
    rf"|\b(?:above|below)\b|^\W*(?:both |either |neither |only |options? |选项 ?)*{_LIST}"
    r"(?:\W|$|均|都|皆| (?:are|is|only|both|but|not)\b)|^\W*(?:options? |选项 ?|only )+[(]?[a-j]\b"
    r"|以上|上述|都不|均不|均是|均非|都是|都对|都错|皆",
    re.IGNORECASE,
)


def can_reorder(question: Question) -> bool:
    """Whether no option speaks of others by their place or letter, as "all of the above" does."""
    return not any(_REFERS.search(text[:200]) for text in question.options.values())
