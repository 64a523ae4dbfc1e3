"""Pairs: recipes, their plan, and rendering."""
