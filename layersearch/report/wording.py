"""Numbers in words and units, the same in every report."""

import math

# Metrics between 0 and 1 that people read in per cent; a difference of two is in points.
_SHARES = ("accuracy", "recall", "precision", "specificity", "f1", "jaccard")
_COUNTS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def is_share(metric: str) -> bool:
    """Whether the metric is read in per cent."""
    return ":" not in metric and any(word in metric for word in _SHARES)


class Scale:
    """How the values of one metric are written."""

    def __init__(self, metric: str) -> None:
        self.share = is_share(metric)
        self.factor = 100.0 if self.share else 1.0
        self.unit = "%" if self.share else ""
        self.points = " points" if self.share else ""

    def value(self, mean: float | None, stderr: float | None = None) -> str:
        """'89.3 ± 0.2%', or '0.4123 ± 0.0021' for a metric that is no share."""
        if mean is None:
            return "unknown"
        text = self.number(mean)
        if stderr is not None and math.isfinite(stderr):
            text += f" ± {self.number(stderr)}"
        return text + self.unit

    def difference(self, value: float) -> str:
        """'+1.4 points', or '-0.0123'."""
        return f"{self.number(value, sign=True)}{self.points}"

    def number(self, value: float, *, sign: bool = False) -> str:
        """The bare number, scaled."""
        scaled = value * self.factor
        digits = 1 if self.share else 4
        if self.share and scaled != 0 and abs(scaled) < 0.1:
            digits = 2  # an error of 0.04 points is not 0.0
        if scaled == 0 and not self.share:
            digits = 0
        elif not self.share and abs(scaled) >= 10:  # a cost, such as parameters or milliseconds
            digits = 0 if abs(scaled) >= 100 else 2
        text = f"{scaled:+,.{digits}f}" if sign else f"{scaled:,.{digits}f}"
        return text.replace("-", "\N{MINUS SIGN}")


def count(value: float, unit: str = "") -> str:
    """A large number to three digits: '1.24 P' + unit."""
    for size, prefix in _COUNTS:
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def duration(seconds: float) -> str:
    """'41 s', '3 min 20 s', '2 h 05 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def times(ratio: float) -> str:
    """'4.1 times', '0.83 times', '120 times'."""
    return f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.2g} times"


def plural(number: float, noun: str) -> str:
    """'1 training', '23 trainings'."""
    return f"{number:,.0f} {noun}" if number == 1 else f"{number:,.0f} {noun}s"


def look_text(epochs: int) -> str:
    """'looks of 1 epoch'."""
    return f"looks of {plural(epochs, 'epoch')}"


def listed(parts: list[str]) -> str:
    """'a, b and c'."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def subset_text(names: list[str] | tuple[str, ...]) -> str:
    """'{layer1.1, layer4.0}'."""
    return "{" + ", ".join(names) + "}"
