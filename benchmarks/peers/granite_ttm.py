"""granite-tsfm: a training step (``full``, ``lora``) or a forecast (``inference``) of TTM-r2."""

import logging
import sys
import warnings

import torch
from answer import answer
from inputs import univariate
from peft import LoraConfig, get_peft_model
from tsfm_public.models.tinytimemixer import TinyTimeMixerConfig, TinyTimeMixerForPrediction

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
mode, batch, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
torch.manual_seed(0)
model = TinyTimeMixerForPrediction(
    TinyTimeMixerConfig(
        context_length=512,
        prediction_length=96,
        patch_length=64,
        patch_stride=64,
        num_input_channels=1,
        d_model=192,
        num_layers=2,
        adaptive_patching_levels=3,
        decoder_d_model=128,
        decoder_num_layers=2,
        expansion_factor=2,
        dropout=0.2,
        head_dropout=0.2,
        scaling="std",
        gated_attn=True,
    )
)
assert sum(p.numel() for p in model.parameters()) == 805_280
if mode == "lora":
    targets = ["fc1", "fc2", "attn_layer"]
    model = get_peft_model(
        model, LoraConfig(r=8, lora_alpha=16, target_modules=targets, lora_dropout=0.0)
    )
model.train(mode != "inference")
past, future = (values.unsqueeze(-1) for values in univariate(batch))
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)


def step():
    optimizer.zero_grad()
    model(past_values=past, future_values=future).loss.backward()
    optimizer.step()


@torch.inference_mode()
def forecast():
    model(past_values=past)


chosen = forecast if mode == "inference" else step
answer(lambda: [chosen() for _ in range(calls)])
