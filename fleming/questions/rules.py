"""What is drawn, and what it must satisfy, as one record."""

from dataclasses import dataclass, replace

from fleming.settings.synth import SynthConfig


@dataclass(frozen=True)
class Rules:
    """Basic questions have min_shared 0 and are otherwise as their metapaths say; what is marked is for scenarios."""

    scenario: bool = False
    """The paper's scenarios in place of basic questions."""
    rare_factor: float = 3.0
    """How much likelier a rare root is drawn than a common one."""
    degree_exponent: float = 0.5
    """A root is drawn in proportion to (1 + degree) to the power of minus this."""
    patience: int = 3000
    """A chain length ends early after so many draws in a row without a new question."""
    max_answer_share: float = 1.0
    """No more than this share of a length's questions have one answer, or one root."""
    min_shared: int = 0
    """Scenarios: visible edges that each wrong option's own path has in common with the right one."""
    max_clues: int = 5
    """Scenarios: visible edges of the hidden root."""
    min_confidence: float = 0.0
    """Scenarios: edges of less confidence are not used, neither on the path nor as a clue."""
    min_frequency: float = 0.3
    """Scenarios: a finding that is known to be rarer than this among the root's patients is no clue."""
    exclude_open: bool = False
    """Refuse wrong options of which the graph only does not say that they are right."""

    @classmethod
    def of(cls, synth: SynthConfig) -> "Rules":
        """Return the rules that the settings ask for."""
        basic = cls(rare_factor=synth.rare_factor, degree_exponent=synth.degree_exponent)
        if synth.style == "basic":
            return basic
        return replace(
            basic,
            scenario=True,
            max_answer_share=synth.max_answer_share,
            min_shared=synth.min_shared,
            min_confidence=synth.min_confidence,
            min_frequency=synth.min_frequency,
            exclude_open=synth.open_world == "exclude",
        )

    @property
    def lengths(self) -> tuple[int, ...]:
        """Hops of the questions."""
        return (2, 3, 4) if self.scenario else (1, 2, 3)


BASIC = Rules()
