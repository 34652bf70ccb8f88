"""Fine-tuning and GRPO."""
