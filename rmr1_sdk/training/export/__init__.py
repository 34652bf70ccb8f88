"""Export: merged checkpoints, GGUF files and their measured agreement."""
