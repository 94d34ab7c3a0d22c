"""The audit of a run: trace, retract, verify, card. docs/audit.md says what each shows, and what it does not."""
