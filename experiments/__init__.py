"""Recipes, shipped as package data. There is no code here."""
