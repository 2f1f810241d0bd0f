"""Classes of pixels: images and masks of any kind in, models, figures and pictures out."""
