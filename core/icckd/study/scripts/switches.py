"""How a boolean option is spelled in a study's config, where `{args}` gives `--key` for true only.

False is left out, so that an entry of config must be the spelling that changes the script's own
default: an option that is on and is switched off by `--no-mixup` becomes `no-mixup = false`.
"""

import re
from dataclasses import replace

from icckd.study.scripts.records import Option

TRUE_TEXTS = ("true", "yes", "1", "on", "t", "y")


def switch(option: Option, *, default: bool, turns_on: str = "", turns_off: str = "") -> Option:
    """Return a boolean option as config has it.

    Args:
        option: What is known of it besides.
        default: Whether it is on by default.
        turns_on: The long option that switches it on, without dashes; "" for none.
        turns_off: The long option that switches it off; "" for none.
    """
    changes = turns_off if default else turns_on
    if not changes:
        state = "on" if default else "off"
        return replace(option, note=f"it is {state}, and no option changes that")
    if default:
        shown = f"it is on; true gives --{changes}, which switches it off"
        part = turns_on or option.part or turns_off
        return replace(option, key=changes, value=False, off=True, note=shown, part=part)
    return replace(option, key=changes, value=False)


def text_switch(option: Option, *, default: bool, on: str = "true", off: str = "false") -> Option:
    """Return a boolean that the command line takes as a text: `--mixup true`."""
    return replace(
        option,
        value=on if default else off,
        off=off if default else None,
        choices=(on, off),
        note=option.note or "the command line takes it as a text",
    )


def long_name(names: list[str] | tuple[str, ...]) -> str:
    """Return the first long option of some spellings, without its dashes; "" for none.

    >>> long_name(["-e", "--epochs"]), long_name(["-e"])
    ('epochs', '')
    """
    return next((name[2:] for name in names if re.match(r"--\w", name)), "")
