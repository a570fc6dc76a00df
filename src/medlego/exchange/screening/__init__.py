"""Bricks from outside, looked at before they enter: what a sound specialist does not show."""
