"""Made-up videos of a task that only motion can solve.

Every object has a place, a size and an angle, and its class moves one of them:

- place on a torus that is wider and higher than the frame, with an opacity that fades out where
  opposite sides meet, so that what leaves at one side comes back at the other unseen;
- size on a circle of logarithms, with an opacity that fades out where the largest meets the
  smallest;
- angle on a circle.

The opacity is one function of place and size in all classes. At the first frame place, size and
angle are drawn uniformly, independent of each other, of the other objects and of the class. A class
only adds to a coordinate of each object a number that does not depend on where the object was, and
a uniform variable on a circle plus any such number is uniform again and tells nothing of the
number. So the picture at any one time has the same distribution in every class: places, sizes,
angles, opacities and looks tell nothing, and only the comparison of frames does. Sizes of frames,
frame rates, backgrounds, objects that stand still, the camera's noise, flicker and jitter, and the
settings of the encoder follow the same law in all classes.

That is exact for rendered frames. A video encoder predicts frames from others, so its faint
artefacts could depend on motion; a classifier of decoded single frames stays at chance.
"""

from movinet.errors import MissingExtraError

try:
    import PIL  # noqa: F401
except ImportError:
    raise MissingExtraError("making videos", "train") from None

from movinet.data.synth.generate import generate
from movinet.data.synth.motions import TASKS, Task
from movinet.data.synth.render import Clip, render_clip

__all__ = ["TASKS", "Clip", "Task", "generate", "render_clip"]
