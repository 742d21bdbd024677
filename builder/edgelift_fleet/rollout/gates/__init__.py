"""Gates: does a wave do worse than the devices it has not reached? Pure statistics on numpy; docs/gates.md in words.

The unit is the *device*: its requests share its weather, its neighbours and its day, so a thousand of them are not a
thousand witnesses. A wave's members are drawn at random within their hardware class; the devices that are not reached
yet are its controls. Had the swap no effect, any other draw would have been as likely, and that alone gives the odds
of what was seen: `draws` lists the draws, `compare` says how each would have looked, `family` keeps the false-alarm
rate over everything that is looked at, `looks` over the times it is looked at, `shares` over the waves. `measure`
makes one number per device out of its histograms, `wave` is the whole, `words` says it.

Not decided here: when to look, and what a breach does; see `edgelift_fleet.rollout.decide`.
"""
