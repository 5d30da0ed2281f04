"""Which of the paper's seven models forgets best, at its full sizes and by its own options?

In the paper: Tables 1 and 2, the centre half of each side removed. MAGE and MAE forget 100 classes
of ImageNet-1k, Palette 50 of Places-365. Every variant of a family gets the same rows a step and
the same steps, where the released code gave its baselines half the batch, half the rate and twice
the steps; and the proxy variant has as many forget images as the others, where the released
configuration cut them.

Left open by the paper, and chosen here: MAE's batch, epochs, clipping and alpha are VQ-GAN's, its
rate, warm-up and training mask those that MAE was published with; proxy images of ImageNet are of
its other 800 classes, as many a class as the others have (`data.proxy_source=coco` takes COCO);
validation images are training images that are not trained on. Where the paper says a batch a GPU,
the batch is that of the eight GPUs that it used.

The authors report, to unlearn one model on one A40, 1 hour for MAE, 2 for MAGE and 12 for
Palette, whose completions by 2000 steps take several times that, and a fortieth of it by
`--set palette/sampling.sampler=ddim --set palette/sampling.steps=50`. `--dry-run` estimates it.
"""

from __future__ import annotations

from search_spaces.paper import FAMILIES, MEASURES, SEVEN
from search_spaces.study import SearchConfig, Study

STUDY = Study(
    name="table_1_2",
    question="Which of the paper's seven models forgets best, at its full sizes and options?",
    cost="days on one GPU, most of them to complete images by diffusion; needs data and weights",
    command="python -m platform.sweep table_1_2 --set data.root=IMAGENET "
    "--set palette/data.root=PLACES --set mage/checkpoint=FILE --set palette/checkpoint=FILE "
    "--set mae/checkpoint=FILE",
    models={"mage_vit_base_patch16": {}, "palette_places2": {}, "mae_vit_base_patch16": {}},
    families={family: {**MEASURES, **own} for family, own in FAMILIES.items()},
    published=True,
    variants=SEVEN,
    search=SearchConfig(trials=0),
)
