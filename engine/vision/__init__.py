"""Faces, crops, tracks, smoothing, drawing and video."""
