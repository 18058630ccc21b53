"""How fast work goes and how long it will take, told as it goes."""

from collections import deque
from collections.abc import Callable
from time import monotonic

from cbm.progress import OnProgress

WINDOW = 20.0  # seconds that "now" means


class Pace:
    """Turns counts of finished images into sentences.

    The speed is that of the last seconds, so that it follows when the images grow or another process takes a core.

    Parameters
    ----------
    total
        Number of images.
    """

    def __init__(self, total: int, on_progress: OnProgress, clock: Callable[[], float] = monotonic) -> None:
        self.total, self.on_progress, self.clock = total, on_progress, clock
        self.seen = deque([(clock(), 0)])
        on_progress(0.0 if total else 1.0, f"{total:,} images to embed" if total else "all images are embedded already")

    def at(self, done: int) -> None:
        """So many images are finished; fewer than before when some have to be done again."""
        now = self.clock()
        if done < self.seen[-1][1]:
            self.seen.clear()
        self.seen.append((now, done))
        while len(self.seen) > 2 and self.seen[1][0] <= now - WINDOW:
            self.seen.popleft()
        since, before = self.seen[0]
        speed = (done - before) / max(now - since, 1e-9)
        left = f", {_duration((self.total - done) / speed)} left" if speed else ""
        told = f"embedded {done:,} of {self.total:,} images, {speed:,.3g} images/s{left}"
        self.on_progress(done / self.total, told)


def _duration(seconds: float) -> str:
    """A time in words.

    Examples
    --------
    >>> _duration(0), _duration(90.4), _duration(1000), _duration(20000)
    ('0 s', '90 s', '17 min', '5.6 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
