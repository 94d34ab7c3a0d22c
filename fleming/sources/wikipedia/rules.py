"""What the reading of pages goes by: assets/wikipedia.yaml and wikipedia_phrases.yaml, each row explained there."""

from types import SimpleNamespace

from fleming.assets import expressions, load_table

RULES = SimpleNamespace(**load_table("wikipedia.yaml"))
SAYS = expressions("wikipedia_phrases.yaml")
