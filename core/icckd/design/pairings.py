"""Pairs of networks that a distiller cannot join are refused before anything is trained."""

from icckd.errors import SpecError
from icckd.spec.method import Method
from icckd.spec.shapes import image_shape, network_shape


def refuse_impossible_pairing(arm: str, method: Method) -> None:
    """Check an arm's distiller against its networks and its batch.

    Raises:
        SpecError: The distiller cannot work there; the message says why.
    """
    student = method.student
    distiller = student.distiller
    if distiller == "off":
        return
    what = f"arm {arm!r}: distiller {distiller.kind!r}"
    if student.training.batch_size < distiller.least_batch:
        raise SpecError(
            f"{what} compares the images of a batch and needs {distiller.least_batch} of them,"
            f" student.training.batch_size is {student.training.batch_size}",
            hint="raise student.training.batch_size",
        )
    image = image_shape(method.data)
    own = network_shape(student.model, image)
    other = network_shape(method.teacher.model, image)
    reason = distiller.obstacle(own, other)
    if reason is not None:
        raise SpecError(
            f"{what} cannot join student.model and teacher.model: {reason}",
            hint="see what each method needs in docs/distillers.md",
        )
