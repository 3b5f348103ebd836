"""Reports of a study: `document` is what they say, `formats` are the ways to write it."""
