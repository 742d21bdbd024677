"""How long anything in a request of an operator may be. What it means is judged where it is understood."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgelift_contract.bounds import MAX_TAGS, Line, Word

#: Longest selector: ten thousand ids and more.
MAX_SELECTOR = 400_000
#: Longest time for which a device is sampled at once, seconds.
MAX_SAMPLE_S = 30 * 86400.0

#: As `digits@2`.
ReleaseText = Annotated[str, Meta(max_length=130)]
SelectorText = Annotated[str, Meta(max_length=MAX_SELECTOR)]
SampleSeconds = Annotated[float, Meta(gt=0, le=MAX_SAMPLE_S)]
TagsToSet = Annotated[dict[Word, Line], Meta(max_length=MAX_TAGS)]
TagKeys = Annotated[list[Word], Meta(max_length=MAX_TAGS)]
#: Tags that a list of devices is filtered by, as `key` or `key=value`.
TagFilters = Annotated[list[Annotated[str, Meta(max_length=512)]], Meta(max_length=64)]
DeviceNames = Annotated[list[Word], Meta(max_length=10_000)]
