"""Machine unlearning for image-to-image generative models: plain PyTorch, no scheduler, no tracker.

Importing this package imports nothing else, so that planning a sweep needs no torch.
"""
