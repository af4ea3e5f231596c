"""uni2ts: forward, packed loss, backward, clipping and AdamW on the packed batch."""

import torch
from answer import answer
from inputs import FIELDS, packed_batch
from uni2ts_model import build

model = build()
optimizer = model.configure_optimizers()["optimizer"]
for group in optimizer.param_groups:  # its schedule starts at zero
    group["lr"] = 1e-4
parameters = list(model.parameters())
batch = packed_batch()
LOSS_FIELDS = ("target", "prediction_mask", "observed_mask", "sample_id", "variate_id")


def step():
    prediction = model(**{name: batch[name] for name in FIELDS})
    loss = model.hparams.loss_func(pred=prediction, **{name: batch[name] for name in LOSS_FIELDS})
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


answer(step)
