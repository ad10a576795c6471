"""What is wrong with settings, as lines that say what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tenantcache.settings.checks import shown


def describe(
    error: ValidationError, labels: Mapping[str, str], fields: Mapping[str, FieldInfo], secrets: Collection[str]
) -> list[str]:
    """Turn pydantic's errors into lines. `labels` maps a field to where its value came from, or would have. Those of
    `secrets` are not shown."""
    lines = []
    for fault in error.errors(include_url=False):
        field = str(fault["loc"][0])
        label = labels[field]
        if fault["type"] == "missing":
            lines.append(f"{label} is not set; give {fields[field].description}")
        elif fault["type"] == "extra_forbidden":
            close = difflib.get_close_matches(field, fields, n=1, cutoff=0.6)
            lines.append(f"{label} is not a setting" + (f"; did you mean {close[0]}?" if close else ""))
        elif fault["type"] == "value_error":
            lines += [f"{label} {line}" for line in _own_message(fault["msg"], field)]
        else:
            what = "" if field in secrets else f"is {shown(fault['input'])}; it "
            lines.append(f"{label} {what}{_pydantic_message(fault['msg'])} ({fields[field].description})")
    return lines


def _own_message(message: str, field: str) -> list[str]:
    lines = message.removeprefix("Value error, ").splitlines()
    return [line.replace(f"{field}: ", "is wrong: ", 1) for line in lines]


def _pydantic_message(message: str) -> str:
    return message.partition(", unable to")[0].replace("Input ", "", 1).replace("String ", "", 1)
