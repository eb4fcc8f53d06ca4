"""Made-up videos of a task that only motion can solve.

Every object has a place, a size and an angle, and its class moves one of them:

- place on a torus that is wider and higher than the frame by an object, so that what leaves at one
  side comes back at the other;
- size on a circle of logarithms, with an opacity that fades out where the largest meets the
  smallest, as a function of the size alone, in every class;
- angle on a circle.

At the first frame all of them are drawn uniformly and independently of the class. A class only adds
a number to one coordinate, the same at each frame for a given clip, and a uniform variable on a
circle plus any such number is uniform again. So every single frame has the same distribution in
every class: position, size, angle, opacity and appearance tell nothing, and only the comparison of
frames does. Backgrounds, objects that stand still, camera noise, jitter and compression follow the
same law in all classes.
"""

from movinet.data.synth.generate import Clip, generate, render_clip
from movinet.data.synth.motions import TASKS, Task

__all__ = ["TASKS", "Clip", "Task", "generate", "render_clip"]
