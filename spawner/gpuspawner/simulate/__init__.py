"""``gpuspawner simulate``: the rules of core/ on a trace, in virtual time, beside other rules."""
