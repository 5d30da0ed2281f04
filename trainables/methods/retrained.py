"""Retrained: a model that never met the forget classes, which is what true forgetting looks like.

It is pretrained as the trial's original was, by L = mean over all rows of the model's task loss,
with the same options, seed, batch and number of steps, on the training images of the retain and
proxy roles alone. As a trial it takes no steps: what unlearning leads to is held against it.
"""

from __future__ import annotations

from trainables.methods.base import Method
from trainables.methods.original import rows

METHOD = Method(name="retrained", rows=rows, moves="model", sign=0)
