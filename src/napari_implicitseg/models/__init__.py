"""Trained networks: folders, shipped models and prediction of whole volumes by tiles."""
