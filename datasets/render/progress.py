"""How far a long run has come."""
import sys
import time


class Progress:
    """A bar with rate and time left on a terminal, plain lines elsewhere."""

    def __init__(self, total, what="pieces"):
        self.what = what
        self.total, self.done, self.made, self.t0, self.tty = total, 0, 0, time.time(), sys.stderr.isatty()

    def step(self, line, made=True):
        self.done += 1
        self.made += made
        t = time.time() - self.t0
        if self.tty:
            left = (self.total - self.done) * t / max(self.made, 1)
            n = 30 * self.done // self.total
            print(f"\r\033[K[{'#' * n}{'.' * (30 - n)}] {self.done}/{self.total}  {3600 * self.made / t if t else 0:.0f} {self.what}/h  "
                  f"{int(left // 60)}:{int(left % 60):02d} left  {line[:60]}", end="" if self.done < self.total else "\n", file=sys.stderr, flush=True)
        elif made:
            print(line, flush=True)
