"""Scaling without waiting for the HPA: up at once, down by workers that hold nothing. Optional, done by one elected replica."""
