"""The create wizard: a draft by URL, from what somebody wants to a service whose first build runs.

forms      what is typed, and how it becomes an intent or blocks of a spec
same       the draft as YAML, CLI and REST
views      one page for each step; what they show beside the form is in outlook
outlook    what is going to be: faults, engine, memory, quota
"""
