"""Recipes: all stages of training in one YAML file."""
