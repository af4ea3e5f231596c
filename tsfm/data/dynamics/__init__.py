"""Dynamical systems: from equations to panels of chaotic trajectories."""
