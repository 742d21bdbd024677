"""A device's page: its data, what is said of it in words, and its timeline.

How to read it: `reading` reads all of it; `seen` is what it says; `next_words`, `past_words` and `going_back` judge, and are
pure but for one look at a release; `timeline` draws.
"""
