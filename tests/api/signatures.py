"""The signatures of everything that `import icckd` offers, as text.

    python -m tests.api.signatures > tests/api/signatures.txt

writes the committed text anew: a change of it is a change for everybody who wrote a program.
"""

import inspect
from dataclasses import fields, is_dataclass

import icckd


def signatures() -> str:
    lines = []
    for name in sorted(icckd.__all__):
        found = getattr(icckd, name)
        if inspect.isclass(found):
            lines += [f"class {name}", *(f"    {line}" for line in members(found))]
        elif callable(found):
            lines.append(f"{name}{shown(inspect.signature(found))}")
        else:
            lines.append(f"{name}: {type(found).__name__}")
    return "\n".join(lines) + "\n"


def members(found: type) -> list[str]:
    lines = [f"{f.name}: {text(f.type)}" for f in fields(found)] if is_dataclass(found) else []
    for name, member in sorted(vars(found).items()):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            lines.append(f"{name} -> {text(inspect.signature(member.fget).return_annotation)}")
        elif isinstance(member, classmethod):
            lines.append(f"{name}{shown(inspect.signature(member.__func__))}")
        elif inspect.isfunction(member):
            lines.append(f"{name}{shown(inspect.signature(member))}")
    return lines


def shown(signature: inspect.Signature) -> str:
    """Return a signature with types by their short names."""
    parameters = [
        each.replace(annotation=Named(text(each.annotation))) if each.annotation is not each.empty
        else each
        for each in signature.parameters.values()
    ]  # fmt: skip
    returned = signature.return_annotation
    if returned is not signature.empty:
        returned = Named(text(returned))
    return str(signature.replace(parameters=parameters, return_annotation=returned))


class Named:
    """An annotation that is shown as a text."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def text(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    if annotation is None or annotation is type(None):
        return "None"
    if inspect.isclass(annotation) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


if __name__ == "__main__":
    print(signatures(), end="")
