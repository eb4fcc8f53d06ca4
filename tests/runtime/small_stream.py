"""The small stream model whose exported files these tests share."""

from movinet.network.config import InputSpec, MoViNetConfig
from networks import TINY

SPEC = InputSpec(image_size=32, short_side=36, frame_rate=5.0, num_frames=4)
STREAM = MoViNetConfig(TINY, causal=True, factorized=True, se_type="2plus3d")
