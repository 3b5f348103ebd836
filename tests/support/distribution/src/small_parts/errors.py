"""What the distiller computes."""

from icckd.plugins import functional, precise


def error_of(student, teacher):
    """Return the squared error of two outputs, a scalar."""
    return functional.mse_loss(precise(student), precise(teacher))
