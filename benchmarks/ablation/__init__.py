"""The ablations: what each choice of the paper's is worth on the demo's task (docs/ablation.md)."""
